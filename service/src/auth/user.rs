//! `<name>.user.<cid>`: who is logged in on a connection, readable only by that connection.

use relogin_res::service::{AccessRequest, GetRequest, Payload, Response};
use relogin_session::UserModel;
use serde::Serialize;

use super::{AuthContext, answer::Failure, hold::Hold};

/// The access result, with `get` written out even if it is false.
#[derive(Serialize)]
struct UserAccess {
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
    Ok(Response::result(&UserAccess { get: request.cid == cid }))
}

/// The user on the held connection; none if its id is not one. A get does not say who asks: the
/// gateway keeps the answer from clients without access.
pub(super) async fn get(cx: &AuthContext, hold: Option<&mut Hold<'_>>, payload: &[u8]) -> Result<Response, Failure> {
    GetRequest::parse(payload)?;
    let user = match hold {
        Some(hold) => hold.user(cx).await?,
        None => None,
    };
    Ok(Response::result(&Model { model: user.into() }))
}
