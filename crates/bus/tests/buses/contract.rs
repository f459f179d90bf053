//! The contract of every bus.

use bytes::Bytes;
use relogin_bus::{BusError, Deliveries, Delivery, Guard, Link, MAX_SUBJECT, Mailbox, Tag};
use relogin_test_support::soon;

use super::Ends;

fn text(payload: &Bytes) -> &str {
    std::str::from_utf8(payload).unwrap()
}

/// The next delivery, as `tag:subject=payload`.
async fn next(deliveries: &mut Deliveries) -> String {
    match soon(deliveries.next()).await.expect("mailbox ended") {
        Delivery::Message { tag, message } => format!("{}:{}={}", tag.0, message.subject, text(&message.payload)),
        Delivery::Reply { tag, payload } => format!("{}:{}", tag.0, text(&payload)),
        Delivery::NoResponders { tag } => format!("{}:nobody", tag.0),
        Delivery::Lost => "lost".into(),
    }
}

async fn listen(ends: &Ends, pattern: &str, mailbox: &Mailbox, tag: u64) -> Guard {
    ends.near.listen(pattern, mailbox, Tag(tag)).await.unwrap()
}

pub(crate) async fn patterns_choose_what_arrives(ends: Ends) {
    let patterns = ["a", "a.b", "a.*", "a.>", "*", "*.b", ">", "a.*.c", "*.*.*", "a.b.>", "b.>"];
    let expected = [
        ("a", "a * >"),
        ("b", "* >"),
        ("a.b", "a.b a.* a.> *.b >"),
        ("a.c", "a.* a.> >"),
        ("a.b.c", "a.> > a.*.c *.*.* a.b.>"),
        ("b.b", "*.b > b.>"),
        ("a.b.c.d", "a.> > a.b.>"),
    ];
    let (mailbox, mut deliveries) = Mailbox::new();
    let mut guards = Vec::new();
    for (tag, pattern) in (0..).zip(patterns) {
        guards.push(listen(&ends, pattern, &mailbox, tag).await);
    }
    ends.near.flush().await.unwrap();
    for (subject, expected) in expected {
        ends.far.publish(subject, Bytes::new()).await.unwrap();
        let mut found = Vec::new();
        for _ in expected.split(' ') {
            let mut delivery = next(&mut deliveries).await;
            // To flush, a bus sends a message to itself, which `>` matches as well.
            while delivery.contains("_INBOX.") {
                delivery = next(&mut deliveries).await;
            }
            let (tag, message) = delivery.split_once(':').unwrap();
            assert_eq!(message, format!("{subject}="));
            found.push(patterns[tag.parse::<usize>().unwrap()]);
        }
        found.sort_by_key(|pattern| patterns.iter().position(|other| other == pattern));
        assert_eq!(found.join(" "), expected, "{subject}");
    }
    assert_eq!(deliveries.try_next(), None);
}

pub(crate) async fn a_subscription_is_in_force_when_it_is_returned(ends: Ends) {
    for n in 0..100 {
        let mut subscription = ends.near.subscribe(&[format!("now.{n}"), format!("now.{n}.>")]).await.unwrap();
        ends.far.publish(&format!("now.{n}"), Bytes::from("x")).await.unwrap();
        ends.far.publish(&format!("now.{n}.more"), Bytes::from("y")).await.unwrap();
        assert_eq!(soon(subscription.next()).await.unwrap().payload, "x");
        assert_eq!(soon(subscription.next()).await.unwrap().payload, "y");
    }
}

