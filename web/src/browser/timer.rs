//! The driver's timer. Must not depend on what is due.

use std::time::Duration;

use gloo_timers::callback::Timeout;
use relogin_client_proto::PlatformEvent;

use super::{EventQueue, now};

/// `setTimeout` takes a 32-bit number of milliseconds and fires at once on a larger one.
const LONGEST: u32 = i32::MAX as u32;

/// Queues [`PlatformEvent::Timer`] at the time that was set, unless it is dropped before.
#[derive(Debug)]
pub(super) struct Timer {
    events: EventQueue,
    set: Option<(Duration, Timeout)>,
}

impl Timer {
    /// A timer that is not set.
    pub(super) fn new(events: &EventQueue) -> Self {
        Self { events: events.clone(), set: None }
    }

    /// Sets the timer to this time; replaces the time before. A timer that is set to an earlier
    /// time keeps it: most inputs only postpone a deadline, and setting a timer for each would cost
    /// more than anything else.
    pub(super) fn set(&mut self, due: Option<Duration>) {
        let Some(due) = due else {
            self.set = None;
            return;
        };
        if self.set.as_ref().is_some_and(|(set, _)| *set <= due) {
            return;
        }
        let (events, wait) = (self.events.clone(), milliseconds(due.saturating_sub(now())));
        self.set = Some((due, Timeout::new(wait, move || events.push(PlatformEvent::Timer))));
    }

    /// The timer has fired, and is no longer set.
    pub(super) fn fired(&mut self) {
        self.set = None;
    }
}

/// Converts to milliseconds, rounded up: woken a fraction too early, the machine would find nothing
/// due and set the same timer again.
fn milliseconds(wait: Duration) -> u32 {
    // Without `as_millis`, whose 128-bit division would be code for the page to download.
    let rounded = wait.as_secs().saturating_mul(1000).saturating_add(wait.subsec_nanos().div_ceil(1_000_000).into());
    u32::try_from(rounded).unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_and_no_longer_than_browsers_can_wait() {
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::from_micros(1)), 1);
        assert_eq!(milliseconds(Duration::from_millis(7)), 7);
        assert_eq!(milliseconds(Duration::from_micros(7_001)), 8);
        assert_eq!(milliseconds(Duration::from_secs(100 * 86_400)), LONGEST);
        assert_eq!(milliseconds(Duration::MAX), LONGEST);
    }

    #[cfg(target_arch = "wasm32")]
    mod in_a_browser {
        use gloo_timers::future::TimeoutFuture;
        use wasm_bindgen_test::wasm_bindgen_test;

        use super::*;

        #[wasm_bindgen_test]
        async fn a_timer_fires_once_at_the_earliest_time_it_was_set_to() {
            let (events, due) =
                (EventQueue::default(), |milliseconds| Some(now() + Duration::from_millis(milliseconds)));
            let mut timer = Timer::new(&events);
            timer.set(due(3_600_000));
            timer.set(due(1));
            timer.set(due(3_600_000));
            assert!(matches!(events.next().await, PlatformEvent::Timer));
            timer.fired();
            timer.set(due(1));
            timer.set(None);
            TimeoutFuture::new(50).await;
            assert!(events.is_empty(), "set to nothing, it does not fire");
            timer.set(due(1));
            drop(timer);
            TimeoutFuture::new(50).await;
            assert!(events.is_empty(), "dropped, it does not fire");
        }
    }
}
