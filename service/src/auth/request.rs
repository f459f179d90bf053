//! Auth requests, parsed as every method needs them, and wiped once they are answered. Copies in
//! the network stack and the gateway are theirs to handle. Must not know the methods.

use std::ops::Deref;

use bytes::Bytes;
use relogin_res::{
    read,
    service::{AuthRequest, Payload, parse_params},
};
use relogin_session::{ConnectionId, Denied, SessionId, Token};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use zeroize::Zeroize;

use super::{AuthContext, answer::Failure};
use crate::client_address::TrustedProxies;

/// An auth request. Its origin is available by deref.
#[derive(Debug)]
pub(super) struct Request {
    /// The connection that it came on.
    pub(super) connection: ConnectionId,
    /// The connection's token, if it is one of the service's: another service may have set it.
    pub(super) token: Option<Token>,
    received: Wiped,
}

/// A request that may contain a password, a key or cookies, wiped on drop.
#[derive(Debug)]
struct Wiped(AuthRequest);

impl Request {
    /// Parses a payload. The sender is the client behind the proxies.
    pub(super) fn parse(cx: &AuthContext, payload: &[u8]) -> Result<Self, Failure> {
        let received = Wiped::parse(payload, &cx.proxies)?;
        let connection = ConnectionId::parse(&received.0.cid).ok_or(Failure::Malformed)?;
        let token = token_of(received.0.token.as_deref());
        Ok(Self { connection, token, received })
    }

    /// The params of the method.
    pub(super) fn params<T: DeserializeOwned>(&self) -> Result<T, Denied> {
        parse_params(self.params.as_deref()).map_err(|_| Denied::InvalidParams)
    }

    /// The session that the connection's token names.
    pub(super) fn session(&self) -> Option<SessionId> {
        self.token.as_ref().map(|token| token.sid)
    }
}

impl Deref for Request {
    type Target = AuthRequest;

    fn deref(&self) -> &AuthRequest {
        &self.received.0
    }
}

impl Wiped {
    fn parse(payload: &[u8], proxies: &TrustedProxies) -> Result<Self, Failure> {
        let mut request = AuthRequest::parse(payload)?;
        proxies.resolve(&mut request.origin);
        Ok(Self(request))
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// A connection's token, if it is one of the service's.
pub(super) fn token_of(token: Option<&RawValue>) -> Option<Token> {
    token.and_then(|token| read::credentials(token.get().as_bytes()).ok())
}

/// Wipes the bytes of a payload, if nobody else holds them.
pub(super) fn wipe_payload(payload: Bytes) {
    if let Ok(mut payload) = payload.try_into_mut() {
        payload.as_mut().zeroize();
    }
}

fn wipe(request: &mut AuthRequest) {
    for text in [request.params.take(), request.token.take()].into_iter().flatten() {
        String::from(Box::<str>::from(text)).zeroize();
    }
    request.origin.header.values_mut().flatten().for_each(Zeroize::zeroize);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_wiped() {
        let payload = br#"{"cid":"c","token":{"sid":"x"},"params":{"password":"x"},"header":{"Cookie":["a=b","c=d"]}}"#;
        let mut request = Wiped::parse(payload, &TrustedProxies::default()).unwrap();
        assert!(request.0.params.is_some() && request.0.origin.header["Cookie"] == ["a=b", "c=d"]);
        wipe(&mut request.0);
        assert!(request.0.params.is_none() && request.0.token.is_none());
        assert_eq!(request.0.origin.header["Cookie"], ["", ""]);
    }
}
