//! What the session manager knows of one connection. It ends with the connection: nothing of it may
//! be kept elsewhere.

use std::time::Duration;

use relogin_session::{User, api::Challenge};

use crate::{ObservedUser, RequestError, record::Holding};

/// A challenge that is good for less than this may be too old when it comes back.
const MARGIN: Duration = Duration::from_secs(10);

/// Per-connection notes.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionNotes {
    /// Whether requests of others may go out.
    pub(crate) gate: Gate,
    /// Who is logged in, as the user model says.
    pub(crate) observed_user: ObservedUser,
    /// Who was logged in when the user logged out: not to be shown until the user model has caught
    /// up.
    pub(crate) leaving_user: Option<User>,
    /// The user model lost its user during an operation: maybe by that, so it is looked at again
    /// when that is over.
    pub(crate) has_lost_user: bool,
    /// A login or a key was sent: somebody may be logged in by it without anybody knowing.
    pub(crate) is_used: bool,
    /// The session whose key was sent, and no answer came: it may still arrive, and take the
    /// connection to that session.
    pub(crate) unanswered: Option<Holding>,
    /// A logout that names no session was sent, or something was done that we know nothing of: no
    /// session is to be taken up.
    pub(crate) is_tainted: bool,
    /// The user model says otherwise than storage: until when it may.
    pub(crate) orphan: Option<Duration>,
    /// Storage has logouts that a sibling is likely to finish: until when it may.
    pub(crate) leftovers: Option<Duration>,
    pub(crate) challenges: Challenges,
}

/// Whether requests of others may go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Not yet.
    #[default]
    Closed,
    /// From the end of this turn on.
    Opening,
    /// They were let through.
    Open,
}

/// Challenges of the service, which a bound session's device signs: asked for while the connection
/// opens, kept for its life, and asked for once more before they are too old.
#[derive(Clone, Debug, Default)]
pub(crate) struct Challenges {
    /// When the one that is under way was asked for.
    asked: Option<Duration>,
    /// The last one, and until when it can be used.
    last: Option<(String, Duration)>,
}

impl ConnectionNotes {
    /// Requests of others may go out: the session is resumed, or cannot be for now.
    pub(crate) fn open_gate(&mut self) {
        if self.gate == Gate::Closed {
            self.gate = Gate::Opening;
        }
    }

    /// The user logs out: whoever the user model shows is not to be shown any more.
    pub(crate) fn user_leaves(&mut self) {
        if let ObservedUser::Somebody(user) = &self.observed_user {
            self.leaving_user = Some(user.clone());
        }
    }
}

impl Challenges {
    /// Notes that one is asked for; `false` if one was asked for already.
    pub(crate) fn ask(&mut self, now: Duration) -> bool {
        let is_first = self.asked.is_none();
        self.asked.get_or_insert(now);
        is_first
    }

    /// The answer to that.
    ///
    /// # Errors
    /// If there is no challenge that could be used.
    pub(crate) fn answered(
        &mut self,
        answer: Result<Challenge, RequestError>,
        now: Duration,
    ) -> Result<(), RequestError> {
        let asked = self.asked.take();
        let Challenge { challenge, expires_in } = answer?;
        // It was made after it was asked for, so it lives for at least that long.
        let until = asked.unwrap_or(now).saturating_add(Duration::from_millis(expires_in));
        self.last = Some((challenge, until.saturating_sub(MARGIN)));
        // One that is no good when it comes would be asked for without end.
        self.usable(now).map(drop).ok_or(RequestError::TimedOut)
    }

    /// The service did not take the last one.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// The last one, if it can be used.
    pub(crate) fn usable(&self, now: Duration) -> Option<&str> {
        self.last.as_ref().filter(|(_, until)| *until > now).map(|(challenge, _)| challenge.as_str())
    }
}
