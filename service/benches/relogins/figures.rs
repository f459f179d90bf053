//! Figures of one contender over several rounds, and how they are compared.

use std::time::Duration;

/// What was measured in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Round {
    pub(crate) fn of(mut times: Vec<Duration>, measured: Duration) -> Self {
        times.sort_unstable();
        Self {
            per_second: times.len() as f64 / measured.as_secs_f64(),
            p50: times[times.len() / 2],
            p99: times[times.len() * 99 / 100],
        }
    }
}

/// Prints a contender's figures: the median of its rounds, and the median of what each round is of
/// `base`'s round beside it.
pub(crate) fn print(name: &str, rounds: &[Round], base: &[Round]) {
    let pace = median(rounds.iter().map(|round| round.per_second));
    let p50 = median(rounds.iter().map(|round| ms(round.p50)));
    let p99 = median(rounds.iter().map(|round| ms(round.p99)));
    let pairs = || rounds.iter().zip(base);
    let pace_ratio = median(pairs().map(|(round, base)| round.per_second / base.per_second));
    let p50_ratio = median(pairs().map(|(round, base)| ms(round.p50) / ms(base.p50)));
    let p99_ratio = median(pairs().map(|(round, base)| ms(round.p99) / ms(base.p99)));
    println!(
        "  {name:<44} {pace:>7.0}/s  p50 {p50:>6.3} ms  p99 {p99:>6.3} ms   of the constant: {pace_ratio:.2} of its pace, \
         p50 x{p50_ratio:.2}, p99 x{p99_ratio:.2}"
    );
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// How busy the machine is beside us.
pub(crate) fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}
