//! Detects what a NATS server does not permit. The server reports refusals in passing, on no
//! subject and in answer to no message. This module parses those reports, and tries permissions on
//! a connection of its own. Must not depend on RES.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_nats::{Event, ServerError};
use futures_util::StreamExt;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{error, warn};

use super::connect::{self, ConnectError, NatsConfig};
use crate::permissions::{Act, Need, Needed, Permission};

/// The permissions that are needed, and those that were refused.
#[derive(Debug, Default)]
pub(super) struct Denials {
    state: Mutex<State>,
    /// The last subject of JetStream that was refused.
    of_jetstream: watch::Sender<Option<Permission>>,
}

#[derive(Debug, Default)]
struct State {
    needed: Option<Needed>,
    /// A subset of the needs, so it cannot grow beyond them.
    denied: Vec<Permission>,
    others: Others,
    /// The last subject of JetStream that was refused to somebody who waited for it.
    reported: Option<Permission>,
}

/// Refusals of what is not needed: of subjects that clients of the gateway ask for, who must not
/// fill the log.
#[derive(Debug, Default)]
struct Others {
    last_reported: Option<Instant>,
    unreported: u64,
}

/// The subjects by which JetStream is asked, written to, and told to send more.
const JETSTREAM: [&str; 3] = ["$JS.API.", "$KV.", "$JS.FC."];

/// How often refusals of what is not needed are logged.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a server may take to report what it does not permit.
const CHECK_DEADLINE: Duration = Duration::from_secs(5);

impl Denials {
    pub(super) fn require(&self, needs: Vec<Need>) {
        self.state().needed = Some(Needed::new(needs));
    }

    /// The same, for what is needed besides.
    pub(super) fn require_too(&self, needs: Vec<Need>) {
        let mut all = self.needs();
        for need in needs {
            if !all.contains(&need) {
                all.push(need);
            }
        }
        self.require(all);
    }

    pub(super) fn needs(&self) -> Vec<Need> {
        self.state().needed.as_ref().map(|needed| needed.needs.clone()).unwrap_or_default()
    }

    /// What is needed and refused.
    pub(super) fn denied(&self) -> Vec<Permission> {
        self.state().denied.clone()
    }

    /// Replaces what was known to be refused.
    pub(super) fn set(&self, denied: Vec<Permission>) {
        self.state().denied = denied;
    }

    /// Records a report of the server. True if something that is needed is refused now and was not
    /// before.
    pub(super) fn note(&self, event: &Event) -> bool {
        let Some((act, subject)) = refusal(event) else { return false };
        if JETSTREAM.iter().any(|prefix| subject.starts_with(prefix)) {
            let refused = Permission { act, pattern: subject.to_owned() };
            // Who waits for it reports it, and may have stopped waiting once it is sent.
            let is_wanted = self.of_jetstream.receiver_count() > 0;
            self.of_jetstream.send_replace(Some(refused.clone()));
            let reported = &mut self.state().reported;
            if is_wanted {
                *reported = Some(refused);
                return false;
            }
            // A request that was sent twice is refused twice.
            if reported.as_ref() == Some(&refused) {
                return false;
            }
        }
        let mut state = self.state();
        // Before that, the caller reports it.
        let Some(needed) = state.needed.as_ref() else { return false };
        let needed = needed.of(act, subject);
        if needed.is_empty() {
            let pattern = subject.chars().take(200).collect();
            state.others.report(&Permission { act, pattern }, Instant::now());
            return false;
        }
        let new: Vec<_> = needed.into_iter().filter(|permission| !state.denied.contains(permission)).collect();
        for permission in &new {
            error!("NATS no longer permits this user to {permission}; add it to the user's permissions");
        }
        state.denied.extend(new.iter().cloned());
        !new.is_empty()
    }

    /// Waits until a subject of JetStream is refused.
    pub(super) async fn of_jetstream(&self) -> Permission {
        let mut refused = self.of_jetstream.subscribe();
        let found = refused.wait_for(Option::is_some).await.ok().and_then(|refused| refused.clone());
        match found {
            Some(refused) => refused,
            None => std::future::pending().await,
        }
    }

    /// Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Others {
    fn report(&mut self, refused: &Permission, now: Instant) {
        if self.last_reported.is_some_and(|last| now.duration_since(last) < PAUSE) {
            self.unreported += 1;
            return;
        }
        warn!(unreported = self.unreported, "NATS does not permit this user to {refused}");
        (self.last_reported, self.unreported) = (Some(now), 0);
    }
}

/// Returns the refused act and subject, if the event reports a refusal: `Permissions Violation for
/// Publish to "subject"`, or `Subscription to`.
fn refusal(event: &Event) -> Option<(Act, &str)> {
    let Event::ServerError(ServerError::Other(text)) = event else { return None };
    let text = text.strip_prefix("Permissions Violation for ")?;
    let (act, text) = match text.strip_prefix("Publish to \"") {
        Some(text) => (Act::Publish, text),
        None => (Act::Subscribe, text.strip_prefix("Subscription to \"")?),
    };
    // The subject may be followed by a queue or the subscription's number.
    Some((act, text.split('"').next()?))
}

