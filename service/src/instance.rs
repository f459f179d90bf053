//! Ensures that the instances of one name on a message bus belong together. Two instances with
//! separate stores would both answer each request, and each would refuse what only the other one
//! knows: the second does not start. Instances that share a store may be as many as one likes, but
//! must have the same options. An instance looks for others before it answers anything, and as long
//! as it runs. Depends on the bus, but not on sessions or RES.
//!
//! All instances listen on `relogin.<name>.instance`. A question says who asks, and so does an
//! answer. Of two that start at the same moment at least one gets the other's question, because
//! each listens before it asks; the one with the lower id stays.

mod introduction;
mod peers;
mod shared;
mod survey;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use relogin_bus::{Bus, BusError, Delivery, Guard, Link, Mailbox, Need, Tag};
use relogin_host::errors::Chain;
use thiserror::Error;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::{introduction::Instance, shared::Contradiction};
pub use self::{
    peers::Peers,
    shared::{Differences, Shared},
    survey::survey,
};

/// Why this instance may not start.
#[derive(Debug, Error)]
pub enum ClaimError {
    /// Another one is running, or starts at the same time.
    #[error(
        "another relogin named {name:?} runs on this NATS and would answer the same requests from its own store; stop it, or choose \
         another name with --name"
    )]
    Taken {
        /// The name of both.
        name: String,
    },
    /// Another one with the same sessions has other options.
    #[error("another relogin named {name:?} runs with {differences}; start all of them with the same")]
    Differs {
        /// The name of both.
        name: String,
        /// In what they differ.
        differences: Differences,
    },
    /// The bus failed.
    #[error("cannot look for other instances")]
    Bus(#[from] BusError),
}

/// An instance's claim on its name.
pub struct Claim {
    bus: Arc<dyn Bus>,
    name: String,
    subject: String,
    state: Arc<Mutex<ClaimState>>,
    /// The others are to know of this instance, and it of them, before they would be asked.
    is_new: Arc<Notify>,
}

struct ClaimState {
    me: Instance,
    /// Why another one, which runs or starts at the same time, takes precedence.
    goes_before: Option<Contradiction>,
}

/// Answers for an instance, and looks for others.
pub struct Watcher {
    claim: Claim,
    peers: Peers,
    mailbox: Mailbox,
    deliveries: relogin_bus::Deliveries,
    _listening: Guard,
}

const QUESTION: Tag = Tag(0);
const ANSWER: Tag = Tag(1);

/// How long a subscriber may take to answer before this instance starts all the same: it may be a
/// wiretap on all subjects, or an instance whose machine is gone, until the server notices.
const ANSWER_DEADLINE: Duration = Duration::from_millis(750);

/// After how long the question is repeated, because the server may have noticed.
const AGAIN: Duration = Duration::from_millis(20);

/// How long to listen for instances that start at the same time: at least this long, and on a busy
/// machine this many times as long as this instance needs to get its own answer, up to
/// [`ANSWER_DEADLINE`].
const SIMULTANEOUS: Duration = Duration::from_millis(40);
const TIMES: u32 = 20;

/// How often a running instance looks for others.
const LOOK: Duration = Duration::from_secs(10);

/// How long after its last sign another instance counts as gone.
const GONE: Duration = Duration::from_secs(25);

/// The subject on which instances of `name` find each other.
#[must_use]
pub fn subject(name: &str) -> String {
    format!("relogin.{name}.instance")
}

/// The permissions that an instance needs to find others.
#[must_use]
pub fn needs(name: &str) -> Vec<Need> {
    let subject = subject(name);
    vec![Need::subscribe(subject.clone()), Need::publish(subject.clone(), subject, "")]
}

impl Claim {
    /// Asks whether an instance of `name` is running, and listens for those that ask. Until
    /// [`Claim::ready`] the one with the lower id takes precedence.
    ///
    /// # Errors
    /// [`ClaimError::Taken`] if there is one and they do not share a store, [`ClaimError::Differs`]
    /// if they do and have different options.
    pub async fn ask(
        bus: Arc<dyn Bus>,
        name: &str,
        shared: Option<Shared>,
        peers: Peers,
    ) -> Result<(Self, Watcher), ClaimError> {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began = u64::try_from(began.as_millis()).unwrap_or(u64::MAX);
        let id = format!("{:032x}", rand::random::<u128>());
        let me = Instance { id, began, ready: false, shared, users: None };
        let state = Arc::new(Mutex::new(ClaimState { me, goes_before: None }));
        let claim = Self { bus, name: name.to_owned(), subject: subject(name), state, is_new: Arc::default() };
        claim.ask_for_running().await?;

        let (mailbox, deliveries) = Mailbox::with_capacity(1 << 16);
        let listening = claim.bus.listen(&claim.subject, &mailbox, QUESTION).await?;
        claim.bus.flush().await?;
        let watcher = Watcher { claim: claim.handle(), peers, mailbox, deliveries, _listening: listening };
        Ok((claim, watcher))
    }

