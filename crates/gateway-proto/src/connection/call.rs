//! Methods of resources: calls, which need access, and authentication, which does not.

use relogin_res::{
    Error, ResourceId,
    client::{encode_error, encode_payload, encode_result},
    read,
    service::{CallRequest, Outcome, Payload, Response, Subject},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Connection, Shared,
    subscription::AccessResult,
    task::{Call, FetchKind, Stage, Task},
};
use crate::{
    bus::{Asker, Purpose},
    counts::{MessageKind, RequestKind},
    ids::TaskId,
    tag::Tag,
};

/// A reference to a resource, alone.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    rid: ResourceId,
}

impl Connection {
    /// Begins a call for the request `id`, which is answered in the end.
    pub(crate) fn call(
        &mut self,
        id: u64,
        rid: &ResourceId,
        method: String,
        params: Option<Box<RawValue>>,
        is_new: bool,
        shared: &mut Shared,
    ) {
        // A cid is one part of a name, or the connection would not have been opened.
        let target = rid.with_cid(&self.cid).unwrap_or_else(|| rid.clone());
        let params = or_null(params);
        let call = Call { id, target, method, params, is_new, is_auth: false, stage: Stage::Access, tag: None };
        let task = self.add_task(Task::Call(call));
        if self.subscriptions.get(rid).is_some_and(|subscription| subscription.gets_events()) {
            self.need_access(rid, task, shared);
        } else {
            self.ask_call_access(task, shared);
        }
    }

    /// Begins an authentication for the request `id`, which is answered in the end.
    pub(crate) fn auth(
        &mut self,
        id: u64,
        rid: &ResourceId,
        method: &str,
        params: Option<Box<RawValue>>,
        shared: &mut Shared,
    ) {
        let target = rid.with_cid(&self.cid).unwrap_or_else(|| rid.clone());
        if is_too_long(&target, method, shared) {
            return self.refuse(id, &Error::subject_too_long(), shared);
        }
        let request = self.auth_request(or_null(params), target.query(), false);
        let subject = Subject::Auth(target.name().to_owned(), method.to_owned()).to_text();
        let call = Call {
            id,
            target,
            method: method.to_owned(),
            params: None,
            is_new: false,
            is_auth: true,
            stage: Stage::Result,
            tag: None,
        };
        let task = self.add_task(Task::Call(call));
        let tag = shared.bus.ask(Asker::Connection(self.key), Purpose::Method(self.key, task), subject, request);
        self.set_call(task, Stage::Result, tag);
    }

    /// Asks the connection to authenticate again, as a token reset says. The answer is of no
    /// interest.
    pub(crate) fn renew_token(&self, subject: &str, shared: &mut Shared) {
        let request = self.auth_request(None, None, self.is_http());
        shared.bus.ask(Asker::Connection(self.key), Purpose::TokenReset, subject.to_owned(), request);
    }

    /// The payload of an auth request.
    pub(crate) fn auth_request(&self, params: Option<Box<RawValue>>, query: Option<&str>, is_http: bool) -> Vec<u8> {
        let (cid, token, query) = (self.cid.clone(), self.token.clone(), query.map(str::to_owned));
        self.origin.encode(CallRequest { cid, token, params, query, is_http })
    }

    /// Asks for a call alone whether it is allowed: without a subscription, there is no notice when
    /// that changes.
    pub(crate) fn ask_call_access(&mut self, task: TaskId, shared: &mut Shared) {
        let Some(Task::Call(call)) = self.tasks.get(&task) else { return };
        let (subject, payload) = self.access_request(&call.target);
        let tag = shared.bus.ask(Asker::Connection(self.key), Purpose::CallAccess(self.key, task), subject, payload);
        self.set_call(task, Stage::Access, tag);
    }

    /// Asks again where the answer is still to come: it may have been given for another token.
    pub(crate) fn reaccess_calls(&mut self, shared: &mut Shared) {
        let asked = |task: &Task| matches!(task, Task::Call(Call { stage: Stage::Access, tag: Some(_), .. }));
        let asked: Vec<_> = self.tasks.iter().filter(|(_, task)| asked(task)).map(|(id, _)| *id).collect();
        for task in asked {
            if let Some(tag) = self.tasks.get(&task).and_then(Task::tag) {
                shared.bus.release(tag);
            }
            self.ask_call_access(task, shared);
        }
    }