/// Tries each of `needs` on a connection of its own, and returns those that are refused.
///
/// The server does not report what it permits. It reports a refusal before it processes what was
/// sent after it. So a message to this process comes last, and then the end of the connection,
/// because events of the client are delivered in order.
pub(super) async fn check(config: &NatsConfig, needs: &[Need]) -> Result<Vec<Permission>, ConnectError> {
    let (servers, options) = connect::prepare(config).await?;
    let names = connect::names(&servers);
    let (tell, mut told) = mpsc::unbounded_channel();
    let options = options.name("relogin permissions").event_callback(move |event| {
        tell.send(event).ok();
        std::future::ready(())
    });
    let client =
        options.connect(servers).await.map_err(|error| connect::refused_or_unreachable(names.clone(), error))?;
    let checking = async {
        let mut subscribers = Vec::new();
        for Need { permission, subject, payload, .. } in needs.iter().filter(|need| !need.subject.is_empty()) {
            match permission.act {
                Act::Subscribe => subscribers.push(client.subscribe(subject.clone()).await?),
                Act::Publish => client.publish(subject.clone(), payload.clone()).await?,
            }
        }
        let inbox = client.new_inbox();
        let mut back = client.subscribe(inbox.clone()).await?;
        client.publish(inbox, "".into()).await?;
        back.next().await;
        client.drain().await?;
        let mut denied = Vec::new();
        while let Some(event) = told.recv().await {
            if let Some((act, subject)) = refusal(&event) {
                let needs = needs.iter().filter(|need| need.permission.act == act && need.subject == subject);
                denied.extend(needs.map(|need| need.permission.clone()));
            }
            if event == Event::Closed {
                break;
            }
        }
        Ok::<_, async_nats::Error>(denied)
    };
    match timeout(CHECK_DEADLINE, checking).await {
        Ok(Ok(denied)) => Ok(denied),
        Ok(Err(source)) => Err(ConnectError::Unchecked { servers: names, source: Some(source) }),
        Err(_) => Err(ConnectError::Unchecked { servers: names, source: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Event {
        Event::ServerError(ServerError::Other(text.to_owned()))
    }

    #[test]
    fn refusals_that_others_cause_are_logged_once_a_second() {
        let (mut others, start) = (Others::default(), Instant::now());
        let refused = Permission { act: Act::Publish, pattern: "get.secret".into() };
        for n in 0..1_000 {
            others.report(&refused, start + PAUSE * n / 1_000);
        }
        assert_eq!(others.unreported, 999, "all but the first");
        others.report(&refused, start + PAUSE);
        assert_eq!(others.unreported, 0);
    }

    #[test]
    fn what_somebody_has_waited_for_is_not_logged_as_well() {
        let denials = Denials::default();
        denials.require(Vec::new());
        let is_logged = |subject: &str| {
            denials.note(&said(&format!("Permissions Violation for Publish to \"{subject}\"")));
            denials.state().others.last_reported.take().is_some()
        };
        let waiting = denials.of_jetstream.subscribe();
        assert!(!is_logged("$JS.API.INFO"));
        drop(waiting);
        assert!(!is_logged("$JS.API.INFO"), "it was asked for twice");
        assert!(is_logged("$KV.sessions.a"), "nobody waits for it");
    }

    #[test]
    fn a_refusal_is_read_from_what_the_server_says() {
        for (text, expected) in [
            ("Permissions Violation for Publish to \"system.tokenReset\"", Some((Act::Publish, "system.tokenReset"))),
            ("Permissions Violation for Subscription to \"auth.session.>\"", Some((Act::Subscribe, "auth.session.>"))),
            ("Permissions Violation for Subscription to \"a.>\" (sid \"7\")", Some((Act::Subscribe, "a.>"))),
            ("Permissions Violation for Subscription to \"a\" using queue \"q\"", Some((Act::Subscribe, "a"))),
            ("Maximum Payload Violation", None),
            ("Permissions Violation", None),
        ] {
            assert_eq!(refusal(&said(text)), expected, "{text}");
        }
        assert_eq!(refusal(&Event::Connected), None);
    }

    #[test]
    fn a_needed_subject_is_noted_once_and_one_that_others_ask_for_is_not() {
        let denials = Denials::default();
        let event = said("Permissions Violation for Publish to \"conn.c1.token\"");
        assert!(!denials.note(&event), "nothing is needed yet");
        denials.require(vec![Need::publish("conn.*.token", "conn.probe.token", "")]);
        assert!(denials.note(&event));
        assert!(!denials.note(&said("Permissions Violation for Publish to \"conn.c2.token\"")));
        for n in 0..1000 {
            assert!(!denials.note(&said(&format!("Permissions Violation for Publish to \"get.secret.{n}\""))));
        }
        assert_eq!(denials.denied().len(), 1);
        denials.set(vec![]);
        assert!(denials.note(&event));
    }
}
