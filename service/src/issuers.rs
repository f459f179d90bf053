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

pub use self::{file::IssuersError, keys::KeyError, token::TokenRefusal};
use self::{keys::KeyFile, token::Rules};
use crate::cookie;

/// The trusted issuers.
#[derive(Debug)]
pub struct Issuers {
    /// The issuers file.
    path: PathBuf,
    list: ArcSwap<Vec<Issuer>>,
}

/// One of them.
#[derive(Debug)]
struct Issuer {
    /// Its name.
    name: String,
    rules: Rules,
    source: Source,
    keys: KeyFile,
    /// Whether a session ends with the token that created it.
    ends_session: bool,
}

/// Where its tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    cookie: Option<String>,
    authorization: bool,
}

/// A user named by an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The user.
    pub user: User,
    /// The issuer.
    pub vouched: Vouched,
}

/// How often the key files are checked.
const LOOK: Duration = Duration::from_secs(1);

/// Reads the file that names issuers, and the key files that it names.
///
/// # Errors
/// [`IssuersError`] if one of them is unusable.
pub fn load(path: &Path) -> Result<Issuers, IssuersError> {
    Ok(Issuers { path: path.to_owned(), list: ArcSwap::from_pointee(file::read(path)?) })
}

impl Issuers {
    /// Reads the files again, and returns the number of issuers. May block.
    ///
    /// # Errors
    /// [`IssuersError`] if one of them is unusable; then the issuers are unchanged.
    pub fn reload(&self) -> Result<usize, IssuersError> {
        let list = file::read(&self.path)?;
        let count = list.len();
        self.list.store(Arc::new(list));
        Ok(count)
    }

    /// The user named by the token in the headers. None if there is no token. Cookies are read only
    /// if `may_use_cookies`.
    ///
    /// # Errors
    /// [`TokenRefusal`] if there is a token, and it is unusable: of several, the reason of the one
    /// that passed the most checks.
    pub fn admit(
        &self,
        headers: &Headers,
        may_use_cookies: bool,
        now: Timestamp,
    ) -> Result<Option<Bearer>, TokenRefusal> {
        let mut refused: Option<TokenRefusal> = None;
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

    /// Reads again those key files that have changed. What cannot be used changes nothing.
    fn look(&self, now: Instant) {
        for issuer in self.list.load().iter() {
            issuer.keys.look(&issuer.name, now);
        }
    }
}

impl Issuer {
    fn admit(&self, text: &str, now: Timestamp) -> Result<Bearer, TokenRefusal> {
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
