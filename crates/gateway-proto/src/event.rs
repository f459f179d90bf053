//! An event on a resource on its way to all who are subscribed, encoded once for all of them.

use bytes::Bytes;
use relogin_res::{
    ResourceId, Verbatim,
    client::{AddEvent, ChangeEvent, OpenFrame, RemoveEvent, ResourceSet, encode_event},
    delta::Changes,
};
use serde_json::value::RawValue;

use crate::content::{ByDialect, Dialect, in_dialect};

/// An event.
#[derive(Debug)]
pub(crate) struct Event {
    /// The resource, as services name it.
    rid: ResourceId,
    kind: Kind,
    /// The version of the content that the event led to.
    version: u64,
    /// How many bytes it had on its way here, about.
    bytes: usize,
    /// For clients that name the resource as services do, which is nearly all of them.
    frames: ByDialect<Bytes>,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Members of a model changed.
    Change {
        /// Those that really did.
        changes: Changes<Verbatim>,
        /// What their old values referred to.
        dropped: Vec<ResourceId>,
    },
    /// A collection got a value.
    Add(usize, Verbatim),
    /// A collection lost a value.
    Remove(usize, Verbatim),
    /// The resource is gone. With what the service says to that, usually nothing.
    Delete(Option<Box<RawValue>>),
    /// The service's own.
    Custom(String, Option<Box<RawValue>>),
}

impl Event {
    /// An event on the resource `rid`, after which its content has this version.
    pub(crate) fn new(rid: ResourceId, kind: Kind, version: u64) -> Self {
        Self { rid, kind, version, bytes: 0, frames: ByDialect::default() }
    }

    /// The event, as one that came in so many bytes.
    pub(crate) fn in_bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// How many bytes it takes to keep it.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes
    }

    /// True if content of this version holds already what the event does.
    pub(crate) fn is_in(&self, version: u64) -> bool {
        self.version <= version && matches!(self.kind, Kind::Change { .. } | Kind::Add(..) | Kind::Remove(..))
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn is_delete(&self) -> bool {
        matches!(self.kind, Kind::Delete(_))
    }

    /// True if the event changes nothing of what the resource refers to, as most do not.
    pub(crate) fn keeps_references(&self) -> bool {
        match &self.kind {
            Kind::Change { changes, dropped } => {
                dropped.is_empty()
                    && changes.values().all(|change| change.value().is_none_or(|it| it.reference().is_none()))
            }
            Kind::Add(_, value) | Kind::Remove(_, value) => value.reference().is_none(),
            Kind::Delete(_) | Kind::Custom(..) => true,
        }
    }

    /// What new values refer to, once for each of them.
    pub(crate) fn added_references(&self) -> Vec<ResourceId> {
        match &self.kind {
            Kind::Change { changes, .. } => {
                changes.values().filter_map(|change| change.value()?.reference().cloned()).collect()
            }
            Kind::Add(_, value) => value.reference().cloned().into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// What values that are gone referred to, once for each of them.
    pub(crate) fn dropped_references(&self) -> Vec<ResourceId> {
        match &self.kind {
            Kind::Change { dropped, .. } => dropped.clone(),
            Kind::Remove(_, value) => value.reference().cloned().into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The frame for a client that calls the resource `rid`, and has all that the event refers to.
    pub(crate) fn frame(&self, rid: &ResourceId, dialect: Dialect) -> Bytes {
        if *rid == self.rid {
            self.frames.get_or_make(dialect, || self.encode(rid, dialect)).clone()
        } else {
            self.encode(rid, dialect)
        }
    }

    /// The frame for a client that lacks resources, without these. The event adds references.
    pub(crate) fn open_frame(&self, rid: &ResourceId, dialect: Dialect) -> OpenFrame {
        match &self.kind {
            Kind::Add(idx, value) => OpenFrame::event(rid, "add", &add(*idx, value, dialect)),
            Kind::Change { changes, .. } => OpenFrame::event(rid, "change", &change(changes, dialect)),
            // These have no room for resources, and need none.
            Kind::Remove(..) | Kind::Delete(_) | Kind::Custom(..) => {
                OpenFrame::event(rid, "change", &change(&Changes::new(), dialect))
            }
        }
    }

    fn encode(&self, rid: &ResourceId, dialect: Dialect) -> Bytes {
        let frame = match &self.kind {
            Kind::Change { changes, .. } => encode_event(rid, "change", Some(&change(changes, dialect))),
            Kind::Add(idx, value) => encode_event(rid, "add", Some(&add(*idx, value, dialect))),
            Kind::Remove(idx, _) => encode_event(rid, "remove", Some(&RemoveEvent { idx: *idx })),
            // Resgate writes a null where there are no data, and clients may have come to rely on
            // the member.
            Kind::Delete(data) => encode_event(rid, "delete", Some(data)),
            Kind::Custom(name, data) => encode_event(rid, name, Some(data)),
        };
        frame.into()
    }
}

fn change(changes: &Changes<Verbatim>, dialect: Dialect) -> ChangeEvent<Changes<Verbatim>, (), ()> {
    let values = changes.iter().map(|(name, change)| (name.clone(), in_dialect(change, dialect))).collect();
    ChangeEvent { values, resources: ResourceSet::default() }
}

fn add(idx: usize, value: &Verbatim, dialect: Dialect) -> AddEvent<Verbatim, (), ()> {
    let value = match dialect {
        Dialect::Current => value.clone(),
        Dialect::Plain => value.without_soft_references_and_data(),
    };
    AddEvent { idx, value, resources: ResourceSet::default() }
}
