//! What the keeper has in storage, shared by all tabs of a browser: docs/protocol.md, section 4.

use relogin_res::json::{self, Object};
use relogin_session::{Attempt, SessionId, api::ReloginKey};

use crate::{
    Binding, RequestError, Secret,
    wire::{self, LoggedIn},
};

/// The storage record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The key to use next.
    pub(super) key: ReloginKey,
    /// Its generation.
    pub(crate) generation: u64,
    /// Whether the key is of no use without a proof.
    pub(super) bound: bool,
    /// The use of the key that is under way, or whose answer never came. Whoever uses the key next repeats that use.
    attempt: Option<String>,
    /// For the session of a legacy service: what this browser calls it, as such a service's keys name no session.
    legacy: Option<SessionId>,
}

/// What storage has, to the letter: a swap is made from what was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    pub(super) text: Option<Secret>,
    /// `None` if that is nothing, or nothing of ours.
    pub(super) record: Option<Record>,
    /// Whether it really has that; else it may be what it had a moment ago.
    pub(super) certain: bool,
}

/// What a login or the use of a key has brought.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    /// The key to use next.
    pub(super) record: Record,
    /// Milliseconds until it expires, if the service says so.
    pub(super) expires_in: Option<u64>,
    /// Milliseconds until it should be used, if the service says so.
    pub(super) refresh_in: Option<u64>,
}

/// Which session a connection holds, and how new a key of it has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    /// `None` for keys of a form that does not show it.
    pub(super) session: Option<SessionName>,
    pub(super) generation: u64,
}

/// What tells one session from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionName {
    /// The service's own id, which the key shows.
    Sid(SessionId),
    /// An id that this browser drew for the session of a legacy service, which does not know it.
    Legacy(SessionId),
}

impl Record {
    /// Reads what storage has. `None` if that is nothing, or nothing of ours.
    pub(crate) fn parse(text: Option<&Secret>) -> Option<Self> {
        let mut members = wire::members(json::parse(text?.expose())?)?;
        Some(Self {
            key: ReloginKey::new(wire::text(&mut members, "key")?),
            generation: wire::number(&members, "generation")?,
            bound: wire::flag(&members, "bound")?,
            attempt: wire::maybe_text(&mut members, "attempt")?,
            legacy: match wire::maybe_text(&mut members, "legacy")? {
                Some(text) => Some(SessionId::parse(&text)?),
                None => None,
            },
        })
    }

    /// The record of a key that a legacy client has kept, of a service that may be one or not.
    fn adopted(key: &str, drawn: SessionId) -> Self {
        let key = ReloginKey::new(key.to_owned());
        // A key of our form says which session it is of. Its generation is lower than any in an answer.
        let legacy = key.session().is_none().then_some(drawn);
        Self { key, generation: 0, bound: false, attempt: None, legacy }
    }

    /// The text to store.
    pub(super) fn text(&self) -> Secret {
        let mut text = String::new();
        let mut object = Object::behind(&mut text);
        object.text("key", self.key.expose());
        object.number("generation", self.generation);
        if self.bound {
            object.member("bound").push_str("true");
        }
        if let Some(attempt) = &self.attempt {
            object.text("attempt", attempt);
        }
        if let Some(name) = self.legacy {
            object.text("legacy", &name.to_text());
        }
        object.end();
        Secret::new(text)
    }

    /// The use of the key that is under way, if one is.
    pub(crate) fn attempt(&self) -> Option<Attempt> {
        Attempt::parse(self.attempt.as_deref()?)
    }

    /// What the session is called; `None` if the key is of a form that does not show it.
    pub(crate) fn session(&self) -> Option<SessionId> {
        self.legacy.or_else(|| self.key.session())
    }

    /// Whether the session is a legacy service's: it knows no attempts, and has one connection at a time.
    pub(super) fn is_legacy(&self) -> bool {
        self.legacy.is_some()
    }

    /// The same key with a use of it that begins, unless one is noted already.
    pub(super) fn begun(&self, attempt: Attempt) -> Self {
        let attempt = self.attempt().unwrap_or(attempt);
        Self { attempt: Some(attempt.to_text()), ..self.clone() }
    }

    /// The next use of the key is another one.
    pub(super) fn forget_attempt(&mut self) {
        self.attempt = None;
    }

    /// Which session the key is of.
    pub(super) fn holding(&self) -> Holding {
        let session = match self.legacy {
            Some(name) => Some(SessionName::Legacy(name)),
            None => self.key.session().map(SessionName::Sid),
        };
        Holding { session, generation: self.generation }
    }

    /// True if this record's key comes before that of `newer`, in the same session.
    pub(super) fn is_before(&self, newer: &Self) -> bool {
        self.holding().is_same_session(newer.holding()) && self.generation < newer.generation
    }

    /// What a thief would need beside the key.
    pub(super) fn binding(&self) -> Binding {
        if self.bound { Binding::Bound } else { Binding::Bearer }
    }
}

