//! A gateway of one connection, made to cause trouble: it loads what it is asked for in any order,
//! and leaves out of its answers and events what it expects the client to have, as Resgate does. It
//! models what gateways may do, not how a good one works.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value as Json, json};

use super::{Rng, Sent};

/// What the service has: objects are models, arrays collections.
pub(crate) type Resources = BTreeMap<String, Json>;

#[derive(Debug, Default)]
struct Sub {
    direct: u64,
    loaded: bool,
    /// What the client has of it.
    view: Option<Json>,
    /// Events that the client has not got. The first one may wait for what it refers to.
    queue: VecDeque<(&'static str, Json)>,
}

/// An answer that waits until all that it carries is loaded.
#[derive(Debug)]
struct Waiting {
    id: u64,
    rid: String,
    method: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Subscribe,
    Get,
    Call,
}

/// The gateway and the service behind it.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) truth: Resources,
    pub(crate) denied: BTreeSet<String>,
    subs: BTreeMap<String, Sub>,
    waiting: Vec<Waiting>,
    /// Resources that the client has lost: an unsubscribe request for them may be on its way.
    taken: BTreeSet<String>,
    /// On their way to the client.
    pub(crate) frames: VecDeque<String>,
}

impl Scripted {
    /// The connection is gone.
    pub(crate) fn lost(&mut self) {
        self.subs.clear();
        self.waiting.clear();
        self.taken.clear();
        self.frames.clear();
    }

    /// What the client is subscribed to.
    pub(crate) fn subscribed(&self) -> Vec<&str> {
        self.subs.keys().map(String::as_str).collect()
    }

    /// A request came. A call's method says which resource it answers with.
    pub(crate) fn request(&mut self, sent: &Sent) {
        let id = sent.id;
        let (kind, rest) = sent.method.split_once('.').unwrap_or((&sent.method, ""));
        match kind {
            "version" => self.send(&json!({"id": id, "result": {"protocol": "1.2.3"}})),
            "subscribe" => self.fetch(id, rest, Kind::Subscribe),
            "get" => self.fetch(id, rest, Kind::Get),
            "unsubscribe" => {
                let count = sent.params["count"].as_u64().unwrap_or(1);
                match self.subs.get_mut(rest).filter(|sub| sub.direct >= count) {
                    Some(sub) => {
                        sub.direct -= count;
                        self.send(&json!({"id": id}));
                    }
                    None => {
                        assert!(self.taken.contains(rest), "gives back {rest}, which it does not have");
                        self.send(&json!({"id": id, "error": {"code": "system.noSubscription", "message": ""}}));
                    }
                }
                self.collect();
            }
            "call" => match rest.rsplit_once('.').unwrap().1.strip_prefix("find-") {
                // A method has no dots.
                Some(found) => self.fetch(id, &found.replace('-', "."), Kind::Call),
                None => self.send(&json!({"id": id, "result": {"payload": rest}})),
            },
            _ => self.send(&json!({"id": id, "error": {"code": "system.invalidRequest", "message": ""}})),
        }
    }

    fn fetch(&mut self, id: u64, rid: &str, method: Kind) {
        if self.denied.contains(rid) || !self.truth.contains_key(rid) {
            let code = if self.denied.contains(rid) { "system.accessDenied" } else { "system.notFound" };
            return self.refuse(id, rid, method, code);
        }
        let sub = self.subs.entry(rid.to_owned()).or_default();
        sub.direct += u64::from(method != Kind::Get);
        self.waiting.push(Waiting { id, rid: rid.to_owned(), method });
        self.go_on();
    }

    fn refuse(&mut self, id: u64, rid: &str, method: Kind, code: &str) {
        let error = json!({"code": code, "message": ""});
        self.send(&match method {
            Kind::Call => json!({"id": id, "result": {"rid": rid, "errors": {rid: error}}}),
            _ => json!({"id": id, "error": error}),
        });
    }

