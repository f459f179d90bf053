//! Requests that have waited for longer than their sender does.

use super::*;

/// A request that nobody waits for any more is not worked on; the next one is answered.
#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_waits_for_any_more_is_dropped() {
    let bus = Arc::new(LocalBus::new());
    let rig = Rig::on(Arc::clone(&bus), AuthOptions::default()).await;
    let key = rig.log_in("c1").await["reloginKey"].clone();
    rig.stop.cancel();
    rig.running.await.unwrap();

    // A request that works on the sessions, and is held up.
    let (sessions, users) = (Arc::clone(&rig.sessions), Arc::clone(&rig.users));
    let auth = Auth::new("session", bus.clone(), sessions, users, AuthOptions::default()).await.unwrap();
    let (mailbox, mut inbox) = Mailbox::new();
    let ask = async |tag: u64, method: &str, cid: &str, params: &Json| {
        bus.ask(&format!("auth.session.{method}"), request(cid, params).into(), &mailbox, Tag(tag)).await.unwrap()
    };
    let relogin = |attempt: &str| json!({"reloginKey": key, "attempt": attempt});
    let _overdue = [
        ask(1, "relogin", "c2", &relogin("AAAAAAAAAAAAAAAAAAAAAA")).await,
        ask(2, "login", "c3", &credentials()).await,
    ];
    tokio::time::advance(MAX_WAIT + Duration::from_millis(1)).await;
    let _in_time = ask(3, "relogin", "c2", &relogin("BBBBBBBBBBBBBBBBBBBBBA")).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(auth.run(stop.clone()));
    let Some(Delivery::Reply { tag: Tag(3), payload }) = inbox.next().await else { panic!("another answer") };
    let answer: Json = serde_json::from_slice(&payload).unwrap();
    // The first would have used up the key, and this would be a theft.
    assert_eq!(answer["result"]["generation"], json!(2), "{answer}");
    stop.cancel();
    running.await.unwrap();
    assert_eq!(inbox.try_next(), None, "what was dropped is not answered");
}
