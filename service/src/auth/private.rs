//! Wipes what was parsed from requests with credentials once they are answered. Copies in the
//! network stack and the gateway are theirs to handle. Must not know the methods.

use std::ops::Deref;

use bytes::Bytes;
use relogin_res::{
    Error,
    service::{AuthRequest, Payload},
};
use zeroize::Zeroize;

use crate::client_address::TrustedProxies;

/// A request that contains a password, a key or cookies, wiped on drop.
#[derive(Debug)]
pub(super) struct Private(AuthRequest);

impl Private {
    /// Parses a payload. The sender is the client behind the proxies.
    pub(super) fn parse(payload: &[u8], proxies: &TrustedProxies) -> Result<Self, Error> {
        let mut request = AuthRequest::parse(payload)?;
        proxies.resolve(&mut request.origin);
        Ok(Self(request))
    }
}

impl Deref for Private {
    type Target = AuthRequest;

    fn deref(&self) -> &AuthRequest {
        &self.0
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
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
        let mut request = Private::parse(payload, &TrustedProxies::default()).unwrap();
        assert!(request.params.is_some() && request.origin.header["Cookie"] == ["a=b", "c=d"]);
        wipe(&mut request.0);
        assert!(request.params.is_none() && request.token.is_none());
        assert_eq!(request.origin.header["Cookie"], ["", ""]);
    }
}