    /// Something that is being loaded, picked by `rng`, is there now. `false` if there is none.
    pub(crate) fn load(&mut self, rng: &mut Rng) -> bool {
        let loading: Vec<String> =
            self.subs.iter().filter(|(_, sub)| !sub.loaded).map(|(rid, _)| rid.clone()).collect();
        if loading.is_empty() {
            return false;
        }
        let picked = &loading[usize::try_from(rng.next() % loading.len() as u64).unwrap()];
        self.subs.get_mut(picked).unwrap().loaded = true;
        self.go_on();
        true
    }

    /// The service changes a resource, and says so.
    pub(crate) fn event(&mut self, rid: &str, name: &'static str, data: Json) {
        match (self.truth.get_mut(rid), name) {
            (Some(value), "change" | "add" | "remove") => apply(value, name, &data),
            (Some(_), "delete") => drop(self.truth.remove(rid)),
            _ => {}
        }
        if let Some(sub) = self.subs.get_mut(rid).filter(|sub| sub.view.is_some()) {
            sub.queue.push_back((name, data));
            self.go_on();
        }
    }

    /// The client may not have `rid` any more.
    pub(crate) fn deny(&mut self, rid: &str) {
        self.denied.insert(rid.to_owned());
        // Asked for, it is answered as it would have been a moment ago: that order, too, is
        // possible.
        if self.waiting.iter().any(|waiting| waiting.rid == rid) {
            return;
        }
        if let Some(sub) = self.subs.get_mut(rid).filter(|sub| sub.direct > 0) {
            sub.direct = 0;
            self.taken.insert(rid.to_owned());
            let reason = json!({"code": "system.accessDenied", "message": "Access denied"});
            self.send(&json!({"event": format!("{rid}.unsubscribe"), "data": {"reason": reason}}));
            self.collect();
        }
    }

    fn send(&mut self, frame: &Json) {
        self.frames.push_back(frame.to_string());
    }

    /// Sends all that is ready to be sent.
    fn go_on(&mut self) {
        while self.answer_one() || self.send_one_event() {
            self.collect();
        }
    }

    fn answer_one(&mut self) -> bool {
        for at in 0..self.waiting.len() {
            let rid = self.waiting[at].rid.clone();
            let Some(fresh) = self.gather(std::slice::from_ref(&rid)) else { continue };
            let Waiting { id, method, .. } = self.waiting.remove(at);
            if !self.truth.contains_key(&rid) {
                // Deleted meanwhile.
                if let Some(sub) = self.subs.get_mut(&rid).filter(|_| method != Kind::Get) {
                    sub.direct = sub.direct.saturating_sub(1);
                }
                self.refuse(id, &rid, method, "system.notFound");
                return true;
            }
            let mut set = self.set(&fresh);
            if method == Kind::Call {
                set["rid"] = rid.into();
            }
            self.send(&json!({"id": id, "result": set}));
            if method != Kind::Get {
                self.show(&fresh);
            }
            return true;
        }
        false
    }

    fn send_one_event(&mut self) -> bool {
        let rids: Vec<String> = self.subs.keys().cloned().collect();
        for rid in rids {
            let Some((name, data)) = self.subs[&rid].queue.front().cloned() else { continue };
            let Some(fresh) = self.gather(&brought(name, &data)) else { continue };
            let mut all = data.clone();
            for (kind, resources) in self.set(&fresh).as_object().unwrap() {
                all[kind] = resources.clone();
            }
            self.send(&json!({"event": format!("{rid}.{name}"), "data": all}));
            self.show(&fresh);
            let sub = self.subs.get_mut(&rid).unwrap();
            sub.queue.pop_front();
            match (&mut sub.view, name) {
                (Some(view), "change" | "add" | "remove") => apply(view, name, &data),
                (view, "delete") => {
                    // Its subscribers have nothing to do any more with what it referred to.
                    *view = Some(Json::Null);
                    sub.queue.clear();
                    if std::mem::take(&mut sub.direct) > 0 {
                        self.taken.insert(rid.clone());
                        let reason = json!({"code": "system.deleted", "message": "Deleted"});
                        self.send(&json!({"event": format!("{rid}.unsubscribe"), "data": {"reason": reason}}));
                    }
                }
                _ => {}
            }
            return true;
        }
        false
    }

