//! Sessions whose keys travel in a cookie, bound to a key of the browser's device (Device Bound
//! Session Credentials). Must not know HTTP or JSON Web Tokens.

use relogin_session::{Command, Denied, DeviceKey, LoggedIn, ProvenDevice, SessionId, device_session};

use super::{Sessions, SessionsError, request::SessionRequest};

impl Sessions {
    /// The challenge with which the browser of a session's answer is offered to register a device
    /// key; none if it has one, or is not offered any more.
    #[must_use]
    pub fn device_offer(&self, answer: &LoggedIn) -> Option<String> {
        let sid =
            answer.relogin_key.session().filter(|_| !answer.bound && answer.generation <= device_session::OFFERS)?;
        Some(device_session::offer(&self.rules().keyring, sid, self.clock.now()))
    }

    /// The session that such a challenge is for, and what its browser is to call it with `key`.
    /// None if the challenge is not one of ours, or too old. Nothing is stored.
    #[must_use]
    pub fn register_device(&self, challenge: &str, key: &DeviceKey) -> Option<(SessionId, String)> {
        let keyring = &self.rules().keyring;
        let sid = device_session::offered(keyring, challenge, self.clock.now())?;
        Some((sid, device_session::identifier(keyring, sid, key)?))
    }

    /// What a browser's name for its session says. None if it cannot be one.
    #[must_use]
    pub fn named_by_device(&self, identifier: &str) -> Option<device_session::NamedDevice> {
        device_session::NamedDevice::read(&self.rules().keyring, identifier)
    }

    /// The challenge that the device of session `sid` is to sign.
    #[must_use]
    pub fn device_challenge(&self, sid: SessionId) -> String {
        device_session::challenge(&self.rules().keyring, sid, self.clock.now())
    }

    /// True if this is such a challenge, and not too old.
    #[must_use]
    pub fn is_device_challenge(&self, challenge: &str, sid: SessionId) -> bool {
        device_session::is_challenge(&self.rules().keyring, challenge, sid, self.clock.now())
    }

    /// The device that is `named` has signed a challenge. Returns what its browser is to show from
    /// now on.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn device_has_signed(
        &self,
        named: &device_session::NamedDevice,
    ) -> Result<Result<String, Denied>, SessionsError> {
        let proven = ProvenDevice { key: named.key, is_registered: named.is_genuine };
        let reply = self.serve(&SessionRequest::OnSession(named.sid, Command::ProveDevice(proven))).await?;
        Ok(reply.map(|_| device_session::proof(&self.rules().keyring, named.sid, self.clock.now())))
    }
}