impl Granted {
    /// Takes the answer to the use of `used`, or to a login. `drawn`: what a legacy session is called that begins with it.
    ///
    /// A service that says no generation is a legacy one, and its generations are counted here.
    pub(super) fn read(answer: LoggedIn, used: Option<&Record>, drawn: Attempt) -> Result<Self, RequestError> {
        let LoggedIn { relogin_key: key, generation, expires_in, refresh_in, bound } = answer;
        let granted = |record| Self { record, expires_in, refresh_in };
        if let Some(generation) = generation {
            return Ok(granted(Record { key, generation, bound, attempt: None, legacy: None }));
        }
        // The service of a bound session is not a legacy one.
        if bound || used.is_some_and(|used| used.bound) {
            return Err(RequestError::Garbled);
        }
        let generation = used.map_or(0, |used| used.generation).saturating_add(1);
        let name = used.and_then(|used| used.holding().session).map_or(SessionId(drawn.0), SessionName::id);
        Ok(granted(Record { key, generation, bound, attempt: None, legacy: Some(name) }))
    }
}

impl Stored {
    /// Takes what was read.
    pub(super) fn read(text: Option<Secret>, certain: bool) -> Self {
        Self { record: Record::parse(text.as_ref()), text, certain }
    }

    /// True if this is `record`'s key.
    pub(super) fn has_key_of(&self, record: &Record) -> bool {
        self.record.as_ref().is_some_and(|stored| stored.key == record.key)
    }
}

impl Holding {
    /// True if both are of one session. Where keys do not show it: if nothing speaks against it.
    pub(super) fn is_same_session(self, other: Self) -> bool {
        self.session == other.session
    }
}

impl SessionName {
    /// What the service knows the session by; `None` if it knows it by its keys only.
    pub(super) fn sid(self) -> Option<SessionId> {
        match self {
            Self::Sid(sid) => Some(sid),
            Self::Legacy(_) => None,
        }
    }

    fn id(self) -> SessionId {
        match self {
            Self::Sid(id) | Self::Legacy(id) => id,
        }
    }
}

/// A relogin key that a legacy client of this origin has kept, and that is taken over once. Knows no storage.
#[derive(Clone)]
pub struct AdoptedKey {
    key: ReloginKey,
    text: Secret,
}

impl AdoptedKey {
    /// The key `key`. `random`: fresh bits, to call its session by if it is a legacy service's.
    #[must_use]
    pub fn new(key: &str, random: [u8; 16]) -> Self {
        let record = Record::adopted(key, SessionId(random));
        Self { text: record.text(), key: record.key }
    }

    /// What to put into storage where there never was anything.
    #[must_use]
    pub fn text(&self) -> &Secret {
        &self.text
    }

    /// Whether storage, which has `text`, has the key, so that the legacy client's copy of it has to go.
    #[must_use]
    pub fn is_in(&self, text: Option<&Secret>) -> bool {
        Record::parse(text).is_some_and(|record| record.key == self.key)
    }
}

impl std::fmt::Debug for AdoptedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdoptedKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_storage_and_nonsense_is_none() {
        let text = |text: &str| Some(Secret::new(text.to_owned()));
        let mut record = Record::parse(text(r#"{"key":"k","generation":3,"more":1}"#).as_ref()).unwrap();
        assert_eq!((record.key.expose(), record.generation, record.attempt()), ("k", 3, None));
        assert_eq!(record.text().expose(), r#"{"key":"k","generation":3}"#);
        let bound = Record { bound: true, ..record.clone() }.text();
        assert_eq!(bound.expose(), r#"{"key":"k","generation":3,"bound":true}"#);
        assert_eq!(Record::parse(Some(&bound)).unwrap().binding(), Binding::Bound);
        record = record.begun(Attempt([1; 16])).begun(Attempt([2; 16]));
        let again = Record::parse(Some(&record.text())).unwrap();
        assert_eq!(again.attempt(), Some(Attempt([1; 16])));
        for bad in ["", "null", "[]", "{", r#"{"key":1,"generation":1}"#, r#"{"key":"k","generation":-1}"#] {
            assert!(Record::parse(text(bad).as_ref()).is_none(), "{bad}");
        }
        let odd = Record::parse(text(r#"{"key":"k","generation":3,"attempt":"x"}"#).as_ref()).unwrap();
        assert_eq!(odd.attempt(), None, "an attempt of no known form is no attempt");
    }

    #[test]
    fn a_key_of_a_legacy_client_is_of_a_legacy_service_unless_it_has_our_form() {
        let legacy = AdoptedKey::new("any text", [7; 16]);
        let record = Record::parse(Some(legacy.text())).unwrap();
        assert_eq!((record.key.expose(), record.generation, record.legacy), ("any text", 0, Some(SessionId([7; 16]))));
        let text = record.begun(Attempt([1; 16])).text();
        assert!(legacy.is_in(Some(&text)) && !legacy.is_in(None));
        assert!(!legacy.is_in(Some(AdoptedKey::new("another", [7; 16]).text())));
        let keyring = relogin_session::Keyring::new(vec![vec![1; 32]]).unwrap();
        let ours = AdoptedKey::new(keyring.mint(SessionId([3; 16]), &[0; 16], 5).expose(), [7; 16]);
        let record = Record::parse(Some(ours.text())).unwrap();
        assert_eq!((record.legacy, record.key.session()), (None, Some(SessionId([3; 16]))));
    }
}
