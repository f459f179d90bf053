//! The arguments of runs at random: for how many minutes, and from which seed on.

use std::hash::{BuildHasher as _, RandomState};

use anyhow::{Context as _, Result, bail};

/// The default number of minutes.
const MINUTES: u64 = 10;

/// Minutes and seed as the arguments say; a seed that is left out is random.
pub(crate) fn minutes_and_seed(arguments: &[String]) -> Result<(u64, u64)> {
    let number = |text: &String| text.parse::<u64>().with_context(|| format!("`{text}` is not a number"));
    let (minutes, seed) = match arguments {
        [] => (MINUTES, None),
        [minutes] => (number(minutes)?, None),
        [minutes, seed] => (number(minutes)?, Some(number(seed)?)),
        [_, _, argument, ..] => bail!("`{argument}` is not understood: expected minutes and a seed"),
    };
    // Short enough to be typed.
    Ok((minutes, seed.unwrap_or_else(|| RandomState::new().hash_one(()) % 1_000_000)))
}
