//! The storage record: the relogin key that all tabs of a browser share, and the pending logouts
//! beside it (docs/protocol.md, section 4). Reads and writes its text; decides nothing.

use std::collections::VecDeque;

use relogin_res::json::{self, Object};
use relogin_session::{Attempt, SessionId, api::ReloginKey};
use serde_json::Value as Json;

use crate::{
    Binding, RequestError, Secret,
    wire::{self, LoggedIn},
};

/// So many pending logouts are kept; of more, the oldest are forgotten.
const MAX_PENDING: usize = 8;

/// A key in storage.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The key to use next.
    pub(crate) key: ReloginKey,
    /// Its generation.
    pub(crate) generation: u64,
    /// Whether the key is of no use without a proof.
    pub(crate) bound: bool,
    /// The use of the key that is under way, or whose answer never came. Whoever uses the key next
    /// repeats that use.
    attempt: Option<String>,
    /// For the session of a legacy service: what this browser calls it, as such a service's keys
    /// name no session.
    legacy: Option<SessionId>,
}

/// What storage has, to the letter: a swap is made from what was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) text: Option<Secret>,
    /// `None` if that is nothing, or nothing of ours.
    pub(crate) record: Option<Record>,
    /// Keys of sessions that the user has logged out of, which the service has not confirmed. They
    /// can only end.
    pub(crate) pending: Vec<Record>,
    /// Whether it really has that; else it may be what it had a moment ago.
    pub(crate) certain: bool,
}

/// What a login or the use of a key has brought.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    /// The key to use next.
    pub(crate) record: Record,
    /// Milliseconds until it expires, if the service says so.
    pub(crate) expires_in: Option<u64>,
    /// Milliseconds until it should be used, if the service says so.
    pub(crate) refresh_in: Option<u64>,
}

/// Which session a connection holds, and how new a key of it has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    /// `None` for keys of a form that does not show it.
    pub(crate) session: Option<SessionName>,
    pub(crate) generation: u64,
}

/// What distinguishes one session from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionName {
    /// The service's own id, which the key shows.
    Sid(SessionId),
    /// An id that this browser drew for the session of a legacy service, which does not know it.
    Legacy(SessionId),
}

impl Record {
    /// Reads it. Members that are not ours are left out; one of ours of another type makes it no
    /// record.
    ///
    /// By hand, and so is writing: serde's code for it would be several kB of a page.
    fn read(json: Json) -> Option<Self> {
        let mut members = wire::members(json)?;
        let legacy = wire::optional_text(&mut members, "legacy")?;
        Some(Self {
            key: ReloginKey::new(wire::text(&mut members, "key")?),
            generation: wire::number(&members, "generation")?,
            bound: wire::flag(&members, "bound")?,
            attempt: wire::optional_text(&mut members, "attempt")?,
            legacy: match legacy {
                Some(name) => Some(SessionId::parse(&name)?),
                None => None,
            },
        })
    }

    fn write(&self, object: &mut Object<'_>) {
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
    }

    /// The text to store, with `pending` logouts beside it.
    pub(crate) fn text(&self, pending: &[Self]) -> Secret {
        text(Some(self), pending)
    }

    /// The record of a key that a legacy client has kept, of a service that may be one or not.
    fn adopted(key: &str, drawn: SessionId) -> Self {
        let key = ReloginKey::new(key.to_owned());
        // A key of our form says which session it is of. Its generation is lower than any in an
        // answer.
        let legacy = key.session().is_none().then_some(drawn);
        Self { key, generation: 0, bound: false, attempt: None, legacy }
    }

    /// The key in `text` that its session can be resumed with, if there is one.
    pub(crate) fn parse(text: Option<&Secret>) -> Option<Self> {
        Stored::read(text.cloned(), false).record
    }

    /// The use of the key that is under way, if one is.
    pub(crate) fn attempt(&self) -> Option<Attempt> {
        Attempt::parse(self.attempt.as_deref()?)
    }

