//! Plays a scenario on its stage, and keeps the evidence if it fails.

use std::{
    fmt,
    panic::{AssertUnwindSafe, resume_unwind},
    path::PathBuf,
};

use anyhow::Result;
use futures_util::FutureExt;

use crate::{
    parts,
    stage::{Arrangement, Stage},
};

/// Why a scenario failed, told in one line a cause.
pub struct Failure {
    error: anyhow::Error,
    evidence: PathBuf,
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not anyhow's own form: its back trace leads through executors only.
        let causes: Vec<_> = self.error.chain().map(ToString::to_string).collect();
        write!(f, "{}\n  evidence: {}", causes.join("\n  because: "), self.evidence.display())
    }
}

/// Plays `scenario` on an arrangement. If it fails, what can be seen is saved under `target/e2e/`.
///
/// # Errors
/// What the scenario fails with.
pub async fn play(
    arrangement: Arrangement,
    scenario: &str,
    act: impl AsyncFnOnce(&mut Stage) -> Result<()>,
) -> Result<(), Failure> {
    let evidence = parts::target().join("e2e").join(format!("{scenario}-{arrangement:?}").to_lowercase());
    let outcome = match Stage::new(arrangement, evidence.clone()) {
        Ok(stage) => play_on(stage, act).await,
        Err(error) => Err(error),
    };
    outcome.map_err(|error| Failure { error, evidence })
}

async fn play_on(mut stage: Stage, act: impl AsyncFnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    // An assertion's panic is a failure like any other: the evidence comes first.
    let outcome = AssertUnwindSafe(act(&mut stage)).catch_unwind().await;
    if !matches!(outcome, Ok(Ok(()))) {
        stage.save_evidence().await;
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}
