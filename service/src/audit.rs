//! The audit trail: one line of JSON for each event of a session (docs/audit.md). Must not depend
//! on the rules or on RES, and never receives a secret: no password, key, cookie or token.

mod fold;
mod sink;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, UNIX_EPOCH},
};

use humantime::format_rfc3339_millis;
use relogin_bus::{Bus, BusError};
use relogin_host::errors::Chain;
use relogin_session::{ConnectionId, SessionId, Timestamp, UserId};
use serde::{Serialize, Serializer};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::{JoinError, JoinHandle},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::error;

use self::fold::Folds;
pub use self::{
    fold::Folded,
    sink::{AuditFile, AuditTarget},
};

/// An event. Unknown members are left out of its line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The event: a word of docs/audit.md.
    pub event: String,
    /// The session concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The session's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The connection concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionId>,
    /// The remote address, as the gateway reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_addr: Option<String>,
    /// The generation of the session's newest key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The line stands for this many events of its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folded: Option<Folded>,
}

/// Accepts events to be written. A clone writes to the same trail.
#[derive(Clone, Debug, Default)]
pub struct Audit(Option<Open>);

#[derive(Clone, Debug)]
struct Open {
    events: mpsc::Sender<(Timestamp, Event)>,
    folds: Arc<Folds>,
    state: Arc<WriterState>,
}

/// What the writer reports to those who have something to write.
#[derive(Debug, Default)]
struct WriterState {
    /// Nobody reads what is written, so nobody waits for it any more.
    is_stuck: AtomicBool,
    /// Events that were not written and not reported yet.
    lost: AtomicU64,
}

/// Writes what an [`Audit`] accepts.
pub struct Trail {
    events: mpsc::Receiver<(Timestamp, Event)>,
    folds: Arc<Folds>,
    file: Option<AuditFile>,
    subject: Option<(Arc<dyn Bus>, String)>,
    state: Arc<WriterState>,
    /// Events that were not published since the last published one.
    unpublished: u64,
    stop: CancellationToken,
}

#[derive(Serialize)]
struct AuditLine<'a> {
    #[serde(serialize_with = "time")]
    time: Timestamp,
    #[serde(flatten)]
    event: &'a Event,
}

/// How many events wait to be written. A task with one more waits for room, so that none is lost in
/// a storm.
const WAITING: usize = 4096;

/// The longest wait. A disk takes thousands of events in that time; a pipe that takes none is not
/// being read, and no login waits for it.
const WRITE_DEADLINE: Duration = Duration::from_secs(1);

/// How often it is reported that nothing is read.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// How many are written together.
const AT_ONCE: usize = 512;

impl Audit {
    /// A trail that is written to a file or to standard output, and published on the bus.
    #[must_use]
    pub fn new(file: Option<AuditFile>, subject: Option<(Arc<dyn Bus>, String)>) -> (Self, Trail) {
        let (sender, events) = mpsc::channel(WAITING);
        let folds = Arc::new(Folds::default());
        let state = Arc::<WriterState>::default();
        let open = Open { events: sender, folds: Arc::clone(&folds), state: Arc::clone(&state) };
        let stop = CancellationToken::new();
        (Self(Some(open)), Trail { events, folds, file, subject, state, unpublished: 0, stop })
    }

    /// No trail.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// True if there is a trail: otherwise no event need be made.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes an event, or counts it, if strangers cause many of its kind. Waits only if many are
    /// waiting, and not for long: then the event is lost, and counted.
    pub async fn write(&self, now: Timestamp, event: Event) {
        let Some(Open { events, folds, state }) = &self.0 else { return };
        if !folds.passes(now, &event, Instant::now().into_std()) {
            return;
        }
        let event = match events.try_send((now, event)) {
            Ok(()) => return,
            Err(TrySendError::Closed(_)) => return error!("the audit trail has stopped; an event was not written"),
            Err(TrySendError::Full(event)) => event,
        };
        if !state.is_stuck.load(Relaxed) {
            if events.send_timeout(event, WRITE_DEADLINE).await.is_ok() {
                return;
            }
            state.is_stuck.store(true, Relaxed);
        }
        state.lost.fetch_add(1, Relaxed);
    }
}

impl Trail {
    /// Writes until it is told to stop, then the rest.
    pub async fn run(mut self, stop: CancellationToken) {
        self.stop = stop.clone();
        let mut events = Vec::with_capacity(AT_ONCE);
        loop {
            let due = self.folds.due();
            let count = tokio::select! {
                biased;
                () = sleep_until(due.map_or_else(Instant::now, Instant::from_std)), if due.is_some() => {
                    events.extend(self.folds.take(Some(Instant::now().into_std())));
                    self.write_events(&mut events).await;
                    continue;
                }
                count = self.events.recv_many(&mut events, AT_ONCE) => count,
                () = self.folds.begun() => continue,
                () = stop.cancelled(), if !self.events.is_closed() => {
                    self.events.close();
                    continue;
                }
            };
            if count == 0 {
                events.extend(self.folds.take(None));
                self.write_events(&mut events).await;
                return self.tell_what_is_lost("some of the audit trail was not written");
            }
            self.write_events(&mut events).await;
        }
    }

