//! Sessions whose keys travel in a cookie: what scripts may know of them, and what HTTP requests
//! do, which are on no connection.

use relogin_session::{
    ConnectionId, Denied, LoggedIn, PresentedKey, Proof, Record, ReloginKey, exchange, machine::grant,
};

use super::{Answer, Browser, Cookie, Sessions, SessionsError, request::SessionRequest, serve::granted};

impl Sessions {
    /// The exchange text that script is given in place of the key of a session's answer.
    #[must_use]
    pub fn without_key(&self, answer: LoggedIn) -> LoggedIn {
        let Some(key) = answer.relogin_key.parse() else { return answer };
        let relogin_key = exchange::mint(&self.rules().keyring, key.sid, answer.generation, self.clock.now());
        // Identified by the browser's cookies.
        LoggedIn { relogin_key, bound: true, ..answer }
    }

    /// What `connection` holds: its browser's cookie, `key`, attached it to a session when it
    /// opened. If it has been detached since, it is attached again.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn held(
        &self,
        connection: ConnectionId,
        key: Option<&ReloginKey>,
        browser: Browser,
    ) -> Result<Answer, SessionsError> {
        if let Some(record) = self.on_connection(&connection).await?.filter(|record| record.in_cookie) {
            return Ok(Ok(grant(&record, &self.rules(), self.clock.now())));
        }
        let Some(text) = key else { return Ok(Err(Denied::InvalidReloginKey)) };
        let Some(record) = self.of_cookie(text, browser.cookie).await? else {
            return Ok(Err(Denied::InvalidReloginKey));
        };
        if text.parse().is_none_or(|key| key.generation.saturating_add(1) < record.generation) {
            // It was valid when the connection opened; the browser's next connection brings
            // another.
            return Ok(Err(Denied::InvalidChallenge));
        }
        self.by_cookie(connection, text, browser).await
    }

    /// Attaches `connection` to the session of the key in a browser's cookie.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn by_cookie(
        &self,
        connection: ConnectionId,
        key: &ReloginKey,
        browser: Browser,
    ) -> Result<Answer, SessionsError> {
        let Some(key) = self.parse_in_cookie(key).await? else { return Ok(Err(Denied::InvalidReloginKey)) };
        self.serve(&SessionRequest::Relogin { connection, key, attempt: None, signed: None, token: None, browser })
            .await
            .map(granted)
    }

    /// A browser's next key: for the one in its cookie, or, if that is of another session or
    /// missing, for the exchange text from its login.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn refresh(
        &self,
        key: Option<&ReloginKey>,
        shown: Option<&ReloginKey>,
        browser: Browser,
    ) -> Result<Answer, SessionsError> {
        let named = shown.and_then(exchange::named);
        let key = key.and_then(ReloginKey::parse).filter(|key| named.is_none_or(|named| named == key.sid));
        if let Some(key) = key {
            return self.serve(&SessionRequest::Refresh { key, browser }).await.map(granted);
        }
        let now = self.clock.now();
        let Some(sid) = shown.and_then(|shown| exchange::verify(&self.rules().keyring, shown, now)) else {
            return Ok(Err(Denied::InvalidReloginKey));
        };
        self.read_barrier().await?;
        let stored = self.store.load(sid).await?;
        let record = stored.as_ref().map(|stored| &stored.record);
        let Some(hers) = record.filter(|record| is_hers(record, browser.cookie) && !record.is_expired(now)) else {
            return Ok(Err(Denied::InvalidReloginKey));
        };
        if hers.is_bound() {
            match browser.device.proof(&self.rules().keyring, sid, now) {
                Proof::Valid => {}
                Proof::Late => return Ok(Err(Denied::InvalidChallenge)),
                Proof::None => return Ok(Err(Denied::InvalidReloginKey)),
            }
        }
        Ok(Ok(grant(hers, &self.rules(), now)))
    }

    /// Ends the session of the key in a browser's cookie.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn logout_by_key(
        &self,
        connection: ConnectionId,
        key: &ReloginKey,
        cookie: Cookie,
    ) -> Result<(), SessionsError> {
        if let Some(record) = self.of_cookie(key, cookie).await? {
            // Its key proves that it belongs to this browser, whatever connections it has.
            self.logout(connection, Some(record.sid), Some(record.sid)).await?.ok();
        }
        Ok(())
    }

    /// The live session of a genuine key in its own browser's cookie.
    async fn of_cookie(&self, key: &ReloginKey, cookie: Cookie) -> Result<Option<Record>, SessionsError> {
        let Some(key) = key.parse() else { return Ok(None) };
        self.read_barrier().await?;
        let Some(stored) = self.store.load(key.sid).await? else { return Ok(None) };
        let record = &stored.record;
        let is_open = is_hers(record, cookie)
            && !record.is_expired(self.clock.now())
            && self.rules().keyring.verify(&key, &record.salt);
        Ok(is_open.then(|| record.clone()))
    }

    /// The parts of a key, if its session's keys travel in cookies: other sessions cannot be used
    /// through a cookie, nor these without one. Whether the key is valid is found out by using it.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn parse_in_cookie(&self, key: &ReloginKey) -> Result<Option<PresentedKey>, SessionsError> {
        let Some(key) = key.parse() else { return Ok(None) };
        self.read_barrier().await?;
        let stored = self.store.load(key.sid).await?;
        Ok(stored.filter(|stored| stored.record.in_cookie).map(|_| key))
    }
}

fn is_hers(record: &Record, cookie: Cookie) -> bool {
    record.in_cookie && record.takes_cookie(cookie.of(Some(record)))
}