    /// What the session is called; `None` if the key is of a form that does not show it.
    pub(crate) fn session(&self) -> Option<SessionId> {
        self.holding().session.map(SessionName::id)
    }

    /// Whether the session is a legacy service's: it knows no attempts, and has one connection at a
    /// time.
    pub(crate) fn is_legacy(&self) -> bool {
        self.legacy.is_some()
    }

    /// The same key with a use of it that begins, unless one is noted already.
    pub(crate) fn begun(&self, attempt: Attempt) -> Self {
        let attempt = self.attempt().unwrap_or(attempt);
        Self { attempt: Some(attempt.to_text()), ..self.clone() }
    }

    /// The next use of the key is another one.
    pub(crate) fn forget_attempt(&mut self) {
        self.attempt = None;
    }

    /// Which session the key is of.
    pub(crate) fn holding(&self) -> Holding {
        let session = match self.legacy {
            Some(name) => Some(SessionName::Legacy(name)),
            None => self.key.session().map(SessionName::Sid),
        };
        Holding { session, generation: self.generation }
    }

    /// True if this record's key comes before that of `newer`, in the same session.
    pub(crate) fn is_before(&self, newer: &Self) -> bool {
        self.holding().is_same_session(newer.holding()) && self.generation < newer.generation
    }

    /// True if the key is that of `other`, or one of the same session, as far as keys show it.
    pub(crate) fn is_of_session(&self, other: &Self) -> bool {
        let session = self.holding().session;
        self.key == other.key || session.is_some() && session == other.holding().session
    }

    /// What a thief would need beside the key.
    pub(crate) fn binding(&self) -> Binding {
        if self.bound { Binding::Bound } else { Binding::Bearer }
    }
}

impl Granted {
    /// Takes the answer to the use of `used`, or to a login. `drawn`: what a legacy session is
    /// called that begins with it.
    ///
    /// A service that says no generation is a legacy one, and its generations are counted here.
    pub(crate) fn read(answer: LoggedIn, used: Option<&Record>, drawn: Attempt) -> Result<Self, RequestError> {
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
    pub(crate) fn read(text: Option<Secret>, certain: bool) -> Self {
        let mut json = text.as_ref().and_then(|text| json::parse(text.expose())).unwrap_or_default();
        // Taken out, and not removed: a page would need the map's code for that, too.
        let pending = json.get_mut("pendingLogouts").map(Json::take);
        let pending = match pending {
            Some(Json::Array(pending)) => pending.into_iter().map(Record::read).collect(),
            _ => None,
        };
        let pending: Vec<Record> = pending.unwrap_or_default();
        let record = Record::read(json);
        // The user has logged out of that session: nothing brings it back.
        let record = record.filter(|record| !pending.iter().any(|ended| ended.is_of_session(record)));
        Self { text, record, pending, certain }
    }

    /// True if this is `record`'s key.
    pub(crate) fn has_key_of(&self, record: &Record) -> bool {
        self.record.as_ref().is_some_and(|stored| stored.key == record.key)
    }

    /// The text with this record in place of the one that is there.
    pub(crate) fn with(&self, record: &Record) -> Option<Secret> {
        Some(record.text(&self.pending))
    }

    /// The text without a record.
    pub(crate) fn without_record(&self) -> Option<Secret> {
        rest(&self.pending)
    }

    /// The text without a record, once the user has logged out of the session of `left`.
    pub(crate) fn logged_out(&self, left: &Record) -> Secret {
        let others = self.pending.iter().filter(|pending| !pending.is_of_session(left));
        let mut pending: VecDeque<_> = others.chain([left]).cloned().collect();
        while pending.len() > MAX_PENDING {
            pending.pop_front();
        }
        text(None, pending.make_contiguous())
    }

    /// The text without the pending logouts that are `over`; `None`: it has none of these.
    #[expect(clippy::option_option, reason = "told apart: nothing is to be changed, and nothing is to be left")]
    pub(crate) fn without(&self, over: impl Fn(&Record) -> bool) -> Option<Option<Secret>> {
        let left: Vec<_> = self.pending.iter().filter(|pending| !over(pending)).cloned().collect();
        let text = || self.record.as_ref().map_or_else(|| rest(&left), |record| Some(record.text(&left)));
        (left.len() < self.pending.len()).then(text)
    }
}

/// The key in a storage record that a session can be resumed with; `None` if there is none.
#[must_use]
pub fn stored_key(text: &str) -> Option<ReloginKey> {
    Some(Record::parse(Some(&Secret::new(text.to_owned())))?.key)
}

fn rest(pending: &[Record]) -> Option<Secret> {
    (!pending.is_empty()).then(|| text(None, pending))
}

/// A record and the pending logouts beside it. Clients that know nothing of those look for a `key`
/// beside the member, so to them a text with nothing else is no record.
fn text(record: Option<&Record>, pending: &[Record]) -> Secret {
    let mut text = String::new();
    let mut object = Object::behind(&mut text);
    if let Some(record) = record {
        record.write(&mut object);
    }
    if !pending.is_empty() {
        let list = object.member("pendingLogouts");
        let mut before = '[';
        for record in pending {
            list.push(before);
            let mut object = Object::behind(list);
            record.write(&mut object);
            object.end();
            before = ',';
        }
        list.push(']');
    }
    object.end();
    Secret::new(text)
}

impl Holding {
    /// True if both are of one session. Where keys do not show it: if nothing speaks against it.
    pub(crate) fn is_same_session(self, other: Self) -> bool {
        self.session == other.session
    }
}

impl SessionName {
    /// What the service knows the session by; `None` if it knows it by its keys only.
    pub(crate) fn sid(self) -> Option<SessionId> {
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

/// A relogin key that a legacy client of this origin has kept, and that is taken over once. Knows
/// no storage.
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
        Self { text: record.text(&[]), key: record.key }
    }

