//! The RES methods and resources of `<name>`: parses requests from the bus, calls [`Sessions`], and
//! answers. Each method has a file; nobody else knows their names, but for the one that the service
//! calls itself (`renew`: `events.rs`, `needs.rs`). Must not depend on the store or the rules.
//!
//! Requests that arrive together are one task (`auth/batch.rs`). A panic in one is answered like
//! any other internal error, and ends nothing else.

mod answer;
mod batch;
mod challenge;
mod change_password;
mod connect;
mod cookie_refresh;
mod counts;
mod device;
mod guess;
mod header_login;
mod hold;
mod http_answer;
mod limits;
mod login;
mod logout;
mod options;
pub(crate) mod outcomes;
mod queue;
mod relogin;
mod renew;
mod request;
mod revoke;
mod route;
mod session_list;
#[cfg(test)]
mod tests;
mod throttle;
mod user;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use relogin_bus::{Bus, BusError, Message, Subscription};
use relogin_host::{errors::Chain, log_throttle::LogThrottle};
use relogin_res::service::Response;
use relogin_users::{UserDirectory, password_rules::PasswordRules};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, debug, warn};
use zeroize::Zeroizing;

use self::{
    answer::Failure,
    batch::Batch,
    counts::{RequestCounts, RequestOutcome},
    limits::ConcurrencyLimits,
    outcomes::Outcomes,
    queue::Queue,
    route::Route,
    throttle::Throttle,
};
pub use self::{
    counts::AuthStats,
    options::{AuthOptions, CookieKind},
    route::methods,
    throttle::ThrottleKind,
};
use crate::{
    client_address::TrustedProxies,
    cookie::{BrowserCookie, DeviceCookie, KeyCookie},
    instance::Peers,
    issuers::Issuers,
    origins::Origins,
    sessions::Sessions,
    spans,
};

/// Answers the requests of one resource name.
pub struct Auth {
    requests: Subscription,
    limits: ConcurrencyLimits,
    overdue: LogThrottle,
    batch: Batch,
    cx: Arc<AuthContext>,
}

/// A request.
struct Arrived {
    route: Route,
    payload: Bytes,
    reply: String,
    since: Instant,
}

/// What requests are answered with.
struct AuthContext {
    name: String,
    bus: Arc<dyn Bus>,
    sessions: Arc<Sessions>,
    users: Arc<dyn UserDirectory>,
    /// Counts requests that make no sense.
    malformed: LogThrottle,
    throttle: Throttle,
    queue: Arc<Queue>,
    cookie: CookieKind,
    browser_cookie: BrowserCookie,
    issuers: Option<Arc<Issuers>>,
    /// The cookie that relogin keys travel in; none if script has them.
    key_cookie: Option<KeyCookie>,
    device_cookie: Option<DeviceCookie>,
    origins: Arc<Origins>,
    peers: Peers,
    /// The id of this instance, if several share the store.
    instance: Option<String>,
    /// How the instances inform each other how logins have ended.
    outcomes: Option<Outcomes>,
    proxies: TrustedProxies,
    password_rules: PasswordRules,
    counts: Arc<RequestCounts>,
}

/// How long a request may wait before it is processed. Its sender waits 3 s, both Resgate and the
/// embedded gateway; the rest is for the work and the way back. A login that queues for its
/// password check has passed this wait, and has asked for more time.
const MAX_WAIT: Duration = Duration::from_millis(2500);

/// The longest payload that is parsed, in bytes.
const MAX_PAYLOAD: usize = 64 * 1024;