/// The order that gateways rest on: a token event, a change event, then the answer of the request
/// that caused them.
pub(crate) async fn order_holds_across_subjects_and_answers(ends: Ends) {
    const ROUNDS: usize = 5_000;
    let (mailbox, mut deliveries) = Mailbox::new();
    let mut guards = vec![
        listen(&ends, "conn.c1.>", &mailbox, 1).await,
        listen(&ends, "event.session.user.c1.>", &mailbox, 2).await,
        listen(&ends, "event.ticker.>", &mailbox, 3).await,
    ];
    let mut service = ends.far.subscribe(&["auth.session.login".into()]).await.unwrap();
    let far = ends.far.clone();
    let answering = tokio::spawn(async move {
        for round in 0..ROUNDS {
            let request = service.next().await.unwrap();
            let round = Bytes::from(round.to_string());
            far.publish("conn.c1.token", round.clone()).await.unwrap();
            far.publish("event.session.user.c1.change", round.clone()).await.unwrap();
            far.publish("event.ticker.change", round.clone()).await.unwrap();
            far.publish("conn.c1.token", round.clone()).await.unwrap();
            far.publish(&request.reply.unwrap(), round).await.unwrap();
        }
    });
    for _ in 0..ROUNDS {
        guards.push(ends.near.ask("auth.session.login", Bytes::new(), &mailbox, Tag(4)).await.unwrap());
    }
    for round in 0..ROUNDS {
        assert_eq!(next(&mut deliveries).await, format!("1:conn.c1.token={round}"));
        assert_eq!(next(&mut deliveries).await, format!("2:event.session.user.c1.change={round}"));
        assert_eq!(next(&mut deliveries).await, format!("3:event.ticker.change={round}"));
        assert_eq!(next(&mut deliveries).await, format!("1:conn.c1.token={round}"));
        assert_eq!(next(&mut deliveries).await, format!("4:{round}"));
    }
    answering.await.unwrap();
}

pub(crate) async fn a_request_may_have_several_answers(ends: Ends) {
    let mut service = ends.far.subscribe(&["call.>".into()]).await.unwrap();
    let (mailbox, mut deliveries) = Mailbox::new();
    let _one = ends.near.ask("call.a.one", Bytes::from("1?"), &mailbox, Tag(1)).await.unwrap();
    let _two = ends.near.ask("call.a.two", Bytes::from("2?"), &mailbox, Tag(2)).await.unwrap();
    let one = soon(service.next()).await.unwrap();
    let two = soon(service.next()).await.unwrap();
    assert_eq!((one.subject.as_str(), text(&one.payload)), ("call.a.one", "1?"));
    assert_eq!((two.subject.as_str(), text(&two.payload)), ("call.a.two", "2?"));
    let (one, two) = (one.reply.unwrap(), two.reply.unwrap());
    for (to, answer) in [(&two, "timeout:\"5000\""), (&one, "one"), (&two, "two"), (&two, "two again")] {
        ends.far.publish(to, Bytes::from(answer)).await.unwrap();
    }
    for expected in ["2:timeout:\"5000\"", "1:one", "2:two", "2:two again"] {
        assert_eq!(next(&mut deliveries).await, expected);
    }
}

/// The reply subject of one request says nothing about that of the next one.
pub(crate) async fn reply_subjects_cannot_be_guessed(ends: Ends) {
    let mut service = ends.far.subscribe(&["call.>".into()]).await.unwrap();
    let (mailbox, mut deliveries) = Mailbox::new();
    let mut guards = Vec::new();
    let mut seen = Vec::new();
    for n in 0..100 {
        guards.push(ends.near.ask("call.a", Bytes::new(), &mailbox, Tag(n)).await.unwrap());
        seen.push(soon(service.next()).await.unwrap().reply.unwrap());
    }
    for reply in &seen {
        let (inbox, last) = reply.rsplit_once('.').unwrap();
        assert!(last.len() >= 11, "64 bits take 11 characters of base64 or more: {reply}");
        for radix in [10, 16, 36] {
            let Ok(number) = u64::from_str_radix(last, radix) else { continue };
            let near = (1..1000).flat_map(|n| [number.wrapping_add(n), number.wrapping_sub(n)]);
            for guess in near.flat_map(|n| [n.to_string(), format!("{n:016x}"), format!("{n:x}")]) {
                ends.far.publish(&format!("{inbox}.{guess}"), Bytes::from("forged")).await.unwrap();
            }
        }
    }
    ends.far.publish(&seen[0], Bytes::from("genuine")).await.unwrap();
    assert_eq!(next(&mut deliveries).await, "0:genuine");
}

