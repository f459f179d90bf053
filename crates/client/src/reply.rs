//! The future of a command; dropping it makes the machine forget the command. Must not depend on
//! what commands mean.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use relogin_client_proto::{Command, RequestError, Token};
use relogin_res::ResourceId;

use crate::shared::{Outcome, Shared, wake};

/// Waits for the outcome of a command.
#[derive(Debug)]
pub(crate) struct Reply {
    shared: Arc<Shared>,
    /// `None` once the outcome has been taken.
    token: Option<Token>,
    /// The resource that the command subscribes to.
    subscribes: Option<ResourceId>,
}

impl Reply {
    /// Sends the command at once.
    pub(crate) fn new(shared: &Arc<Shared>, command: Command) -> Self {
        let subscribes = if let Command::Subscribe(rid) = &command { Some(rid.clone()) } else { None };
        let token = shared.command(command);
        Self { shared: Arc::clone(shared), token: Some(token), subscribes }
    }
}

impl Future for Reply {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let Some(token) = self.token else { return Poll::Ready(Err(RequestError::Superseded)) };
        let outcome = self.shared.lock().outcome(token, context.waker());
        let Some(outcome) = outcome else { return Poll::Pending };
        self.token = None;
        if let (Err(_), Some(rid)) = (&outcome, self.subscribes.take()) {
            // The machine would try again until it is told not to.
            self.shared.send_command(Command::Unsubscribe(rid));
        }
        Poll::Ready(outcome)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let Some(token) = self.token else { return };
        let mut state = self.shared.lock();
        let given_back = state.forget(token, self.subscribes.take());
        let waker = state.engine.take();
        drop(state);
        wake(waker);
        if let Some(rid) = given_back {
            self.shared.send_command(Command::Unsubscribe(rid));
        }
    }
}
