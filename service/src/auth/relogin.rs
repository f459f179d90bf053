//! `auth.<name>.relogin`: the session of a relogin key, and the next key.

use relogin_res::service::{AuthRequest, Payload, Response, parse_params};
use relogin_session::{ConnectionId, Denied, Token, api::ReloginParams};

use super::{Desk, answer::Failure};

pub(super) async fn relogin(desk: &Desk, payload: &[u8]) -> Result<Response, Failure> {
    let request = AuthRequest::parse(payload)?;
    let connection = ConnectionId::parse(&request.cid).ok_or(Failure::Malformed)?;
    let params: ReloginParams = parse_params(request.params.as_deref()).map_err(|_| Denied::InvalidParams)?;
    // A token of another service's making is none of ours.
    let token: Option<Token> = request.token.and_then(|token| serde_json::from_str(token.get()).ok());
    let logged_in = desk.sessions.relogin(connection, &params.relogin_key, params.attempt, token).await??;
    Ok(Response::result(&logged_in))
}
