//! A client of a history: keeps what it was sent as the RES protocol says, and fails on whatever
//! does not fit.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::gateways::Kind;

/// What a client has.
pub(super) struct Replica {
    kind: Kind,
    last_id: u64,
    /// Requests that wait for an answer: kind, resource, count.
    open: BTreeMap<u64, (String, String, u64)>,
    direct: BTreeMap<String, u64>,
    /// The resources it was sent; null for those it was sent an error for.
    has: BTreeMap<String, Value>,
    deleted: BTreeSet<String>,
    /// The last round of the end that it got, by resource.
    rounds: BTreeMap<String, u64>,
    events: usize,
}

impl Replica {
    /// A client of this gateway.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            last_id: 0,
            open: BTreeMap::new(),
            direct: BTreeMap::new(),
            has: BTreeMap::new(),
            deleted: BTreeSet::new(),
            rounds: BTreeMap::new(),
            events: 0,
        }
    }

    /// Notes a request, and gives its id.
    pub(super) fn ask(&mut self, kind: &str, rid: &str, count: u64) -> u64 {
        self.last_id += 1;
        self.open.insert(self.last_id, (kind.to_owned(), rid.to_owned(), count));
        self.last_id
    }

    pub(super) fn last_id(&self) -> u64 {
        self.last_id
    }

    pub(super) fn waits_for(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.open.is_empty()
    }

    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// What it is subscribed to, and how often; with subscriptions that are under way, or only
    /// those of which none are.
    pub(super) fn subscribed(&self, under_way: bool) -> Vec<(String, u64)> {
        let mut direct: BTreeMap<&String, u64> = self.direct.iter().map(|(rid, count)| (rid, *count)).collect();
        for (kind, rid, count) in self.open.values() {
            let entry = direct.entry(rid).or_default();
            match kind.as_str() {
                "subscribe" if under_way => *entry += 1,
                "subscribe" => *entry = 0,
                "unsubscribe" => *entry = entry.saturating_sub(*count),
                _ => {}
            }
        }
        direct.into_iter().filter(|(_, count)| *count > 0).map(|(rid, count)| (rid.clone(), count)).collect()
    }

    /// The rounds of what it has and what exists.
    pub(super) fn rounds(&self, exists: impl Fn(&str) -> bool) -> impl Iterator<Item = u64> {
        let alive = self.contents().filter(move |(rid, _)| exists(rid));
        alive.map(|(rid, _)| self.rounds.get(rid).copied().unwrap_or_default())
    }

    /// What it has, but for what was deleted or could not be loaded.
    pub(super) fn contents(&self) -> impl Iterator<Item = (&str, &Value)> {
        let has = self.has.iter().filter(|(rid, content)| !content.is_null() && !self.deleted.contains(*rid));
        has.map(|(rid, content)| (rid.as_str(), content))
    }

    /// Its state, for the report of a failure.
    pub(super) fn state(&self) -> String {
        format!("waits for {:?}, rounds {:?}, has {:?}", self.open, self.rounds, self.has.keys())
    }

    pub(super) fn take_in(&mut self, text: &str) -> Result<()> {
        let mut frame: Value = serde_json::from_str(text).context("reading a frame")?;
        match frame["id"].as_u64() {
            Some(id) => self.take_answer(id, &mut frame)?,
            None => {
                self.events += 1;
                let name = frame["event"].as_str().context("neither an answer nor an event")?.to_owned();
                let (rid, event) = name.rsplit_once('.').context("an event without a resource")?;
                self.take_event(rid, event, &frame["data"]).with_context(|| text.to_owned())?;
            }
        }
        self.let_go()
    }

    fn take_answer(&mut self, id: u64, frame: &mut Value) -> Result<()> {
        let (kind, rid, count) = self.open.remove(&id).context("an answer to no request")?;
        if frame.get("error").is_some() {
            return Ok(());
        }
        let result = frame["result"].take();
        match kind.as_str() {
            "subscribe" => {
                self.take(&result);
                *self.direct.entry(rid).or_default() += 1;
            }
            "unsubscribe" => {
                // Beyond those that were answered, it was open requests that ended, each with an
                // error.
                let direct = self.direct.entry(rid).or_default();
                *direct = direct.saturating_sub(count);
            }
            "get" => self.take(&result),
            _ => {}
        }
        Ok(())
    }

    fn take_event(&mut self, rid: &str, event: &str, data: &Value) -> Result<()> {
        // Between the answer to a get and the end of it, Resgate sends events.
        if self.kind == Kind::Resgate && !self.has.contains_key(rid) {
            return Ok(());
        }
        ensure!(self.has.contains_key(rid), "an event of a resource that it does not have");
        match event {
            "change" => {
                self.take(data);
                let changes = data["values"].as_object().context("a change without values")?;
                let Some(Value::Object(model)) = self.has.get_mut(rid) else {
                    bail!("a change of something that is no model")
                };
                ensure!(!changes.is_empty(), "a change of nothing");
                for (name, value) in changes {
                    if value["action"] == "delete" {
                        ensure!(model.remove(name).is_some(), "a deletion of a member that is not there");
                    } else {
                        ensure!(model.insert(name.clone(), value.clone()).as_ref() != Some(value), "no change");
                    }
                }
            }
            "add" | "remove" => {
                self.take(data);
                let idx = data["idx"].as_u64().and_then(|idx| usize::try_from(idx).ok()).context("no index")?;
                let Some(Value::Array(items)) = self.has.get_mut(rid) else {
                    bail!("an edit of something that is no collection")
                };
                if event == "add" {
                    ensure!(idx <= items.len(), "an add behind the end");
                    items.insert(idx, data["value"].clone());
                } else {
                    ensure!(idx < items.len(), "a removal behind the end");
                    items.remove(idx);
                }
            }
            "unsubscribe" => {
                let count = self.direct.insert(rid.to_owned(), 0);
                // Resgate unsubscribes every client that has a deleted resource.
                ensure!(self.kind == Kind::Resgate || count.is_some_and(|count| count > 0), "it is not subscribed");
            }
            "delete" => ensure!(self.deleted.insert(rid.to_owned()), "deleted twice"),
            "end" => {
                let round = data["round"].as_u64().context("an end without a round")?;
                self.rounds.insert(rid.to_owned(), round);
            }
            _ => {}
        }
        Ok(())
    }

    fn take(&mut self, set: &Value) {
        for kind in ["models", "collections", "errors"] {
            for (rid, content) in set[kind].as_object().into_iter().flatten() {
                self.deleted.remove(rid);
                self.rounds.remove(rid);
                self.has.insert(rid.clone(), if kind == "errors" { Value::Null } else { content.clone() });
            }
        }
    }

    /// Forgets what nothing refers to any more, and looks whether all that is referred to is there.
    fn let_go(&mut self) -> Result<()> {
        let mut todo: Vec<_> =
            self.direct.iter().filter(|(_, count)| **count > 0).map(|(rid, _)| rid.clone()).collect();
        let mut held = BTreeSet::new();
        while let Some(rid) = todo.pop() {
            let content = self.has.get(&rid).with_context(|| format!("{rid} is missing"))?;
            if held.insert(rid) {
                let values: Vec<&Value> = match content {
                    Value::Object(model) => model.values().collect(),
                    Value::Array(items) => items.iter().collect(),
                    _ => Vec::new(),
                };
                let hard = values.into_iter().filter(|value| value["soft"] != true);
                todo.extend(hard.filter_map(|value| value["rid"].as_str()).map(str::to_owned));
            }
        }
        // Resgate takes what a get brought for what a subscribe has that was under way meanwhile.
        if self.kind == Kind::Resgate && self.open.values().any(|(kind, ..)| kind == "subscribe") {
            return Ok(());
        }
        self.has.retain(|rid, _| held.contains(rid));
        self.deleted.retain(|rid| held.contains(rid));
        self.rounds.retain(|rid, _| held.contains(rid));
        Ok(())
    }
}
