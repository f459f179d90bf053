//! The service of a history: what its resources are, who may get them, and what it answers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use rand::{RngExt, rngs::StdRng};
use serde_json::{Map, Value, json};

/// How many resources there are, by number; models have even ones.
pub(crate) const RESOURCES: u64 = 9;

/// From this one on, they have one name, and differ by their queries.
const FIRST_QUERY: u64 = 6;

/// From this one on, those of a gentle graph refer to nothing, and only they are referred to.
const LEAVES: u64 = 4;

/// The resources. One that is deleted does not come back.
pub(super) struct Graph {
    name: String,
    /// As Resgate needs it: queries are written in their normal form alone, and what is referred to
    /// refers to nothing itself.
    gentle: bool,
    contents: BTreeMap<u64, Value>,
    cids: BTreeMap<String, u8>,
    denied: BTreeSet<(u8, u64)>,
    /// What the subjects of query events are answered, by the number of the resource.
    announced: BTreeMap<String, (u64, Value)>,
}

/// What is known of a resource.
pub(super) enum Known<'a> {
    Content(&'a Value),
    Gone,
    Nothing,
}

impl Graph {
    pub(super) fn new(name: &str, gentle: bool, rng: &mut StdRng) -> Self {
        let mut graph = Self {
            name: name.to_owned(),
            gentle,
            contents: BTreeMap::new(),
            cids: BTreeMap::new(),
            denied: BTreeSet::new(),
            announced: BTreeMap::new(),
        };
        for number in 0..RESOURCES {
            let content = if is_model(number) {
                json!({ "a": graph.value(number, rng), "b": graph.value(number, rng) })
            } else {
                Value::Array((0..3).map(|_| graph.value(number, rng)).collect())
            };
            graph.contents.insert(number, content);
        }
        graph
    }

    pub(super) fn is_query(&self, number: u64) -> bool {
        number >= FIRST_QUERY
    }

    pub(super) fn name_of(&self, number: u64) -> String {
        if self.is_query(number) { format!("{}.q", self.name) } else { format!("{}.r{number}", self.name) }
    }

    /// A resource as some client or value calls it: queries are written in different ways.
    pub(super) fn called(&self, number: u64, rng: &mut StdRng) -> String {
        let name = self.name_of(number);
        match rng.random_range(0..3) {
            _ if !self.is_query(number) => name,
            _ if self.gentle => format!("{name}?n={number}"),
            0 => format!("{name}?b&n={number}"),
            1 => format!("{name}?n={number}&b"),
            _ => format!("{name}?n={number}"),
        }
    }

    /// A subject without what it is about: requests about one name are answered in their order.
    pub(super) fn about(&self, subject: &str) -> String {
        match subject.split_once('.') {
            // Access requests wait only for each other.
            Some(("access", _)) => subject.to_owned(),
            Some((_, name)) => match self.announced.get(subject) {
                Some((number, _)) => self.name_of(*number),
                None => name.to_owned(),
            },
            None => subject.to_owned(),
        }
    }

    /// True for the subject of a query event.
    pub(super) fn is_announced(&self, subject: &str) -> bool {
        self.announced.contains_key(subject)
    }

    pub(super) fn exists(&self, number: u64) -> bool {
        self.contents.contains_key(&number)
    }

    pub(super) fn exists_as(&self, rid: &str) -> bool {
        matches!(self.content_of(rid), Known::Content(_))
    }

