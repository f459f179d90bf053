//! When a hundred thousand clients come back that lose their gateway at the same moment. Each is
//! simulated alone, because none of them affects another.

use std::{ops::Range, time::Duration};

use relogin_client_proto::{Action, Client, Closing, Config, Input, Moment, PlatformEvent, Secret};
use relogin_gateway_proto::time_to_come_back;

use crate::support::{Rng, s};

const CLIENTS: usize = 100_000;
/// The seconds that are looked at.
const SECONDS: usize = 180;
/// When the gateway is lost.
const LOST: Duration = s(1000);

/// How all clients lose their gateway, and how long it is away.
#[derive(Clone, Copy)]
struct Story {
    closing: Closing,
    spread: Duration,
    /// How long there is no gateway.
    down: Duration,
    /// How long the gateway takes to close all connections.
    drain: Duration,
}

/// How many tries to connect are made in each second.
fn tries(story: Story, clients: Range<usize>) -> Vec<usize> {
    let mut tries = vec![0; SECONDS];
    for number in clients {
        let config = Config { spread: story.spread, ..Config::plain(1) };
        let mut machine = Machine { client: Client::new(config), rng: Rng::new(number as u64), open: None };
        machine.input(Input::Start, Duration::ZERO);
        machine.connect(Duration::ZERO);
        let lost = LOST + story.drain.mul_f64(number as f64 / CLIENTS as f64);
        let mut now = lost;
        let mut closing = story.closing;
        loop {
            let socket = machine.open.take().expect("a socket");
            machine.input(Input::SocketClosed(socket, closing), now);
            now = loop {
                let due = machine.client.poll_timeout().expect("a next try");
                machine.input(PlatformEvent::Timer, due);
                if machine.open.is_some() {
                    break due;
                }
            };
            let Some(tries) = tries.get_mut((now - LOST).as_secs() as usize) else { break };
            *tries += 1;
            if now >= LOST + story.down {
                break;
            }
            // Refused.
            closing = Closing::default();
        }
    }
    tries
}

struct Machine {
    client: Client,
    rng: Rng,
    open: Option<relogin_client_proto::SocketId>,
}

impl Machine {
    fn input(&mut self, input: impl Into<Input>, now: Duration) {
        self.client.handle(input.into(), Moment { now, random: self.rng.bytes() });
        while let Some(action) = self.client.poll_action() {
            match action {
                Action::OpenSocket(id, _) => self.open = Some(id),
                Action::CloseSocket(_) => self.open = None,
                _ => {}
            }
        }
    }

    fn connect(&mut self, now: Duration) {
        let socket = self.open.expect("a socket");
        self.input(Input::SocketOpened(socket), now);
        let answer = r#"{"id":1,"result":{"protocol":"1.2.3"}}"#;
        self.input(Input::Frame(socket, Secret::new(answer.to_owned())), now);
        // Not silent for so long that it is asked for a sign of life.
        self.input(Input::Frame(socket, Secret::new("{}".to_owned())), LOST - s(1));
    }
}

/// The most tries of a second, in hundredths of all clients.
fn most(story: Story) -> f64 {
    let threads = 2;
    let part = CLIENTS / threads;
    let tries = std::thread::scope(|scope| {
        let parts: Vec<_> =
            (0..threads).map(|at| scope.spawn(move || self::tries(story, at * part..(at + 1) * part))).collect();
        let mut all = vec![0; SECONDS];
        for tries in parts {
            all.iter_mut().zip(tries.join().unwrap()).for_each(|(all, tries)| *all += tries);
        }
        all
    });
    assert!(tries.iter().sum::<usize>() >= CLIENTS, "everybody has tried");
    let most = tries.iter().max().copied().unwrap_or_default();
    100.0 * most as f64 / CLIENTS as f64
}

#[test]
fn no_second_sees_more_than_a_twentieth_of_a_crowd_that_got_a_retry_time() {
    let told = time_to_come_back(CLIENTS).as_millis();
    let closing = Closing::read(1001, &format!(r#"{{"message":"the server is being stopped","retryAfter":{told}}}"#));
    for (down, drain) in [(0, 0), (3, 0), (20, 0), (60, 0), (1000, 0), (0, 5), (10, 5)] {
        let most = most(Story { closing, spread: Duration::ZERO, down: s(down), drain: s(drain) });
        println!("down for {down} s, drained over {drain} s: at most {most:.2} % in a second");
        assert!(most <= 5.0, "down for {down} s, drained over {drain} s: {most} %");
    }
}

#[test]
fn no_second_sees_more_than_a_twentieth_of_a_crowd_that_its_options_spread() {
    for down in [0, 20, 1000] {
        let most = most(Story { closing: Closing::default(), spread: s(40), down: s(down), drain: s(0) });
        assert!(most <= 5.0, "down for {down} s: {most} %");
    }
}

/// It is the gateway's retry time, or the option, that spreads them.
#[test]
fn without_a_retry_time_or_option_clients_come_back_at_once() {
    let story = Story { closing: Closing::default(), spread: Duration::ZERO, down: s(0), drain: s(0) };
    assert!(most(story) > 99.0);
}
