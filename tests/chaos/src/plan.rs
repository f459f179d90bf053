//! Which faults happen when, by a seed. Keeps within what three replicas promise: of the NATS
//! servers one at a time is disturbed, but for short outages of all. Pure.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// How many there are of NATS servers, of instances of the service, and of gateways beside the one
/// of the first instance.
pub const COUNTS: [usize; 3] = [3, 3, 2];

/// What is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A NATS server.
    Server(usize),
    /// An instance of the service. The first one has a gateway in it.
    Instance(usize),
    /// A Resgate.
    Gateway(usize),
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is killed (SIGKILL), and started again.
    Kill,
    /// It stands still (SIGSTOP), and goes on.
    Freeze,
    /// A server reaches no other server, and all its clients.
    Isolate,
    /// A server reaches the others, and no client reaches it.
    Unplug,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it begins.
    pub at: Duration,
    /// What it happens to.
    pub target: Target,
    /// What it is.
    pub fault: Fault,
    /// How long it lasts.
    pub lasts: Duration,
}

/// How long faults go on before there is a pause.
const STORM: Duration = Duration::from_secs(25);
/// How long a pause is.
const PAUSE: Duration = Duration::from_secs(5);
/// How long servers have to agree after one of them was disturbed: the next one may be the one that
/// they need.
const REST: Duration = Duration::from_secs(3);
/// One of this many faults of servers is an outage of all of them.
const OUTAGES: u32 = 10;
/// The longest outage.
const OUTAGE: Duration = Duration::from_secs(2);

/// The faults of a run that goes on for `length`, in their order. All end before it does.
#[must_use]
pub fn plan(seed: u64, length: Duration) -> Vec<Step> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut steps = Vec::new();
    for lane in 0..COUNTS.len() {
        let mut at = millis(&mut rng, 500, 3_000);
        loop {
            let lasts = millis(&mut rng, 300, 4_000);
            let ends = at + lasts;
            if ends >= length {
                break;
            }
            // Nothing reaches into a pause.
            if phase(ends) >= STORM || phase(at) > phase(ends) {
                at = at - phase(at) + STORM + PAUSE + millis(&mut rng, 0, 1_000);
                continue;
            }
            at = ends + befall(&mut rng, lane, at, lasts, &mut steps);
        }
    }
    steps.sort_by_key(|step| (step.at, step.target));
    steps
}

/// How far a moment is in its storm and pause.
fn phase(at: Duration) -> Duration {
    let turn = (STORM + PAUSE).as_millis();
    Duration::from_millis(u64::try_from(at.as_millis() % turn).expect("a remainder of seconds is small"))
}

/// Adds a fault to a lane; how long nothing else happens there after it.
fn befall(rng: &mut StdRng, lane: usize, at: Duration, lasts: Duration, steps: &mut Vec<Step>) -> Duration {
    let (one, fault) = (rng.random_range(0..COUNTS[lane]), *pick(rng, &[Fault::Kill, Fault::Freeze]));
    let mut add = |target, fault, lasts| steps.push(Step { at, target, fault, lasts });
    match lane {
        0 => {
            if rng.random_ratio(1, OUTAGES) {
                let lasts = lasts.min(OUTAGE);
                (0..COUNTS[0]).for_each(|each| add(Target::Server(each), Fault::Kill, lasts));
            } else {
                let fault = *pick(rng, &[Fault::Kill, Fault::Freeze, Fault::Isolate, Fault::Unplug]);
                add(Target::Server(one), fault, lasts);
            }
            REST + millis(rng, 0, 3_000)
        }
        1 => {
            add(Target::Instance(one), fault, lasts);
            // Sometimes one is alone.
            if rng.random_ratio(1, 4) {
                add(Target::Instance((one + 1) % COUNTS[1]), Fault::Kill, lasts);
            }
            millis(rng, 500, 4_000)
        }
        _ => {
            add(Target::Gateway(one), fault, lasts);
            millis(rng, 1_000, 6_000)
        }
    }
}

fn pick<'a, T>(rng: &mut StdRng, all: &'a [T]) -> &'a T {
    &all[rng.random_range(0..all.len())]
}

fn millis(rng: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..to))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(600);

    #[test]
    fn a_seed_decides_the_plan() {
        assert_eq!(plan(1, LENGTH), plan(1, LENGTH));
        assert_ne!(plan(1, LENGTH), plan(2, LENGTH));
        assert!(plan(1, Duration::from_secs(30)).len() >= 8);
    }

    #[test]
    fn two_servers_are_whole_but_for_short_outages() {
        for seed in 0..200 {
            let steps = plan(seed, LENGTH);
            let servers: Vec<_> = steps.iter().filter(|step| matches!(step.target, Target::Server(_))).collect();
            for (number, step) in servers.iter().enumerate() {
                for next in &servers[number + 1..] {
                    let is_outage = next.at == step.at;
                    assert!(is_outage || step.at + step.lasts + REST <= next.at, "{seed}: {step:?}, {next:?}");
                    assert!(!is_outage || step.fault == Fault::Kill && step.lasts <= OUTAGE, "{seed}: {step:?}");
                }
            }
        }
    }

    #[test]
    fn no_target_has_two_faults_at_once() {
        for seed in 0..200 {
            let steps = plan(seed, LENGTH);
            for (number, step) in steps.iter().enumerate() {
                let mut later = steps[number + 1..].iter().filter(|next| next.target == step.target);
                assert!(later.all(|next| step.at + step.lasts <= next.at), "{seed}: {step:?}");
            }
        }
    }

    #[test]
    fn there_are_pauses_and_an_end_and_all_faults_happen() {
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            for step in plan(seed, LENGTH) {
                let ends = step.at + step.lasts;
                assert!(ends < LENGTH && phase(ends) < STORM && phase(step.at) <= phase(ends), "{seed}: {step:?}");
                seen.insert(format!("{:?} {:?}", step.target, step.fault));
            }
        }
        assert_eq!(seen.len(), 3 * 4 + 3 * 2 + 2 * 2, "{seen:?}");
    }
}
