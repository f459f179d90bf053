//! The two places that the storage record lies in, and what can become of them: a localStorage that
//! loses what it had, or goes back to what it had before (a browser writes it to disk a while
//! later, and may crash), and a database that is deleted or does not answer.

use std::{fmt, hash::Hash};

use relogin_client_proto::{
    Secret,
    storage::{Log, LogEntry, LogRemoval, RecordStorage, StorageAction, StorageInput, Unavailable},
};

use crate::{mutant::Mutant, trace::short};

/// Both places.
#[derive(Clone, Default)]
pub struct Places {
    /// The entry of localStorage.
    pub local: Option<String>,
    /// What it was before it was last written.
    pub older: Option<String>,
    log: Log,
    appended: u64,
    /// How many databases there have been.
    database: u8,
    /// Whether the database does not answer.
    pub is_silent: bool,
}

/// What a tab is about to do with them, and the database that it has open.
#[derive(Clone)]
pub struct Operation {
    action: StorageAction,
    database: u8,
    /// Whether it has waited for the log.
    has_waited: bool,
    /// What it has seen, whose texts the `Debug` form of the client's state does not show.
    seen: Vec<String>,
}

impl Operation {
    /// Begins with `input`.
    pub fn begin(storage: &mut RecordStorage, input: StorageInput) -> Self {
        let seen = vec![shown(&input)];
        Self { action: storage.handle(input), database: 0, has_waited: false, seen }
    }

    /// Whether others can come before its next step, or a crash: it has read, and is about to
    /// write.
    #[must_use]
    pub fn is_about_to_write(&self) -> bool {
        match self.action {
            StorageAction::Append(_) => true,
            // localStorage makes nobody wait: up to there it is one step with what came before.
            StorageAction::WriteLocal(_) => self.has_waited,
            _ => false,
        }
    }

    /// What it came to, and whether other tabs are notified; `None`: it is not done.
    #[must_use]
    pub fn done(&self) -> Option<(Option<Secret>, bool)> {
        match &self.action {
            StorageAction::Done { text, is_changed } => Some((text.clone(), *is_changed)),
            _ => None,
        }
    }

    /// Makes one step; the entry of localStorage that was written by it.
    pub fn step(
        &mut self,
        storage: &mut RecordStorage,
        places: &mut Places,
        mutant: Option<Mutant>,
    ) -> Option<Option<Secret>> {
        let mut written = None;
        let input = match self.action.clone() {
            StorageAction::ReadLocal => StorageInput::Local(Ok(places.local.clone().map(Secret::new))),
            StorageAction::WriteLocal(text) => {
                let text = broken(text, mutant);
                places.write(text.as_ref());
                written = Some(text);
                StorageInput::LocalWritten(Ok(()))
            }
            StorageAction::ReadLog => {
                (self.database, self.has_waited) = (places.database, true);
                StorageInput::Log(places.read(mutant))
            }
            StorageAction::Append(_) if places.is_silent || self.database != places.database => {
                StorageInput::Appended(Err(Unavailable))
            }
            StorageAction::Append(append) => {
                places.appended += 1;
                let name = append.text.as_ref().map(|_| places.appended.to_string());
                places.log.texts.extend(name.clone().zip(append.text));
                let entry = LogEntry { at: places.appended, from: append.from, text: name, ended: append.ended };
                places.log.entries.push(entry);
                places.remove(&append.remove);
                StorageInput::Appended(Ok(places.appended))
            }
            StorageAction::Remove(removal) => {
                if self.database == places.database {
                    places.remove(&removal);
                }
                StorageInput::Removed
            }
            // Here it is in step at all times.
            StorageAction::Settle => StorageInput::Settled,
            StorageAction::Done { .. } => return None,
        };
        self.seen.push(shown(&input));
        self.action = storage.handle(input);
        written
    }
}