    /// What to put into storage where there never was anything.
    #[must_use]
    pub fn text(&self) -> &Secret {
        &self.text
    }

    /// Whether storage, which has `text`, has the key, so that the legacy client's copy of it has
    /// to go.
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

    fn read(text: &str) -> Stored {
        Stored::read(Some(Secret::new(text.to_owned())), true)
    }

    #[test]
    fn records_survive_storage_and_malformed_text_is_no_record() {
        let mut record = read(r#"{"key":"k","generation":3,"more":1}"#).record.unwrap();
        assert_eq!((record.key.expose(), record.generation, record.attempt()), ("k", 3, None));
        assert_eq!(record.text(&[]).expose(), r#"{"key":"k","generation":3}"#);
        let bound = Record { bound: true, ..record.clone() }.text(&[]);
        assert_eq!(bound.expose(), r#"{"key":"k","generation":3,"bound":true}"#);
        assert_eq!(read(bound.expose()).record.unwrap().binding(), Binding::Bound);
        record = record.begun(Attempt([1; 16])).begun(Attempt([2; 16]));
        let again = read(record.text(&[]).expose()).record.unwrap();
        assert_eq!(again.attempt(), Some(Attempt([1; 16])));
        for bad in ["", "null", "[]", "{", r#"{"key":1,"generation":1}"#, r#"{"key":"k","generation":-1}"#] {
            assert!(read(bad).record.is_none(), "{bad}");
        }
        for member in [r#""bound":null"#, r#""attempt":1"#, r#""legacy":"x""#] {
            let bad = format!(r#"{{"key":"k","generation":3,{member}}}"#);
            assert!(read(&bad).record.is_none(), "{bad}");
        }
        let nulls = read(r#"{"key":"k","generation":3,"attempt":null,"legacy":null}"#).record.unwrap();
        assert_eq!((nulls.attempt(), nulls.legacy), (None, None));
        let odd = read(r#"{"key":"k","generation":3,"attempt":"x"}"#).record.unwrap();
        assert_eq!(odd.attempt(), None, "an attempt of no known form is no attempt");
    }

    #[test]
    fn a_key_of_a_legacy_client_is_of_a_legacy_service_unless_it_has_our_form() {
        let legacy = AdoptedKey::new("any text", [7; 16]);
        let record = Record::parse(Some(legacy.text())).unwrap();
        assert_eq!((record.key.expose(), record.generation, record.legacy), ("any text", 0, Some(SessionId([7; 16]))));
        let text = record.begun(Attempt([1; 16])).text(&[]);
        assert!(legacy.is_in(Some(&text)) && !legacy.is_in(None));
        assert!(!legacy.is_in(Some(AdoptedKey::new("another", [7; 16]).text())));
        let keyring = relogin_session::Keyring::new(vec![vec![1; 32]]).unwrap();
        let ours = AdoptedKey::new(keyring.mint(SessionId([3; 16]), &[0; 16], 5).expose(), [7; 16]);
        let record = Record::parse(Some(ours.text())).unwrap();
        assert_eq!((record.legacy, record.key.session()), (None, Some(SessionId([3; 16]))));
    }

    #[test]
    fn a_pending_logout_is_kept_beside_the_next_session_until_it_is_over() {
        let out = read(r#"{"key":"a","generation":3}"#);
        let left = out.record.as_ref().unwrap().begun(Attempt([1; 16]));
        let text = out.logged_out(&left);
        let attempt = Attempt([1; 16]).to_text();
        let alone = format!(r#"{{"pendingLogouts":[{{"key":"a","generation":3,"attempt":"{attempt}"}}]}}"#);
        assert_eq!(text.expose(), alone);
        let stored = read(&alone);
        assert!(stored.record.is_none(), "no session is resumed with it");
        assert!(stored_key(&alone).is_none());
        let next =
            Record { key: ReloginKey::new("b".to_owned()), generation: 1, bound: true, attempt: None, legacy: None };
        let both = read(stored.with(&next).unwrap().expose());
        assert_eq!(both.record.as_ref().unwrap().key.expose(), "b");
        assert_eq!(both.pending.len(), 1);
        assert_eq!(both.without_record(), stored.text);
        assert_eq!(both.without(|_| false), None);
        assert_eq!(both.without(|over| over.key == left.key), Some(Some(next.text(&[]))));
        assert_eq!(stored.without(|_| true), Some(None));
    }

    #[test]
    fn a_session_that_was_logged_out_of_is_not_resumed_by_any_key_of_it() {
        let key = |generation| relogin_key([1; 16], generation);
        let text = format!(
            r#"{{"key":"{}","generation":9,"pendingLogouts":[{{"key":"{}","generation":3}}]}}"#,
            key(9),
            key(3)
        );
        assert!(read(&text).record.is_none());
    }

    #[test]
    fn only_the_newest_pending_logouts_are_kept() {
        let mut stored = Stored::default();
        for number in 0..20_u64 {
            let left = Record {
                key: ReloginKey::new(number.to_string()),
                generation: 1,
                bound: false,
                attempt: None,
                legacy: None,
            };
            stored = Stored::read(Some(stored.logged_out(&left)), true);
        }
        let kept: Vec<_> = stored.pending.iter().map(|pending| pending.key.expose().to_owned()).collect();
        assert_eq!(kept, ["12", "13", "14", "15", "16", "17", "18", "19"]);
    }

    /// A text of a key's form.
    fn relogin_key(sid: [u8; 16], generation: u64) -> String {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let bytes = [&sid[..], &generation.to_be_bytes(), &[0; 32]].concat();
        URL_SAFE_NO_PAD.encode(bytes)
    }
}