impl Auth {
    /// Subscribes to the subjects of `name`. What arrives from now on is answered once it runs.
    ///
    /// # Errors
    /// [`BusError`] if the bus fails.
    pub async fn new(
        name: &str,
        bus: Arc<dyn Bus>,
        sessions: Arc<Sessions>,
        users: Arc<dyn UserDirectory>,
        options: AuthOptions,
    ) -> Result<Self, BusError> {
        let mut patterns = ["auth", "access", "get", "call"].map(|kind| format!("{kind}.{name}.>")).to_vec();
        patterns.push(format!("access.{name}"));
        let AuthOptions {
            throttle,
            cookie,
            issuers,
            cookie_session,
            dbsc,
            peers,
            instance,
            origins,
            proxies,
            password_rules,
        } = options;
        let requests = match &instance {
            // What comes for this instance comes to one of the group, too, which leaves it.
            Some(instance) => {
                let own = [format!("auth.{name}.renew.{instance}"), outcomes::subject(name)];
                bus.subscribe_with_group(&own, &format!("relogin-{name}"), &patterns).await?
            }
            None => bus.subscribe(&patterns).await?,
        };
        let cx = AuthContext {
            name: name.to_owned(),
            bus,
            sessions,
            queue: Queue::new(users.at_once()),
            users,
            malformed: LogThrottle::default(),
            throttle: Throttle::new(throttle),
            cookie,
            browser_cookie: BrowserCookie::new(name, Arc::clone(&origins)),
            issuers,
            key_cookie: cookie_session.then(|| KeyCookie::new(name, Arc::clone(&origins))),
            device_cookie: (cookie_session && dbsc).then(|| DeviceCookie::new(name, Arc::clone(&origins))),
            origins,
            peers,
            outcomes: instance.as_ref().map(|instance| Outcomes::new(name, instance)),
            instance,
            proxies,
            password_rules,
            counts: Arc::default(),
        };
        Ok(Self {
            requests,
            limits: ConcurrencyLimits::new(),
            overdue: LogThrottle::default(),
            batch: Batch::default(),
            cx: Arc::new(cx),
        })
    }

