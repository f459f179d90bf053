//! The sessions that operators are shown and can end. Must not contain a secret: no key, salt,
//! digest or device key.

use std::time::Duration;

use relogin_host::errors::Chain;
use relogin_session::{Record, SessionId, UserId};
use tokio::time::timeout;

use super::{
    Control,
    protocol::{
        ControlAnswer, ControlRefusal, Cursor, PAGE, REVOKED_AT_ONCE, SessionDetails, SessionInfo, SessionsPage,
    },
};
use crate::sessions::SessionsError;

/// How long a users service or program may take to say who a user is.
const NAMING: Duration = Duration::from_secs(3);

impl Control {
    /// A page of all sessions, or of those of one user.
    pub(super) async fn page(
        &self,
        user: Option<&str>,
        after: Option<Cursor>,
    ) -> Result<ControlAnswer, ControlRefusal> {
        let id = user.map(|user| self.id_of(user));
        let place = after.map(|Cursor { deadline, sid }| (deadline, sid));
        let page = self.sessions.page(id.as_ref(), place, PAGE).await.map_err(|error| failed(&error))?;
        if let (Some(user), Some(id)) = (user, &id)
            && page.sessions.is_empty()
            && after.is_none()
        {
            self.exists(user, id).await?;
        }
        Ok(ControlAnswer::Sessions(SessionsPage {
            sessions: page.sessions.iter().map(|stored| self.info(&stored.record)).collect(),
            next: page.next.map(|(deadline, sid)| Cursor { deadline, sid }),
        }))
    }

    /// All of one session.
    pub(super) async fn session(&self, id: SessionId) -> Result<ControlAnswer, ControlRefusal> {
        let stored = self.sessions.look_up(id).await.map_err(|error| failed(&error))?.ok_or_else(|| no_session(id))?;
        let record = &stored.record;
        let user = timeout(NAMING, self.sessions.find_user(record)).await.ok().and_then(Result::ok).flatten();
        let mut session = self.info(record);
        session.name = session.name.or(user.as_ref().map(|user| user.name.clone()));
        Ok(ControlAnswer::Session(Box::new(SessionDetails {
            session,
            role: user.map(|user| user.role),
            issuer: record.claims.as_ref().map(|claims| claims.issuer.clone()),
            user_agent: record.device.user_agent.clone(),
            ends: record.session_deadline.0,
            generation: record.generation,
            generation_made: record.made.0,
            bound_to_device: record.is_bound(),
            bound_to_cookie: record.cookie.is_some(),
            in_cookie: record.in_cookie,
            connections: record.connections.iter().map(ToString::to_string).collect(),
        })))
    }

    /// Ends one session.
    pub(super) async fn revoke(&self, id: SessionId) -> Result<ControlAnswer, ControlRefusal> {
        if self.sessions.revoke_for_operator(id).await.map_err(|error| failed(&error))? {
            Ok(ControlAnswer::Revoked { revoked: 1, more: false })
        } else {
            Err(no_session(id))
        }
    }

    /// Ends the sessions of a user.
    pub(super) async fn revoke_user(&self, user: &str) -> Result<ControlAnswer, ControlRefusal> {
        let id = self.id_of(user);
        let ended = self.sessions.revoke_user_for_operator(&id, REVOKED_AT_ONCE).await;
        let (revoked, more) = ended.map_err(|error| failed(&error))?;
        if revoked == 0 {
            self.exists(user, &id).await?;
        }
        Ok(ControlAnswer::Revoked { revoked: revoked as u64, more })
    }

    /// The user with this name, or else with this id.
    fn id_of(&self, user: &str) -> UserId {
        let by_name = self.users.id_of(user);
        by_name.unwrap_or_else(|| user.parse().map_or_else(|_| UserId::Text(user.to_owned()), UserId::Number))
    }

    /// Refuses a user who has no sessions and is not known, because the name may be mistyped.
    async fn exists(&self, user: &str, id: &UserId) -> Result<(), ControlRefusal> {
        if self.users.id_of(user).is_some() {
            return Ok(());
        }
        match timeout(NAMING, self.users.find(id)).await {
            Ok(Ok(None)) => Err(ControlRefusal::not_found(format!("there is no user {user:?}, and no session of one"))),
            Ok(Ok(Some(_)) | Err(_)) | Err(_) => Ok(()),
        }
    }

    fn info(&self, record: &Record) -> SessionInfo {
        let listed = record.listed(None);
        SessionInfo {
            id: record.sid,
            user_id: record.user_id.clone(),
            username: if record.claims.is_some() { None } else { self.users.username_of(&record.user_id) },
            name: record.claims.as_ref().map(|claims| claims.name.clone()),
            label: listed.label,
            browser: listed.browser,
            system: listed.system,
            address: listed.address,
            created: listed.created,
            last_seen: listed.last_seen,
            expires: record.deadline().0,
            connections: record.connections.len() as u64,
            bound: listed.bound,
        }
    }
}

fn no_session(id: SessionId) -> ControlRefusal {
    ControlRefusal::not_found(format!("there is no session {id}"))
}

fn failed(error: &SessionsError) -> ControlRefusal {
    ControlRefusal::failed(&Chain(error))
}