impl Places {
    /// What a page that looks at them finds.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let (mut places, mut storage) = (self.clone(), RecordStorage::default());
        let mut operation = Operation::begin(&mut storage, StorageInput::Swap { from: None, to: None });
        loop {
            if let Some((text, _)) = operation.done() {
                return text.map(|text| text.expose().to_owned());
            }
            operation.step(&mut storage, &mut places, None);
        }
    }

    /// The database is deleted.
    pub fn lose_log(&mut self) {
        self.log = Log::default();
        self.database += 1;
    }

    /// Whether there is something in the database.
    #[must_use]
    pub fn is_logged(&self) -> bool {
        !self.log.entries.is_empty()
    }

    fn read(&self, mutant: Option<Mutant>) -> Result<Log, Unavailable> {
        // The key, that is: a pending logout may be left of it.
        let is_removed = self.is_logged() && !self.log.texts.iter().any(|(_, text)| has_key(text.expose()));
        match mutant {
            Some(Mutant::LogNotAsked) => Err(Unavailable),
            _ if self.is_silent => Err(Unavailable),
            Some(Mutant::RemovalIsLoss) if is_removed => Ok(Log::default()),
            Some(Mutant::LossIsRemoval) if !self.is_logged() => {
                let entry = LogEntry { at: 0, from: None, text: None, ended: Vec::new() };
                Ok(Log { entries: vec![entry], texts: Vec::new() })
            }
            _ => Ok(self.log.clone()),
        }
    }

    fn write(&mut self, text: Option<&Secret>) {
        let text = text.map(|text| text.expose().to_owned());
        self.older = std::mem::replace(&mut self.local, text);
    }

    fn remove(&mut self, removal: &LogRemoval) {
        self.log.entries.retain(|entry| !removal.entries.contains(&entry.at));
        self.log.texts.retain(|(name, _)| !removal.texts.contains(name));
    }
}

fn has_key(text: &str) -> bool {
    serde_json::from_str(text).is_ok_and(|json: serde_json::Value| json.get("key").is_some())
}

/// What a broken client writes to localStorage.
fn broken(text: Option<Secret>, mutant: Option<Mutant>) -> Option<Secret> {
    let has = |member: &str| text.as_ref().is_some_and(|text| text.expose().contains(member));
    match mutant {
        Some(Mutant::RemovalNotMarked) if has("unlogged") && !has("\"key\"") => None,
        Some(Mutant::ClaimNotInLocal) if has("\"attempt\"") => {
            let mut record: serde_json::Value = serde_json::from_str(text?.expose()).expect("records are JSON");
            record.as_object_mut().expect("an object").remove("attempt");
            Some(Secret::new(record.to_string()))
        }
        _ => text,
    }
}

/// An input with its texts.
fn shown(input: &StorageInput) -> String {
    let text = |text: &Option<Secret>| text.as_ref().map(|text| text.expose().to_owned());
    match input {
        StorageInput::Swap { from, to } => format!("{:?}", (text(from), text(to))),
        StorageInput::Local(Ok(entry)) => format!("{:?}", text(entry)),
        StorageInput::Log(Ok(log)) => format!("{log:?} {:?}", texts(log)),
        input => format!("{input:?}"),
    }
}

fn texts(log: &Log) -> Vec<&str> {
    log.texts.iter().map(|(_, text)| text.expose()).collect()
}

impl Hash for Places {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        let Self { local, older, log, appended, database, is_silent } = self;
        (local, older, &log.entries, texts(log), appended, database, is_silent).hash(hasher);
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.log.texts.iter().map(|(name, text)| (name, short(Some(text.expose())))).collect();
        f.debug_struct("Places")
            .field("local", &self.local.as_deref().map(|text| short(Some(text))))
            .field("log", &self.log.entries)
            .field("texts", &texts)
            .field("is_silent", &self.is_silent)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("action", &self.action)
            .field("database", &self.database)
            .field("seen", &self.seen)
            .finish()
    }
}
