//! Somebody who reads the browser's storage once, and nothing else: neither the device's private
//! key nor what goes over the wire. Uses what was there on a connection of its own.

use relogin_session::{Attempt, ConnectionId, LoggedIn, ReloginKey};

/// The thief.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thief {
    /// The storage record, as it was.
    pub loot: Option<Loot>,
    /// The newest key that it has been given.
    pub given: Option<ReloginKey>,
    /// Attempts drawn.
    pub draws: u8,
    /// True once the service has dealt with a key from it.
    pub has_acted: bool,
}

/// What was in storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loot {
    /// The key.
    pub key: ReloginKey,
    /// The use that was under way.
    pub attempt: Option<Attempt>,
    /// Whether it is that of a pending logout.
    pub is_pending: bool,
}

/// What the thief uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// The copied key, as the owner would repeat it.
    AsTheOwner,
    /// The copied key, by an attempt of its own.
    ByItself,
    /// The copied key, as legacy clients do.
    AsTheGuide,
    /// The newest key that it was given, by an attempt of its own.
    Onwards,
}

impl Use {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::AsTheOwner, Self::ByItself, Self::AsTheGuide, Self::Onwards];
}

impl Thief {
    /// Where it sits.
    #[must_use]
    pub fn cid() -> ConnectionId {
        ConnectionId::parse("thief").expect("a connection id")
    }

    /// Reads storage: its key, else that of a pending logout.
    #[must_use]
    pub fn copies(storage: &str) -> Option<Loot> {
        let json: serde_json::Value = serde_json::from_str(storage).ok()?;
        let is_pending = json["key"].is_null();
        let record = if is_pending { &json["pendingLogouts"][0] } else { &json };
        let attempt = record["attempt"].as_str().and_then(Attempt::parse);
        Some(Loot { key: ReloginKey::new(record["key"].as_str()?.to_owned()), attempt, is_pending })
    }

    /// The key and the attempt of a use; none if it has not got them.
    pub fn draw(&mut self, how: Use) -> Option<(ReloginKey, Option<Attempt>)> {
        let loot = self.loot.as_ref()?;
        let mut own = || {
            self.draws += 1;
            let mut bits = [0; 16];
            (bits[0], bits[1]) = (0xf0, self.draws);
            Attempt(bits)
        };
        match how {
            Use::AsTheOwner => Some((loot.key.clone(), Some(loot.attempt?))),
            Use::ByItself => Some((loot.key.clone(), Some(own()))),
            Use::AsTheGuide => Some((loot.key.clone(), None)),
            Use::Onwards => Some((self.given.clone()?, Some(own()))),
        }
    }

    /// The service has answered.
    pub fn take_answer(&mut self, answer: Option<&LoggedIn>) {
        self.has_acted = true;
        if let Some(answer) = answer {
            self.given = Some(answer.relogin_key.clone());
        }
    }
}
