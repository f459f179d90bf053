//! Answers of services, to whom they belong, and complaints about those that make no sense.

use relogin_res::{
    Error,
    service::{Access, InvalidResponse, Response},
};
use serde::Deserialize;

use super::{Answered, Gateway};
use crate::{
    api::{ConnectionKey, Tag},
    bus::Purpose,
    cache::{Fetched, Queried, Waiting},
    connection::{Shared, inbox::Arrival, task::Task},
    counts::{MessageKind, RequestKind, RequestOutcome},
    ids::ResourceKey,
};

impl Gateway {
    pub(super) fn on_reply(&mut self, tag: Tag, payload: &[u8]) {
        let (response, invalid) = Response::read(payload);
        let outcome = if response.outcome.is_ok() { RequestOutcome::Result } else { RequestOutcome::Error };
        let kind = self.shared.bus.kind_of(tag);
        if let Some(purpose) = self.shared.bus.finish(tag, outcome) {
            let problem = invalid.map(|invalid| match invalid {
                InvalidResponse::Unreadable => "no JSON object with a valid result, resource or error",
                InvalidResponse::NoResult => "neither a result nor a resource nor an error",
            });
            if let (Some(kind), Some(problem)) = (kind, problem) {
                self.complain(kind, &purpose, problem);
            }
            self.on_answer(tag, &purpose, Ok((response, payload.len())));
        }
    }

    pub(super) fn on_answer(&mut self, tag: Tag, purpose: &Purpose, answer: Answered) {
        match *purpose {
            Purpose::Load(key) => {
                let fetched = Waiting::Loaded(key, self.fetched(purpose, answer));
                self.on_fetched(key, fetched);
            }
            Purpose::Reload(key) => {
                self.catch_up_with(key);
                self.shared.cache.end_reload(key);
                let fetched = Waiting::Reloaded(key, self.fetched(purpose, answer));
                self.on_fetched(key, fetched);
            }
            Purpose::Query(key) => {
                self.catch_up_with(key);
                let queried = answer.map_or(Queried::Silence, |(response, bytes)| {
                    Queried::Answer(self.read_result(RequestKind::Query, purpose, response), bytes)
                });
                let Shared { cache, bus, .. } = &mut self.shared;
                let notices = cache.on_queried(key, queried, bus);
                self.notify(notices);
            }
            Purpose::Access(key, ref rid) => {
                let result = self.access_of(key, purpose, answer);
                self.receive(key, Arrival::Access(tag, rid.clone(), result));
            }
            Purpose::CallAccess(key, task) => {
                let result = self.access_of(key, purpose, answer);
                self.receive(key, Arrival::CallAccess(tag, task, result));
            }
            Purpose::Method(key, task) => {
                let (response, bytes) = answer.unwrap_or_else(|error| (Response::error(error), 0));
                self.receive(key, Arrival::Method(task, response, bytes));
            }
            Purpose::HeaderAuth(key) => {
                let response = answer.map_or_else(Response::error, |(response, _)| response);
                self.with(key, |connection, shared| connection.on_header_auth(response, shared));
            }
            Purpose::TokenReset => {}
        }
    }

    /// What an answer says about access. What it says about an HTTP response is taken note of.
    fn access_of(&mut self, key: ConnectionKey, purpose: &Purpose, answer: Answered) -> Result<Access, Error> {
        let (mut response, _) = answer?;
        let meta = response.meta.take();
        let result = self.read_result(RequestKind::Access, purpose, response);
        if meta.is_some() {
            self.with(key, |connection, shared| {
                connection.take_meta(meta, result.as_ref().err(), shared);
            });
        }
        result
    }

    fn on_fetched(&mut self, key: ResourceKey, fetched: Waiting) {
        let Shared { cache, bus, .. } = &mut self.shared;
        let notices = cache.on_fetched(key, fetched, bus);
        self.notify(notices);
    }

    fn fetched(&mut self, purpose: &Purpose, answer: Answered) -> Fetched {
        let (response, bytes) = answer?;
        Ok((self.read_result(RequestKind::Get, purpose, response)?, bytes))
    }

    /// What an answer says, if it is no error.
    fn read_result<T: for<'a> Deserialize<'a>>(
        &mut self,
        kind: RequestKind,
        purpose: &Purpose,
        response: Response,
    ) -> Result<T, Error> {
        let is_success = response.outcome.is_ok();
        let result = response.into_result();
        if is_success && result.is_err() {
            let problem = match kind {
                RequestKind::Get => "its result is neither a model nor a collection of valid values",
                RequestKind::Query => "its result is neither events nor a model or a collection",
                _ => "its result is no object that says whether to get, and what to call",
            };
            self.complain(kind, purpose, problem);
        }
        result
    }

    /// Reports an answer that makes no sense.
    fn complain(&mut self, kind: RequestKind, purpose: &Purpose, problem: &'static str) {
        if let Some(subject) = self.subject_of(kind, purpose) {
            self.shared.bus.complain(MessageKind::Answer(kind), subject, problem);
        }
    }

    /// Where a request for this purpose was sent. None if the answer is of no interest.
    fn subject_of(&self, kind: RequestKind, purpose: &Purpose) -> Option<String> {
        let Shared { cache, config, .. } = &self.shared;
        let kind = kind.name();
        let call_of = |key, task| match self.connections.get(key)?.tasks.get(task)? {
            Task::Call(call) => Some(call),
            Task::Fetch(_) | Task::Deliver(_) => None,
        };
        match purpose {
            Purpose::Load(key) | Purpose::Reload(key) => Some(format!("{kind}.{}", cache.name_of(*key)?)),
            Purpose::Query(key) => Some(cache.query_subject(*key)?.to_owned()),
            Purpose::Access(key, rid) => {
                let subscription = self.connections.get(key)?.subscriptions.get(rid)?;
                Some(format!("{kind}.{}", subscription.target.name()))
            }
            Purpose::CallAccess(key, task) => Some(format!("{kind}.{}", call_of(key, task)?.target.name())),
            Purpose::Method(key, task) => {
                let call = call_of(key, task)?;
                Some(format!("{kind}.{}.{}", call.target.name(), call.method))
            }
            Purpose::HeaderAuth(key) => {
                let is_http = self.connections.get(key)?.is_http();
                let method = if is_http { &config.header_auth } else { &config.ws_header_auth };
                Some(format!("{kind}.{}", method.as_deref()?))
            }
            Purpose::TokenReset => None,
        }
    }
}
