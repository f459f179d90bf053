//! A password that somebody may be guessing: checked in its turn, and not too often. For logins and
//! changes of passwords. Must not know what the password is for.

use std::{pin::pin, task::Poll, time::Duration};

use futures_util::poll;
use relogin_res::service::encode_pre_response;
use relogin_users::DirectoryError;
use tokio::{sync::Notify, time::Instant};

use super::{
    AuthContext,
    answer::Failure,
    queue::{Entered, Party, Turn},
    throttle::{LoginAttempt, LoginPlace},
};

/// How long a gateway is asked to wait for a password check that queues.
const EXTRA_TIME: Duration = Duration::from_secs(15);

/// When to try again if the caller's share of the queue is full.
const FULL: Duration = Duration::from_secs(1);

/// A guess whose password can be checked now. Taken back on drop, as if it had never happened.
pub(super) struct Guess<'a> {
    attempt: LoginAttempt<'a>,
    turn: Turn,
}

/// Waits until the password of this name may be checked for this place.
///
/// # Errors
/// [`Failure::TooManyAttempts`] if too many were wrong, or too many wait.
pub(super) async fn begin<'a>(
    cx: &'a AuthContext,
    username: &str,
    place: LoginPlace<'_>,
    reply: &str,
) -> Result<Guess<'a>, Failure> {
    let caller = cx.throttle.caller(username, place, Instant::now());
    if let Some(wait) = cx.throttle.wait(&caller, Instant::now()) {
        return Err(Failure::TooManyAttempts(wait));
    }
    let turn = turn(cx, caller.party(), reply).await.ok_or(Failure::TooManyAttempts(FULL))?;
    let mut beginning = pin!(cx.throttle.begin(caller));
    let begun = match poll!(&mut beginning) {
        Poll::Ready(begun) => begun,
        Poll::Pending => {
            cx.send_bytes(reply, encode_pre_response(EXTRA_TIME)).await;
            beginning.await
        }
    };
    Ok(Guess { attempt: begun.map_err(Failure::TooManyAttempts)?, turn })
}

impl Guess<'_> {
    /// The password was right, or wrong.
    pub(super) async fn settle(self, cx: &AuthContext, username: &str, place: LoginPlace<'_>, is_right: bool) {
        let Self { attempt, turn } = self;
        if is_right {
            attempt.right(Instant::now());
        } else {
            attempt.wrong(Instant::now());
        }
        if let Some(outcomes) = &cx.outcomes {
            outcomes.announce(cx.bus.as_ref(), username, place, is_right).await;
        }
        drop(turn);
    }
}

/// What `asking` comes to. Asks the gateway for more time once it is `queued`.
pub(super) async fn waiting<T>(
    cx: &AuthContext,
    reply: &str,
    asking: impl Future<Output = Result<T, DirectoryError>> + Send,
    queued: &Notify,
) -> Result<T, Failure> {
    let mut asking = pin!(asking);
    tokio::select! {
        biased;
        answer = &mut asking => return Ok(answer?),
        () = queued.notified() => {}
    }
    cx.send_bytes(reply, encode_pre_response(EXTRA_TIME)).await;
    Ok(asking.await?)
}

/// Waits for the guess's turn; none if too many wait. Asks the gateway for more time if the turn
/// does not come at once.
async fn turn(cx: &AuthContext, party: Party, reply: &str) -> Option<Turn> {
    match cx.queue.enter(party) {
        Entered::Turn(turn) => Some(turn),
        Entered::Waiting(waiting) => {
            cx.send_bytes(reply, encode_pre_response(EXTRA_TIME)).await;
            waiting.turn().await
        }
        Entered::Full => None,
    }
}
