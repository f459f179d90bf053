//! Plays a scenario on its stage, keeps the evidence if it fails, and ends what hangs.

use std::{
    fmt,
    panic::{AssertUnwindSafe, resume_unwind},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Result, anyhow};
use futures_util::FutureExt;
use tokio::time::timeout;

use crate::{
    DEADLINE, parts,
    stage::{Arrangement, Stage},
    watch::{self, LIMIT, Watched},
};

/// Makes tests of scenarios: `both` plays on the embedded gateway and on Resgate, `all` on the
/// embedded gateway over NATS too, `nats` on the latter two, `embedded` on the embedded gateway
/// only, `embedded_alone` on that without NATS, `resgate` where there are two gateways.
#[macro_export]
macro_rules! on {
    (both: $($scenario:ident),* $(,)?) => { $(mod $scenario {
        $crate::on!(@test embedded, Embedded, $scenario);
        $crate::on!(@test resgate, Resgate, $scenario);
    })* };
    (all: $($scenario:ident),* $(,)?) => { $(mod $scenario {
        $crate::on!(@test embedded, Embedded, $scenario);
        $crate::on!(@test embedded_over_nats, EmbeddedOverNats, $scenario);
        $crate::on!(@test resgate, Resgate, $scenario);
    })* };
    (embedded: $($scenario:ident),* $(,)?) => { $(mod $scenario {
        $crate::on!(@test embedded, Embedded, $scenario);
        $crate::on!(@test embedded_over_nats, EmbeddedOverNats, $scenario);
    })* };
    (embedded_alone: $($scenario:ident),* $(,)?) => { $(mod $scenario {
        $crate::on!(@test embedded, Embedded, $scenario);
    })* };
    (nats: $($scenario:ident),* $(,)?) => { $(mod $scenario {
        $crate::on!(@test embedded_over_nats, EmbeddedOverNats, $scenario);
        $crate::on!(@test resgate, Resgate, $scenario);
    })* };
    (over_nats: $($scenario:ident),* $(,)?) => { $(mod $scenario {
        $crate::on!(@test embedded_over_nats, EmbeddedOverNats, $scenario);
    })* };
    (resgate: $($scenario:ident),* $(,)?) => { $(mod $scenario {
        $crate::on!(@test resgate, Resgate, $scenario);
    })* };
    (@test $name:ident, $arrangement:ident, $scenario:ident) => {
        #[tokio::test]
        async fn $name() -> Result<(), $crate::play::Failure> {
            let arrangement = $crate::stage::Arrangement::$arrangement;
            $crate::play::play(arrangement, stringify!($scenario), super::$scenario).await
        }
    };
}

/// Why a scenario failed, in one line a cause.
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
    play_for(Duration::ZERO, arrangement, scenario, act).await
}

/// As [`play()`], for a scenario that is to go on for this long.
///
/// # Errors
/// What the scenario fails with.
pub async fn play_for(
    length: Duration,
    arrangement: Arrangement,
    scenario: &str,
    act: impl AsyncFnOnce(&mut Stage) -> Result<()>,
) -> Result<(), Failure> {
    let name = format!("{scenario}-{arrangement:?}").to_lowercase();
    let evidence = parts::target().join("e2e").join(&name);
    let _watched = Watched::begin(name);
    let outcome = match Stage::new(arrangement, evidence.clone()) {
        Ok(stage) => play_on(stage, LIMIT + length, act).await,
        Err(error) => Err(error),
    };
    outcome.map_err(|error| Failure { error, evidence })
}

/// Says that a long scenario goes on: nothing that does is taken for one that hangs.
pub fn goes_on() {
    watch::goes_on();
}

async fn play_on(mut stage: Stage, limit: Duration, act: impl AsyncFnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    // An assertion's panic is a failure like any other: the evidence comes first.
    let acting = AssertUnwindSafe(timeout(limit, act(&mut stage))).catch_unwind().await;
    let outcome = acting.map(|in_time| {
        in_time
            .unwrap_or_else(|_| Err(anyhow!("it did not end within {} s: somebody gives no answer", limit.as_secs())))
    });
    if !matches!(outcome, Ok(Ok(()))) {
        // What gave no answer before may give none now.
        let _ = timeout(DEADLINE, stage.save_evidence()).await;
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}
