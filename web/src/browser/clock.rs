//! The time since the page's start, as the state machines need it: it never runs backwards, and it
//! includes sleep. Must not depend on what it is used for.
//!
//! `performance.now()` never runs backwards, but in some browsers it stops while the machine
//! sleeps. `Date.now()` includes sleep, but jumps when somebody sets the clock. So time advances by
//! the larger of the two steps: after a sleep a refresh is due at once, and a clock that is set
//! back delays nothing.

use std::{cell::RefCell, time::Duration};

use js_sys::Date;
use web_sys::Performance;

use super::global;

/// The time since this was first called.
pub(crate) fn now() -> Duration {
    thread_local! {
        static CLOCK: RefCell<Option<Clock>> = const { RefCell::new(None) };
    }
    let milliseconds = CLOCK.with_borrow_mut(|clock| clock.get_or_insert_with(Clock::new).now());
    Duration::from_micros((milliseconds * 1000.0) as u64)
}

/// Both clocks as they were last read, in milliseconds.
struct Clock {
    /// Without it, only the date counts.
    performance: Option<Performance>,
    steady: f64,
    date: f64,
    elapsed: f64,
}

impl Clock {
    fn new() -> Self {
        let performance = global().performance();
        let steady = performance.as_ref().map_or(0.0, Performance::now);
        Self { performance, steady, date: Date::now(), elapsed: 0.0 }
    }

    fn now(&mut self) -> f64 {
        let date = Date::now();
        // Both clocks are read again only in the next millisecond: many events happen within one.
        if date != self.date {
            let steady = self.performance.as_ref().map_or(0.0, Performance::now);
            self.elapsed += step(steady - self.steady, date - self.date);
            (self.steady, self.date) = (steady, date);
        }
        self.elapsed
    }
}

/// How far time has advanced between two readings of both clocks, in milliseconds.
fn step(steady: f64, date: f64) -> f64 {
    steady.max(date).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_advances_by_the_larger_step_of_two_clocks() {
        let is = |(steady, date), expected: f64| assert!((step(steady, date) - expected).abs() < f64::EPSILON);
        is((250.0, 250.0), 250.0);
        // A sleep counts.
        is((10.0, 3_600_000.0), 3_600_000.0);
        // A date that is set back holds nothing up.
        is((250.0, -3_600_000.0), 250.0);
        is((-5.0, -5.0), 0.0);
    }

    #[cfg(target_arch = "wasm32")]
    #[wasm_bindgen_test::wasm_bindgen_test]
    fn time_never_runs_backwards() {
        let before = now();
        assert!(now() >= before);
    }
}
