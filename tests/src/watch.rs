//! Ends the tests when they hang where no deadline of theirs can end them: in code that does not
//! give way, or in a runtime that waits for its threads. It then says what was being played, which
//! the run's log would not say otherwise.

use std::{
    io::Write as _,
    process,
    sync::{Mutex, Once, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::DEADLINE;

/// What a scenario may take in all: several times what the longest takes on a busy machine.
/// Whatever it waits for has a limit of its own; a driver or a browser that gives no answer at all
/// has none.
pub(crate) const LIMIT: Duration = Duration::from_secs(8 * DEADLINE.as_secs());

/// For how long nothing may begin or end while the tests' process is there.
const SILENCE: Duration = Duration::from_secs(LIMIT.as_secs() + 3 * DEADLINE.as_secs());

/// A scenario that is being played, until this is dropped.
#[derive(Debug)]
pub(crate) struct Watched {
    name: String,
}

struct Playing {
    names: Vec<String>,
    last: String,
    since: Option<Instant>,
}

static PLAYING: Mutex<Playing> = Mutex::new(Playing { names: Vec::new(), last: String::new(), since: None });

impl Watched {
    pub(crate) fn begin(name: String) -> Self {
        static WATCHMAN: Once = Once::new();
        WATCHMAN.call_once(|| drop(thread::spawn(watch)));
        note(|playing| {
            playing.names.push(name.clone());
            playing.last = format!("{name} has begun");
        });
        Self { name }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        note(|playing| {
            playing.names.retain(|name| *name != self.name);
            playing.last = format!("{} has ended", self.name);
        });
    }
}

/// Says that a long scenario goes on.
pub(crate) fn goes_on() {
    note(|_| {});
}

fn note(change: impl FnOnce(&mut Playing)) {
    let mut playing = PLAYING.lock().unwrap_or_else(PoisonError::into_inner);
    change(&mut playing);
    playing.since = Some(Instant::now());
}

fn watch() {
    loop {
        thread::sleep(DEADLINE);
        let playing = PLAYING.lock().unwrap_or_else(PoisonError::into_inner);
        if playing.since.is_some_and(|since| since.elapsed() > SILENCE) {
            // Not by `eprintln`: the runner keeps that for the test that it never hears of again.
            let _ = writeln!(
                std::io::stderr(),
                "error: the tests hang: nothing has begun or ended for {} s; being played: {:?}; before that: {}",
                SILENCE.as_secs(),
                playing.names,
                playing.last
            );
            process::exit(101);
        }
    }
}
