//! Answers of services, to whom they belong, and complaints about those that make no sense.

use relogin_res::{
    Error,
    service::{Access, Response},
};
use serde::Deserialize;

use super::{Answered, Gateway};
use crate::{
    api::{Action, ConnectionKey},
    bus::Purpose,
    cache::Waiting,
    connection::{Shared, inbox::Arrival, task::Task},
    counts::{MessageKind, RequestKind},
    decoding::{Decoded, DecodedAnswer, Encoded, outcome_of, problem_of, read_result},
    tag::Tag,
};

impl Gateway {
    pub(super) fn on_reply(&mut self, tag: Tag, payload: &[u8]) {
        let Some(kind) = self.shared.bus.kind_of(tag) else { return };
        let has_content = matches!(kind, RequestKind::Get | RequestKind::Query);
        if has_content && payload.len() > self.shared.config.max_decoded_at_once {
            return self.decode_elsewhere(tag, kind, payload);
        }
        let (response, invalid) = Response::read(payload);
        if let Some(purpose) = self.shared.bus.finish(tag, outcome_of(&response)) {
            if let Some(invalid) = invalid {
                self.complain(kind, &purpose, problem_of(invalid));
            }
            self.on_answer(tag, &purpose, Ok((response, payload.len())));
        }
    }

    /// Has a large answer decoded. The request is under way until that is done.
    fn decode_elsewhere(&mut self, tag: Tag, kind: RequestKind, payload: &[u8]) {
        let Shared { bus, cache, .. } = &mut self.shared;
        if cache.is_decoding(tag) {
            return;
        }
        if let Some(Purpose::Load(key) | Purpose::Reload(key)) = bus.purpose_of(tag).cloned() {
            cache.await_decoding(key, tag, payload.len(), bus);
        }
        bus.act(Action::Decode(Encoded::new(tag, kind, payload)));
    }

    /// Takes in an answer that was decoded elsewhere, unless its request was given up.
    pub(super) fn on_decoded(&mut self, decoded: Decoded) {
        let Decoded { tag, kind, outcome, problem, content } = decoded;
        if let Some(purpose) = self.shared.bus.finish(tag, outcome) {
            if let Some(problem) = problem {
                self.complain(kind, &purpose, problem);
            }
            self.on_content(tag, &purpose, content);
        }
    }

    pub(super) fn on_answer(&mut self, tag: Tag, purpose: &Purpose, answer: Answered) {
        match *purpose {
            Purpose::Load(_) | Purpose::Reload(_) => self.on_content_answer(RequestKind::Get, tag, purpose, answer),
            Purpose::Query(_) => self.on_content_answer(RequestKind::Query, tag, purpose, answer),
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

    fn on_content_answer(&mut self, kind: RequestKind, tag: Tag, purpose: &Purpose, answer: Answered) {
        let content = match answer {
            Ok((response, bytes)) => {
                let (content, problem) = DecodedAnswer::read(kind, response, bytes);
                if let Some(problem) = problem {
                    self.complain(kind, purpose, problem);
                }
                content
            }
            Err(error) => DecodedAnswer::failed(kind, error),
        };
        self.on_content(tag, purpose, content);
    }

    fn on_content(&mut self, tag: Tag, purpose: &Purpose, content: DecodedAnswer) {
        let notices = match (purpose, content) {
            (&Purpose::Load(key), DecodedAnswer::Fetched(fetched)) => {
                let Shared { cache, bus, .. } = &mut self.shared;
                cache.on_fetched(tag, key, Waiting::Loaded(key, fetched), bus)
            }
            (&Purpose::Reload(key), DecodedAnswer::Fetched(fetched)) => {
                self.catch_up_with(key);
                let Shared { cache, bus, .. } = &mut self.shared;
                cache.end_reload(key);
                cache.on_fetched(tag, key, Waiting::Reloaded(key, fetched), bus)
            }
            (&Purpose::Query(key), DecodedAnswer::Queried(queried)) => {
                self.catch_up_with(key);
                let Shared { cache, bus, .. } = &mut self.shared;
                cache.on_queried(key, queried, bus)
            }
            _ => return,
        };
        self.notify(notices);
    }

    /// What an answer says, if it is no error.
    fn read_result<T: for<'a> Deserialize<'a>>(
        &mut self,
        kind: RequestKind,
        purpose: &Purpose,
        response: Response,
    ) -> Result<T, Error> {
        let (result, problem) = read_result(kind, response);
        if let Some(problem) = problem {
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