pub(crate) async fn a_request_without_a_listener_fails_at_once(ends: Ends) {
    let (mailbox, mut deliveries) = Mailbox::new();
    let _guard = ends.near.ask("call.nobody", Bytes::new(), &mailbox, Tag(7)).await.unwrap();
    assert_eq!(next(&mut deliveries).await, "7:nobody");

    let service = ends.far.subscribe(&["call.*".into()]).await.unwrap();
    drop(service);
    ends.far.flush().await.unwrap();
    let _guard = ends.near.ask("call.nobody", Bytes::new(), &mailbox, Tag(8)).await.unwrap();
    assert_eq!(next(&mut deliveries).await, "8:nobody");
}

pub(crate) async fn dropping_a_guard_ends_its_subscription_or_request(ends: Ends) {
    let mut service = ends.far.subscribe(&["call.a".into()]).await.unwrap();
    let (mailbox, mut deliveries) = Mailbox::new();
    let listening = listen(&ends, "event.a", &mailbox, 1).await;
    let _kept = listen(&ends, "event.a", &mailbox, 2).await;
    let asking = ends.near.ask("call.a", Bytes::new(), &mailbox, Tag(3)).await.unwrap();
    let reply = soon(service.next()).await.unwrap().reply.unwrap();
    drop((listening, asking));
    ends.near.flush().await.unwrap();
    ends.far.publish(&reply, Bytes::from("too late")).await.unwrap();
    ends.far.publish("event.a", Bytes::from("x")).await.unwrap();
    assert_eq!(next(&mut deliveries).await, "2:event.a=x");
    assert_eq!(deliveries.try_next(), None);
}

pub(crate) async fn an_ended_subscription_still_yields_what_has_arrived(ends: Ends) {
    let mut ending = ends.near.subscribe(&["a".into()]).await.unwrap();
    let mut other = ends.near.subscribe(&["a".into(), "b".into()]).await.unwrap();
    for n in 0..10 {
        ends.far.publish("a", Bytes::from(n.to_string())).await.unwrap();
    }
    ends.far.publish("b", Bytes::new()).await.unwrap();
    while soon(other.next()).await.unwrap().subject != "b" {}
    ending.end();
    ends.far.publish("a", Bytes::from("too late")).await.unwrap();
    for n in 0..10 {
        assert_eq!(text(&soon(ending.next()).await.unwrap().payload), n.to_string());
    }
    assert!(soon(ending.next()).await.is_none());
}

pub(crate) async fn a_slow_reader_delays_nobody(ends: Ends) {
    let behind = ends.near.subscribe(&["a".into()]).await.unwrap();
    let mut other = ends.near.subscribe(&["b".into()]).await.unwrap();
    // More than any queue of the NATS client holds.
    for n in 0..100_000 {
        ends.far.publish("a", Bytes::from(n.to_string())).await.unwrap();
    }
    ends.far.publish("b", Bytes::from("x")).await.unwrap();
    assert_eq!(soon(other.next()).await.unwrap().payload, "x");
    drop(behind);
}

pub(crate) async fn a_full_mailbox_drops_messages_and_says_so(ends: Ends) {
    let (mailbox, mut deliveries) = Mailbox::with_capacity(10_000);
    let _guard = listen(&ends, "a", &mailbox, 1).await;
    let mut end = ends.near.subscribe(&["end".into()]).await.unwrap();
    for n in 0..1000 {
        ends.far.publish("a", Bytes::from(n.to_string())).await.unwrap();
    }
    ends.far.publish("end", Bytes::new()).await.unwrap();
    soon(end.next()).await.unwrap();
    let mut taken = 0;
    loop {
        let delivery = next(&mut deliveries).await;
        if delivery == "lost" {
            break;
        }
        assert_eq!(delivery, format!("1:a={taken}"));
        taken += 1;
    }
    assert!((10..900).contains(&taken), "{taken}");
    ends.far.publish("a", Bytes::from("again")).await.unwrap();
    assert_eq!(next(&mut deliveries).await, "1:a=again");
}

