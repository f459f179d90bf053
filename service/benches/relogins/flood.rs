//! Relogins while everybody logs in: password checks must not stand in their way.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Kind, Session, round, sessions},
    contender::Contender,
    figures::print,
};

const RELOGGING: usize = 16;
const FLOOD: usize = 64;
const ROUNDS: usize = 7;
const MEASURED: Duration = Duration::from_secs(2);

pub(crate) async fn flood() {
    let contender = Contender::relogin("sled").await;
    let mut relogging = sessions(&contender, Kind::Refresh, RELOGGING).await;
    let mut strangers = sessions(&contender, Kind::Resume, FLOOD).await;
    let (mut quiet, mut flooded) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        quiet.push(round(&mut relogging, MEASURED).await);
        let stop = CancellationToken::new();
        let logins = strangers.drain(..).map(|stranger| tokio::spawn(log_in_and_out(stranger, stop.clone())));
        let logins: Vec<_> = logins.collect();
        round(&mut relogging, MEASURED / 4).await;
        flooded.push(round(&mut relogging, MEASURED).await);
        stop.cancel();
        strangers.extend(join_all(logins).await.into_iter().map(Result::unwrap));
    }
    print("refresh, quiet", &quiet, &quiet);
    print(&format!("refresh, in a flood of {FLOOD} logins at a time"), &flooded, &quiet);
    println!("  (here: of the quiet one)");
    contender.process.kill().await.unwrap();
}

async fn log_in_and_out(stranger: Session, stop: CancellationToken) -> Session {
    let credentials = || json!({"username": "jane", "password": "jane"});
    while !stop.is_cancelled() {
        stranger.end().await;
        stranger.ask("login", credentials()).await;
    }
    stranger
}
