//! SIGKILL at random moments, hundreds of times, with logins, relogins and logouts in flight;
//! behind the embedded gateway and over NATS. Answered requests are durable, the others are done
//! completely or not at all, and a client that retries goes on.
//!
//! The moment of the kill and what each client does come from a seed, which a failure prints:
//! `RELOGIN_SEED=7` plays it again, as far as two processes can be made to do the same twice.

mod client;
mod line;

use std::time::Duration;

use futures_util::future::join_all;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use relogin_test_support::nats_server::NatsServer;
use tokio::{sync::watch, time::sleep};

use self::{
    client::{Client, Spree},
    line::{Bus, Front, Line},
};
use crate::program::Folder;

/// Most of a round is the start of a program that is not optimised.
const ROUNDS: usize = 260;
const ROUNDS_OVER_NATS: usize = 130;
const CLIENTS: usize = 6;

/// Cheap hashes: thousands of passwords are checked, and they are not what is tested.
const CHEAP: &str = "--password-cost m=8,t=1,p=1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_behind_the_embedded_gateway_lose_nothing_and_give_nothing_away() {
    crash_again_and_again(None, ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_over_nats_lose_nothing_and_give_nothing_away() {
    let server = NatsServer::start(&[]);
    crash_again_and_again(Some(&server), ROUNDS_OVER_NATS).await;
}

async fn crash_again_and_again(server: Option<&NatsServer>, rounds: usize) {
    let seed = std::env::var("RELOGIN_SEED").ok().map_or_else(|| rand::rng().next_u64(), |seed| seed.parse().unwrap());
    eprintln!("RELOGIN_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = Folder::new();
    folder.run(&format!("user add jane --password-stdin {CHEAP}"), "open sesame").success();
    let bus = match server {
        Some(server) => Some(Bus::connect(&server.url()).await),
        None => None,
    };
    let options = server.map_or_else(|| CHEAP.to_owned(), |server| format!("{CHEAP} --nats {}", server.url()));

    let mut clients: Vec<_> = (0..CLIENTS).map(Client::new).collect();
    let mut lines: Vec<Option<Line>> = (0..CLIENTS).map(|_| None).collect();
    let mut spree = Spree::default();
    for round in 0..rounds {
        let service = folder.serve(&options).await;
        let front = match &bus {
            Some(bus) => Front::Nats(bus.up()),
            None => Front::Embedded(&service),
        };

        // Whatever was in flight, each client goes on: on the connection it had, where that
        // outlives a crash, or on a new one.
        let resumed = clients.iter_mut().zip(lines).map(|(client, line)| {
            let stays = rng.random_bool(0.5);
            let front = &front;
            async move {
                let mut line = match line {
                    Some(line) if stays && line.is_open() => line,
                    _ => front.connect().await,
                };
                client.recover(&mut line, front).await;
                line
            }
        });
        let mut connected = join_all(resumed).await;

        // Every key that was used ends its session.
        let victim = round % CLIENTS;
        clients[victim].is_robbed(&front, rng.random()).await;

        // Killed in the middle of the work: after a number of answers, at any point of what comes
        // next.
        let (answers, mut count) = watch::channel(0_u32);
        let (kill_after, moment) = (rng.random_range(0..40), Duration::from_micros(rng.random_range(0..4000)));
        let busy = clients.iter_mut().zip(&mut connected).map(|(client, line)| {
            let rng = StdRng::from_rng(&mut rng);
            client.work_until_killed(line, rng, &answers)
        });
        let work = join_all(busy);
        let kill = async {
            count.wait_for(|answers| *answers >= kill_after).await.unwrap();
            sleep(moment).await;
            service.kill().await;
            if let Some(bus) = &bus {
                bus.down();
            }
        };
        let (cut_short, ()) = tokio::join!(work, kill);
        cut_short.into_iter().for_each(|one| spree.add(one));
        lines = connected.into_iter().map(Some).collect();
    }
    eprintln!("{rounds} crashes; in flight: {spree:?}; what became of them: {:?}", client::fates(&clients));
    // Otherwise no request was in flight, and nothing was tested.
    assert!(spree.relogins > rounds && spree.logins > rounds / 20 && spree.logouts > rounds / 20, "{spree:?}");
    assert!(client::fates(&clients).is_varied(), "{:?}", client::fates(&clients));
}
