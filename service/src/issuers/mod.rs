//! Trusted issuers of JSON Web Tokens: where their tokens come from, and what they claim. Must not
//! depend on RES or sessions.

mod file;
pub mod keys;
#[cfg(test)]
pub(crate) mod tests;
pub mod token;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use relogin_res::service::Headers;
use relogin_session::{Claims, Timestamp, User, Vouched};
use tokio::time::{Instant, MissedTickBehavior, interval};

pub use self::{file::IssuersError, keys::KeyError, token::Refusal};
use self::{keys::KeyFile, token::Rules};
use crate::cookie;

/// The issuers that were named.
#[derive(Debug)]
pub struct Issuers {
    /// Where they are named.
    path: PathBuf,
    list: ArcSwap<Vec<Issuer>>,
}

/// One of them.
#[derive(Debug)]
struct Issuer {
    /// What it is called here.
    name: String,
    rules: Rules,
    source: Source,
    keys: KeyFile,
    /// Whether a session ends with the token that it was made by.
    ends_session: bool,
}

/// Where its tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    cookie: Option<String>,
    authorization: bool,
}

/// Somebody whom an issuer vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Who that is.
    pub user: User,
    /// By whose word.
    pub vouched: Vouched,
}

/// How often the key files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Reads the file that names issuers, and the key files that it names.
///
/// # Errors
/// [`IssuersError`] if one of them will not do.
pub fn load(path: &Path) -> Result<Issuers, IssuersError> {
    Ok(Issuers { path: path.to_owned(), list: ArcSwap::from_pointee(file::read(path)?) })
}

impl Issuers {
    /// Reads the files again, and says how many issuers there are now. May block.
    ///
    /// # Errors
    /// [`IssuersError`] if one of them will not do; then the issuers stay as they were.
    pub fn reload(&self) -> Result<usize, IssuersError> {
        let list = file::read(&self.path)?;
        let count = list.len();
        self.list.store(Arc::new(list));
        Ok(count)
    }

    /// Whom the token in the headers vouches for. None if there is none. Cookies are looked at if `may_use_cookies` only.
    ///
    /// # Errors
    /// [`Refusal`] if there is a token, and it is good for nothing: of several, why the one that came furthest is.
    pub fn admit(&self, headers: &Headers, may_use_cookies: bool, now: Timestamp) -> Result<Option<Bearer>, Refusal> {
        let mut refused: Option<Refusal> = None;
        for issuer in self.list.load().iter() {
            let from_cookie = issuer.source.cookie.as_deref().filter(|_| may_use_cookies);
            let from_cookie = from_cookie.and_then(|name| cookie::read(headers, name));
            let from_authorization = issuer.source.authorization.then(|| bearer_token(headers)).flatten();
            for text in [from_authorization, from_cookie].into_iter().flatten() {
                match issuer.admit(text, now) {
                    Ok(bearer) => return Ok(Some(bearer)),
                    Err(refusal) => refused = refused.max(Some(refusal)),
                }
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// Reads the key files again when they have changed, until it is dropped.
    pub async fn follow(self: Arc<Self>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let issuers = Arc::clone(&self);
            // Only a panic ends it otherwise, and that is in the log.
            let now = Instant::now();
            tokio::task::spawn_blocking(move || issuers.look(now)).await.ok();
        }
    }

    /// Reads those of the key files again that have changed. What cannot be used changes nothing.
    fn look(&self, now: Instant) {
        for issuer in self.list.load().iter() {
            issuer.keys.look(&issuer.name, now);
        }
    }
}

impl Issuer {
    fn admit(&self, text: &str, now: Timestamp) -> Result<Bearer, Refusal> {
        let said = token::read(text, &self.rules, &self.keys.current(), now)?;
        let User { name, role, .. } = &said.user;
        let claims = Claims { issuer: self.name.clone(), name: name.clone(), role: role.clone() };
        let until = self.ends_session.then_some(said.until);
        Ok(Bearer { user: said.user, vouched: Vouched { claims, until } })
    }
}

/// The token of the one `Authorization: Bearer` header.
fn bearer_token(headers: &Headers) -> Option<&str> {
    let [value] = headers.get("Authorization")?.as_slice() else { return None };
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
