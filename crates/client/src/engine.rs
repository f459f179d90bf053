//! The driver's side: the state machine, with answers and events already passed to the handles.
//! Must not depend on a runtime.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use relogin_client_proto::{Action, Client as Machine, Config, Input, Moment, Resource};
use relogin_res::ResourceId;

use crate::{
    Client,
    shared::{Shared, wake},
};

/// A [`relogin_client_proto::Client`] that takes its commands from handles and passes answers and
/// events to them.
///
/// The contract with its driver is that of [`relogin_client_proto::Client`], except that
/// [`Action::Settle`] and [`Action::Emit`] are handled here ([`Engine::emit_all`]). The driver
/// begins with [`Input::Start`], takes inputs from [`Engine::next_input`] beside its own, and ends
/// when there are no more. When the engine is dropped, all pending commands fail and all streams
/// end.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    ended: bool,
    loud: bool,
}

impl Engine {
    /// A client, and the engine for its driver. `clock` is the clock of [`Moment::now`]; the client
    /// uses it to turn deadlines into durations.
    #[must_use]
    pub fn new(config: Config, clock: impl Fn() -> Duration + Send + Sync + 'static) -> (Client, Self) {
        let session = config.name.clone();
        let shared = Shared::new(session, Machine::new(config), Box::new(clock));
        (Client::new(Arc::clone(&shared)), Self { shared, ended: false, loud: false })
    }

    /// From now on [`Engine::poll_action`] returns [`Action::Emit`] too, after the handles have
    /// it: for a driver that follows all resources at once.
    pub fn emit_all(&mut self) {
        self.loud = true;
    }

    /// Applies `read` to a resource's values; `None` if they are not known. `read` must not use
    /// handles of this client.
    pub fn read<T>(&self, rid: &ResourceId, read: impl FnOnce(&Resource) -> T) -> Option<T> {
        self.shared.lock().machine.resource(rid).map(read)
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, moment: Moment) {
        let mut state = self.shared.lock();
        let forgets = if let Input::Forget(token) = &input { Some(*token) } else { None };
        state.machine.handle(input, moment);
        if let Some(token) = forgets {
            state.forgotten(token);
        }
    }

    /// The next thing to do, until `None`.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        let mut wakers = Vec::new();
        let mut state = self.shared.lock();
        let action = loop {
            match state.machine.poll_action() {
                Some(Action::Settle(token, outcome)) => wakers.extend(state.settle(token, outcome)),
                Some(Action::Emit(event)) => {
                    state.dispatch(&event, &mut wakers);
                    if self.loud {
                        break Some(Action::Emit(event));
                    }
                }
                other => break other,
            }
        };
        drop(state);
        wake(wakers);
        action
    }

    /// When [`PlatformEvent::Timer`](relogin_client_proto::PlatformEvent::Timer) is due, on the
    /// clock of [`Moment::now`]; `None` if no timer is needed.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.shared.lock().machine.poll_timeout()
    }

    /// The next input from the handles. [`Input::Stop`], when the last client has been dropped, is
    /// the last one; `None` follows. Cancel safe: a future dropped before it is ready loses no
    /// input.
    pub async fn next_input(&mut self) -> Option<Input> {
        poll_fn(|context| self.poll_input(context)).await
    }

    /// [`Engine::next_input`], for drivers that poll.
    pub fn poll_input(&mut self, context: &mut Context<'_>) -> Poll<Option<Input>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut state = self.shared.lock();
        if let Some(input) = state.inputs.pop_front() {
            return Poll::Ready(Some(input));
        }
        if state.abandoned {
            self.ended = true;
            return Poll::Ready(Some(Input::Stop));
        }
        state.engine = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let wakers = self.shared.lock().end();
        wake(wakers);
    }
}
