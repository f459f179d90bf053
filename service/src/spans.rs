//! The spans of the session service, for traces: a request, and what it waits for. They must
//! contain nothing that a client has sent.

use relogin_host::spans::SPANS;
use tokio::time::Instant;
use tracing::{Level, Span, field::Empty, info_span, span_enabled};

/// A request for this method, which has arrived `since`.
pub(crate) fn request(method: &'static str, since: Instant) -> Span {
    info_span!(
        target: SPANS, "request",
        otel.name = method, otel.kind = "server", otel.status_code = Empty,
        method, waited_us = i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX), outcome = Empty
    )
}

/// The request whose span this is in has come to this, by a fault of the service or not.
pub(crate) fn came_to(outcome: &'static str, is_fault: bool) {
    if span_enabled!(target: SPANS, Level::INFO) {
        let request = Span::current();
        request.record("outcome", outcome);
        if is_fault {
            request.record("otel.status_code", "ERROR");
        }
    }
}

/// Something that a request waits for: the store, the bus, a directory of users.
pub(crate) fn wait(what: &'static str) -> Span {
    info_span!(target: SPANS, "wait", otel.name = what, otel.kind = "client")
}
