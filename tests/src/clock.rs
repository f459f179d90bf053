//! Time that passes for all alike: the demo's counter, seconds counted by the service.

use anyhow::Result;

use crate::res::Res;

/// Lets time pass, for what only time brings about: a deadline, a timer in a page that cannot be
/// asked.
#[derive(Debug)]
pub struct Clock {
    guest: Res,
}

impl Clock {
    /// Counts the events of the demo's counter that `guest` gets.
    pub(crate) fn of(guest: Res) -> Self {
        Self { guest }
    }

    /// Waits until the service has counted this many seconds.
    ///
    /// # Errors
    /// If the counter stops.
    pub async fn seconds(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            self.guest.event("ticker.model.change").await?;
        }
        Ok(())
    }
}
