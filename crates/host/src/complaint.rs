//! Reports that something which is checked again and again is wrong: once, and then once a minute
//! while it stays wrong. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// What is wrong with one thing.
#[derive(Debug, Default)]
pub struct Complaint {
    /// What the last check found.
    found: Option<String>,
    told: Option<(String, Instant)>,
}

impl Complaint {
    /// How long the same reason is not reported again.
    pub const PAUSE: Duration = Duration::from_secs(60);

    /// Records that a check has found something wrong. True if that is to be reported now: if the
    /// check before found the same, so that a file that is being written causes no report, and
    /// nothing was reported within the last minute.
    pub fn is_due(&mut self, reason: &str, now: Instant) -> bool {
        if self.found.as_deref() != Some(reason) {
            self.found = Some(reason.to_owned());
            return false;
        }
        let is_told = |(told, at): &(String, Instant)| told == reason && now.duration_since(*at) < Self::PAUSE;
        if self.told.as_ref().is_some_and(is_told) {
            return false;
        }
        self.told = Some((reason.to_owned(), now));
        true
    }

    /// Records that a check has found nothing wrong.
    pub fn settle(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_reason_is_due_once_a_minute_and_a_passing_one_never() {
        let (mut complaint, begin) = (Complaint::default(), Instant::now());
        let told: Vec<u64> =
            (0..200).filter(|&second| complaint.is_due("gone", begin + Duration::from_secs(second))).collect();
        assert_eq!(told, [1, 61, 121, 181]);
        complaint.settle();
        // As while a file arrives: another error each time.
        assert!((0..10).all(|line| !complaint.is_due(&format!("line {line}"), begin)));
        assert!(complaint.is_due("line 9", begin) && !complaint.is_due("line 9", begin));
    }
}
