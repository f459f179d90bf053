//! A connection that is an HTTP request: it makes one request, with what its services say about the
//! response, and is closed by the answer.

use std::{collections::BTreeMap, mem};

use relogin_res::{
    Error, ResourceId,
    client::{Method, Request, encode_error},
    service::{self, Headers, Meta, Response},
};

use super::{Connection, Shared};
use crate::{
    api::Action,
    http::{Answer, Operation, Outcome, Resources, resources::Found},
};

/// An HTTP request under way.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// What is asked for; none once it was begun.
    operation: Option<Operation>,
    /// The headers that services have set so far.
    header: Headers,
}

impl Exchange {
    pub(crate) fn new(operation: Operation) -> Self {
        Self { operation: Some(operation), header: Headers::new() }
    }

    /// Adds headers: cookies to those that are there; everything else replaces what is there.
    fn merge(&mut self, meta: Meta) {
        for (name, values) in meta.into_header() {
            let into = self.header.entry(name);
            if into.key() == Meta::SET_COOKIE {
                into.or_default().extend(values);
            } else {
                into.insert_entry(values);
            }
        }
    }
}

impl Connection {
    /// True for an HTTP request.
    pub(crate) fn is_http(&self) -> bool {
        self.exchange.is_some()
    }

    /// Carries out the HTTP request, whose header authentication is over.
    pub(super) fn begin_exchange(&mut self, shared: &mut Shared) {
        let operation = self.exchange.as_mut().and_then(|exchange| exchange.operation.take());
        let (method, params) = match operation {
            Some(Operation::Get(rid)) => (Method::Get(rid), None),
            Some(Operation::Call { rid, method, params }) => (Method::Call(rid, method), params),
            None => return,
        };
        self.on_request(Request { id: 0, method, params }, shared);
    }

    /// Takes note of what a service says about the HTTP response, beside `error`. That may answer
    /// the request.
    pub(crate) fn take_meta(&mut self, meta: Option<Meta>, error: Option<&Error>, shared: &mut Shared) {
        let (Some(exchange), Some(meta)) = (&mut self.exchange, meta) else { return };
        let status = meta.direct_status();
        exchange.merge(meta);
        if status.is_some() {
            self.respond(status, error.map_or(Outcome::Nothing, |error| Outcome::Error(error.clone())), shared);
        }
    }

    /// Takes what came of the header authentication of an HTTP request.
    pub(super) fn on_exchange_auth(&mut self, response: Response, shared: &mut Shared) {
        let Response { outcome, meta } = response;
        let status = meta.as_ref().and_then(Meta::direct_status);
        if let (Some(exchange), Some(meta)) = (&mut self.exchange, meta) {
            exchange.merge(meta);
        }
        match status {
            Some(_) => self.respond(status, result_of(outcome).unwrap_or(Outcome::Nothing), shared),
            // Who is not known may have what everybody may have.
            None => self.begin_exchange(shared),
        }
    }

    /// Answers the HTTP request by the result of its method.
    pub(super) fn respond_by_method(&mut self, response: Response, shared: &mut Shared) {
        let Response { outcome, meta } = response;
        let status = meta.as_ref().and_then(Meta::direct_status);
        if let (Some(exchange), Some(meta)) = (&mut self.exchange, meta) {
            exchange.merge(meta);
        }
        let outcome = match outcome {
            Ok(service::Outcome::Result(result)) => Outcome::Result(result),
            other => result_of(other).unwrap_or(Outcome::Nothing),
        };
        self.respond(status, outcome, shared);
    }

    /// Answers the HTTP request by the resource that it asked for.
    pub(super) fn respond_by_resources(
        &mut self,
        root: ResourceId,
        found: BTreeMap<ResourceId, Found>,
        shared: &mut Shared,
    ) {
        self.respond(None, Outcome::Resources(Resources { root, found }), shared);
    }

    /// Answers a request by an error.
    pub(super) fn refuse(&mut self, id: u64, error: &Error, shared: &mut Shared) {
        if self.is_http() {
            self.respond(None, Outcome::Error(error.clone()), shared);
        } else {
            self.answer(encode_error(id, error), shared);
        }
    }

    /// Answers the HTTP request. The connection is over.
    fn respond(&mut self, status: Option<u16>, outcome: Outcome, shared: &mut Shared) {
        let Some(exchange) = &mut self.exchange else { return };
        if mem::replace(&mut self.is_over, true) {
            return;
        }
        let answer = Box::new(Answer { status, header: mem::take(&mut exchange.header), outcome });
        shared.bus.act(Action::Respond { connection: self.key, answer });
    }
}

/// What there is to send without a result.
fn result_of(outcome: Result<service::Outcome, Error>) -> Option<Outcome> {
    match outcome {
        Ok(service::Outcome::Resource(rid)) => Some(Outcome::Location(rid)),
        Ok(service::Outcome::Result(_)) => None,
        Err(error) => Some(Outcome::Error(error)),
    }
}
