//! Verifies one token: whether the issuer has signed it for this service and for now, and what it
//! claims. Must not know where it came from or where keys are.
//!
//! Before the signature only the header's `alg`, `kid`, `typ` and `crit` are read, and none of them
//! is trusted: the algorithm must be a configured one, and the key that verifies is valid for that
//! algorithm only. A key is never taken from a token.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use relogin_res::read::credentials;
use relogin_session::{Timestamp, User, UserId};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;
use thiserror::Error;
use zeroize::Zeroizing;

use super::keys::{Algorithm, Key};

/// The rules for an issuer's tokens.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The claim `iss`, exactly.
    pub issuer: String,
    /// The claim `aud`, or one of its values.
    pub audience: String,
    /// How they may be signed.
    pub algorithms: Vec<Algorithm>,
    /// The header's `typ`; none: `JWT`, or nothing.
    pub kind: Option<String>,
    /// How far clocks may differ, in seconds.
    pub leeway: u64,
    /// The claims that describe the user.
    pub names: ClaimNames,
    /// The role of users without the claim.
    pub default_role: Option<String>,
    /// A prefix of the user's id, so that it differs from everybody else's.
    pub id_prefix: String,
}

/// The names of the claims that describe the user.
#[derive(Clone, Debug)]
pub struct ClaimNames {
    /// A text or an integer.
    pub id: String,
    /// A text.
    pub name: String,
    /// A text.
    pub role: String,
}

/// The contents of a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedClaims {
    /// The user.
    pub user: User,
    /// Until when it is valid, including the leeway.
    pub until: Timestamp,
}

/// Why a token is unusable: those that passed more checks are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum TokenRefusal {
    /// Too long.
    #[error("the token is too long")]
    TooLong,
    /// Not a token.
    #[error("it is not a token")]
    Malformed,
    /// Of another type.
    #[error("the token has another type")]
    Type,
    /// Signed with an algorithm that is not configured.
    #[error("the token's algorithm is not one of the issuer's")]
    Algorithm,
    /// Signed with an unknown key.
    #[error("the token's key is not known")]
    Key,
    /// Not signed by the issuer.
    #[error("the token's signature is not the issuer's")]
    Signature,
    /// The claims are malformed.
    #[error("the token's claims are malformed")]
    Claims,
    /// From another issuer.
    #[error("the token is from another issuer")]
    Issuer,
    /// For another audience.
    #[error("the token is for another audience")]
    Audience,
    /// Expired.
    #[error("the token has expired")]
    Expired,
    /// Not valid yet.
    #[error("the token is not valid yet")]
    NotYet,
    /// It does not name the user.
    #[error("the token does not name its user")]
    User,
}

impl TokenRefusal {
    /// True if the issuer had signed the token: nobody has made it up.
    #[must_use]
    pub fn is_of_a_genuine_token(self) -> bool {
        self > Self::Signature
    }
}

/// The longest token that is parsed, in bytes.
pub const MAX_LEN: usize = 8192;

/// The longest text that is taken from a claim, in bytes.
const MAX_TEXT: usize = 256;

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    /// The critical header members: none of them is supported.
    crit: Option<IgnoredAny>,
}

/// Claims by name, each of them once.
struct ClaimSet(BTreeMap<String, Value>);

