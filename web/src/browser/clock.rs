//! Time since the page's start, as core's machines want it: it never runs backwards, and a sleep counts.

use std::{cell::Cell, time::Duration};

use js_sys::Date;
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn steady() -> f64;
}

/// A clock that starts at zero.
///
/// `performance.now()` never runs backwards, but in some browsers it stands still while the machine sleeps;
/// `Date.now()` knows of the sleep, but jumps when somebody sets the clock. Time here advances by the larger of the
/// two steps: after a sleep a refresh is due at once, and a clock set back holds nothing up.
#[derive(Debug)]
pub struct Clock {
    last: Cell<Reading>,
    elapsed: Cell<f64>,
}

thread_local! {
    static OF_THE_PAGE: Clock = Clock::start();
}

/// The time since this was first asked.
#[must_use]
pub fn now() -> Duration {
    OF_THE_PAGE.with(Clock::now)
}

/// Both clocks at one moment, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Reading {
    steady: f64,
    date: f64,
}

impl Clock {
    /// A clock that shows zero now.
    #[must_use]
    pub fn start() -> Self {
        Self { last: Cell::new(Reading { steady: steady(), date: Date::now() }), elapsed: Cell::new(0.0) }
    }

    /// The time since [`Clock::start`].
    #[must_use]
    pub fn now(&self) -> Duration {
        let (before, date) = (self.last.get(), Date::now());
        // Within a millisecond it is as it was: `performance.now()` takes longer than what most inputs are looked at for.
        if before.date != date {
            let after = Reading { steady: steady(), date };
            self.last.set(after);
            self.elapsed.set(self.elapsed.get() + step(before, after));
        }
        Duration::from_secs_f64(self.elapsed.get() / 1000.0)
    }
}

/// How far time has advanced between two readings, in milliseconds.
fn step(before: Reading, after: Reading) -> f64 {
    let steady = (after.steady - before.steady).max(0.0);
    steady.max(after.date - before.date)
}

#[cfg(test)]
mod tests {
    use super::{Reading, step};

    fn steps(steady: f64, date: f64) -> f64 {
        step(Reading { steady: 1000.0, date: 5000.0 }, Reading { steady: 1000.0 + steady, date: 5000.0 + date })
    }

    #[test]
    fn both_clocks_agree() {
        assert!((steps(250.0, 250.0) - 250.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_sleep_counts() {
        assert!((steps(10.0, 3_600_000.0) - 3_600_000.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_date_set_back_holds_nothing_up() {
        assert!((steps(250.0, -3_600_000.0) - 250.0).abs() < f64::EPSILON);
    }

    #[test]
    fn never_backwards() {
        assert!(steps(-5.0, -5.0).abs() < f64::EPSILON);
    }
}
