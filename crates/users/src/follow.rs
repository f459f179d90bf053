//! Follows the users file: passes its users to the directory, and their changes to the sessions. A
//! user who is missing is removed only once that is certain ([`crate::removals`]). Must not depend
//! on sessions or RES.

mod news;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use relogin_host::{complaint::Complaint, errors::Chain};
use relogin_session::{User, UserId};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior},
};
use tracing::{error, info, warn};

use self::news::News;
use crate::{
    UserListener,
    directory::ListDirectory,
    file::{FileError, UsersFile},
    last_seen::LastSeenUsers,
    list::Users,
    removals::{AGREEMENT, PendingRemovals},
    shared::{SharedError, SharedLastSeen},
};

/// Asks for a look right now; answered with the number of users, or what is wrong with the file.
pub type LookRequest = oneshot::Sender<Result<usize, String>>;

/// How long to wait for a file that changes between any two looks.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A users file, and what is known of its users.
#[derive(Debug)]
pub struct Follower {
    watch: Watch,
    news: News,
}

impl Follower {
    /// Reads the users file `path`, and what was `known` of its users when the service last ran. A
    /// missing file says nothing about anybody, if it `may_be_missing`.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be read or holds no list of users.
    pub fn open(path: PathBuf, known: Option<PathBuf>, may_be_missing: bool) -> Result<Self, FileError> {
        let mut file = UsersFile::new(path);
        let latest = match file.read() {
            Ok(users) => users,
            Err(error) if error.is_missing() && may_be_missing => None,
            Err(error) => return Err(error),
        };
        let news = News::new(latest.as_ref().map(LastSeenUsers::of), known);
        let pending = PendingRemovals::default();
        Ok(Self {
            watch: Watch {
                file,
                latest,
                is_new: true,
                has_changed: false,
                new_since: None,
                written_at: None,
                was_written: false,
                digest: None,
                is_disputed: false,
                pending,
            },
            news,
        })
    }

    /// Other instances use the same sessions, each with a users file of its own: what was last seen
    /// of its users is kept where all of them find it.
    ///
    /// # Errors
    /// [`SharedError`] if it cannot be read.
    pub async fn share(&mut self, shared: Arc<dyn SharedLastSeen>) -> Result<(), SharedError> {
        self.news.share(shared, &self.users()).await?;
        self.watch.is_disputed = self.news.is_disputed();
        Ok(())
    }

    /// The users who are in the file.
    #[must_use]
    pub fn users(&self) -> Users {
        self.watch.latest.clone().unwrap_or_default()
    }

    /// Those who are not, but whose removal is not certain yet.
    #[must_use]
    pub fn kept(&self) -> HashMap<UserId, User> {
        self.news.known().missing_from(&self.users())
    }

    /// Looks once a second, and whenever `asked`, whether the file has changed, and if so passes
    /// its users to `directory`, and the changes of users to `listener`, until that has succeeded.
    /// A file that is unusable, missing or empty changes nothing, and the reason is logged. Returns
    /// only if reading panics.
    ///
    /// Polling is better than notifications here: it sees an editor's rename, a mounted secret's
    /// replaced link and a network folder alike.
    pub async fn follow(
        self,
        directory: Arc<ListDirectory>,
        listener: Arc<dyn UserListener>,
        mut asked: mpsc::Receiver<LookRequest>,
    ) {
        let Self { mut watch, mut news } = self;
        let mut complaint = Complaint::default();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let request = tokio::select! {
                _ = tick.tick() => None,
                Some(request) = asked.recv() => Some(request),
            };
            let (current, known, now) = (directory.users(), Arc::clone(news.known()), Instant::now());
            let waiting = watch.pending.len();
            let looked = tokio::task::spawn_blocking(move || {
                let looked = watch.look(&current, &known, now);
                (watch, looked)
            });
            let looked = match looked.await {
                Ok((back, looked)) => {
                    watch = back;
                    looked
                }
                Err(panic) => return error!("reading the users file: {}", Chain(&panic)),
            };
            let has_list = looked.is_ok();
            let answer = match looked {
                Ok(found) => {
                    complaint.settle();
                    if let Some(Settled { users, kept, known, is_changed }) = found {
                        if is_changed {
                            info!(users = watch.count(), "the users file has changed");
                        }
                        if watch.pending.len() > waiting {
                            info!(
                                users = watch.pending.len(),
                                "users are missing from the users file or enabled in it; this takes effect if it stays so for {} s",
                                AGREEMENT.as_secs()
                            );
                        }
                        news.add(known, &directory.own_changes_in(&users));
                        directory.exchange_keeping(users, kept);
                    }
                    Ok(watch.count())
                }
                Err(error) => {
                    let reason = Chain(&error).to_string();
                    if complaint.is_due(&reason, now) {
                        warn!("the users are unchanged: {reason}");
                    }
                    Err(reason)
                }
            };
            if let Some(request) = request {
                // The sender may be gone.
                request.send(answer).ok();
            }
            news.agree(watch.digest.as_deref().filter(|_| has_list), now);
            watch.is_disputed = news.is_disputed();
            news.notify(listener.as_ref()).await;
        }
    }
}