    async fn write_events(&mut self, events: &mut Vec<(Timestamp, Event)>) {
        let lines: Vec<_> = events.drain(..).map(|(time, event)| line(time, &event)).collect();
        if !lines.is_empty() {
            self.write(&lines).await;
        }
    }

    async fn write(&mut self, lines: &[String]) {
        if let Some(mut file) = self.file.take() {
            let text = lines.concat();
            let writing = tokio::task::spawn_blocking(move || {
                let written = file.append(text.as_bytes());
                (file, written)
            });
            match self.patiently(writing).await {
                Some(Ok((file, written))) => {
                    self.file = Some(file);
                    self.state.is_stuck.store(false, Relaxed);
                    match written {
                        Ok(()) => self.tell_what_is_lost("the audit trail can be written again; some of it was not"),
                        Err(failure) => {
                            if self.state.lost.fetch_add(lines.len() as u64, Relaxed) == 0 {
                                error!("cannot write the audit trail: {}", Chain(&failure));
                            }
                        }
                    }
                }
                Some(Err(panic)) => error!("writing the audit trail panicked: {}", Chain(&panic)),
                // The service is stopping.
                None => {
                    self.state.lost.fetch_add(lines.len() as u64, Relaxed);
                }
            }
        } else if self.subject.is_none() {
            self.state.lost.fetch_add(lines.len() as u64, Relaxed);
        }
        for line in lines {
            self.publish(line).await;
        }
    }

    /// Waits for a write. If nobody reads, it reports that from time to time; once the service is
    /// stopping it waits only for a moment: `None`.
    async fn patiently<T>(&self, mut writing: JoinHandle<T>) -> Option<Result<T, JoinError>> {
        loop {
            tokio::select! {
                written = &mut writing => return Some(written),
                () = tokio::time::sleep(REPORT_INTERVAL) => {
                    let lost = self.state.lost.load(Relaxed);
                    error!(lost, "the audit trail is not being read; check the process at the other end of the pipe");
                }
                () = self.stop.cancelled() => return tokio::time::timeout(WRITE_DEADLINE, writing).await.ok(),
            }
        }
    }

    async fn publish(&mut self, line: &str) {
        let Some((bus, subject)) = &self.subject else { return };
        let line = line.trim_end().to_owned();
        let published = tokio::time::timeout(WRITE_DEADLINE, bus.publish(subject, line.into())).await;
        match published.unwrap_or(Err(BusError::Disconnected)) {
            Ok(()) if self.unpublished > 0 => {
                error!(lost = self.unpublished, "publishing the audit trail works again; some events were lost");
                self.unpublished = 0;
            }
            Ok(()) => {}
            Err(failure) => {
                if self.unpublished == 0 {
                    error!("cannot publish the audit trail: {}", Chain(&failure));
                }
                self.unpublished += 1;
            }
        }
    }

    fn tell_what_is_lost(&self, what: &str) {
        let lost = self.state.lost.swap(0, Relaxed);
        if lost > 0 {
            error!(lost, "{what}");
        }
    }
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trail").field("file", &self.file).finish_non_exhaustive()
    }
}

fn line(time: Timestamp, event: &Event) -> String {
    serde_json::to_string(&AuditLine { time, event }).expect("texts and numbers are written without fail") + "\n"
}