/// Verifies a token.
///
/// # Errors
/// [`TokenRefusal`] if it is unusable at the time `now`.
pub fn read(text: &str, rules: &Rules, keys: &[Key], now: Timestamp) -> Result<VerifiedClaims, TokenRefusal> {
    if text.len() > MAX_LEN {
        return Err(TokenRefusal::TooLong);
    }
    let [head, payload, signature]: [&str; 3] =
        text.split('.').collect::<Vec<_>>().try_into().map_err(|_| TokenRefusal::Malformed)?;
    // The decoder accepts only the canonical form: without padding, and without unused bits.
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map(Zeroizing::new).map_err(|_| TokenRefusal::Malformed);
    let header: Header = credentials(&decoded(head)?).map_err(|_| TokenRefusal::Malformed)?;
    if header.crit.is_some() {
        return Err(TokenRefusal::Malformed);
    }
    if !is_kind(header.typ.as_deref(), rules.kind.as_deref()) {
        return Err(TokenRefusal::Type);
    }
    let algorithm = Algorithm::parse(&header.alg).filter(|algorithm| rules.algorithms.contains(algorithm));
    let algorithm = algorithm.ok_or(TokenRefusal::Algorithm)?;
    let is_named = |key: &&Key| key.kid.is_none() || header.kid.is_none() || key.kid == header.kid;
    let mut candidates = keys.iter().filter(|key| key.algorithm() == algorithm).filter(is_named).peekable();
    if candidates.peek().is_none() {
        return Err(TokenRefusal::Key);
    }
    let signature = decoded(signature)?;
    let message = text.rsplit_once('.').map_or("", |(message, _)| message);
    if !candidates.any(|key| key.verifies(message.as_bytes(), &signature)) {
        return Err(TokenRefusal::Signature);
    }
    let claims = decoded(payload).map_err(|_| TokenRefusal::Claims)?;
    let ClaimSet(claims) = serde_json::from_slice(&claims).map_err(|_| TokenRefusal::Claims)?;
    said(&claims, rules, now)
}

fn said(claims: &BTreeMap<String, Value>, rules: &Rules, now: Timestamp) -> Result<VerifiedClaims, TokenRefusal> {
    if claims.get("iss").and_then(Value::as_str) != Some(&rules.issuer) {
        return Err(TokenRefusal::Issuer);
    }
    let is_for_us = match claims.get("aud") {
        Some(Value::String(audience)) => *audience == rules.audience,
        Some(Value::Array(audiences)) => audiences.iter().any(|audience| audience.as_str() == Some(&rules.audience)),
        _ => false,
    };
    if !is_for_us {
        return Err(TokenRefusal::Audience);
    }
    let now = now.0 / 1000;
    // A token that never expires is not accepted.
    let expiry = claims.get("exp").and_then(seconds).ok_or(TokenRefusal::Expired)?;
    let until = expiry.saturating_add(rules.leeway);
    if now >= until {
        return Err(TokenRefusal::Expired);
    }
    match claims.get("nbf") {
        Some(from) if seconds(from).is_none_or(|from| from > now.saturating_add(rules.leeway)) => {
            return Err(TokenRefusal::NotYet);
        }
        _ => {}
    }
    let text = |name: &str| {
        let text = claims.get(name).and_then(Value::as_str)?;
        (1..=MAX_TEXT).contains(&text.len()).then(|| text.to_owned())
    };
    let role = match claims.get(&rules.names.role) {
        None => rules.default_role.clone(),
        Some(_) => text(&rules.names.role),
    };
    let id = match claims.get(&rules.names.id).and_then(Value::as_i64) {
        Some(number) if rules.id_prefix.is_empty() => Some(UserId::Number(number)),
        Some(number) => Some(UserId::Text(format!("{}{number}", rules.id_prefix))),
        None => text(&rules.names.id).map(|id| UserId::Text(format!("{}{id}", rules.id_prefix))),
    };
    match (id, text(&rules.names.name), role) {
        (Some(id), Some(name), Some(role)) => {
            Ok(VerifiedClaims { user: User { id, name, role }, until: Timestamp(until.saturating_mul(1000)) })
        }
        _ => Err(TokenRefusal::User),
    }
}

/// Media types compare without regard to case, and `application/` may be left out (RFC 7515,
/// section 4.1.9).
fn is_kind(typ: Option<&str>, kind: Option<&str>) -> bool {
    let bare = |text: &str| {
        let text = text.to_ascii_lowercase();
        text.strip_prefix("application/").map(str::to_owned).unwrap_or(text)
    };
    match (typ.map(bare), kind.map(bare)) {
        (None, None) => true,
        (Some(typ), None) => typ == "jwt",
        (typ, kind) => typ == kind,
    }
}

/// A time, as tokens write it: a number, not always an integer.
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let seconds = value.as_f64().filter(|seconds| (0.0..1e15).contains(seconds))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, as was just seen")]
        Some(seconds as u64)
    })
}

impl<'de> Deserialize<'de> for ClaimSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = ClaimSet;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("claims, each of them once")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClaimSet, A::Error> {
                let mut claims = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(de::Error::custom("a claim twice"));
                    }
                }
                Ok(ClaimSet(claims))
            }
        }
        deserializer.deserialize_map(Once)
    }
}