    /// Answers until it is told to stop. Then it accepts no new request, and returns once all that
    /// had arrived are answered.
    pub async fn run(mut self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let mut is_ending = false;
        loop {
            tokio::select! {
                () = stop.cancelled(), if !is_ending => {
                    self.requests.end();
                    is_ending = true;
                }
                message = self.requests.next_since() => match message {
                    Some(message) => self.take(message, &tasks).await,
                    None => break,
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Processes a request, and those that wait behind it.
    async fn take(&mut self, first: (Message, Instant), tasks: &TaskTracker) {
        let mut next = Some(first);
        while let Some((Message { subject, reply, payload }, since)) = next {
            if let Some(outcomes) = self.cx.outcomes.as_ref().filter(|outcomes| outcomes.subject == subject) {
                outcomes.apply(&payload, &self.cx.throttle);
                next = if self.batch.is_full() { None } else { self.requests.try_next_since() };
                continue;
            }
            let route = Route::of(&subject, &self.cx.name);
            match (reply, &route) {
                (Some(_), _) if since.elapsed() > MAX_WAIT => self.drop_overdue(&route, payload, since),
                (Some(reply), Route::Login | Route::ChangePassword) => {
                    self.take_login(Arrived { route, payload, reply, since }, tasks).await;
                }
                (Some(reply), _) => {
                    let place = match self.limits.enter() {
                        Some(place) => place,
                        None => {
                            // The requests of the batch hold places, and have to finish to free
                            // some.
                            self.batch.start(tasks);
                            self.limits.wait_and_enter().await
                        }
                    };
                    self.batch.push(Arc::clone(&self.cx).serve(Arrived { route, payload, reply, since }, place));
                }
                (None, _) => debug!(?subject, "ignored a request without a reply subject"),
            }
            next = if self.batch.is_full() { None } else { self.requests.try_next_since() };
        }
        self.batch.start(tasks);
    }

    /// Drops a request whose sender no longer waits: processing it would only delay those behind
    /// it.
    fn drop_overdue(&self, route: &Route, payload: Bytes, since: Instant) {
        request::wipe_payload(payload);
        self.cx.counts.count(route.counted(), RequestOutcome::Overdue, since);
        if let Some(counts) = self.overdue.count() {
            let (requests, in_all) = (counts.since_last, counts.total);
            warn!(requests, in_all, "requests were dropped: they arrive faster than they are processed");
        }
    }

    async fn take_login(&mut self, request: Arrived, tasks: &TaskTracker) {
        match self.limits.enter_login() {
            Some(place) => {
                // Boxed: otherwise a future of some kilobytes is copied each time it is passed on
                // until it runs.
                tasks.spawn(Box::pin(Arc::clone(&self.cx).serve(request, place)));
            }
            None => {
                self.cx.counts.count(request.route.counted(), RequestOutcome::Busy, request.since);
                self.cx.send(&request.reply, Response::error(Failure::Busy.error())).await;
            }
        }
    }
}

impl AuthContext {
    /// Answers a request that holds this place.
    fn serve(self: Arc<Self>, request: Arrived, place: OwnedSemaphorePermit) -> impl Future<Output = ()> + Send {
        let span = spans::request(request.route.counted().name(), request.since);
        self.process(request, place).instrument(span)
    }

    async fn process(self: Arc<Self>, request: Arrived, _place: OwnedSemaphorePermit) {
        let Arrived { route, payload, reply, since } = request;
        if self.leaves(&route) {
            return request::wipe_payload(payload);
        }
        let mut held = None;
        let answer = if payload.len() > MAX_PAYLOAD {
            Err(Failure::Malformed)
        } else {
            // Before the user is read, and until the answer is sent: a gateway drops the events
            // that arrive before the answer.
            held = match &route {
                Route::User(cid) | Route::List(cid) | Route::Listed(cid, _) => hold::hold(&self, cid).await,
                _ => None,
            };
            // A panic leaves nothing half changed: a request changes the store in one write.
            let answering = AssertUnwindSafe(self.answer(&route, &payload, &reply, held.as_mut())).catch_unwind();
            answering.await.unwrap_or(Err(Failure::Panic))
        };
        if self.leaves_after(&route, &answer) {
            debug!(%route, "not answered: the other instance may know the session");
            return request::wipe_payload(payload);
        }
        let outcome = RequestOutcome::of(&answer);
        let response = answer.unwrap_or_else(|failure| {
            if failure.is_malformed()
                && let Some(counts) = self.malformed.count()
            {
                let (since_last, total) = (counts.since_last, counts.total);
                warn!(%route, since_last, total, "received malformed requests");
            }
            failure.log(&route);
            Response::error(failure.error())
        });
        self.send(&reply, response).await;
        self.counts.count(route.counted(), outcome, since);
        if let Some(held) = held {
            held.confirm(&self).await;
        }
        request::wipe_payload(payload);
    }

    async fn answer(
        &self,
        route: &Route,
        payload: &[u8],
        reply: &str,
        held: Option<&mut hold::Hold<'_>>,
    ) -> Result<Response, Failure> {
        match route {
            // Boxed, so that the frequent variants stay small.
            Route::Login => Box::pin(login::login(self, payload, reply)).await,
            Route::Relogin => relogin::relogin(self, payload).await,
            Route::Logout => logout::logout(self, payload).await,
            Route::Challenge => challenge::challenge(self, payload),
            Route::Connect => Box::pin(connect::connect(self, payload)).await,
            Route::HeaderLogin => Box::pin(header_login::header_login(self, payload)).await,
            Route::MethodAccess if self.key_cookie.is_some() => Ok(cookie_refresh::access()),
            Route::AfterHeaderAuth if self.key_cookie.is_some() => Ok(Response::null()),
            Route::DeviceRegistered if self.device_cookie.is_some() => device::instructions(payload),
            Route::ChangePassword => Box::pin(change_password::change_password(self, payload, reply)).await,
            Route::Renew => renew::renew(self, payload).await,
            Route::RenewAt(_) if self.instance.is_some() => renew::renew(self, payload).await,
            Route::UserAccess(cid) => user::access(cid, payload),
            Route::User(_) => user::get(self, held, payload).await,
            Route::Revoke => Box::pin(revoke::revoke(self, payload)).await,
            Route::RevokeOthers => Box::pin(revoke::revoke_others(self, payload)).await,
            Route::ListAccess(cid) => session_list::access(cid, payload),
            Route::List(cid) => session_list::list(self, cid, payload).await,
            Route::Listed(cid, id) => session_list::session(self, cid, id, payload).await,
            Route::UnknownMethod | Route::AfterHeaderAuth | Route::DeviceRegistered | Route::RenewAt(_) => {
                Err(route::check(payload).map_or_else(|error| error, |()| Failure::method_not_found()))
            }
            Route::UnknownResource | Route::MethodAccess => {
                Err(route::check(payload).map_or_else(|error| error, |()| Failure::NotFound))
            }
        }
    }

    async fn send(&self, reply: &str, response: Response) {
        self.send_bytes(reply, response.encode()).await;
    }

    async fn send_bytes(&self, reply: &str, payload: Vec<u8>) {
        // The sender retries: what was done is on disk, and the retry gets the same answer. Wiped
        // when the last handle is dropped, because it may contain a key.
        let payload = Bytes::from_owner(Zeroizing::new(payload));
        if let Err(error) = self.bus.publish(reply, payload).instrument(spans::wait("bus answer")).await {
            debug!("cannot send an answer: {}", Chain(&error));
        }
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("name", &self.cx.name).finish_non_exhaustive()
    }
}
