//! One timer, set anew as often as wanted.

use std::time::Duration;

use gloo_timers::callback::Timeout;

/// A timer that calls back once, at the latest time it was set to. Dropped, it calls no more.
#[derive(Debug, Default)]
pub struct Timer {
    pending: Option<Timeout>,
}

/// `setTimeout` takes a 32-bit number of milliseconds and fires at once on a larger one.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

impl Timer {
    /// Calls back `delay` from now (24 days at most), in place of what was set before; `None`: not at all.
    pub fn set(&mut self, delay: Option<Duration>, call_back: impl FnOnce() + 'static) {
        // Rounded up: woken a fraction too early, the driver would find nothing due and set the same timer again.
        self.pending = delay.map(|delay| {
            let milliseconds = delay.min(LONGEST).as_secs_f64() * 1000.0;
            Timeout::new(milliseconds.ceil() as u32, call_back)
        });
    }
}
