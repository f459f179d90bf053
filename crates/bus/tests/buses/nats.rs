//! Only for a bus over a network: authentication, losing the connection, reconnecting.

use std::{sync::atomic::Ordering, task::Poll, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use relogin_bus::{
    Bus, BusError, Delivery, Link, Mailbox, Need, Tag,
    nats::{ConnectError, NatsBus, NatsConfig},
};
use relogin_test_support::{
    nats_server::{NatsServer, Wire},
    soon,
};
use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use super::connect;

async fn refusal(url: &str) -> ConnectError {
    soon(NatsBus::connect(&NatsConfig { url: url.to_owned(), ..NatsConfig::default() })).await.unwrap_err()
}

#[tokio::test]
async fn connecting_to_a_closed_port_fails_at_once() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = refusal(&format!("nats://jane:secret@{address}")).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("nats://{address};")), "{error}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_does_not_speak_nats_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let other = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        stream.writable().await.unwrap();
        stream.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let error = refusal(&url).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    other.await.unwrap();
}

/// The permissions are tried on a connection of their own, to which no message comes.
#[tokio::test]
async fn a_server_that_does_not_report_permissions_is_not_waited_for() {
    let server = NatsServer::start(&[]);
    let (listener, to) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), server.address.clone());
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for is_first in [true, false] {
            let ((mut client, _), mut server) = (listener.accept().await?, TcpStream::connect(&to).await?);
            tokio::spawn(async move {
                if is_first {
                    return copy_bidirectional(&mut client, &mut server).await.map(drop);
                }
                let ((mut asked, mut told), (from, mut server)) = (client.split(), server.split());
                let answers = async {
                    let mut lines = BufReader::new(from).lines();
                    while let Some(line) = lines.next_line().await? {
                        if ["INFO", "PONG"].iter().any(|answer| line.starts_with(answer)) {
                            told.write_all(format!("{line}\r\n").as_bytes()).await?;
                        }
                    }
                    Ok(())
                };
                tokio::try_join!(copy(&mut asked, &mut server), answers).map(drop)
            });
        }
        std::io::Result::Ok(())
    });
    let bus = connect(&url).await;
    let error = soon(bus.require(vec![Need::subscribe("a".to_owned())], Vec::new())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unchecked { source: None, .. }), "{error:?}");
}

