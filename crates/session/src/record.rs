//! Stored sessions: how they are encoded, and what a record says of its session. Must not depend on
//! a store.
//!
//! The fields, and how to add one, are in `record/current.rs`. Records of earlier formats are read,
//! each format decoding into the next.

mod current;
mod v1;
mod v2;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use thiserror::Error;

pub use self::current::Record;
use self::{v1::RecordV1, v2::RecordV2};
use crate::{Attempt, ConnectionId, DeviceKey, SessionId, Timestamp, User, api::ListedSession, user_agent};

/// What an issuer says of a user whom the user directory need not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// What the issuer is called here.
    pub issuer: String,
    /// The name to show.
    pub name: String,
    /// What services decide access by.
    pub role: String,
}

/// What is known of the device that has the session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The registered public key; with one the session is a bound one.
    pub public_key: Option<DeviceKey>,
    /// The browser's User-Agent header.
    pub user_agent: Option<String>,
    /// The address that used a key last, or logged in: `ip:port`.
    pub remote_addr: Option<String>,
    /// What the user calls the device.
    pub label: Option<String>,
}

impl Device {
    /// The longest text that is kept of what a client says of itself, in bytes.
    pub const MAX_TEXT: usize = 256;

    /// The same device, with the texts that anybody may send cut to [`Device::MAX_TEXT`]: a record
    /// must stay small.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        for text in [&mut self.user_agent, &mut self.remote_addr, &mut self.label].into_iter().flatten() {
            text.truncate(text.floor_char_boundary(Self::MAX_TEXT));
            text.shrink_to_fit();
        }
        self
    }
}

/// The request that made a record's generation: a repetition of it is a retry and no theft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeBy {
    /// The connection it came on.
    pub connection: ConnectionId,
    /// The attempt it carried; none from legacy clients.
    pub attempt: Option<Attempt>,
    /// True once the request was repeated on another connection, which `connection` names since:
    /// two pairs of hands have had the generation's key, be they a browser's after a lost reply, or
    /// an owner's and a thief's.
    pub retried: bool,
}

/// The first bits of an attempt that made an earlier generation; all zero if none did. What comes
/// with such an attempt once more has been doubled or delayed on its way. 32 bits are enough: who
/// has to guess them has one try, and gains nothing by it.
pub type PastAttempt = [u8; 4];

fn past_attempt(attempt: Option<Attempt>) -> PastAttempt {
    attempt.and_then(|attempt| attempt.0.first_chunk().copied()).unwrap_or_default()
}

