//! Decodes answers to get and query requests. A large one takes milliseconds, so the machine hands
//! it out ([`Action::Decode`](crate::Action::Decode)), and goes on with other things. Must not
//! depend on what becomes of the content.

use std::fmt;

use relogin_res::{
    Error, Verbatim,
    service::{self, InvalidResponse, QueryResult, Response},
};
use serde::Deserialize;

use crate::{
    counts::{RequestKind, RequestOutcome},
    tag::Tag,
};

/// A large answer that is to be decoded, where that holds nobody up.
pub struct Encoded {
    pub(crate) tag: Tag,
    kind: RequestKind,
    payload: Box<[u8]>,
}

/// A large answer, decoded. The driver hands it in by [`Input::Decoded`](crate::Input::Decoded).
pub struct Decoded {
    pub(crate) tag: Tag,
    pub(crate) kind: RequestKind,
    pub(crate) outcome: RequestOutcome,
    /// Why it makes no sense, if so.
    pub(crate) problem: Option<&'static str>,
    pub(crate) content: DecodedAnswer,
}

/// What came of a get request: the resource, and how many bytes the answer had.
pub(crate) type Fetched = Result<(service::Resource<Verbatim>, usize), Error>;

/// What came of a query request.
pub(crate) enum Queried {
    /// The service's answer, and how many bytes it had.
    Answer(Result<QueryResult, Error>, usize),
    /// Nobody has answered.
    Silence,
}

/// The result of a get or query request.
pub(crate) enum DecodedAnswer {
    Fetched(Fetched),
    Queried(Queried),
}

impl Encoded {
    pub(crate) fn new(tag: Tag, kind: RequestKind, payload: &[u8]) -> Self {
        Self { tag, kind, payload: payload.into() }
    }

    /// Reads it. Takes about 10 ms for each megabyte.
    #[must_use]
    pub fn decode(self) -> Decoded {
        let Self { tag, kind, payload } = self;
        let (response, invalid) = Response::read(&payload);
        let outcome = outcome_of(&response);
        let (content, problem) = DecodedAnswer::read(kind, response, payload.len());
        Decoded { tag, kind, outcome, problem: invalid.map(problem_of).or(problem), content }
    }
}

impl DecodedAnswer {
    /// Reads a response of `bytes` bytes. The second value says what is wrong with it, if anything.
    pub(crate) fn read(kind: RequestKind, response: Response, bytes: usize) -> (Self, Option<&'static str>) {
        if kind == RequestKind::Query {
            let (result, problem) = read_result(kind, response);
            (Self::Queried(Queried::Answer(result, bytes)), problem)
        } else {
            let (result, problem) = read_result(kind, response);
            (Self::Fetched(result.map(|resource| (resource, bytes))), problem)
        }
    }

    /// The result of a request that failed without an answer.
    pub(crate) fn failed(kind: RequestKind, error: Error) -> Self {
        if kind == RequestKind::Query { Self::Queried(Queried::Silence) } else { Self::Fetched(Err(error)) }
    }
}

/// Reads the result of a response. The second value says what is wrong with it, if anything.
pub(crate) fn read_result<T: for<'a> Deserialize<'a>>(
    kind: RequestKind,
    response: Response,
) -> (Result<T, Error>, Option<&'static str>) {
    let is_success = response.outcome.is_ok();
    let result = response.into_result();
    let problem = (is_success && result.is_err()).then_some(match kind {
        RequestKind::Get => "its result is neither a model nor a collection of valid values",
        RequestKind::Query => "its result is neither events nor a model or a collection",
        _ => "its result is no object that says whether to get, and what to call",
    });
    (result, problem)
}

/// How a request with this response is counted.
pub(crate) fn outcome_of(response: &Response) -> RequestOutcome {
    if response.outcome.is_ok() { RequestOutcome::Result } else { RequestOutcome::Error }
}

/// Why a payload is no response, in words.
pub(crate) fn problem_of(invalid: InvalidResponse) -> &'static str {
    match invalid {
        InvalidResponse::Unreadable => "no JSON object with a valid result, resource or error",
        InvalidResponse::NoResult => "neither a result nor a resource nor an error",
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded").field("tag", &self.tag.0).field("bytes", &self.payload.len()).finish()
    }
}

impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoded").field("tag", &self.tag.0).finish_non_exhaustive()
    }
}
