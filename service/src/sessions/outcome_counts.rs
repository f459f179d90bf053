//! Counts what decisions came to, for the metrics. Must not know what is done about them.

use std::sync::atomic::{AtomicU64, Ordering};

use relogin_session::{Outcome, Record};

use super::key_counts::KeyCounts;

/// A count for each outcome, of this process.
#[derive(Debug, Default)]
pub struct OutcomeCounts {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    keys: KeyCounts,
}

impl OutcomeCounts {
    /// Counts a decision that left this `record`, if there is one.
    pub(super) fn count(&self, outcome: Outcome, record: Option<&Record>) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(record) = record {
            self.keys.count(outcome, record);
        }
    }

    /// How often each outcome was counted, by its word.
    pub fn by_word(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::ALL.iter().map(|outcome| (outcome.word(), self.outcomes[*outcome as usize].load(Ordering::Relaxed)))
    }

    /// The keys that were made.
    pub fn keys(&self) -> &KeyCounts {
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_outcome_has_a_count_and_a_word_of_its_own() {
        let counts = OutcomeCounts::default();
        for (number, outcome) in Outcome::ALL.iter().enumerate() {
            for _ in 0..=number {
                counts.count(*outcome, None);
            }
        }
        let by_word: BTreeMap<&str, u64> = counts.by_word().collect();
        assert_eq!(by_word.len(), Outcome::ALL.len());
        assert_eq!(by_word[Outcome::ALL[3].word()], 4);
        assert_eq!(by_word.values().sum::<u64>(), (1..=Outcome::ALL.len() as u64).sum::<u64>());
    }
}