    pub(super) fn content_of(&self, rid: &str) -> Known<'_> {
        match self.number_of(rid) {
            None => Known::Nothing,
            Some(number) => self.contents.get(&number).map_or(Known::Gone, Known::Content),
        }
    }

    fn number_of(&self, rid: &str) -> Option<u64> {
        let (name, query) = rid.split_once('?').unwrap_or((rid, ""));
        let local = name.strip_prefix(&self.name)?.strip_prefix('.')?;
        if local == "q" {
            return query.split('&').find_map(|part| part.strip_prefix("n="))?.parse().ok();
        }
        local.strip_prefix('r')?.parse().ok()
    }

    /// A value for the resource `of`.
    fn value(&self, of: u64, rng: &mut StdRng) -> Value {
        let number = rng.random_range(0..RESOURCES);
        let small = rng.random_range(0..5);
        match rng.random_range(0..8) {
            0..3 if !self.gentle || of < LEAVES && number >= LEAVES => json!({ "rid": self.called(number, rng) }),
            3 => json!({ "rid": self.called(number, rng), "soft": true }),
            4 => json!({ "data": [small, { "n": number }] }),
            5 => Value::Null,
            _ => json!(small),
        }
    }

    /// Changes a resource, and says by which events.
    pub(super) fn mutate(&mut self, number: u64, rng: &mut StdRng) -> Vec<(String, Value)> {
        let value = self.value(number, rng);
        let Some(content) = self.contents.get_mut(&number) else { return Vec::new() };
        let event = match content {
            Value::Object(members) => change(members, &value, rng),
            Value::Array(items) => add_or_remove(items, &value, rng),
            _ => return Vec::new(),
        };
        vec![event]
    }

    pub(super) fn delete(&mut self, number: u64) -> Vec<(String, Value)> {
        self.contents.remove(&number).map(|_| ("delete".to_owned(), Value::Null)).into_iter().collect()
    }

    pub(super) fn change_access(&mut self, client: u8, number: u64) {
        if !self.denied.remove(&(client, number)) {
            self.denied.insert((client, number));
        }
    }

    pub(super) fn know(&mut self, payload: &Value) {
        let number = payload["params"].as_u64().and_then(|number| u8::try_from(number).ok());
        if let (Some(cid), Some(number)) = (payload["cid"].as_str(), number) {
            self.cids.insert(cid.to_owned(), number);
        }
    }

    pub(super) fn cid_of(&self, client: u8) -> Option<&str> {
        self.cids.iter().find(|(_, number)| **number == client).map(|(cid, _)| cid.as_str())
    }

    /// The subject that answers to these events of a query resource; by all of its content, if
    /// `whole`, as it is now.
    pub(super) fn announce(&mut self, number: u64, events: Vec<(String, Value)>, whole: bool) -> String {
        let subject = format!("get.{}.announced{}", self.name, self.announced.len());
        let is_custom = |name: &str| !matches!(name, "change" | "add" | "remove" | "delete");
        let answer = match self.contents.get(&number) {
            None => json!({ "error": { "code": "system.notFound", "message": "Not found" } }),
            Some(content) if whole && !events.iter().any(|(name, _)| is_custom(name)) => {
                json!({ "result": { kind_of(content): content } })
            }
            Some(_) => {
                let events: Vec<_> =
                    events.into_iter().map(|(event, data)| json!({ "event": event, "data": data })).collect();
                json!({ "result": { "events": events } })
            }
        };
        self.announced.insert(subject.clone(), (number, answer));
        subject
    }

    pub(super) fn answer(&self, subject: &str, text: &str) -> Result<Value> {
        let payload: Value = serde_json::from_str(text).context("reading a request")?;
        let query = payload["query"].as_str().map(|query| format!("?{query}")).unwrap_or_default();
        let (kind, name) = subject.split_once('.').context("a subject of two parts")?;
        if let Some((number, answer)) = self.announced.get(subject) {
            let is_about = self.number_of(&format!("{}{query}", self.name_of(*number))) == Some(*number);
            return Ok(if is_about { answer.clone() } else { json!({ "result": { "events": [] } }) });
        }
        let number = self.number_of(&format!("{name}{query}")).context("a known resource")?;
        if kind == "access" {
            let client = payload["cid"].as_str().and_then(|cid| self.cids.get(cid)).copied().unwrap_or_default();
            return Ok(json!({ "result": { "get": !self.denied.contains(&(client, number)) } }));
        }
        let Some(content) = self.contents.get(&number) else {
            return Ok(json!({ "error": { "code": "system.notFound", "message": "Not found" } }));
        };
        let mut result = json!({ kind_of(content): content });
        if self.is_query(number) {
            result["query"] = format!("n={number}").into();
        }
        Ok(json!({ "result": result }))
    }
}

fn is_model(number: u64) -> bool {
    number.is_multiple_of(2)
}

fn kind_of(content: &Value) -> &'static str {
    if content.is_array() { "collection" } else { "model" }
}

fn change(members: &mut Map<String, Value>, value: &Value, rng: &mut StdRng) -> (String, Value) {
    let name = ["a", "b", "c", "d"][rng.random_range(0..4)].to_owned();
    let values = if rng.random_ratio(1, 4) {
        members.remove(&name);
        json!({ name: { "action": "delete" } })
    } else {
        members.insert(name.clone(), value.clone());
        json!({ name: value })
    };
    ("change".to_owned(), json!({ "values": values }))
}

fn add_or_remove(items: &mut Vec<Value>, value: &Value, rng: &mut StdRng) -> (String, Value) {
    if !items.is_empty() && rng.random_ratio(items.len().min(5) as u32, 6) {
        let idx = rng.random_range(0..items.len());
        items.remove(idx);
        ("remove".to_owned(), json!({ "idx": idx }))
    } else {
        let idx = rng.random_range(0..=items.len());
        items.insert(idx, value.clone());
        ("add".to_owned(), json!({ "idx": idx, "value": value }))
    }
}
