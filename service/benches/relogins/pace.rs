//! Relogins over NATS, many in flight or one at a time.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use crate::{
    client::{Curve, Kind, Session, round, sessions},
    contender::Contender,
    figures::{Round, median, ms, print},
};

const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 5;
const MEASURED: Duration = Duration::from_millis(1_500);
const WARM_UP: Duration = Duration::from_millis(300);

/// With 64 in flight.
pub(crate) async fn pace() {
    compare(&[Kind::Resume, Kind::Refresh], &["sled", "memory"], IN_FLIGHT).await;
}

/// With 64 in flight, each with a signature.
pub(crate) async fn bound() {
    compare(&[Kind::Bound(Curve::Ed25519), Kind::Bound(Curve::P256)], &["sled"], IN_FLIGHT).await;
}

/// One at a time, and what one sync of a block takes meanwhile.
pub(crate) async fn single() {
    let (constant, contender) = (Contender::constant().await, Contender::relogin("sled").await);
    let mut sessions_of_constant = sessions(&constant, Kind::Refresh, 1).await;
    let mut resuming = sessions(&contender, Kind::Resume, 1).await;
    let mut refreshing = sessions(&contender, Kind::Refresh, 1).await;
    let path = contender.folder.path().join("blocks");
    let disk = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    disk.write_all_at(&vec![0; 4 << 20], 0).unwrap();
    disk.sync_all().unwrap();
    let (mut base, mut resumes, mut refreshes, mut syncs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=ROUNDS {
        base.push(round(&mut sessions_of_constant, MEASURED / 2).await);
        syncs.push(sync(&disk));
        resumes.push(round(&mut resuming, MEASURED / 2).await);
        refreshes.push(round(&mut refreshing, MEASURED / 2).await);
    }
    print("constant", &base, &base);
    println!("  one fdatasync of 4096 bytes: p50 {:.3} ms", median(syncs.iter().map(|&sync| ms(sync))));
    for (name, rounds) in [("resume, sled", &resumes), ("refresh, sled", &refreshes)] {
        print(name, rounds, &base);
        let sums = base.iter().zip(&syncs).map(|(base, &sync)| ms(base.p50 + sync));
        let ratio = median(rounds.iter().zip(sums).map(|(round, sum)| ms(round.p50) / sum));
        println!("  {name}: p50 x{ratio:.2} of the constant's p50 and one fdatasync");
    }
    contender.process.kill().await.unwrap();
    constant.process.kill().await.unwrap();
}

async fn compare(kinds: &[Kind], stores: &[&str], in_flight: usize) {
    let constant = Contender::constant().await;
    let mut contenders = Vec::new();
    for store in stores {
        contenders.push((*store, Contender::relogin(store).await));
    }
    for &kind in kinds {
        let mut base = Measured { sessions: sessions(&constant, kind, in_flight).await, rounds: Vec::new() };
        let mut measured = Vec::new();
        for (store, contender) in &contenders {
            let sessions = sessions(contender, kind, in_flight).await;
            measured.push((format!("{kind:?}, store {store}"), Measured { sessions, rounds: Vec::new() }));
        }
        for _ in 0..ROUNDS {
            base.round().await;
            for (_, contender) in &mut measured {
                contender.round().await;
            }
        }
        print(&format!("{kind:?}, constant"), &base.rounds, &base.rounds);
        for (name, contender) in &measured {
            print(name, &contender.rounds, &base.rounds);
        }
    }
    for (_, contender) in contenders {
        contender.process.kill().await.unwrap();
    }
    constant.process.kill().await.unwrap();
}

struct Measured {
    sessions: Vec<Session>,
    rounds: Vec<Round>,
}

impl Measured {
    async fn round(&mut self) {
        round(&mut self.sessions, WARM_UP).await;
        self.rounds.push(round(&mut self.sessions, MEASURED).await);
    }
}

/// What a sync takes that has only data to write, as a rule.
fn sync(disk: &File) -> Duration {
    let mut times: Vec<_> = (0..500_u64)
        .map(|n| {
            let begun = Instant::now();
            disk.write_all_at(&[1; 4096], n * 4096).unwrap();
            disk.sync_data().unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}