    /// Asks while this instance does not listen: if nobody does, the bus reports that at once.
    async fn ask_for_running(&self) -> Result<(), ClaimError> {
        let (mailbox, mut answers) = Mailbox::with_capacity(1 << 16);
        let (deadline, mut asking) = (Instant::now() + ANSWER_DEADLINE, Vec::new());
        while Instant::now() < deadline {
            // An answer to an earlier question counts as well.
            asking.push(self.bus.ask(&self.subject, self.words(), &mailbox, ANSWER).await?);
            match timeout(AGAIN, answers.next()).await {
                Ok(Some(Delivery::Reply { payload, .. })) => match Instance::read(&payload) {
                    Some(other) if other.ready => {
                        let contradiction = self.state().me.contradicts(&other);
                        return contradiction.map_or(Ok(()), |contradiction| Err(self.refused(contradiction)));
                    }
                    // It starts as well. Which of the two takes precedence is decided when both
                    // listen.
                    Some(_) => return Ok(()),
                    None => {}
                },
                Ok(Some(Delivery::NoResponders { .. }) | None) => return Ok(()),
                Ok(Some(Delivery::Message { .. } | Delivery::Lost)) | Err(_) => {}
            }
        }
        debug!("a subscriber on {:?} does not answer", self.subject);
        Ok(())
    }

    /// Asks while this instance listens, and answers: for those that start at the same time. Its
    /// [`Watcher`] must run.
    ///
    /// # Errors
    /// [`ClaimError::Taken`] if there is one that takes precedence.
    pub async fn settle(&self) -> Result<(), ClaimError> {
        let (mailbox, mut answers) = Mailbox::with_capacity(1 << 16);
        let _asking = self.bus.ask(&self.subject, self.words(), &mailbox, ANSWER).await?;
        let asked = Instant::now();
        let (mut deadline, own) = (asked + ANSWER_DEADLINE, self.state().me.id.clone());
        while let Ok(Some(delivery)) = timeout_at(deadline, answers.next()).await {
            if let Delivery::Reply { payload, .. } = delivery
                && let Some(other) = Instance::read(&payload)
            {
                if other.id == own {
                    deadline = asked + (asked.elapsed() * TIMES).clamp(SIMULTANEOUS, ANSWER_DEADLINE);
                }
                self.state().record(&other);
            }
        }
        self.check()
    }

    /// From now on this instance takes precedence over all that start.
    ///
    /// # Errors
    /// [`ClaimError::Taken`] if another was faster.
    pub fn ready(&self) -> Result<(), ClaimError> {
        self.check()?;
        self.state().me.ready = true;
        self.is_new.notify_one();
        Ok(())
    }

    /// Tells the others that this instance answers now, so that they miss it from the first moment.
    pub async fn announce(&self) {
        if let Err(error) = self.bus.publish(&self.subject, self.words()).await {
            debug!("cannot inform other instances that this one is ready: {}", Chain(&error));
        }
    }

    fn check(&self) -> Result<(), ClaimError> {
        let contradiction = self.state().goes_before.clone();
        contradiction.map_or(Ok(()), |contradiction| Err(self.refused(contradiction)))
    }

    fn refused(&self, contradiction: Contradiction) -> ClaimError {
        let name = self.name.clone();
        match contradiction {
            Contradiction::Apart => ClaimError::Taken { name },
            Contradiction::Options(differences) => ClaimError::Differs { name, differences },
        }
    }