fn time<S: Serializer>(Timestamp(ms): &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(*ms)).unwrap_or(UNIX_EPOCH);
    serializer.collect_str(&format_rfc3339_millis(time))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::BufRead};

    use relogin_bus::local::LocalBus;

    use super::*;

    fn event(name: &str) -> Event {
        Event { event: name.to_owned(), ..Event::default() }
    }

    #[tokio::test]
    async fn each_event_is_a_line_in_the_file_and_a_message_on_the_bus() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let bus = Arc::new(LocalBus::new());
        let mut heard = bus.subscribe(&["my.audit".to_owned()]).await.unwrap();
        let (audit, trail) = Audit::new(Some(AuditFile::open(&path).unwrap()), Some((bus, "my.audit".to_owned())));
        let stop = CancellationToken::new();
        let running = tokio::spawn(trail.run(stop.clone()));
        let reused = Event {
            session: Some(SessionId([0; 16])),
            user: Some(UserId::Number(3)),
            connection: ConnectionId::parse("c1"),
            remote_addr: Some("1.2.3.4:5\n{".to_owned()),
            generation: Some(7),
            ..event("reuse_detected")
        };
        audit.write(Timestamp(1_790_000_000_123), reused).await;
        audit.write(Timestamp(0), event("logged_out")).await;
        stop.cancel();
        running.await.unwrap();
        let expected = [
            r#"{"time":"2026-09-21T14:13:20.123Z","event":"reuse_detected","session":"AAAAAAAAAAAAAAAAAAAAAA","user":3,"connection":"c1","remoteAddr":"1.2.3.4:5\n{","generation":7}"#,
            r#"{"time":"1970-01-01T00:00:00.000Z","event":"logged_out"}"#,
        ];
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().collect::<Vec<_>>(), expected);
        for line in expected {
            assert_eq!(heard.next().await.unwrap().payload, line);
        }
    }

    #[tokio::test]
    async fn a_storm_waits_and_loses_nothing_and_the_end_writes_what_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let (audit, trail) = Audit::new(Some(AuditFile::open(&path).unwrap()), None);
        for _ in 0..WAITING {
            audit.write(Timestamp(0), event("logged_in")).await;
        }
        let mut one_more = Box::pin(audit.write(Timestamp(0), event("logged_in")));
        assert!(futures_util::poll!(&mut one_more).is_pending());
        let stop = CancellationToken::new();
        let running = tokio::spawn(trail.run(stop.clone()));
        one_more.await;
        stop.cancel();
        running.await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), WAITING + 1);
        audit.write(Timestamp(0), event("too_late")).await;
        Audit::off().write(Timestamp(0), event("nowhere")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_strangers_cause_are_counted_and_reported_once_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let (audit, trail) = Audit::new(Some(AuditFile::open(&path).unwrap()), None);
        let stop = CancellationToken::new();
        let running = tokio::spawn(trail.run(stop.clone()));
        let lines = || -> Vec<serde_json::Value> {
            let text = std::fs::read_to_string(&path).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        for n in 0..10_000_u64 {
            let user = (n % 3 == 0).then_some(UserId::Number(7));
            let remote_addr = Some(format!("203.0.113.{}:{n}", n % 100));
            audit.write(Timestamp(n), Event { user, remote_addr, ..event("login_failed") }).await;
            audit.write(Timestamp(n), event("login_throttled")).await;
        }
        audit.write(Timestamp(10_000), event("logged_in")).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let seen = lines();
        let (reported, single): (Vec<_>, Vec<_>) = seen.iter().partition(|line| line.get("folded").is_some());
        assert_eq!((reported.len(), single.len()), (2, 101));
        let failed = &reported.iter().find(|line| line["event"] == "login_failed").unwrap();
        assert_eq!(failed["folded"]["count"], 9950);
        assert_eq!(
            (&failed["time"], &failed["folded"]["since"]),
            (&"1970-01-01T00:00:09.999Z".into(), &"1970-01-01T00:00:00.050Z".into())
        );
        assert_eq!(failed["folded"]["users"]["7"], 3317);
        let addresses = failed["folded"]["remoteAddrs"].as_object().unwrap();
        assert_eq!((addresses.len(), &addresses["203.0.113.50"]), (16, &100.into()));

        // The last of them are reported when it stops.
        for _ in 0..100 {
            audit.write(Timestamp(20_000), event("login_failed")).await;
        }
        stop.cancel();
        running.await.unwrap();
        let all: u64 = lines()
            .iter()
            .filter(|line| line["event"] == "login_failed")
            .map(|line| line["folded"]["count"].as_u64().unwrap_or(1))
            .sum();
        assert_eq!(all, 10_100);
    }

    /// A pipe that nobody reads: the first event that finds no room waits for a moment, and the
    /// others not at all.
    #[tokio::test]
    async fn nobody_waits_for_a_pipe_that_is_not_read_and_what_is_lost_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let (audit, trail) = Audit::new(Some(AuditFile::open(&path).unwrap()), None);
        let (state, stop) = (Arc::clone(&trail.state), CancellationToken::new());
        let running = tokio::spawn(trail.run(stop.clone()));
        // A pipe takes 64 kB, the queue 4,096 events, and what is being written 512.
        const EVENTS: u64 = 20_000;
        for _ in 0..EVENTS {
            audit.write(Timestamp(0), event("rotated")).await;
        }
        let lost = state.lost.load(Relaxed);
        assert!(lost > EVENTS - 4_096 - 2_048 - 2_000 && lost < EVENTS, "{lost}");

        // Read from now on: all that waited is there.
        let reader = File::options().read(true).open(&path).unwrap();
        let reading = std::thread::spawn(move || {
            let lines = std::io::BufReader::new(reader).lines();
            lines.map_while(Result::ok).take_while(|line| !line.contains("last")).count() as u64
        });
        while state.lost.load(Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        audit.write(Timestamp(0), event("last")).await;
        stop.cancel();
        running.await.unwrap();
        assert_eq!(reading.join().unwrap(), EVENTS - lost);
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_a_pipe_that_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let (audit, trail) = Audit::new(Some(AuditFile::open(&path).unwrap()), None);
        let stop = CancellationToken::new();
        let running = tokio::spawn(trail.run(stop.clone()));
        for _ in 0..4_096 {
            audit.write(Timestamp(0), event("rotated")).await;
        }
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), running).await.expect("the trail ends").unwrap();
        // The write that is stuck is on a thread of its own, which the test must not wait for.
        let mut reader = File::options().read(true).open(&path).unwrap();
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    }
}
