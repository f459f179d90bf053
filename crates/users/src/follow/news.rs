//! The changes of users that sessions have not been notified of yet, and where the last seen users
//! are kept. Must not depend on the users file.
//!
//! Where several instances share it, what has changed while none of them ran, or what is in the
//! file of one that starts, counts only once all that run have had the same users for a while: of
//! two files nobody knows which is the newer one. It is written only then, too, so that whoever
//! starts before finds the state that all had been notified of.

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::PathBuf,
    sync::Arc,
};

use relogin_host::{complaint::Complaint, errors::Chain};
use relogin_session::UserId;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::{
    UserChange, UserListener,
    last_seen::LastSeenUsers,
    list::Users,
    own_changes::SeenChange,
    removals::Agreement,
    shared::{Kept, SharedError, SharedLastSeen},
};

/// What the sessions are yet to be notified of.
#[derive(Debug)]
pub(super) struct News {
    place: Place,
    known: Arc<LastSeenUsers>,
    pending: VecDeque<UserChange>,
    is_saved: bool,
    /// True once it was reported that they cannot be saved.
    has_complained: bool,
}

/// Where the last seen users are kept.
#[derive(Debug)]
enum Place {
    /// Nowhere.
    Nowhere,
    /// In a file of this instance.
    File(PathBuf),
    /// Where all instances find it.
    Shared(Sharing),
}

#[derive(Debug)]
struct Sharing {
    shared: Arc<dyn SharedLastSeen>,
    revision: u64,
    /// True if another instance has left that had other users, and what is kept has not been
    /// compared since with the users that this one has.
    must_notify_again: bool,
    /// What was kept when this instance started, until it is compared with the users it has.
    before: Option<LastSeenUsers>,
    agreement: Agreement,
    is_agreed: bool,
    /// True once all that run have had the same for long enough.
    is_certain: bool,
    /// True if what changed before this instance started is pending, and another instance may have
    /// notified the sessions of it.
    is_shared_news: bool,
    complaint: Complaint,
}

impl News {
    /// Begins with what is kept in the file `path`, or else with the users of `now`.
    pub(super) fn new(now: Option<LastSeenUsers>, path: Option<PathBuf>) -> Self {
        let before = match path.as_deref().map(LastSeenUsers::load) {
            Some(Ok(before)) => Some(before),
            // A missing folder is a missing file; what is in its place is reported by whoever
            // creates it.
            Some(Err(error)) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                complain_of(&error);
                None
            }
            _ => None,
        };
        let is_saved = before.is_some() || now.is_none();
        // Later changes are found by the first look.
        let known = before.or(now).unwrap_or_default().into();
        let place = path.map_or(Place::Nowhere, Place::File);
        Self { place, known, pending: VecDeque::new(), is_saved, has_complained: false }
    }

    /// Begins with what all instances share, and the users of this one.
    pub(super) async fn share(&mut self, shared: Arc<dyn SharedLastSeen>, users: &Users) -> Result<(), SharedError> {
        let Kept { text, revision } = shared.read().await?;
        let before = text.and_then(|text| LastSeenUsers::from_json(&text).inspect_err(|error| complain_of(error)).ok());
        let mut known = LastSeenUsers::of(users);
        if let Some(before) = &before {
            for id in before.missing_from(users).keys() {
                known.take_over(before, id);
            }
        }
        self.is_saved = before.as_ref() == Some(&known);
        self.known = known.into();
        self.place = Place::Shared(Sharing {
            shared,
            revision,
            must_notify_again: false,
            before,
            agreement: Agreement::default(),
            is_agreed: false,
            is_certain: false,
            is_shared_news: false,
            complaint: Complaint::default(),
        });
        Ok(())
    }

    /// What sessions know of the users, or are being notified of.
    pub(super) fn known(&self) -> &Arc<LastSeenUsers> {
        &self.known
    }

    /// `now` is in the file. Of the passwords that were changed in this process (`own`), sessions
    /// are notified only if they were not yet, and the one in which it was done stays.
    pub(super) fn add(&mut self, now: LastSeenUsers, own: &HashMap<UserId, SeenChange>) {
        if *self.known != now {
            let mut before = LastSeenUsers::clone(&self.known);
            for (id, own) in own.iter().filter(|(_, own)| own.is_applied) {
                before.set_password(id, own.mark);
            }
            let keep = |change: UserChange| UserChange { keep: own.get(&change.id).map(|own| own.session), ..change };
            self.pending.extend(before.changes_to(&now).into_iter().map(keep));
            self.known = now.into();
            self.is_saved = false;
        }
    }

    /// True while the list that this instance has started with may be older than those of others.
    pub(super) fn is_disputed(&self) -> bool {
        matches!(&self.place, Place::Shared(sharing) if sharing.before.is_some() && !sharing.is_agreed)
    }

    /// Compares the list of this instance (none: its file is unusable) with those of others, and
    /// once all agree, what was known before with what is known now.
    pub(super) fn agree(&mut self, digest: Option<&str>, now: Instant) {
        let Place::Shared(sharing) = &mut self.place else { return };
        // Only what sessions were notified of: if this instance is gone before that, the others
        // must know. They must know as well if this one cannot say.
        let digest = digest.filter(|_| self.pending.is_empty());
        sharing.is_agreed = sharing.shared.is_agreed(digest) && digest.is_some();
        sharing.is_certain = sharing.agreement.look(sharing.is_agreed, now);
        if sharing.is_certain {
            // It may have let in whom it should not have, after this one had notified all
            // sessions.
            sharing.must_notify_again |= digest.is_some_and(|digest| sharing.shared.has_another_left(digest));
            if let Some(before) = sharing.before.take() {
                self.pending.extend(before.changes_to(&self.known));
                sharing.is_shared_news = !self.pending.is_empty();
            }
            sharing.complaint.settle();
        } else if sharing.before.as_ref().is_some_and(|before| *before != *self.known) && !sharing.is_agreed {
            let reason = "not all instances have the same users";
            if sharing.complaint.is_due(reason, now) {
                warn!("{reason}: what changed before this one started takes effect once they have");
            }
        }
    }

    /// If another instance has left that had other users: what has changed since what is kept is
    /// pending once more. Where another instance has done so, that is kept already.
    async fn notify_again(&mut self) -> Result<(), SharedError> {
        let Place::Shared(sharing) = &mut self.place else { return Ok(()) };
        if !sharing.must_notify_again {
            return Ok(());
        }
        let Kept { text, revision } = sharing.shared.read().await?;
        (sharing.revision, sharing.must_notify_again) = (revision, false);
        let before = text.and_then(|text| LastSeenUsers::from_json(&text).inspect_err(|error| complain_of(error)).ok());
        if let Some(before) = before {
            self.pending.extend(before.changes_to(&self.known));
        }
        Ok(())
    }

    /// Notifies `listener` of what is pending. Where that fails, it is repeated the next time, and
    /// until then not forgotten by a restart either.
    pub(super) async fn notify(&mut self, listener: &dyn UserListener) {
        if let Place::Shared(sharing) = &mut self.place
            && sharing.is_shared_news
        {
            match sharing.is_kept(&self.known).await {
                // Another instance has notified them. Whoever has logged in since stays.
                Ok(true) => {
                    self.pending.clear();
                    self.is_saved = true;
                }
                Ok(false) => {}
                Err(error) => {
                    if !self.has_complained {
                        complain_of(error.as_ref());
                        self.has_complained = true;
                    }
                    return;
                }
            }
            sharing.is_shared_news = false;
        }
        if let Err(error) = self.notify_again().await {
            if !self.has_complained {
                complain_of(error.as_ref());
                self.has_complained = true;
            }
            return;
        }
        while let Some(change) = self.pending.front() {
            if let Err(error) = listener.user_changed(change).await {
                return error!(user = %change.id, "a change of a user has not reached their sessions yet: {}", Chain(error.as_ref()));
            }
            self.pending.pop_front();
        }
        if self.is_saved {
            return;
        }
        let saved: Result<bool, SharedError> = match &mut self.place {
            Place::Nowhere => Ok(true),
            Place::File(path) => {
                let (path, known) = (path.clone(), Arc::clone(&self.known));
                let saved = tokio::task::spawn_blocking(move || known.save(&path)).await;
                saved.unwrap_or_else(|panic| Err(panic.into())).map(|()| true).map_err(Into::into)
            }
            Place::Shared(sharing) => sharing.save(&self.known).await,
        };
        self.is_saved = matches!(saved, Ok(true));
        match saved {
            Err(error) if !self.has_complained => {
                warn!("cannot save the last seen users: {}", Chain(error.as_ref()));
                self.has_complained = true;
            }
            _ => {}
        }
    }
}

