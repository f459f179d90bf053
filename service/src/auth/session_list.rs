//! `<name>.sessions.<cid>`: the sessions of the user on a connection, each a model
//! `<name>.sessions.<cid>.<id>`. Readable only by that connection, and only while it has a token.

use relogin_res::service::{AccessRequest, GetRequest, Payload, Response};
use relogin_session::{ConnectionId, SessionId, api::ListedSession};
use serde::Serialize;

use super::{AuthContext, answer::Failure, request::token_of};

/// The access result, with `get` written out even if it is false.
#[derive(Serialize)]
struct ListAccess {
    get: bool,
}

/// The result of a get of the list.
#[derive(Serialize)]
struct List {
    collection: Vec<Reference>,
}

#[derive(Serialize)]
struct Reference {
    rid: String,
}

/// The result of a get of a session on it.
#[derive(Serialize)]
struct ListedModel {
    model: ListedSession,
}

/// Whether the connection that asks may see the list of the connection `cid`.
pub(super) fn access(cid: &str, payload: &[u8]) -> Result<Response, Failure> {
    let request = AccessRequest::parse(payload)?;
    let get = request.cid == cid && token_of(request.token.as_deref()).is_some();
    Ok(Response::result(&ListAccess { get }))
}

/// The list of the connection `cid`, which is held.
pub(super) async fn list(cx: &AuthContext, cid: &str, payload: &[u8]) -> Result<Response, Failure> {
    GetRequest::parse(payload)?;
    let connection = ConnectionId::parse(cid).ok_or(Failure::NotFound)?;
    let sessions = cx.sessions.list_on(&connection).await?;
    let collection = sessions.into_iter().map(|sid| Reference { rid: format!("{}.sessions.{cid}.{sid}", cx.name) });
    Ok(Response::result(&List { collection: collection.collect() }))
}

/// A session on it.
pub(super) async fn session(cx: &AuthContext, cid: &str, id: &str, payload: &[u8]) -> Result<Response, Failure> {
    GetRequest::parse(payload)?;
    let (connection, sid) = ConnectionId::parse(cid).zip(SessionId::parse(id)).ok_or(Failure::NotFound)?;
    let model = cx.sessions.listed_on(&connection, sid).await?.ok_or(Failure::NotFound)?;
    Ok(Response::result(&ListedModel { model }))
}