/// The file, and what of it is not certain yet.
#[derive(Debug)]
struct Watch {
    file: UsersFile,
    /// The last valid list that it contained.
    latest: Option<Users>,
    /// True until that was processed.
    is_new: bool,
    /// True if it was read after the start, until it was processed.
    has_changed: bool,
    /// Since when there has been something to process.
    new_since: Option<Instant>,
    /// When the file was last seen to be written in place.
    written_at: Option<Instant>,
    /// True if that was after it was last processed.
    was_written: bool,
    /// What tells the list that was last processed from others.
    digest: Option<String>,
    /// True while other instances may have another list than the one this one has started with.
    is_disputed: bool,
    pending: PendingRemovals,
}

/// What is to take effect now.
#[derive(Debug)]
struct Settled {
    /// Who may log in: the file's users, and those whose removal is not certain.
    users: Users,
    /// Others whose removal is not certain: they keep their sessions.
    kept: HashMap<UserId, User>,
    /// What sessions must be notified of.
    known: LastSeenUsers,
    /// True if the file has changed since the last look.
    is_changed: bool,
}

impl Watch {
    /// Looks at the file. `current` are the users up to now, `known` what sessions know of them.
    /// May block.
    fn look(&mut self, current: &Users, known: &LastSeenUsers, now: Instant) -> Result<Option<Settled>, FileError> {
        match self.file.read() {
            Ok(None) => {}
            Ok(Some(users)) => {
                self.latest = Some(users);
                (self.is_new, self.has_changed) = (true, true);
                self.new_since.get_or_insert(now);
            }
            Err(error) => {
                self.begin_again();
                return Err(error);
            }
        }
        if self.file.is_being_written() {
            (self.written_at, self.was_written) = (Some(now), true);
        }
        let Some(latest) = &self.latest else { return Ok(None) };
        if !self.is_new && self.pending.is_empty() || self.is_in_the_middle(now) {
            return Ok(None);
        }
        let is_unsure = std::mem::take(&mut self.was_written) || self.is_disputed;
        let Some(settled) = settle(latest, current, known, &mut self.pending, is_unsure, now) else {
            self.begin_again();
            return Err(FileError::Empty { path: self.file.path().to_owned() });
        };
        if self.is_new {
            self.digest = Some(LastSeenUsers::of(latest).digest());
        }
        (self.is_new, self.new_since) = (false, None);
        Ok(Some(Settled { is_changed: std::mem::take(&mut self.has_changed), ..settled }))
    }

    /// True if the file may be in the middle of being written: it was written since the last look,
    /// so that it may contain the beginning of a new list and the end of the old one, or the rest
    /// of its last line may turn that into another user. But a writer that never stops is not
    /// waited for.
    fn is_in_the_middle(&self, now: Instant) -> bool {
        let is_within = |at: Option<Instant>, span| at.is_some_and(|at| now.duration_since(at) < span);
        let is_unsure =
            self.written_at == Some(now) || self.file.ends_within_a_line() && is_within(self.written_at, AGREEMENT);
        self.is_new && is_unsure && is_within(self.new_since, LONGEST_WAIT)
    }

    /// The file's content is not known now, so neither is how long anything has been so.
    fn begin_again(&mut self) {
        self.pending.begin_again();
        self.new_since = None;
    }

    /// How many users the file has.
    fn count(&self) -> usize {
        self.latest.as_ref().map_or(0, |users| users.entries().len())
    }
}

/// Replaces the `current` list by the `latest` one as far as that is certain. A change that takes
/// something from a user counts at once: disabled, another password. So does a new user. But a
/// truncated list lacks users, and may lack the line that disables the last one: so a missing user
/// is removed, and a disabled one enabled, only once that has been so for a while. `None` if none
/// of the previous users is left: then the file has lost them.
fn settle(
    latest: &Users,
    current: &Users,
    known: &LastSeenUsers,
    pending: &mut PendingRemovals,
    is_unsure: bool,
    now: Instant,
) -> Option<Settled> {
    let before = current.entries().iter().map(|entry| &entry.user.id).chain(known.ids());
    let missing: HashSet<_> = before.filter(|id| latest.with_id(id).is_none() && !latest.has_removed(id)).collect();
    if latest.entries().is_empty() && !missing.is_empty() {
        return None;
    }
    let is_let_in = |id: &UserId| latest.with_id(id).is_some_and(|entry| !entry.is_disabled);
    let disabled = current.entries().iter().filter(|entry| entry.is_disabled).map(|entry| &entry.user.id);
    let let_in: Vec<_> = disabled.filter(|id| is_let_in(id)).collect();
    let waiting = missing.iter().chain(&let_in).map(|&id| id.clone());
    let sure = pending.look(waiting, is_unsure, now);

    let mut users = latest.clone();
    for &id in let_in.iter().filter(|&&id| !sure.contains(id)) {
        users.disable(id);
    }
    let unsure = || missing.iter().filter(|&&id| !sure.contains(id));
    for entry in unsure().filter_map(|id| current.with_id(id)) {
        // Unless another user has the name now.
        users.add(entry.clone()).ok();
    }
    let mut known_now = LastSeenUsers::of(&users);
    let mut kept = HashMap::new();
    for &id in unsure().filter(|id| users.with_id(id).is_none()) {
        kept.extend(known_now.take_over(known, id));
    }
    Some(Settled { users, kept, known: known_now, is_changed: false })
}

#[cfg(test)]
mod tests;
