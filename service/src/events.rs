//! Turns effects into RES events on the bus. Must not depend on the rules of sessions or the store.

use std::sync::Arc;

use relogin_bus::{Bus, BusError};
use relogin_res::service::{
    Payload, Reset, SYSTEM_RESET, SYSTEM_TOKEN_RESET, TokenEvent, TokenReset, encode_change, event_subject,
    token_subject,
};
use relogin_session::{ConnectionId, Effect, SessionId, Token, User, UserModel, api::Rotated};
use tracing::Instrument;

use crate::spans;

/// Tells gateways about changes of the sessions of one resource name.
pub struct Events {
    name: String,
    /// The subject of the method that gateways call when they are asked to renew tokens.
    renew: String,
    bus: Arc<dyn Bus>,
}

/// How many sessions one message names at most; about 25 bytes each.
const ASKED_AT_ONCE: usize = 1_000;

/// How many resources one message names at most; up to 100 bytes each.
const RESET_AT_ONCE: usize = 1_000;

impl Events {
    /// Events of the resource `name`, on `bus`.
    #[must_use]
    pub fn new(name: &str, bus: Arc<dyn Bus>) -> Self {
        Self { name: name.to_owned(), renew: format!("auth.{name}.renew"), bus }
    }

    /// The same, of one of several instances: renewals that it asks for are to come to it.
    #[must_use]
    pub fn of_instance(self, instance: &str) -> Self {
        let renew = format!("auth.{}.renew.{instance}", self.name);
        Self { renew, ..self }
    }

    /// Publishes effects in their order.
    ///
    /// # Errors
    /// [`BusError`] if one could not be sent; those before it are sent.
    pub async fn publish<'a>(&self, effects: impl IntoIterator<Item = &'a Effect> + Send) -> Result<(), BusError> {
        // Built before the first await, because what is borrowed need not be shareable then.
        let events: Vec<_> = effects.into_iter().map(|effect| self.event(effect)).collect();
        for (subject, payload) in events {
            self.bus.publish(&subject, payload.into()).instrument(spans::wait("bus publish")).await?;
        }
        Ok(())
    }

    /// Returns once the bus's servers have what was published.
    ///
    /// # Errors
    /// [`BusError`] if that is not known.
    pub async fn flush(&self) -> Result<(), BusError> {
        self.bus.flush().await
    }

    /// Asks gateways to call `auth.<name>.renew` for each connection whose token names one of the
    /// sessions.
    ///
    /// # Errors
    /// [`BusError`] if that could not be sent.
    pub async fn ask_to_renew(&self, sids: &[SessionId]) -> Result<(), BusError> {
        for sids in sids.chunks(ASKED_AT_ONCE) {
            let tids = sids.iter().map(ToString::to_string).collect();
            let reset = TokenReset { tids, subject: self.renew.clone() };
            self.bus.publish(SYSTEM_TOKEN_RESET, reset.encode().into()).await?;
        }
        Ok(())
    }

    /// Has gateways fetch some connections' lists of sessions again, or some sessions on them.
    ///
    /// # Errors
    /// [`BusError`] if that could not be sent.
    pub async fn reset_lists(&self, stale: Vec<(&ConnectionId, Option<SessionId>)>) -> Result<(), BusError> {
        let names: Vec<_> = stale
            .into_iter()
            .map(|(connection, session)| match session {
                Some(session) => format!("{}.sessions.{connection}.{session}", self.name),
                None => format!("{}.sessions.{connection}", self.name),
            })
            .collect();
        for names in names.chunks(RESET_AT_ONCE) {
            self.reset(names.to_vec()).await?;
        }
        Ok(())
    }

    /// Has gateways fetch all lists of sessions again.
    ///
    /// # Errors
    /// [`BusError`] if that could not be sent.
    pub async fn reset_all_lists(&self) -> Result<(), BusError> {
        self.reset(vec![format!("{}.sessions.>", self.name)]).await
    }

    async fn reset(&self, resources: Vec<String>) -> Result<(), BusError> {
        let reset = Reset { resources, access: Vec::new() };
        self.bus.publish(SYSTEM_RESET, reset.encode().into()).await
    }

    fn event(&self, effect: &Effect) -> (String, Vec<u8>) {
        match effect {
            Effect::SetToken(connection, token) => (token_subject(connection.as_str()), token_event(token.as_ref())),
            Effect::SetUser(connection, user) => (self.on_user(connection, "change"), user_change(user.as_ref())),
            Effect::Rotated(connection, generation) => {
                (self.on_user(connection, "rotated"), rotated_event(*generation))
            }
        }
    }

    fn on_user(&self, connection: &ConnectionId, event: &str) -> String {
        event_subject(&[&self.name, ".user.", connection.as_str()].concat(), event)
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("name", &self.name).finish_non_exhaustive()
    }
}

fn token_event(token: Option<&Token>) -> Vec<u8> {
    TokenEvent { tid: token.map(|token| token.sid.to_text()), token: token.cloned() }.encode()
}

fn user_change(user: Option<&User>) -> Vec<u8> {
    // The members of both are the same.
    user.map_or_else(|| encode_change(&UserModel::default()), encode_change)
}

fn rotated_event(generation: u64) -> Vec<u8> {
    serde_json::to_vec(&Rotated { generation }).expect("one number is written without fail")
}

#[cfg(test)]
mod tests {
    use relogin_bus::local::LocalBus;
    use relogin_session::UserId;

    use super::*;

    #[tokio::test]
    async fn events_are_as_the_contract_has_them_and_in_order() {
        let bus = Arc::new(LocalBus::new());
        let mut published = bus.subscribe(&[">".to_owned()]).await.unwrap();
        let on = || ConnectionId::parse("c1").unwrap();
        let user = User { id: UserId::Number(3), name: "Jane Doe".to_owned(), role: "user".to_owned() };
        let token = Token { sid: SessionId([0; 16]), user_id: UserId::Number(3), role: "user".to_owned() };
        let effects = [
            Effect::SetToken(on(), Some(token)),
            Effect::SetUser(on(), Some(user)),
            Effect::Rotated(on(), 7),
            Effect::SetUser(on(), None),
            Effect::SetToken(on(), None),
        ];
        let events = Events::new("session", bus);
        events.publish(&effects).await.unwrap();
        events.ask_to_renew(&[SessionId([0; 16]), SessionId([1; 16])]).await.unwrap();
        for (subject, payload) in [
            (
                "conn.c1.token",
                r#"{"token":{"sid":"AAAAAAAAAAAAAAAAAAAAAA","userId":3,"role":"user"},"tid":"AAAAAAAAAAAAAAAAAAAAAA"}"#,
            ),
            ("event.session.user.c1.change", r#"{"values":{"id":3,"name":"Jane Doe","role":"user"}}"#),
            ("event.session.user.c1.rotated", r#"{"generation":7}"#),
            ("event.session.user.c1.change", r#"{"values":{"id":null,"name":null,"role":null}}"#),
            ("conn.c1.token", r#"{"token":null}"#),
            (
                "system.tokenReset",
                r#"{"tids":["AAAAAAAAAAAAAAAAAAAAAA","AQEBAQEBAQEBAQEBAQEBAQ"],"subject":"auth.session.renew"}"#,
            ),
        ] {
            let message = published.next().await.unwrap();
            assert_eq!((message.subject.as_str(), &message.payload[..]), (subject, payload.as_bytes()));
        }
    }
}
