//! A text in IndexedDB that is exchanged by compare-and-swap, without the page in the middle of a transaction.
//!
//! A swap appends an entry: the new text, and the number of the entry that it is to follow. Entries that follow one which another
//! has followed already count for nothing. So who was first is settled by the order in which the browser took the entries, and
//! every tab reads the same; what has been followed is removed with the next swap.

use std::rc::Rc;

use js_sys::{Array, Object, Reflect};
use relogin_client::Secret;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::IdbObjectStore;

use crate::browser::{
    Exception,
    indexed_db::{Database, LOG, NUMBER},
};

/// The member of an entry with the number of the entry that it follows; null for the first.
const FROM: &str = "from";
/// The member of an entry with the text; null if there is none.
const TEXT: &str = "text";

/// The text.
#[derive(Debug)]
pub(super) struct Log {
    database: Rc<Database>,
    /// What counted last. It stands in for a database that does not answer any more.
    last: Head,
    /// The last text could not be written down, and counts for this page until another is: a full disk must not end a login
    /// that is good without it.
    unwritten: bool,
}

/// An entry's number; `None` for none.
type Number = Option<f64>;

/// The entry that counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    /// `None`: nothing was ever written.
    pub(super) at: Number,
    pub(super) text: Option<Secret>,
    /// The entries before it.
    past: Vec<f64>,
}

impl Log {
    /// The text that is kept in `database`.
    ///
    /// # Errors
    /// If there is no IndexedDB, it does not answer, or says no.
    pub(super) async fn open(database: Rc<Database>) -> Result<Self, Exception> {
        let mut log = Self { database, last: Head::default(), unwritten: false };
        log.last = log.head().await?;
        Ok(log)
    }

    /// True if there is no text, and never was one.
    pub(super) fn is_new(&self) -> bool {
        self.last.at.is_none()
    }

    /// The text. Transactions are in step among all tabs: it is never older than the last swap that has come to its end.
    pub(super) async fn read(&mut self) -> Option<Secret> {
        self.look().await;
        self.last.text.clone()
    }

    /// If the text is `from`, replaces it by `to`. Answers the text that counts then, and whether it is ours.
    pub(super) async fn swap(&mut self, from: Option<&Secret>, to: Option<&Secret>) -> (Option<Secret>, bool) {
        self.look().await;
        if self.last.text.as_ref() != from || from == to {
            return (self.last.text.clone(), false);
        }
        let entry = entry(self.last.at, to);
        let append = |store: &IdbObjectStore| {
            for number in &self.last.past {
                store.delete(&(*number).into())?;
            }
            store.add(&entry)
        };
        self.unwritten = self.database.write(LOG, &append).await.is_err();
        if self.unwritten {
            self.last.text = to.cloned();
        } else {
            self.look().await;
        }
        (self.last.text.clone(), self.last.text.as_ref() == to)
    }

    /// Finds out what counts now.
    async fn look(&mut self) {
        match self.head().await {
            Ok(head) if self.unwritten && head.at == self.last.at => {}
            Ok(head) => (self.last, self.unwritten) = (head, false),
            // Cleared by the user, it would be empty. This one is broken, and that is no reason to log anybody out.
            Err(_) => {}
        }
    }

    async fn head(&self) -> Result<Head, Exception> {
        let entries = self.database.read(LOG, &IdbObjectStore::get_all).await?;
        Ok(Head::of(&entries.unchecked_into()))
    }
}

impl Head {
    fn of(entries: &Array) -> Self {
        let mut head = Self::default();
        for entry in entries.iter() {
            let Some(at) = member(&entry, NUMBER).as_f64() else { continue };
            // The first that is left has followed the last that was removed.
            if head.at.is_none() || head.at == member(&entry, FROM).as_f64() {
                head.past.extend(head.at);
                (head.at, head.text) = (Some(at), member(&entry, TEXT).as_string().map(Secret::new));
            } else {
                head.past.push(at);
            }
        }
        // What came too late is behind the head only if it came before it.
        head.past.retain(|at| Some(*at) < head.at);
        head
    }
}

fn entry(from: Number, text: Option<&Secret>) -> Object {
    let entry = Object::new();
    let text = text.map_or(JsValue::NULL, |text| JsValue::from_str(text.expose()));
    let members = [(FROM, from.map_or(JsValue::NULL, JsValue::from)), (TEXT, text)];
    for (name, value) in members {
        // Setting a property of an ordinary object cannot fail.
        let _ = Reflect::set(&entry, &name.into(), &value);
    }
    entry
}

fn member(entry: &JsValue, name: &str) -> JsValue {
    Reflect::get(entry, &name.into()).unwrap_or_default()
}
