//! The HTTP API: reads requests, has the state machine answer them, and writes responses. Limits
//! what bodies make the gateway hold. Must not depend on WebSockets.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    http::{HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::StreamExt;
use hyper::body::{Frame, SizeHint};
use relogin_gateway_proto::http::{Answer, Encoding, HttpResponse, Methods, Operation, error_response, operation};
use relogin_res::Error;
use tokio::time::timeout;

use crate::{limits::Limits, memory::Memory, responses::merge};

/// How the HTTP API is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpApi {
    /// The path that the resources are below; begins and ends with a slash.
    pub path: String,
    /// How resources are written.
    pub encoding: Encoding,
    /// What PUT, PATCH and DELETE call.
    pub methods: Methods,
}

/// How many bytes of a body each request may have whatever the others have.
const ASSURED: usize = 64 << 10;

/// How many bytes of a response are handed on at a time: what is not handed on yet is counted.
const CHUNK: usize = 16 << 10;

/// Up to how many values a response is written on an async thread.
const SMALL: usize = 1_000;

/// Bytes that are held for a request.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Arc<Memory>,
    bytes: usize,
}

/// A body that is counted until it was handed on.
struct CountedBody {
    rest: Bytes,
    held: Held,
}

impl Default for HttpApi {
    fn default() -> Self {
        Self { path: "/api/".to_owned(), encoding: Encoding::default(), methods: Methods::default() }
    }
}

/// What a request asks for, and what is held for it.
///
/// # Errors
/// The response, if that cannot be answered at all.
pub(crate) async fn read(
    request: Request<Body>,
    api: &HttpApi,
    limits: &Limits,
    memory: &Arc<Memory>,
) -> Result<(Operation, Held), Response> {
    let (parts, body) = request.into_parts();
    let refuse = |error| respond(error_response(error, parts.method.as_str()), Held::new(memory));
    let path = parts.uri.path().strip_prefix(&api.path).ok_or_else(|| refuse(Error::not_found()))?;
    let mut held = Held::new(memory);
    let body = match timeout(limits.message, collect(body, limits.frame, &mut held)).await {
        Ok(body) => body?,
        Err(_) => return Err(StatusCode::REQUEST_TIMEOUT.into_response()),
    };
    let operation = operation(parts.method.as_str(), path, parts.uri.query(), &body, &api.methods).map_err(refuse)?;
    Ok((operation, held))
}

/// The response to a request with the method `http_method`.
pub(crate) async fn write(
    answer: Answer,
    http_method: String,
    api: &HttpApi,
    limits: &Limits,
    memory: &Arc<Memory>,
) -> Response {
    let (encoding, path, max) = (api.encoding, api.path.clone(), limits.backlog);
    let is_small = answer.values().is_some_and(|values| values <= SMALL);
    let make = move || answer.into_response(&http_method, encoding, &path, max);
    let response = if is_small {
        make()
    } else {
        // It may take milliseconds.
        match tokio::task::spawn_blocking(make).await {
            Ok(response) => response,
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    };
    let mut held = Held::new(memory);
    if held.grow(response.body.len()) { respond(response, held) } else { unavailable(memory) }
}

/// The response while nothing can be answered.
pub(crate) fn unavailable(memory: &Arc<Memory>) -> Response {
    refuse(Error::new("system.serviceUnavailable", "Service unavailable"), memory)
}

/// The response to a request that has failed.
pub(crate) fn refuse(error: Error, memory: &Arc<Memory>) -> Response {
    respond(error_response(error, ""), Held::new(memory))
}

/// A whole body.
///
/// # Errors
/// The response, if it is too large, or if too much is held already.
async fn collect(body: Body, max: usize, held: &mut Held) -> Result<Vec<u8>, Response> {
    let mut stream = body.into_data_stream();
    let mut whole = Vec::new();
    while let Some(chunk) = stream.next().await {
        // A client that has left, most of the time.
        let chunk = chunk.map_err(|_| StatusCode::BAD_REQUEST.into_response())?;
        if whole.len() + chunk.len() > max {
            return Err(StatusCode::PAYLOAD_TOO_LARGE.into_response());
        }
        if !held.grow(chunk.len()) {
            return Err(unavailable(&held.memory));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

fn respond(response: HttpResponse, held: Held) -> Response {
    let HttpResponse { status, header, body } = response;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = status.into_response();
    if !body.is_empty() {
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        *response.body_mut() = Body::new(CountedBody { rest: body.into(), held });
    }
    merge(response.headers_mut(), header);
    response
}

impl Held {
    fn new(memory: &Arc<Memory>) -> Self {
        Self { memory: Arc::clone(memory), bytes: 0 }
    }

    /// Counts bytes. False if they are too many.
    fn grow(&mut self, bytes: usize) -> bool {
        self.memory.add(bytes);
        self.bytes += bytes;
        self.bytes <= ASSURED || !self.memory.is_short()
    }

    fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.memory.remove(bytes);
        self.bytes -= bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.remove(self.bytes);
    }
}

impl hyper::body::Body for CountedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let count = self.rest.len().min(CHUNK);
        self.held.shrink(count);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(count)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
