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
    responder::{CONSTANT, ED25519_BOTH, ED25519_VERIFIED, P256_BOTH, P256_VERIFIED, SYNCED},
};

const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 5;
const MEASURED: Duration = Duration::from_millis(1_500);
const WARM_UP: Duration = Duration::from_millis(300);

/// With 64 in flight.
pub(crate) async fn pace() {
    for kind in [Kind::Resume, Kind::Refresh] {
        compare(kind, &["sled", "memory"], &[SYNCED]).await;
    }
}

/// With 64 in flight, each with a signature.
pub(crate) async fn bound() {
    for (curve, ceilings) in
        [(Curve::Ed25519, [ED25519_VERIFIED, ED25519_BOTH]), (Curve::P256, [P256_VERIFIED, P256_BOTH])]
    {
        compare(Kind::Bound(curve), &["sled"], &ceilings).await;
    }
}

/// One at a time, and what one sync of a block takes meanwhile.
pub(crate) async fn single() {
    let (constant, contender) = (Contender::responder(CONSTANT).await, Contender::relogin("sled").await);
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

/// Relogin with each of the stores, and responders that do a part of what it does, beside the
/// constant one.
async fn compare(kind: Kind, stores: &[&str], ceilings: &[&str]) {
    let mut contenders = Vec::new();
    for part in [&[CONSTANT], ceilings].concat() {
        contenders.push(Measured::new(part, Contender::responder(part).await, kind).await);
    }
    for store in stores {
        contenders.push(Measured::new(&format!("store {store}"), Contender::relogin(store).await, kind).await);
    }
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            contender.round().await;
        }
    }
    for contender in &contenders {
        contender.print(&contenders[0].rounds);
    }
    for contender in contenders {
        contender.contender.process.kill().await.unwrap();
    }
}

struct Measured {
    name: String,
    contender: Contender,
    sessions: Vec<Session>,
    rounds: Vec<Round>,
    /// Of each round, what a relogin has cost of processor time, in microseconds:
    /// [`Contender::processor_times`].
    costs: Vec<[f64; 3]>,
}

impl Measured {
    async fn new(name: &str, contender: Contender, kind: Kind) -> Self {
        let sessions = sessions(&contender, kind, IN_FLIGHT).await;
        Self { name: format!("{kind:?}, {name}"), contender, sessions, rounds: Vec::new(), costs: Vec::new() }
    }

    async fn round(&mut self) {
        round(&mut self.sessions, WARM_UP).await;
        let before = self.contender.processor_times();
        let round = round(&mut self.sessions, MEASURED).await;
        let after = self.contender.processor_times();
        let relogins = round.per_second * MEASURED.as_secs_f64();
        self.costs.push([0, 1, 2].map(|of| (after[of] - before[of]).as_secs_f64() * 1e6 / relogins));
        self.rounds.push(round);
    }

    fn print(&self, base: &[Round]) {
        print(&self.name, &self.rounds, base);
        let [here, server, client] = [0, 1, 2].map(|of| median(self.costs.iter().map(|costs| costs[of])));
        println!("    processor time of each: {here:.1} us here, {server:.1} us nats-server, {client:.1} us client");
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
