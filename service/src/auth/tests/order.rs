//! Answers and events about a connection's user reach gateways in the order in which they came
//! about.

use tokio::task::yield_now;

use super::*;
use crate::sessions::tests::World;

/// A gateway drops the events that come before the answer to its get: that answer has to know of
/// them.
#[tokio::test(start_paused = true)]
async fn an_answer_that_follows_an_event_reflects_it() {
    let mut is_overtaken = false;
    for moment in 0..64 {
        let world = World::new().await;
        let key = world.login("a", 1).await.unwrap().relogin_key;
        world.attempt("b", &key, 1).await.unwrap();
        let (_gate, is_open) = watch::channel(true);
        let (_password, hers) = watch::channel("sesame");
        let users = Arc::new(Doorman { gate: is_open, password: hers });
        let bus: Arc<dyn Bus> = world.bus.clone();
        let auth = Auth::new("session", Arc::clone(&bus), Arc::clone(&world.sessions), users, AuthOptions::default());
        let stop = CancellationToken::new();
        let running = tokio::spawn(auth.await.unwrap().run(stop.clone()));
        let (mailbox, mut inbox) = Mailbox::new();
        let _listening = bus.listen("event.session.user.b.change", &mailbox, Tag(1)).await.unwrap();
        let hear = async {
            for _ in 0..moment {
                yield_now().await;
            }
            let _asked = bus.ask("get.session.user.b", "{}".into(), &mailbox, Tag(0)).await.unwrap();
            let mut is_told = false;
            for _ in 0..2 {
                match inbox.next().await.unwrap() {
                    Delivery::Reply { payload, .. } => {
                        let answer: Json = serde_json::from_slice(&payload).unwrap();
                        let is_null = answer["result"]["model"]["id"].is_null();
                        assert!(is_null || !is_told, "the event that took the user away comes before {answer}");
                        is_overtaken |= is_null && is_told;
                    }
                    Delivery::Message { .. } => is_told = true,
                    other => panic!("{other:?}"),
                }
            }
        };
        // The same use on a third connection: it takes the session from the second.
        let (moved, ()) = tokio::join!(world.attempt("c", &key, 1), hear);
        moved.unwrap();
        stop.cancel();
        running.await.unwrap();
    }
    assert!(is_overtaken, "there was no moment at which they could cross");
}