/// The IP address of `ip:port`.
fn without_port(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// A stored record that cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Written by a version of Relogin that this one does not know.
    #[error("session record has the unknown format {0}")]
    UnknownFormat(u8),
    /// No record at all, or a damaged one.
    #[error("session record is damaged")]
    Damaged(#[from] postcard::Error),
    /// Nothing was stored.
    #[error("session record is empty")]
    Empty,
}

impl Record {
    /// The format in which records are stored.
    pub const FORMAT: u8 = current::FORMAT;

    /// How many attempts of earlier generations are remembered. A message that is delayed for
    /// longer is taken for a thief's. Each refresh makes a generation, and so does each tab that
    /// comes back after a gateway's restart.
    pub const PAST_ATTEMPTS: usize = 24;

    /// When the session ends if its key is not used before.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.key_deadline.min(self.session_deadline)
    }

    /// True once the session has passed its deadline.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.deadline() <= now
    }

    /// The session's user, if an issuer says who that is.
    #[must_use]
    pub fn claimed_user(&self) -> Option<User> {
        let Claims { name, role, .. } = self.claims.as_ref()?;
        Some(User { id: self.user_id.clone(), name: name.clone(), role: role.clone() })
    }

    /// The same session, over: what is stored while its end is being announced. If a crash leaves
    /// it like this, the end is announced again as soon as its deadline is looked at.
    #[must_use]
    pub fn ended(&self) -> Self {
        Self { key_deadline: Timestamp(0), ..self.clone() }
    }

    /// True if this is what [`Record::ended`] made.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.key_deadline == Timestamp(0)
    }

    /// True if only the device that logged in can use the session's keys.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.device.public_key.is_some()
    }

    /// True if the session's keys may be used by a browser whose cookie has this digest; none if it
    /// brings none.
    #[must_use]
    pub fn takes_cookie(&self, cookie: Option<[u8; 32]>) -> bool {
        // Takes as long wherever the digests differ.
        self.cookie.is_none_or(|bound| cookie.is_some_and(|cookie| bound.ct_eq(&cookie).into()))
    }

    /// True if the session is orphaned: the process that made or last used it ended before its
    /// connection was notified of it. It was not used since this process `began`, and the
    /// connection's token names another session (`token`).
    #[must_use]
    pub fn is_orphaned(&self, token: Option<SessionId>, began: Timestamp, now: Timestamp) -> bool {
        // What was last used in the future was used before the clock was set back.
        let is_of_this_process = (began..=now).contains(&self.last_seen);
        !is_of_this_process && token != Some(self.sid)
    }

    /// What a list shows of the session: one on `connection`, if it is on any.
    #[must_use]
    pub fn listed(&self, connection: Option<&ConnectionId>) -> ListedSession {
        let Device { user_agent, remote_addr, label, .. } = &self.device;
        let in_words =
            |words: fn(&str) -> Option<&'static str>| user_agent.as_deref().and_then(words).map(str::to_owned);
        ListedSession {
            id: self.sid,
            label: label.clone(),
            browser: in_words(user_agent::browser),
            system: in_words(user_agent::system),
            address: remote_addr.as_deref().map(|address| without_port(address).to_owned()),
            created: self.created.0,
            last_seen: self.last_seen.0,
            current: connection.is_some_and(|connection| self.is_on(connection)),
            bound: self.is_bound() || self.in_cookie,
        }
    }

    /// True if `connection` holds this session.
    #[must_use]
    pub fn is_on(&self, connection: &ConnectionId) -> bool {
        self.connections.contains(connection)
    }

    /// True if `attempt` made `generation`, which is the newest or one of the last before it.
    #[must_use]
    pub fn was_made_by(&self, generation: u64, attempt: Attempt) -> bool {
        let Some(age) = self.generation.checked_sub(generation).and_then(|age| usize::try_from(age).ok()) else {
            return false;
        };
        let mark = past_attempt(Some(attempt));
        match age {
            0 => self.made_by.attempt == Some(attempt),
            _ => mark != PastAttempt::default() && self.past.iter().nth_back(age - 1) == Some(&mark),
        }
    }

    /// The session's key is used, from this address if that is known.
    pub(crate) fn seen(&mut self, remote_addr: Option<String>, now: Timestamp) {
        self.last_seen = now;
        if remote_addr.is_some() {
            let device = Device { remote_addr, ..std::mem::take(&mut self.device) };
            self.device = device.bounded();
        }
    }

    /// The next generation is made, by a request on `connection`.
    pub(crate) fn rotate(&mut self, connection: ConnectionId, attempt: Option<Attempt>, now: Timestamp) {
        // A proven device catches up, however late it comes: it needs none of this.
        if !self.is_bound() {
            self.past.push(past_attempt(self.made_by.attempt));
            let surplus = self.past.len().saturating_sub(Self::PAST_ATTEMPTS);
            let says_nothing = self.past.iter().take_while(|mark| **mark == PastAttempt::default()).count();
            self.past.drain(..surplus.max(says_nothing));
        }
        self.generation = self.generation.saturating_add(1);
        self.made = now;
        self.made_by = MadeBy { connection, attempt, retried: false };
    }

    /// The bytes to store.
    ///
    /// # Errors
    /// [`RecordError::Damaged`] if the serializer fails, which only a lack of memory could cause.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        // Most records fit in, so that none of it is moved while it grows.
        let mut bytes = Vec::with_capacity(512);
        bytes.push(current::FORMAT);
        Ok(postcard::to_extend(self, bytes)?)
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`RecordError`] if they are not a record of a known format.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        match bytes.split_first() {
            Some((&current::FORMAT, body)) => Ok(postcard::from_bytes(body)?),
            Some((&v2::FORMAT, body)) => Ok(postcard::from_bytes::<RecordV2>(body)?.into()),
            Some((&v1::FORMAT, body)) => Ok(RecordV2::from(postcard::from_bytes::<RecordV1>(body)?).into()),
            Some((&format, _)) => Err(RecordError::UnknownFormat(format)),
            None => Err(RecordError::Empty),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::UserId;

    /// What a desktop browser with two tabs leaves.
    fn typical() -> Record {
        let connections = ["cq3bd5h8smgihf37loa0", "cq3bd5h8smgihf37loag"].map(|cid| ConnectionId::parse(cid).unwrap());
        let (sid, created) = (SessionId([0xa5; 16]), Timestamp(1_790_000_000_000));
        let new = Record::new(sid, [0x5a; 16], UserId::Number(4711), connections[1].clone(), created);
        Record {
            last_seen: Timestamp(1_790_000_600_000),
            key_deadline: Timestamp(1_790_086_400_000),
            session_deadline: Timestamp(1_792_592_000_000),
            generation: 144,
            made: Timestamp(1_790_000_600_000),
            connections: connections.into(),
            device: Device {
                user_agent: Some("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36".to_owned()),
                remote_addr: Some("203.0.113.77:51423".to_owned()),
                ..Device::default()
            },
            made_by: MadeBy { attempt: Some(Attempt([3; 16])), ..new.made_by.clone() },
            past: vec![[9; 4]; Record::PAST_ATTEMPTS],
            ..new
        }
    }

    fn claims() -> Claims {
        Claims { issuer: "sso".to_owned(), name: "Jane Doe".to_owned(), role: "user".to_owned() }
    }

    /// [`typical`] in format 1.
    const V1: &str = "AaWlpaWlpaWlpaWlpaWlpaUAzkmA2MGijDTAp+aijDSAkNvLjDSA6Lz2lTSQAVpaWlpaWlpaWlpaWlpaWloCFGNxM2JkNWg4c21naWhmMzdsb2EwFGNxM2JkNWg4c21naWhmMzdsb2FnAAFlTW96aWxsYS81LjAgKFgxMTsgTGludXggeDg2XzY0KSBBcHBsZVdlYktpdC81MzcuMzYgKEtIVE1MLCBsaWtlIEdlY2tvKSBDaHJvbWUvMTQwLjAuMC4wIFNhZmFyaS81MzcuMzYBEjIwMy4wLjExMy43Nzo1MTQyMwAAFGNxM2JkNWg4c21naWhmMzdsb2FnAQMDAwMDAwMDAwMDAwMDAwM=";

    /// [`typical`] in format 2.
    const V2: &str = "AqWlpaWlpaWlpaWlpaWlpaUAzkmA2MGijDTAp+aijDSAkNvLjDSA6Lz2lTSQAVpaWlpaWlpaWlpaWlpaWloCFGNxM2JkNWg4c21naWhmMzdsb2EwFGNxM2JkNWg4c21naWhmMzdsb2FnAAFlTW96aWxsYS81LjAgKFgxMTsgTGludXggeDg2XzY0KSBBcHBsZVdlYktpdC81MzcuMzYgKEtIVE1MLCBsaWtlIEdlY2tvKSBDaHJvbWUvMTQwLjAuMC4wIFNhZmFyaS81MzcuMzYBEjIwMy4wLjExMy43Nzo1MTQyMwAAFGNxM2JkNWg4c21naWhmMzdsb2FnAQMDAwMDAwMDAwMDAwMDAwMAGAkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQ==";

    /// [`everything`] in format 3.
    const V3: &str = "A6WlpaWlpaWlpaWlpaWlpaUAzkmA2MGijDTAp+aijDSAkNvLjDSA6Lz2lTSQAcCn5qKMNFpaWlpaWlpaWlpaWlpaWloCFGNxM2JkNWg4c21naWhmMzdsb2EwFGNxM2JkNWg4c21naWhmMzdsb2FnAAFlTW96aWxsYS81LjAgKFgxMTsgTGludXggeDg2XzY0KSBBcHBsZVdlYktpdC81MzcuMzYgKEtIVE1MLCBsaWtlIEdlY2tvKSBDaHJvbWUvMTQwLjAuMC4wIFNhZmFyaS81MzcuMzYBEjIwMy4wLjExMy43Nzo1MTQyMwAAFGNxM2JkNWg4c21naWhmMzdsb2FnAQMDAwMDAwMDAwMDAwMDAwMAGAkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQEDc3NvCEphbmUgRG9lBHVzZXIB";

    /// A record with all that [`typical`] leaves out.
    fn everything() -> Record {
        Record { claims: Some(claims()), in_cookie: true, ..typical() }
    }

    #[test]
    fn what_is_stored_is_read() {
        for record in [
            typical(),
            Record { user_id: UserId::Text("jürgen".to_owned()), cookie: Some([1; 32]), ..typical() },
            Record { connections: vec![], generation: u64::MAX, past: vec![], ..typical() },
            Record { claims: Some(claims()), made: Timestamp(1), ..typical() },
            Record {
                device: Device { public_key: Some(DeviceKey::Ed25519([7; 32])), ..Device::default() },
                ..typical()
            },
        ] {
            assert_eq!(Record::decode(&record.encode().unwrap()).unwrap(), record);
        }
    }

    #[test]
    fn records_of_format_1_are_read() {
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, V1).unwrap();
        let record = Record::decode(&bytes).unwrap();
        assert_eq!(record, Record { past: vec![], ..typical() });
        for length in 1..bytes.len() {
            assert!(Record::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn records_of_format_2_are_read() {
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, V2).unwrap();
        assert_eq!(Record::decode(&bytes).unwrap(), typical());
        for length in 1..bytes.len() {
            assert!(Record::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn records_of_format_3_are_read_and_written() {
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, V3).unwrap();
        assert_eq!(Record::decode(&bytes).unwrap(), everything());
        assert_eq!(*everything().encode().unwrap(), bytes[..], "a new field is a new format");
    }

    /// A million of them are to fit in memory and on a small disk.
    #[test]
    fn a_typical_record_is_small() {
        let length = |record: &Record| record.encode().unwrap().len();
        let device = Device { public_key: Some(DeviceKey::P256 { x: [1; 32], y: [2; 32] }), ..typical().device };
        let bound = Record { device, past: vec![], ..typical() };
        let sizes = format!("bearer {}, bound {}", length(&typical()), length(&bound));
        expect_test::expect!["bearer 375, bound 344"].assert_eq(&sizes);
    }

    #[test]
    fn a_device_label_is_cut_to_what_fits() {
        let long = || Some("ü".repeat(1_000) + "x");
        let device = Device { user_agent: long(), label: Some(format!("x{}", "ü".repeat(200))), ..Device::default() };
        let device = device.bounded();
        assert_eq!(device.user_agent, Some("ü".repeat(128)));
        assert_eq!(device.label.map(|label| label.len()), Some(255), "no half characters");
    }

    #[test]
    fn bytes_that_are_not_a_record_are_refused_with_a_reason() {
        assert!(matches!(Record::decode(&[]), Err(RecordError::Empty)));
        assert!(matches!(Record::decode(&[9, 1, 2]), Err(RecordError::UnknownFormat(9))));
        let whole = typical().encode().unwrap();
        for length in 1..whole.len() {
            assert!(matches!(Record::decode(&whole[..length]), Err(RecordError::Damaged(_))), "{length} bytes");
        }
    }

    #[test]
    fn the_earlier_deadline_counts_and_its_instant_is_too_late() {
        let (key, session) = (Timestamp(10), Timestamp(20));
        let record = Record { key_deadline: key, session_deadline: session, ..typical() };
        assert_eq!(record.deadline(), key);
        assert!(record.ended().is_expired(Timestamp(0)), "even if the clock is set back");
        assert!(!record.is_expired(Timestamp(9)) && record.is_expired(Timestamp(10)));
        assert_eq!(Record { key_deadline: session, session_deadline: key, ..typical() }.deadline(), key);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400), flip in 0..300_usize) {
            let _ = Record::decode(&bytes);
            let mut record = typical().encode().unwrap();
            let at = flip % record.len();
            record[at] ^= bytes.first().copied().unwrap_or(1);
            let _ = Record::decode(&record);
        }
    }

    #[test]
    fn a_list_shows_what_a_person_recognises_a_session_by() {
        let record = typical();
        let [first, other] = [record.connections[0].clone(), ConnectionId::parse("other").unwrap()];
        let shown = serde_json::to_string(&record.listed(Some(&first))).unwrap();
        expect_test::expect![[r#"{"id":"paWlpaWlpaWlpaWlpaWlpQ","label":null,"browser":"Chrome","system":"Linux","address":"203.0.113.77","created":1790000000000,"lastSeen":1790000600000,"current":true,"bound":false}"#]].assert_eq(&shown);
        assert!(!record.listed(Some(&other)).current);
        let bare = Record { device: Device::default(), in_cookie: true, ..record };
        let shown = serde_json::to_string(&bare.listed(None)).unwrap();
        expect_test::expect![[r#"{"id":"paWlpaWlpaWlpaWlpaWlpQ","label":null,"browser":null,"system":null,"address":null,"created":1790000000000,"lastSeen":1790000600000,"current":false,"bound":true}"#]].assert_eq(&shown);
    }

    #[test]
    fn addresses_are_shown_without_their_ports() {
        for (address, shown) in
            [("203.0.113.77:51423", "203.0.113.77"), ("[2001:db8::1]:443", "2001:db8::1"), ("pipe", "pipe"), ("", "")]
        {
            assert_eq!(without_port(address), shown);
        }
    }
}
