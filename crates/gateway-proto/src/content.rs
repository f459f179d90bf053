//! A snapshot of a resource, and its JSON text, which is encoded once for all connections.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use relogin_res::{Change, Map, ResourceId, Verbatim, Version, client::ResourceSet, service};
use serde::Serialize;
use serde_json::value::RawValue;

/// What a client understands of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// All of them.
    Current,
    /// Neither soft references nor data values: before 1.2.1.
    Plain,
}

/// What a resource holds, as its service wrote it.
pub(crate) type Content = service::Content<Verbatim>;

/// Something that is made once for each dialect.
#[derive(Debug)]
pub(crate) struct ByDialect<T>([OnceLock<T>; 2]);

/// A resource's content at one moment; shared by all that still need that moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) content: Content,
    /// How often the content has changed since it was loaded.
    pub(crate) version: u64,
    texts: ByDialect<Box<RawValue>>,
}

/// How often each resource is referred to.
pub(crate) type References = BTreeMap<ResourceId, u32>;

/// Resources on their way to a client, as JSON text.
pub(crate) type Texts<'a> = ResourceSet<&'a RawValue, &'a RawValue>;

impl Dialect {
    pub(crate) fn of(version: Version) -> Self {
        if version.has_soft_references_and_data() { Self::Current } else { Self::Plain }
    }
}

impl<T> ByDialect<T> {
    pub(crate) fn get_or_make(&self, dialect: Dialect, make: impl FnOnce() -> T) -> &T {
        self.0[usize::from(dialect == Dialect::Plain)].get_or_init(make)
    }
}

// By hand: a derived one would ask for `T: Default`.
impl<T> Default for ByDialect<T> {
    fn default() -> Self {
        Self([OnceLock::new(), OnceLock::new()])
    }
}

impl Snapshot {
    pub(crate) fn new(content: Content) -> Self {
        Self { content, version: 0, texts: ByDialect::default() }
    }

    /// The content, to be changed. Whoever shares the snapshot keeps the old one.
    pub(crate) fn edit(this: &mut Arc<Self>) -> &mut Content {
        let snapshot = Arc::make_mut(this);
        snapshot.version += 1;
        snapshot.texts = ByDialect::default();
        &mut snapshot.content
    }

    /// One of the values of the content, in their order. `None` if there are no more.
    pub(crate) fn value(&self, at: usize) -> Option<&Verbatim> {
        match &self.content {
            Content::Model(model) => model.as_slice().get(at).map(|(_, value)| value),
            Content::Collection(collection) => collection.get(at),
        }
    }

    /// Adds the content to those on their way to a client.
    pub(crate) fn put_into<'a>(&'a self, texts: &mut Texts<'a>, rid: &ResourceId, dialect: Dialect) {
        let text = self.texts.get_or_make(dialect, || match &self.content {
            Content::Model(model) => match dialect {
                Dialect::Current => text(model),
                Dialect::Plain => text(&plain_model(model)),
            },
            Content::Collection(collection) => match dialect {
                Dialect::Current => text(collection),
                Dialect::Plain => text(&plain_collection(collection)),
            },
        });
        match &self.content {
            Content::Model(_) => texts.models.insert(rid.clone(), text),
            Content::Collection(_) => texts.collections.insert(rid.clone(), text),
        };
    }
}

impl Clone for Snapshot {
    fn clone(&self) -> Self {
        Self { content: self.content.clone(), version: self.version, texts: ByDialect::default() }
    }
}

fn plain_model(model: &Map<String, Verbatim>) -> Map<String, Verbatim> {
    model.iter().map(|(name, value)| (name.clone(), value.without_soft_references_and_data())).collect()
}

fn plain_collection(collection: &[Verbatim]) -> Vec<Verbatim> {
    collection.iter().map(Verbatim::without_soft_references_and_data).collect()
}

/// A change as a client of that dialect understands it.
pub(crate) fn in_dialect(change: &Change<Verbatim>, dialect: Dialect) -> Change<Verbatim> {
    match (change, dialect) {
        (Change::Set(value), Dialect::Plain) => Change::Set(value.without_soft_references_and_data()),
        (change, _) => change.clone(),
    }
}

fn text(content: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(content).expect("models and collections have string keys and no failing serializer")
}
