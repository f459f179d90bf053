//! Goes through a world from end to end.

use std::{
    fmt::{Debug, Write},
    hash::Hash,
    time::{Duration, Instant},
};

use stateright::{Checker, HasDiscoveries, Model};

use crate::{budget::Config, model::World};

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// States, each once.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// How long it took.
    pub time: Duration,
    /// Whether every state was seen.
    pub is_exhausted: bool,
    /// What does not hold, and the way there.
    pub failures: Vec<(&'static str, String)>,
}

/// Goes through all states of a world of browsers.
#[must_use]
pub fn run(config: &Config, awaited: &[&'static str], limit: Duration) -> Found {
    explore(World(config.clone()), awaited, limit)
}

/// Goes through all states of a world, or until one of `awaited` does not hold (none named:
/// anything), or for `limit`.
#[must_use]
pub fn explore<M>(world: M, awaited: &[&'static str], limit: Duration) -> Found
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync + 'static,
{
    let start = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let end = match awaited {
        [] => HasDiscoveries::AnyFailures,
        some => HasDiscoveries::AnyOf(some.iter().copied().collect()),
    };
    let checker = world.checker().threads(threads).finish_when(end);
    let checker = checker.timeout(limit).spawn_bfs().join();
    let time = start.elapsed();
    let failures: Vec<_> = checker
        .discoveries()
        .into_iter()
        .map(|(name, path)| {
            let mut trace = String::new();
            for (state, step) in path.into_vec() {
                let _ = writeln!(trace, "{state:#?}\n=> {step:?}");
            }
            (name, trace)
        })
        .collect();
    Found {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        time,
        is_exhausted: checker.is_done() && failures.is_empty() && time < limit,
        failures,
    }
}

impl Found {
    /// The figures, in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { states, steps, depth, time, is_exhausted, .. } = self;
        let end = if *is_exhausted { "exhausted" } else { "not exhausted" };
        format!("{states} states, {steps} steps, depth {depth}, {time:.1?}, {end}")
    }
}