    /// What of `roots`, and what they refer to, the client does not have; `None` while some of it
    /// is being loaded.
    fn gather(&mut self, roots: &[String]) -> Option<Vec<String>> {
        let (mut open, mut seen, mut fresh, mut loading) = (roots.to_vec(), BTreeSet::new(), Vec::new(), false);
        while let Some(rid) = open.pop() {
            if !seen.insert(rid.clone()) {
                continue;
            }
            let sub = self.subs.entry(rid.clone()).or_default();
            if sub.view.is_some() {
                continue;
            }
            loading |= !sub.loaded;
            if sub.loaded {
                open.extend(self.truth.get(&rid).map(references).unwrap_or_default());
                fresh.push(rid);
            }
        }
        (!loading).then_some(fresh)
    }

    fn set(&self, fresh: &[String]) -> Json {
        let mut set = json!({});
        for rid in fresh {
            let (kind, value) = match self.truth.get(rid) {
                Some(value) if value.is_object() => ("models", value.clone()),
                Some(value) => ("collections", value.clone()),
                None => ("errors", json!({"code": "system.notFound", "message": "Not found"})),
            };
            if set.get(kind).is_none() {
                set[kind] = Json::Object(Map::new());
            }
            set[kind][rid] = value;
        }
        set
    }

    fn show(&mut self, fresh: &[String]) {
        for rid in fresh {
            let value = self.truth.get(rid).cloned();
            if let Some(sub) = self.subs.get_mut(rid) {
                sub.view = Some(value.unwrap_or(Json::Null));
            }
        }
    }

    /// Forgets what the client is no longer subscribed to.
    fn collect(&mut self) {
        let mut open: Vec<String> =
            self.subs.iter().filter(|(_, sub)| sub.direct > 0).map(|(rid, _)| rid.clone()).collect();
        open.extend(self.waiting.iter().map(|waiting| waiting.rid.clone()));
        let mut seen = BTreeSet::new();
        while let Some(rid) = open.pop() {
            let Some(sub) = self.subs.get(&rid) else { continue };
            if !seen.insert(rid.clone()) {
                continue;
            }
            match &sub.view {
                Some(view) => open.extend(references(view)),
                None if sub.loaded => open.extend(self.truth.get(&rid).map(references).unwrap_or_default()),
                None => {}
            }
            // Loaded but not sent: it need not be loaded again.
            open.extend(sub.queue.front().map(|(name, data)| brought(name, data)).unwrap_or_default());
        }
        self.subs.retain(|rid, _| seen.contains(rid));
    }
}

/// What an event refers to.
fn brought(name: &str, data: &Json) -> Vec<String> {
    match name {
        "change" => references(&data["values"]),
        "add" => references(&json!([data["value"]])),
        _ => Vec::new(),
    }
}

fn references(value: &Json) -> Vec<String> {
    let hard = |value: &Json| {
        let rid = value.get("rid").filter(|_| value.get("soft").is_none());
        rid.and_then(Json::as_str).map(str::to_owned)
    };
    match value {
        Json::Object(members) => members.values().filter_map(hard).collect(),
        Json::Array(values) => values.iter().filter_map(hard).collect(),
        _ => Vec::new(),
    }
}

fn apply(value: &mut Json, name: &str, data: &Json) {
    match (value, name) {
        (Json::Object(members), "change") => {
            for (name, value) in data["values"].as_object().unwrap() {
                if value.get("action").is_some() {
                    members.remove(name);
                } else {
                    members.insert(name.clone(), value.clone());
                }
            }
        }
        (Json::Array(values), "add") => {
            values.insert(usize::try_from(data["idx"].as_u64().unwrap()).unwrap(), data["value"].clone());
        }
        (Json::Array(values), "remove") => {
            values.remove(usize::try_from(data["idx"].as_u64().unwrap()).unwrap());
        }
        _ => {}
    }
}
