//! Statistics of several rounds, and how they are printed. Must not depend on what was measured.

/// The median of several rounds, and the range of their middle half.
pub(crate) struct Figures {
    pub(crate) median: f64,
    quarters: (f64, f64),
}

impl Figures {
    /// The figures of at least one round.
    pub(crate) fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let mut rounds: Vec<_> = rounds.into_iter().collect();
        rounds.sort_unstable_by(f64::total_cmp);
        let at = |part: usize| rounds[rounds.len() * part / 4];
        Self { median: at(2), quarters: (at(1), at(3)) }
    }

    /// The figures as a table cell.
    pub(crate) fn cell(&self) -> String {
        format!("{:.2} ({:.2} to {:.2})", self.median, self.quarters.0, self.quarters.1)
    }
}

/// The machine's load average of the last minute.
pub(crate) fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}
