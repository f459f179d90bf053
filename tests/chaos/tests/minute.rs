//! One run: 40 s of faults by the seed 1, unless variables say otherwise. `cargo xtask chaos` sets
//! them.
#![forbid(unsafe_code)]

use std::{env, time::Duration};

use anyhow::{Context, Result};

/// For how many seconds there are faults, if it is to be another time.
const SECONDS: &str = "RELOGIN_CHAOS_SECONDS";
/// Which faults.
const SEED: &str = "RELOGIN_CHAOS_SEED";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_halted_or_cut_off_nobody_honest_is_logged_out() -> Result<()> {
    let seed = number(SEED, 1)?;
    let length = Duration::from_secs(number(SECONDS, 40)?);
    println!("seed {seed}, {} s of faults", length.as_secs());
    let report = relogin_chaos::run::run(seed, length).await?;
    let [faults, uses, logins, logouts, thefts] = report.counts;
    println!(
        "{faults} faults, {uses} uses of a key, {logins} logins, {logouts} logouts, {thefts} thefts; {} programs ended by \
         themselves; all were started in {:.1} s, and everybody was in again after {:.1} s",
        report.ends,
        report.start.as_secs_f64(),
        report.recovery.as_secs_f64()
    );
    Ok(())
}

fn number(variable: &str, default: u64) -> Result<u64> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable} is not a number: {text}")),
        Err(_) => Ok(default),
    }
}