impl Sharing {
    /// True if it is kept now; it may not be certain yet what to keep, or another instance may have
    /// kept something else meanwhile.
    async fn save(&mut self, known: &LastSeenUsers) -> Result<bool, SharedError> {
        if !self.is_certain {
            return Ok(false);
        }
        let text = known.to_json()?;
        if let Some(revision) = self.shared.write(text.clone(), self.revision).await? {
            self.revision = revision;
            return Ok(true);
        }
        self.is_kept(known).await
    }

    /// True if these are kept, by whichever instance.
    async fn is_kept(&mut self, known: &LastSeenUsers) -> Result<bool, SharedError> {
        let kept = self.shared.read().await?;
        self.revision = kept.revision;
        Ok(kept.text == Some(known.to_json()?))
    }
}

fn complain_of(error: &(dyn std::error::Error + 'static)) {
    warn!("cannot find out which users changed while the service was down: {}", Chain(error));
}

#[cfg(test)]
mod tests {
    use relogin_session::SessionId;

    use super::*;

    #[test]
    fn a_password_that_was_changed_here_spares_its_session_and_is_news_only_until_it_is_applied() {
        let users = |salt: &str| {
            let hash = format!("$argon2id$v=19$m=8,t=1,p=1${salt}AAAAAAAAAAAAAAAAAAAAA${}", "A".repeat(43));
            let user = "id = 1\nusername = \"u\"\nname = \"N\"\nrole = \"user\"";
            Users::parse(&format!("[[user]]\n{user}\npassword = \"{hash}\"\n")).unwrap()
        };
        let (id, session) = (UserId::Number(1), SessionId([7; 16]));
        let [before, after] = ["A", "B"].map(|salt| LastSeenUsers::of(&users(salt)));
        let told = |mark: &str, is_applied| {
            let mut news = News::new(Some(before.clone()), None);
            let mark = users(mark).entries()[0].password.mark();
            news.add(after.clone(), &HashMap::from([(id.clone(), SeenChange { mark, session, is_applied })]));
            assert_eq!(**news.known(), after);
            news.pending
        };
        let change = |keep| UserChange { id: id.clone(), is_password_new: true, keep };
        assert_eq!(told("B", false), [change(Some(session))]);
        assert_eq!(told("B", true), []);
    }
}
