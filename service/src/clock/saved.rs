//! The state of a process's session clock, from which the next process continues.

use std::{fs, io, path::Path, time::Duration};

use relogin_host::{disk, errors::Chain};
use relogin_session::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::warn;

/// What all clocks showed at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saved {
    /// The session clock.
    pub time: Timestamp,
    /// The time of day.
    pub wall: Timestamp,
    /// The time since the machine was started, in milliseconds.
    pub since_boot: u64,
    /// Which start of the machine that was; none if the system does not say.
    pub boot: Option<String>,
}

impl Saved {
    /// What the session clock shows if the time of day is `wall` and the machine has run for
    /// `since_boot` since its start `boot`.
    ///
    /// Within one run of the machine the elapsed time is known for certain. After a restart the
    /// time of day says how long the machine was off, because there is no better clock. If it went
    /// back it says nothing, and the session clock stays where it was.
    pub(super) fn went_on(&self, wall: Timestamp, since_boot: Duration, boot: Option<&str>) -> Timestamp {
        let is_same_boot = boot.is_some() && self.boot.as_deref() == boot;
        let passed =
            if is_same_boot { millis(since_boot).saturating_sub(self.since_boot) } else { wall.since(self.wall) };
        self.time.plus(passed)
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Identifies the machine's start.
pub(super) fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// The state saved at `path`; none if it is not usable.
pub(super) fn read(path: &Path) -> Option<Saved> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!("cannot read {}, using the time of day: {}", path.display(), Chain(&error));
            return None;
        }
    };
    let saved = serde_json::from_slice(&text);
    saved.inspect_err(|error| warn!("{} does not contain a time, using the time of day: {error}", path.display())).ok()
}

pub(super) fn write(path: &Path, saved: &Saved) -> io::Result<()> {
    let mut text = serde_json::to_vec(saved).expect("numbers and a text are written without fail");
    text.push(b'\n');
    disk::replace(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: u64 = 1_790_000_000_000;
    const DAY: u64 = 86_400_000;

    fn saved() -> Saved {
        // The time of sessions is a thousand days behind.
        let (time, wall) = (Timestamp(TODAY - 1_000 * DAY), Timestamp(TODAY));
        Saved { time, wall, since_boot: 50_000, boot: Some("one".into()) }
    }

    #[test]
    fn within_a_run_of_the_machine_no_time_of_day_counts() {
        for wall in [0, TODAY - DAY, TODAY, TODAY + 365 * DAY] {
            let now = saved().went_on(Timestamp(wall), Duration::from_millis(57_000), Some("one"));
            assert_eq!(now, saved().time.plus(7_000));
        }
        // Not even if the machine's own clock is another one.
        assert_eq!(saved().went_on(Timestamp(TODAY), Duration::from_millis(10), Some("one")), saved().time);
    }

    #[test]
    fn between_two_runs_the_time_of_day_says_how_long_the_machine_was_off() {
        for boot in [Some("two"), None] {
            let went_on = |wall| saved().went_on(Timestamp(wall), Duration::from_millis(9_000_000), boot);
            assert_eq!(went_on(TODAY + DAY), saved().time.plus(DAY));
            // A board without a battery is where it begins each time.
            assert_eq!(went_on(TODAY - 2_000 * DAY), saved().time);
        }
        let unknown = Saved { boot: None, ..saved() };
        assert_eq!(unknown.went_on(Timestamp(TODAY + DAY), Duration::ZERO, None), saved().time.plus(DAY));
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        assert_eq!(read(&path), None);
        for time in [1, 2] {
            let saved = Saved { time: Timestamp(time), ..saved() };
            write(&path, &saved).unwrap();
            assert_eq!(read(&path), Some(saved));
        }
        for text in ["", "{}", "[]", "7", "{\"time\":-1}"] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path), None, "{text}");
        }
    }
}
