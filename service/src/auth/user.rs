//! `<name>.user.<cid>`: who is logged in on a connection, readable only by that connection.

use relogin_res::service::{AccessRequest, GetRequest, Payload, Response};
use relogin_session::{ConnectionId, UserModel};
use serde::Serialize;

use super::{AuthContext, answer::Failure};
use crate::sessions::ConnectionGuard;

/// The access result, with `get` written out even if it is false.
#[derive(Serialize)]
struct Access {
    get: bool,
}

/// The result of a get.
#[derive(Serialize)]
struct Model {
    model: UserModel,
}

/// Whether the connection that asks may see the user on the connection `cid`.
pub(super) fn access(cid: &str, payload: &[u8]) -> Result<Response, Failure> {
    let request = AccessRequest::parse(payload)?;
    Ok(Response::result(&Access { get: request.cid == cid }))
}

/// Keeps events of the connection `cid` from overtaking the answer to a get.
pub(super) async fn hold<'a>(cx: &'a AuthContext, cid: &str) -> Option<ConnectionGuard<'a>> {
    Some(cx.sessions.hold(&ConnectionId::parse(cid)?).await)
}

/// The user on the connection `cid`. A get does not say who asks: the gateway keeps the answer from
/// clients without access.
pub(super) async fn get(cx: &AuthContext, cid: &str, payload: &[u8]) -> Result<Response, Failure> {
    GetRequest::parse(payload)?;
    let user = match ConnectionId::parse(cid) {
        Some(connection) => cx.sessions.user_on(&connection).await?,
        None => None,
    };
    Ok(Response::result(&Model { model: user.into() }))
}