pub(crate) async fn thousands_of_subscriptions_each_get_their_own_messages(ends: Ends) {
    const COUNT: u64 = 10_000;
    let (mailbox, mut deliveries) = Mailbox::new();
    let mut guards = Vec::new();
    for n in 0..COUNT {
        guards.push(listen(&ends, &format!("conn.{n}.>"), &mailbox, n).await);
    }
    ends.near.flush().await.unwrap();
    for n in (0..COUNT).rev() {
        ends.far.publish(&format!("conn.{n}.token"), Bytes::from("t")).await.unwrap();
    }
    for n in (0..COUNT).rev() {
        assert_eq!(next(&mut deliveries).await, format!("{n}:conn.{n}.token=t"));
    }
    assert_eq!(deliveries.try_next(), None);
}

pub(crate) async fn malformed_subjects_are_refused(ends: Ends) {
    let (mailbox, _deliveries) = Mailbox::new();
    let long = "a".repeat(MAX_SUBJECT + 1);
    for subject in ["", "a b", "a..b", "a.*", "a.>", "a\r\nSUB > 1", &long] {
        let published = ends.near.publish(subject, Bytes::new()).await;
        assert!(matches!(published, Err(BusError::InvalidSubject(_))), "{subject:?}: {published:?}");
        let asked = ends.near.ask(subject, Bytes::new(), &mailbox, Tag(1)).await;
        assert!(matches!(asked, Err(BusError::InvalidSubject(_))), "{subject:?}: {asked:?}");
    }
    for pattern in ["", "a b", "a..b", "a.>.b", &long] {
        let listening = ends.near.listen(pattern, &mailbox, Tag(1)).await;
        assert!(matches!(listening, Err(BusError::InvalidSubject(_))), "{pattern:?}: {listening:?}");
    }
    // The longest there may be goes through, as a request too.
    let longest = "a".repeat(MAX_SUBJECT);
    let mut subscription = ends.far.subscribe(std::slice::from_ref(&longest)).await.unwrap();
    let _guard = ends.near.ask(&longest, Bytes::from("x"), &mailbox, Tag(1)).await.unwrap();
    assert_eq!(soon(subscription.next()).await.unwrap().subject, longest);
    assert_eq!(*ends.near.link().borrow(), Link::Up);
}

pub(crate) async fn closing_ends_everything(ends: Ends) {
    let (mailbox, mut deliveries) = Mailbox::new();
    let mut subscription = ends.near.subscribe(&["a".into()]).await.unwrap();
    let mut far = ends.far.subscribe(&["last".into()]).await.unwrap();
    let _listening = listen(&ends, "a", &mailbox, 1).await;
    drop(mailbox);
    ends.near.publish("last", Bytes::from("word")).await.unwrap();
    soon(ends.near.close()).await.unwrap();
    assert_eq!(soon(far.next()).await.unwrap().payload, "word");
    assert!(soon(subscription.next()).await.is_none());
    assert_eq!(soon(deliveries.next()).await, None);

    let (mailbox, _deliveries) = Mailbox::new();
    assert!(matches!(ends.near.publish("a", Bytes::new()).await, Err(BusError::Closed)));
    assert!(matches!(ends.near.listen("a", &mailbox, Tag(1)).await, Err(BusError::Closed)));
    assert!(matches!(ends.near.ask("a", Bytes::new(), &mailbox, Tag(1)).await, Err(BusError::Closed)));
    assert!(matches!(ends.near.flush().await, Err(BusError::Closed)));
}
