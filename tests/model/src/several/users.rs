//! A user who changes: each instance sees it by itself, and notifies all sessions, as in
//! `service/src/sessions/user.rs` and `service/src/auth/login.rs`.

use relogin_session::{SessionId, Token, User};

use super::{
    Config, Edit, Instance,
    work::{Frame, Task, TaskStep},
};
use crate::service::jane;

const NEW_ROLE: &str = "admin";

pub(super) fn is_new_role(token: &Token) -> bool {
    token.role == NEW_ROLE
}

impl Instance {
    /// The user, as its directory has them.
    pub(super) fn user(&self) -> Option<User> {
        match self.edit {
            Some(Edit::Removal) => None,
            Some(Edit::Role) => Some(User { role: NEW_ROLE.to_owned(), ..jane() }),
            Some(Edit::Password) | None => Some(jane()),
        }
    }

    /// Whether the password that clients have is right.
    pub(super) fn lets_in(&self) -> bool {
        !self.edit.is_some_and(Edit::keeps_out)
    }

    /// Whether it has notified the user's sessions of the change, and is done with it.
    pub(super) fn has_notified(&self) -> bool {
        let notifies = |frame: &Frame| matches!(frame.task, Task::Notify);
        self.edit.is_some() && !self.has_news && !self.work.iter().any(notifies)
    }

    /// Whether it can begin to: it has nothing else to do, or is at a login that has made no
    /// session yet.
    pub(super) fn may_notify(&self, config: &Config) -> bool {
        match self.work.as_slice() {
            [] => true,
            [frame] => config.kills == 0 && frame.is_login_to_be_decided(),
            _ => false,
        }
    }

    /// What notifies all sessions of the user.
    pub(super) fn notified_sessions(&self) -> Vec<TaskStep> {
        let is_over = self.edit == Some(Edit::Password);
        let notify = |sid: SessionId| if is_over { Task::Revoke(sid) } else { Task::UserChanged(sid) };
        self.view.records().map(|stored| TaskStep::Run(notify(stored.record.sid))).collect()
    }
}

impl Frame {
    /// The sessions of the user are notified.
    pub(super) fn notifying() -> Self {
        Self::with(Task::Notify, [TaskStep::Barrier, TaskStep::NotifySessions, TaskStep::End(Ok(None))])
    }
}
