//! What the keeper has in storage, shared by all tabs of a browser: docs/protocol.md, section 4.

use relogin_res::json::{self, Object};
use relogin_session::{
    Attempt, SessionId,
    api::{LoggedIn, ReloginKey},
};

use crate::{Binding, Secret, wire};

/// The storage record.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// The key to use next.
    pub(super) key: ReloginKey,
    /// Its generation.
    pub(super) generation: u64,
    /// Whether the key is of no use without a proof.
    pub(super) bound: bool,
    /// The use of the key that is under way, or whose answer never came. Whoever uses the key next repeats that use.
    attempt: Option<String>,
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

/// Which session a connection holds, and how new a key of it has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    /// `None` for keys of a form that does not show it.
    pub(super) sid: Option<SessionId>,
    pub(super) generation: u64,
}

impl Record {
    /// Reads what storage has. `None` if that is nothing, or nothing of ours.
    fn parse(text: Option<&Secret>) -> Option<Self> {
        let mut members = wire::members(json::parse(text?.expose())?)?;
        Some(Self {
            key: ReloginKey::new(wire::text(&mut members, "key")?),
            generation: wire::number(&members, "generation")?,
            bound: wire::flag(&members, "bound")?,
            attempt: wire::maybe_text(&mut members, "attempt")?,
        })
    }

    /// The record of an answer's key.
    pub(super) fn of(answer: LoggedIn) -> Self {
        Self { key: answer.relogin_key, generation: answer.generation, bound: answer.bound, attempt: None }
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
        object.end();
        Secret::new(text)
    }

    /// The use of the key that is under way, if one is.
    pub(super) fn attempt(&self) -> Option<Attempt> {
        Attempt::parse(self.attempt.as_deref()?)
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
        Holding { sid: self.key.session(), generation: self.generation }
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
        self.sid == other.sid
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
}
