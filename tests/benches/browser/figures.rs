//! Figures of several rounds, and how they are told.

/// What was measured in several rounds: the median, and what the middle half of them lies between.
pub(crate) struct Figures {
    pub(crate) median: f64,
    quarters: (f64, f64),
}

impl Figures {
    /// Of one round or more.
    pub(crate) fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let mut rounds: Vec<_> = rounds.into_iter().collect();
        rounds.sort_unstable_by(f64::total_cmp);
        let at = |part: usize| rounds[rounds.len() * part / 4];
        Self { median: at(2), quarters: (at(1), at(3)) }
    }

    /// As a cell of a table.
    pub(crate) fn cell(&self) -> String {
        format!("{:.2} ({:.2} to {:.2})", self.median, self.quarters.0, self.quarters.1)
    }
}

/// How busy the machine is beside us.
pub(crate) fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}
