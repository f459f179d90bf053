//! A snapshot of a resource, and its JSON text, which is encoded once for all connections.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, OnceLock},
};

use relogin_res::{Change, ResourceId, Verbatim, Version, service};
use serde::Serialize;

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
    texts: ByDialect<Box<str>>,
}

/// How many bytes of text are written at a time: a value more than that is not cut up.
pub(crate) const BYTES_A_STEP: usize = 16 << 10;

/// How many bytes of resources are written into messages with one input, and about the size from
/// which on messages are written one after the other.
pub(crate) const TEXTS_AT_ONCE: usize = 64 << 10;

/// How many values are looked through at once.
const FEW: usize = 16;

/// How often each resource is referred to.
pub(crate) type References = BTreeMap<ResourceId, u32>;

/// A text that is being made of a content, a few values at a time.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    text: String,
    /// How many values stand in it.
    values: usize,
}

impl Draft {
    /// How long it is.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }
}

impl Dialect {
    pub(crate) fn of(version: Version) -> Self {
        if version.has_soft_references_and_data() { Self::Current } else { Self::Plain }
    }
}

impl<T> ByDialect<T> {
    fn get(&self, dialect: Dialect) -> Option<&T> {
        self.0[usize::from(dialect == Dialect::Plain)].get()
    }

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

    /// True if the content has few values, and none is a reference, as in most models.
    pub(crate) fn is_small_and_refers_to_nothing(&self) -> bool {
        (0..=FEW).map_while(|at| self.value(at)).all(|value| value.reference().is_none()) && self.value(FEW).is_none()
    }

    /// The content as text, if that was made already.
    pub(crate) fn text(&self, dialect: Dialect) -> Option<&str> {
        self.texts.get(dialect).map(|text| &**text)
    }

    /// Goes on making the text: of so many values, which are counted down, or as many bytes as may
    /// be written at a time. True once it is made.
    pub(crate) fn draft(&self, draft: &mut Draft, dialect: Dialect, most: &mut usize) -> bool {
        let Draft { text, values } = draft;
        let is_model = matches!(self.content, Content::Model(_));
        if *values == 0 {
            text.push(if is_model { '{' } else { '[' });
        }
        let before = text.len();
        while *most > 0 && text.len() - before < BYTES_A_STEP {
            *most -= 1;
            let Some(value) = self.value(*values) else {
                text.push(if is_model { '}' } else { ']' });
                self.texts.get_or_make(dialect, || mem::take(draft).text.into());
                return true;
            };
            if *values > 0 {
                text.push(',');
            }
            if let Content::Model(model) = &self.content
                && let Some((name, _)) = model.as_slice().get(*values)
            {
                push_json(text, name);
                text.push(':');
            }
            match dialect {
                Dialect::Current => text.push_str(value.text().get()),
                Dialect::Plain => text.push_str(value.without_soft_references_and_data().text().get()),
            }
            *values += 1;
        }
        false
    }
}

impl Clone for Snapshot {
    fn clone(&self) -> Self {
        Self { content: self.content.clone(), version: self.version, texts: ByDialect::default() }
    }
}

/// A change as a client of that dialect understands it.
pub(crate) fn in_dialect(change: &Change<Verbatim>, dialect: Dialect) -> Change<Verbatim> {
    match (change, dialect) {
        (Change::Set(value), Dialect::Plain) => Change::Set(value.without_soft_references_and_data()),
        (change, _) => change.clone(),
    }
}

/// Writes something behind a text, as JSON.
pub(crate) fn push_json(text: &mut String, value: &impl Serialize) {
    text.push_str(&serde_json::to_string(value).expect("strings and errors are JSON"));
}
