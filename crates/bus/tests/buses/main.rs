//! One suite for every bus, and tests of what only NATS has.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;
mod nats;
mod tls;

use std::sync::Arc;

use relogin_bus::{
    Bus, Need,
    local::LocalBus,
    nats::{NatsBus, NatsConfig},
};
use relogin_test_support::nats_server::NatsServer;

/// Two ends of one bus, and what must live as long as they do.
struct Ends {
    near: Arc<dyn Bus>,
    far: Arc<dyn Bus>,
    _server: Option<NatsServer>,
}

fn local() -> Ends {
    let bus: Arc<dyn Bus> = Arc::new(LocalBus::new());
    Ends { near: Arc::clone(&bus), far: bus, _server: None }
}

async fn over_nats() -> Ends {
    let server = NatsServer::start(&[]);
    let (near, far) = (connect(&server.url()).await, connect(&server.url()).await);
    Ends { near: Arc::new(near), far: Arc::new(far), _server: Some(server) }
}

/// All that one end listens to is shared, as far as a wildcard covers it.
async fn over_nats_by_wildcards() -> Ends {
    let server = NatsServer::start(&[]);
    let (near, far) = (connect(&server.url()).await, connect(&server.url()).await);
    near.share_subscriptions(vec![Need::subscribe(">")], 0);
    Ends { near: Arc::new(near), far: Arc::new(far), _server: Some(server) }
}

async fn connect(url: &str) -> NatsBus {
    NatsBus::connect(&NatsConfig { url: url.to_owned(), ..NatsConfig::default() }).await.unwrap()
}

macro_rules! contract {
    ($($name:ident)*) => {
        mod on_local {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::contract::$name(super::local()).await;
            })*
        }
        mod on_nats {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::contract::$name(super::over_nats().await).await;
            })*
        }
        mod on_nats_by_wildcards {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::contract::$name(super::over_nats_by_wildcards().await).await;
            })*
        }
    };
}

contract! {
    patterns_choose_what_arrives
    a_subscription_is_in_force_when_it_is_returned
    order_holds_across_subjects_and_answers
    a_request_may_have_several_answers
    reply_subjects_cannot_be_guessed
    a_request_without_a_listener_fails_at_once
    dropping_a_guard_ends_its_subscription_or_request
    an_ended_subscription_still_yields_what_has_arrived
    a_slow_reader_delays_nobody
    a_full_mailbox_drops_messages_and_says_so
    thousands_of_subscriptions_each_get_their_own_messages
    malformed_subjects_are_refused
    closing_ends_everything
}