    /// What distinguishes this instance from others: 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        self.state().me.id.clone()
    }

    /// The secrets were exchanged for those with these fingerprints.
    pub fn exchange_secrets(&self, fingerprints: Vec<String>) {
        if let Some(shared) = &mut self.state().me.shared {
            shared.secrets = fingerprints;
        }
    }

    /// This instance has the list of users that this digest is of; none: it has none that can be
    /// used. The others are notified at once.
    pub fn show_users(&self, digest: Option<&str>) {
        let mut state = self.state();
        if state.me.users.as_deref() != digest {
            state.me.users = digest.map(str::to_owned);
            self.is_new.notify_one();
        }
    }

    fn words(&self) -> Bytes {
        self.state().me.words()
    }

    /// Another handle of the same claim.
    #[must_use]
    pub fn handle(&self) -> Self {
        let Self { bus, name, subject, state, is_new } = self;
        let (bus, state, is_new) = (Arc::clone(bus), Arc::clone(state), Arc::clone(is_new));
        Self { bus, name: name.clone(), subject: subject.clone(), state, is_new }
    }

    /// Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
    fn state(&self) -> MutexGuard<'_, ClaimState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClaimState {
    /// Records another instance; true if both answer requests and do not belong together.
    fn record(&mut self, other: &Instance) -> bool {
        if other.id == self.me.id {
            return false;
        }
        let Some(contradiction) = self.me.contradicts(other) else { return false };
        if !self.me.ready && (other.ready || other.id < self.me.id) {
            self.goes_before = Some(contradiction);
        }
        self.me.ready && other.ready
    }
}