    /// Takes the answer to an access request of a call.
    pub(super) fn on_call_access_answer(&mut self, tag: Tag, task: TaskId, result: &AccessResult, shared: &mut Shared) {
        // If it is another's, there was reason to ask again since it came.
        if self.tasks.get(&task).and_then(Task::tag) == Some(tag) {
            self.on_call_access(task, result, shared);
        }
    }

    /// Takes note of whether a call is allowed.
    pub(crate) fn on_call_access(&mut self, task: TaskId, result: &AccessResult, shared: &mut Shared) {
        let Some(Task::Call(call)) = self.tasks.get_mut(&task) else { return };
        let error = match result {
            // Like any other method that there is not, it is refused to whoever may not call it.
            Ok(access) if access.may_call(&call.method) && is_too_long(&call.target, &call.method, shared) => {
                &Error::subject_too_long()
            }
            Ok(access) if access.may_call(&call.method) => {
                let request = CallRequest {
                    cid: self.cid.clone(),
                    token: self.token.clone(),
                    params: call.params.take(),
                    query: call.target.query().map(str::to_owned),
                    is_http: self.exchange.is_some(),
                };
                let subject = Subject::Call(call.target.name().to_owned(), call.method.clone()).to_text();
                let tag = shared.bus.ask(
                    Asker::Connection(self.key),
                    Purpose::Method(self.key, task),
                    subject,
                    request.encode(),
                );
                return self.set_call(task, Stage::Result, tag);
            }
            Ok(_) => &Error::access_denied(),
            Err(error) => error,
        };
        let id = call.id;
        self.tasks.remove(&task);
        self.refuse(id, error, shared);
    }

    fn set_call(&mut self, task: TaskId, stage: Stage, tag: Tag) {
        if let Some(Task::Call(call)) = self.tasks.get_mut(&task) {
            (call.stage, call.tag) = (stage, Some(tag));
        }
    }

    /// Takes the result of a method.
    pub(crate) fn on_method_answer(&mut self, task: TaskId, response: Response, shared: &mut Shared) {
        let Some(Task::Call(Call { id, target, method, is_new, is_auth, .. })) = self.tasks.remove(&task) else {
            return;
        };
        let is_new_method = method == Call::NEW;
        let legacy_new = |result: &RawValue| {
            let reference = is_new_method.then(|| read::object(result.get().as_bytes()));
            reference.and_then(Result::ok).map(|reference: Reference| reference.rid)
        };
        let outcome = response.outcome.map(|outcome| match outcome {
            Outcome::Result(result) => legacy_new(&result).map_or(Outcome::Result(result), Outcome::Resource),
            resource @ Outcome::Resource(_) => resource,
        });
        if self.is_http() {
            return self.respond_by_method(Response { outcome, meta: response.meta }, shared);
        }
        let has_result_object = self.version.has_call_result_object();
        let frame = match outcome {
            Err(error) => encode_error(id, &error),
            Ok(Outcome::Resource(rid)) if is_new || has_result_object => {
                return self.fetch(id, &rid, FetchKind::Result, shared);
            }
            Ok(Outcome::Resource(rid)) => encode_result(id, Some(&Reference { rid })),
            Ok(Outcome::Result(_)) if is_new => {
                let subject = Subject::Call(target.name().to_owned(), method).to_text();
                shared.bus.complain(MessageKind::Answer(RequestKind::Call), subject, "its result is no resource");
                encode_error(id, &Error::internal_because("non-resource response on new request"))
            }
            Ok(Outcome::Result(result)) if has_result_object => encode_payload(id, &result),
            Ok(Outcome::Result(result)) => encode_result(id, Some(&result)),
        };
        if is_auth {
            self.answer_in_secret(frame, shared);
        } else {
            self.answer(frame, shared);
        }
    }
}

/// The params as services get them: Resgate writes a null for none, and services have come to rely
/// on the member.
fn or_null(params: Option<Box<RawValue>>) -> Option<Box<RawValue>> {
    params.or_else(|| Some(RawValue::NULL.to_owned()))
}

/// True if the subject of a method would be longer than the bus takes.
fn is_too_long(target: &ResourceId, method: &str, shared: &Shared) -> bool {
    "access..".len() + target.name().len() + method.len() > shared.config.max_subject
}