#[tokio::test]
async fn encryption_that_the_server_does_not_speak_is_an_error() {
    let server = NatsServer::start(&[]);
    let error = refusal(&format!("tls://{}", server.address)).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_login_in_the_address_is_used() {
    let server = NatsServer::start(&["--user", "jane", "--pass", "s:e@cret"]);
    connect(&format!("nats://jane:s%3Ae%40cret@{}", server.address)).await.flush().await.unwrap();
    for login in ["", "jane:wrong@", "jane@"] {
        let error = refusal(&format!("nats://{login}{}", server.address)).await;
        assert!(matches!(error, ConnectError::Refused { .. }), "{login}: {error:?}");
    }
    let server = NatsServer::start(&["--auth", "t0ken"]);
    connect(&format!("nats://t0ken@{}", server.address)).await.flush().await.unwrap();
}

#[tokio::test]
async fn a_missing_credentials_file_is_an_error() {
    let config = NatsConfig {
        url: "nats://127.0.0.1:1".into(),
        credentials: Some("/nonexistent/me.creds".into()),
        ..NatsConfig::default()
    };
    let error = NatsBus::connect(&config).await.unwrap_err();
    assert!(matches!(error, ConnectError::Credentials { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_comes_back_with_its_subscriptions() {
    let server = NatsServer::start(&[]);
    let wire = Wire::to(&server).await;
    let (near, far) = (connect(&wire.url()).await, connect(&server.url()).await);
    let mut link = near.link();
    assert!(!link.has_changed().unwrap());
    let mut service = near.subscribe(&["call.a".into()]).await.unwrap();
    let (mailbox, mut deliveries) = Mailbox::new();

    for round in 0..3 {
        wire.cut();
        soon(link.wait_for(|link| *link == Link::Down)).await.unwrap();
        // A message or two may wait for the connection.
        near.publish("held", Bytes::from("x")).await.unwrap();
        let mut held = far.subscribe(&["held".into()]).await.unwrap();
        wire.mend();
        soon(link.wait_for(|link| *link == Link::Up)).await.unwrap();
        soon(near.flush()).await.unwrap();
        assert_eq!(soon(held.next()).await.unwrap().payload, "x");

        let _guard = far.ask("call.a", Bytes::new(), &mailbox, Tag(round)).await.unwrap();
        let reply = soon(service.next()).await.unwrap().reply.unwrap();
        near.publish(&reply, Bytes::from("answer")).await.unwrap();
        let expected = Delivery::Reply { tag: Tag(round), payload: "answer".into() };
        assert_eq!(soon(deliveries.next()).await, Some(expected));
    }
}

/// Listeners beyond the first ones share subscriptions to parts of a wildcard, which end with the
/// last of them.
#[tokio::test]
async fn many_listeners_share_a_subscription_that_ends_with_the_last() {
    let server = NatsServer::start(&[]);
    let (near, far) = (connect(&server.url()).await, connect(&server.url()).await);
    // One is the inbox's.
    near.share_subscriptions(vec![Need::subscribe("a.>")], 2);
    let (mailbox, mut deliveries) = Mailbox::new();
    let mut guards = Vec::new();
    let patterns = ["a.own.1", "a.b.2", "a.b.*", "a.c.4", "a.b.2", "other.6"];
    for (tag, pattern) in (0..).zip(patterns) {
        guards.push(near.listen(pattern, &mailbox, Tag(tag)).await.unwrap());
    }
    near.flush().await.unwrap();
    for (subject, tags) in [
        ("a.b.2", &[1, 2, 4][..]),
        ("a.own.1", &[0]),
        ("a.c.5", &[]),
        ("a.c.4", &[3]),
        ("a.b.7", &[2]),
        ("other.6", &[5]),
    ] {
        far.publish(subject, Bytes::new()).await.unwrap();
        let mut found = Vec::new();
        for _ in tags {
            let Some(Delivery::Message { tag, message }) = soon(deliveries.next()).await else { panic!("no message") };
            assert_eq!(message.subject, subject);
            found.push(tag.0);
        }
        found.sort_unstable();
        assert_eq!(found, tags, "{subject}");
    }
    // To the server, somebody listens to all of what is shared.
    for (subject, is_heard) in [("a.b.8.9", true), ("a.c.8", true), ("a.own.8", false), ("a.d.8", false)] {
        assert_eq!(is_listened_to(&far, subject).await, is_heard, "{subject}");
    }
    // The last listener to a.c, and one of those to a.b.
    guards.drain(3..5);
    soon(async { while is_listened_to(&far, "a.c.8").await {} }).await;
    far.publish("a.b.2", Bytes::new()).await.unwrap();
    let found = [soon(deliveries.next()).await, soon(deliveries.next()).await];
    assert!(found.iter().all(|found| matches!(found, Some(Delivery::Message { tag: Tag(1 | 2), .. }))), "{found:?}");
    drop(guards);
    soon(async { while is_listened_to(&far, "a.b.8.9").await {} }).await;
    assert_eq!(deliveries.try_next(), None);
}

/// True if the server knows somebody who listens to this subject.
async fn is_listened_to(bus: &NatsBus, subject: &str) -> bool {
    let (mailbox, mut deliveries) = Mailbox::new();
    let _waits = bus.ask(subject, Bytes::new(), &mailbox, Tag(1)).await.unwrap();
    // The server says at once that there is nobody.
    bus.flush().await.unwrap();
    deliveries.try_next().is_none()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_held_for_a_lost_connection_are_bounded() {
    let server = NatsServer::start(&[]);
    let wire = Wire::to(&server).await;
    let bus = connect(&wire.url()).await;
    let mut link = bus.link();
    wire.cut();
    soon(link.wait_for(|link| *link == Link::Down)).await.unwrap();

    let large = Bytes::from(vec![b'x'; 512 << 10]);
    let mut sent = 0;
    let error = loop {
        match soon(bus.publish("a", large.clone())).await {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, BusError::Disconnected), "{error:?}");
    assert_eq!(sent, 16);
    let (mailbox, _deliveries) = Mailbox::new();
    let mut guards = Vec::new();
    let error = loop {
        match soon(bus.listen("a", &mailbox, Tag(1))).await {
            Ok(guard) => guards.push(guard),
            Err(error) => break error,
        }
        assert!(guards.len() < 100_000);
    };
    assert!(matches!(error, BusError::Disconnected), "{error:?}");
    assert!(matches!(soon(bus.close()).await, Err(BusError::Disconnected)));

    // Closed while the connection is lost: ended all the same.
    assert!(matches!(bus.publish("a", Bytes::new()).await, Err(BusError::Closed)));
}

/// A server that does not read, as when it is overloaded: the connection is open, but nothing goes
/// through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_server_delays_nobody() {
    let server = NatsServer::start(&[]);
    let bus = connect(&server.url()).await;
    let mut heard = bus.subscribe(&["b".into()]).await.unwrap();
    server.signal(Signal::STOP);
    let large = Bytes::from(vec![b'x'; 64 << 10]);
    let mut sent = 0_u64;
    let error = loop {
        match soon(bus.publish("a", large.clone())).await {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, BusError::Disconnected), "{error:?}");
    assert_eq!(*bus.link().borrow(), Link::Up);
    assert!(sent < 10_000, "{sent} messages of 64 kB are kept");
    // Later messages do not wait at all.
    for _ in 0..100 {
        assert!(matches!(futures_util::poll!(std::pin::pin!(bus.publish("a", large.clone()))), Poll::Ready(Err(_))));
    }
    server.signal(Signal::CONT);
    let again = async {
        while bus.publish("b", Bytes::new()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon(again).await;
    soon(heard.next()).await.unwrap();
    server.signal(Signal::STOP);
    assert!(matches!(soon(bus.close()).await, Err(BusError::Disconnected)));
}

#[tokio::test]
async fn a_message_that_is_too_large_fails_alone() {
    let server = NatsServer::start(&[]);
    let bus = connect(&server.url()).await;
    let large = Bytes::from(vec![b'x'; (1 << 20) + 1]);
    let size = large.len();
    assert!(matches!(bus.publish("a", large).await, Err(BusError::TooLarge(n)) if n == size));
    bus.flush().await.unwrap();
    assert_eq!(*bus.link().borrow(), Link::Up);
}

/// A bucket with a million sessions could not be read on a busy machine.
#[tokio::test]
async fn messages_ahead_of_a_jetstream_reader_are_kept() {
    const SENT: u64 = 120_000;
    let server = NatsServer::start(&[]);
    let bus = connect(&server.url()).await;
    let client = bus.client();
    let mut messages = client.subscribe("sessions").await.unwrap();
    client.flush().await.unwrap();
    let other = async_nats::connect(server.url()).await.unwrap();
    for _ in 0..SENT {
        other.publish("sessions", Bytes::from_static(b"a session")).await.unwrap();
    }
    other.flush().await.unwrap();
    let statistics = client.statistics();
    let all_came = async {
        while statistics.in_messages.load(Ordering::SeqCst) < SENT {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(all_came).await;
    for n in 0..SENT {
        assert!(soon(messages.next()).await.is_some(), "{n} came");
    }
}