impl Watcher {
    /// Answers those who ask, and looks for others, until it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Not at once: it was asked a moment ago.
        look.reset();
        let mut link = self.claim.bus.link();
        let mut asking = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.leave().await,
                delivery = self.deliveries.next() => match delivery {
                    Some(delivery) => self.on_delivery(delivery).await,
                    None => return,
                },
                _ = look.tick() => {
                    self.peers.forget();
                    asking = self.look().await;
                }
                () = self.claim.is_new.notified() => asking = self.look().await,
                changed = link.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Two halves of a network may have been reconnected.
                    if *link.borrow_and_update() == Link::Up {
                        asking = self.look().await;
                    }
                }
            }
            // Answers are accepted until the next question.
            let _ = &asking;
        }
    }

    async fn look(&self) -> Option<Guard> {
        if !self.claim.state().me.ready {
            return None;
        }
        match self.claim.bus.ask(&self.claim.subject, self.claim.words(), &self.mailbox, ANSWER).await {
            Ok(asking) => Some(asking),
            Err(error) => {
                debug!("cannot look for other instances: {}", Chain(&error));
                None
            }
        }
    }

    /// Announces that this instance no longer answers.
    async fn leave(&self) {
        self.claim.state().me.ready = false;
        if let Err(error) = self.claim.bus.publish(&self.claim.subject, self.claim.words()).await {
            debug!("cannot inform other instances that this one stops: {}", Chain(&error));
        }
    }

    async fn on_delivery(&self, delivery: Delivery) {
        let (payload, reply) = match delivery {
            Delivery::Message { message, .. } => (message.payload, message.reply),
            Delivery::Reply { payload, .. } => (payload, None),
            Delivery::NoResponders { .. } | Delivery::Lost => return,
        };
        let Some(other) = Instance::read(&payload) else { return };
        let (is_conflict, me) = {
            let mut state = self.claim.state();
            (state.record(&other), state.me.clone())
        };
        if other.id != me.id && me.contradicts(&other).is_none() {
            self.peers.belongs(&other);
        }
        if is_conflict {
            self.peers.meet(&me, other, &self.claim.name);
        } else {
            self.peers.part(&other);
        }
        if let Some(reply) = reply
            && let Err(error) = self.claim.bus.publish(&reply, me.words()).await
        {
            debug!("cannot answer another instance: {}", Chain(&error));
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("subject", &self.claim.subject).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use relogin_bus::local::LocalBus;
    use tokio::sync::watch;

    use super::*;

    struct Started {
        claim: Claim,
        peers: Peers,
        _watching: tokio::task::JoinHandle<()>,
    }

    async fn start(bus: &Arc<LocalBus>) -> Result<Started, ClaimError> {
        start_with(bus, None).await
    }

    async fn start_with(bus: &Arc<LocalBus>, shared: Option<Shared>) -> Result<Started, ClaimError> {
        let started = listen_with(bus, shared).await?;
        started.claim.settle().await?;
        started.claim.ready()?;
        Ok(started)
    }

    async fn listen(bus: &Arc<LocalBus>) -> Result<Started, ClaimError> {
        listen_with(bus, None).await
    }

    async fn listen_with(bus: &Arc<LocalBus>, shared: Option<Shared>) -> Result<Started, ClaimError> {
        let peers = Peers::default();
        let (claim, watcher) = Claim::ask(bus.clone(), "session", shared, peers.clone()).await?;
        Ok(Started { claim, peers, _watching: tokio::spawn(watcher.run(CancellationToken::new())) })
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_does_not_start_until_the_first_is_gone() {
        let bus = Arc::new(LocalBus::new());
        let first = start(&bus).await.unwrap();
        assert!(matches!(start(&bus).await, Err(ClaimError::Taken { .. })));
        assert!(!first.peers.is_met(), "one that does not start is not met");
        let other = Arc::new(LocalBus::new());
        start(&other).await.unwrap();
        first._watching.abort();
        first._watching.await.unwrap_err();
        start(&bus).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn of_instances_that_start_at_the_same_time_one_does() {
        for count in 2..6 {
            let bus = Arc::new(LocalBus::new());
            let starting = (0..count).map(|_| start(&bus));
            let started = futures_util::future::join_all(starting).await;
            assert_eq!(started.iter().filter(|started| started.is_ok()).count(), 1, "of {count}");
        }
    }

    /// Whatever each knows of the other, one that is ready has gone first.
    #[tokio::test(start_paused = true)]
    async fn an_instance_that_is_slow_to_start_makes_way_for_one_that_is_ready() {
        let bus = Arc::new(LocalBus::new());
        let slow = listen(&bus).await.unwrap();
        let quick = start(&bus).await;
        let (slow, is_quick) = (slow.claim.settle().await.and_then(|()| slow.claim.ready()), quick.is_ok());
        assert_ne!(slow.is_ok(), is_quick);
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_listens_but_does_not_answer_delays_a_start_only_briefly() {
        let bus = Arc::new(LocalBus::new());
        let _gone = bus.subscribe(&[subject("session")]).await.unwrap();
        let begin = Instant::now();
        start(&bus).await.unwrap();
        assert!(begin.elapsed() < ANSWER_DEADLINE + AGAIN + SIMULTANEOUS * 2);
    }

    /// Two that have started apart from each other, as in the two halves of a network.
    #[tokio::test(start_paused = true)]
    async fn instances_that_meet_later_know_it_until_one_is_gone() {
        let bus = Arc::new(LocalBus::new());
        let (first, second) = (listen(&bus).await.unwrap(), listen(&bus).await.unwrap());
        for started in [&first, &second] {
            started.claim.state().me.ready = true;
        }
        second.claim.state().me.began += 1;
        tokio::time::sleep(LOOK * 2).await;
        assert!(first.peers.is_met() && second.peers.is_met());
        assert_eq!((first.peers.is_junior(), second.peers.is_junior()), (false, true));
        second._watching.abort();
        tokio::time::sleep(GONE + LOOK * 2).await;
        assert!(!first.peers.is_met());
    }

    fn shared(store: &str, refresh: &str, secrets: &[&str]) -> Option<Shared> {
        Some(Shared {
            store: store.to_owned(),
            options: [("--refresh".to_owned(), refresh.to_owned())].into(),
            secrets: secrets.iter().map(|&secret| secret.to_owned()).collect(),
            has_file: false,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn instances_that_share_a_store_start_if_they_have_the_same_options() {
        let bus = Arc::new(LocalBus::new());
        let starting = (0..3).map(|_| start_with(&bus, shared("bucket", "10m", &["new", "old"])));
        let started = futures_util::future::join_all(starting).await;
        let started: Vec<_> = started.into_iter().map(Result::unwrap).collect();
        for (other, option) in [
            (shared("bucket", "20m", &["new"]), Some("another --refresh: 10m, not 20m")),
            (shared("bucket", "10m", &["other", "new"]), Some("another secret")),
            (shared("bucket", "10m", &["old"]), Some("another secret")),
            (shared("bucket", "20m", &["old"]), Some("another --refresh: 10m, not 20m, another secret")),
            (shared("another", "10m", &["new"]), None),
            (None, None),
        ] {
            match (start_with(&bus, other).await.map(drop), option) {
                (Err(ClaimError::Differs { differences, .. }), Some(expected)) => {
                    assert_eq!(differences.to_string(), expected);
                }
                (Err(ClaimError::Taken { .. }), None) => {}
                (result, _) => panic!("{result:?}"),
            }
        }
        // While secrets are rotated, some already sign with what the others only know.
        started[0].claim.exchange_secrets(vec!["old".to_owned(), "new".to_owned()]);
        start_with(&bus, shared("bucket", "10m", &["new", "old"])).await.unwrap();
        tokio::time::sleep(LOOK * 3).await;
        assert!(started.iter().all(|started| !started.peers.is_met()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_vanishes_is_reported_and_one_that_stops_is_not() {
        let bus = Arc::new(LocalBus::new());
        let belonging = || start_with(&bus, shared("bucket", "10m", &["new"]));
        let (first, second) = (belonging().await.unwrap(), belonging().await.unwrap());
        second.claim.announce().await;
        let stop = CancellationToken::new();
        let (claim, watcher) =
            Claim::ask(bus.clone(), "session", shared("bucket", "10m", &["new"]), Peers::default()).await.unwrap();
        let leaving = tokio::spawn(watcher.run(stop.clone()));
        claim.settle().await.unwrap();
        claim.ready().unwrap();
        claim.announce().await;
        let mut missed = first.peers.missed();
        tokio::time::sleep(LOOK * 2).await;
        stop.cancel();
        leaving.await.unwrap();
        tokio::time::sleep((GONE + LOOK) * 2).await;
        assert!(!missed.has_changed().unwrap());
        second._watching.abort();
        let began = Instant::now();
        is_missed(&mut missed).await;
        assert!(began.elapsed() <= GONE + LOOK * 2 && *missed.borrow_and_update() == 1);
        tokio::time::sleep((GONE + LOOK) * 2).await;
        assert!(!missed.has_changed().unwrap(), "once");
        // However short its life was.
        let third = belonging().await.unwrap();
        third.claim.announce().await;
        tokio::task::yield_now().await;
        third._watching.abort();
        is_missed(&mut missed).await;
    }

    /// Long before they would ask by themselves.
    #[tokio::test(start_paused = true)]
    async fn an_instance_that_starts_or_has_other_users_is_known_to_the_others_at_once() {
        let bus = Arc::new(LocalBus::new());
        let belonging = async |users| {
            let started = start_with(&bus, shared("bucket", "10m", &["new"])).await.unwrap();
            started.claim.show_users(users);
            started
        };
        let soon = || tokio::time::sleep(LOOK / 10);
        let first = belonging(Some("old")).await;
        assert!(first.peers.have_users("old"), "there is nobody else");
        let second = belonging(Some("new")).await;
        soon().await;
        assert!(!first.peers.have_users("old") && !second.peers.have_users("new"));
        first.claim.show_users(Some("new"));
        soon().await;
        assert!(first.peers.have_users("new") && second.peers.have_users("new"));
        // One whose file is unusable, or of an earlier version.
        first.claim.show_users(None);
        let third = belonging(Some("new")).await;
        soon().await;
        assert!(!second.peers.have_users("new") && !third.peers.have_users("new"));
    }

    #[tokio::test(start_paused = true)]
    async fn with_which_users_an_instance_left_is_known_however_it_went() {
        let bus = Arc::new(LocalBus::new());
        let belonging = async |users| {
            let started = start_with(&bus, shared("bucket", "10m", &["new"])).await.unwrap();
            started.claim.show_users(users);
            tokio::time::sleep(LOOK / 10).await;
            started
        };
        let stays = belonging(Some("new")).await;
        for (users, is_another) in [(Some("new"), false), (Some("old"), true), (None, true)] {
            belonging(users).await._watching.abort();
            tokio::time::sleep(GONE + LOOK * 2).await;
            assert_eq!(stays.peers.has_another_left("new"), is_another, "{users:?}");
            assert!(!stays.peers.has_another_left("new"), "once");
        }
        let (claim, watcher) =
            Claim::ask(bus.clone(), "session", shared("bucket", "10m", &["new"]), Peers::default()).await.unwrap();
        let stop = CancellationToken::new();
        let leaving = tokio::spawn(watcher.run(stop.clone()));
        claim.settle().await.unwrap();
        claim.ready().unwrap();
        claim.show_users(Some("old"));
        tokio::time::sleep(LOOK / 10).await;
        stop.cancel();
        leaving.await.unwrap();
        tokio::task::yield_now().await;
        assert!(stays.peers.has_another_left("new"), "it has stopped");
    }

    async fn is_missed(missed: &mut watch::Receiver<u64>) {
        timeout(GONE * 4, missed.changed()).await.expect("who has gone is missed").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn messages_of_no_instance_are_ignored() {
        let bus = Arc::new(LocalBus::new());
        let first = start(&bus).await.unwrap();
        for payload in ["", "{}", "null", r#"{"id":7}"#] {
            bus.publish(&subject("session"), payload.into()).await.unwrap();
        }
        tokio::time::sleep(LOOK).await;
        assert!(!first.peers.is_met());
    }
}
