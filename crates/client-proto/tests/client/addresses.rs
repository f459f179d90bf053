//! Several gateway addresses.

use std::{collections::BTreeSet, time::Duration};

use relogin_client_proto::{Closing, ConnectionState, Input, PlatformEvent};

use crate::support::{FIRST, Tab, ms, s};

fn tab(seed: u64, gateways: usize) -> Tab {
    Tab::plain(seed, |config| config.gateways = gateways)
}

/// One that is connected for long enough to believe in its gateway.
fn steady(seed: u64, gateways: usize) -> Tab {
    let mut tab = tab(seed, gateways);
    tab.connect();
    tab.live(s(11));
    tab
}

fn wait(tab: &Tab) -> Duration {
    let ConnectionState::Reconnecting { next_try } = tab.client.connection() else { panic!() };
    next_try.saturating_sub(tab.now)
}

fn goes(retry_after: &str) -> Closing {
    Closing::read(1001, retry_after)
}

#[test]
fn all_addresses_are_tried_before_there_is_a_wait() {
    for seed in 0..20 {
        let mut tab = tab(seed, 3);
        for round in 0..4 {
            for _ in 0..3 {
                assert!(tab.socket.is_some(), "the addresses of a round follow each other at once");
                tab.drop_socket();
            }
            assert_eq!(tab.socket, None);
            assert!(wait(&tab) <= FIRST * (1 << round) && wait(&tab) > ms(0), "a round counts as one failure");
            tab.await_socket();
        }
        assert_eq!(tab.gateways.len(), 13);
        assert!(tab.gateways.windows(2).all(|two| two[1] == (two[0] + 1) % 3), "{:?}", tab.gateways);
    }
}

#[test]
fn a_gateway_that_does_not_answer_is_given_up_for_the_next() {
    let mut tab = tab(1, 2);
    let start = tab.now;
    tab.pass(s(10));
    assert_eq!((tab.gateways.len(), tab.now - start), (2, s(10)));
    tab.connect();
    assert!(tab.is_connected());
    assert_ne!(tab.gateways[0], tab.gateways[1]);
}

#[test]
fn a_gateway_of_another_protocol_is_passed_over() {
    let mut tab = tab(1, 2);
    tab.connect_to(&serde_json::json!({"result": {"protocol": "2.0.0"}}));
    assert_eq!(tab.gateways.len(), 2, "at once");
    tab.connect();
    assert!(tab.is_connected());
}

#[test]
fn clients_begin_at_a_random_address() {
    let mut first = [0; 3];
    for seed in 0..300 {
        first[tab(seed, 3).gateways[0]] += 1;
    }
    assert!(first.iter().all(|count| *count > 60), "{first:?}");
    assert_eq!(tab(1, 0).gateways, [0], "there is always one");
}

#[test]
fn a_gateway_that_worked_is_kept_until_it_is_unreachable() {
    let mut tab = steady(1, 3);
    let first = tab.gateways[0];
    tab.drop_socket();
    tab.await_socket();
    assert_eq!(tab.gateways, [first, first], "lost for a moment");
    tab.drop_socket();
    tab.connect();
    tab.live(s(11));
    let second = (first + 1) % 3;
    assert_eq!(tab.gateways, [first, first, second]);
    tab.drop_socket();
    tab.reconnect();
    assert_eq!(tab.gateways[3..], [second], "and now that one is kept");
}

#[test]
fn a_gateway_that_closes_or_falls_silent_or_breaks_at_once_is_left() {
    for leave in [
        (|tab| tab.close_socket(goes(""))) as fn(&mut Tab),
        |tab| tab.pass(s(40)),
        |tab| {
            tab.drop_socket();
            tab.reconnect();
            tab.drop_socket();
        },
    ] {
        let mut tab = steady(1, 2);
        leave(&mut tab);
        tab.await_socket();
        let last = tab.gateways.len() - 1;
        assert_ne!(tab.gateways[last], tab.gateways[last - 1], "{:?}", tab.gateways);
    }
}

#[test]
fn a_gateway_that_goes_says_within_which_time_to_come_back() {
    let waits = |reason: &str| -> Vec<_> {
        (0..200)
            .map(|seed| {
                let mut tab = steady(seed, 1);
                tab.close_socket(goes(reason));
                wait(&tab)
            })
            .collect()
    };
    let told = waits(r#"{"message":"the server is being stopped","retryAfter":40000}"#);
    assert!(told.iter().all(|wait| *wait <= s(40)));
    assert!(told.iter().max() > Some(&s(38)) && told.iter().min() < Some(&s(2)), "they are spread over all of it");
    assert!(told.iter().filter(|wait| **wait < s(20)).count() > 70);
    for usual in ["", "the server is being stopped", r#"{"retryAfter":0}"#] {
        assert!(waits(usual).iter().all(|wait| *wait <= FIRST), "{usual:?}");
    }
}

#[test]
fn a_user_who_waits_is_not_held_back_with_the_crowd() {
    let mut tab = steady(1, 1);
    tab.close_socket(goes(r#"{"retryAfter":40000}"#));
    tab.input(Input::ConnectNow);
    assert_eq!(tab.gateways.len(), 2);
    tab.drop_socket();
    assert!(wait(&tab) <= FIRST, "what the gateway said is over");

    let mut tab = steady(2, 1);
    tab.close_socket(goes(r#"{"retryAfter":40000}"#));
    tab.input(PlatformEvent::Wake);
    assert!(wait(&tab) <= FIRST);
}

#[test]
fn a_gateway_that_always_says_to_come_back_at_once_is_not_called_without_end() {
    let mut tab = tab(1, 1);
    let start = tab.now;
    for _ in 0..20 {
        tab.await_socket();
        tab.connect();
        tab.close_socket(goes(r#"{"retryAfter":0}"#));
    }
    assert!(tab.now - start > s(60), "{:?}", tab.now - start);
}

#[test]
fn without_a_network_no_round_is_finished_in_haste() {
    let mut tab = tab(1, 3);
    tab.input(PlatformEvent::Offline);
    tab.drop_socket();
    assert_eq!(tab.gateways.len(), 1);
    let waits: BTreeSet<_> = (0..50)
        .map(|seed| {
            let mut tab = Tab::plain(seed, |config| config.gateways = 3);
            tab.input(PlatformEvent::Offline);
            tab.drop_socket();
            wait(&tab)
        })
        .collect();
    assert!(waits.last() > Some(&s(25)), "{waits:?}");
}
