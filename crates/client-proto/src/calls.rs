//! Requests of callers: those that are made before the connection takes any wait here. Must not
//! depend on sessions.

use std::time::Duration;

use relogin_res::{
    Error, ResourceId,
    client::{CallResult, Method},
    json,
    rid::is_part,
};
use serde_json::Value as Json;

use crate::{
    Answer, RequestError, Token, Turn,
    answers::{Outcome, call_result},
    cache::Cache,
    outbox::{CallKind, Outbox, Purpose},
};

/// Requests that wait for the connection.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    timeout: Duration,
    /// Until when each of them waits.
    queue: Vec<(Call, Duration)>,
    /// Whether they go out at once.
    ready: bool,
}

/// A request of a caller.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    token: Token,
    method: Method,
    /// JSON text.
    params: Option<String>,
}

impl Calls {
    /// None yet. Each has `timeout` to wait for the connection, and then for its answer.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, queue: Vec::new(), ready: false }
    }

    /// Until when a command that is given now waits.
    pub(crate) fn deadline(&self, turn: &Turn) -> Duration {
        turn.after(self.timeout)
    }

    /// A caller reads a resource.
    pub(crate) fn get(&mut self, token: Token, rid: ResourceId, turn: &Turn, out: &mut Outbox) {
        self.add(Call { token, method: Method::Get(rid), params: None }, turn, out);
    }

    /// A caller calls the method `name`, as `method` puts it.
    pub(crate) fn call(
        &mut self,
        token: Token,
        name: String,
        params: Option<&Json>,
        method: impl FnOnce(String) -> Method,
        turn: &Turn,
        out: &mut Outbox,
    ) {
        // A dot in it would make it a method of another resource.
        if !is_part(&name) {
            return out.settle(token, Err(RequestError::Refused(Error::invalid_request())));
        }
        self.add(Call { token, method: method(name), params: params.map(json::to_text) }, turn, out);
    }

    /// The connection takes requests.
    pub(crate) fn ready(&mut self, turn: &Turn, out: &mut Outbox) {
        self.ready = true;
        for (call, _) in std::mem::take(&mut self.queue) {
            self.add(call, turn, out);
        }
    }

    /// A method was answered.
    pub(crate) fn answered(
        token: Token,
        kind: CallKind,
        result: Outcome,
        cache: &mut Cache,
        turn: &mut Turn,
        out: &mut Outbox,
    ) {
        let bare = kind != CallKind::New && !out.protocol.has_call_result_object();
        let result = result.and_then(|result| call_result(result, bare));
        if kind == CallKind::Auth && result.is_ok() {
            // It may have given us another token.
            cache.ask_again(turn, out);
        }
        let answer = match result {
            Ok(CallResult::Payload(payload)) => Ok(Answer::Payload(payload)),
            Ok(CallResult::Resource(rid, set)) => {
                cache.adopt(&rid, set, turn, out);
                Ok(Answer::Resource(rid))
            }
            Err(error) => Err(error),
        };
        out.settle(token, answer);
    }

    /// The connection is lost. What has not been sent waits for the next one.
    pub(crate) fn lost(&mut self) {
        self.ready = false;
    }

    /// Nobody waits for the call of this token. `false` if it is not among those that wait for the
    /// connection.
    pub(crate) fn forget(&mut self, token: Token) -> bool {
        self.queue.extract_if(.., |(call, _)| call.token == token).count() > 0
    }

    /// Settles what has waited until `now`, because of `error`.
    pub(crate) fn give_up(&mut self, now: Duration, error: &RequestError, out: &mut Outbox) {
        for (call, _) in self.queue.extract_if(.., |(_, deadline)| *deadline <= now) {
            out.settle(call.token, Err(error.clone()));
        }
    }

    /// When the next one has waited long enough.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.queue.iter().map(|(_, deadline)| *deadline).min()
    }

    fn add(&mut self, call: Call, turn: &Turn, out: &mut Outbox) {
        let deadline = self.deadline(turn);
        if !self.ready {
            return self.queue.push((call, deadline));
        }
        let Call { token, method, params } = call;
        let (purpose, method) = match method {
            Method::Get(rid) => (Purpose::Get(token, rid.clone()), Method::Get(rid)),
            Method::Call(rid, name) if name == "new" && !out.protocol.has_call_result_object() => {
                (Purpose::Call(token, CallKind::New), Method::New(rid))
            }
            Method::Auth(..) => (Purpose::Call(token, CallKind::Auth), method),
            _ => (Purpose::Call(token, CallKind::Call), method),
        };
        out.send(purpose, &method, params.as_deref(), Some(deadline));
    }
}
