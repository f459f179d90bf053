//! The audit trail: one line of JSON for each thing that happens to a session or is tried on one (docs/audit.md). Knows no rules and
//! no RES, and no secret ever comes by here: neither password nor key, cookie or token.

mod fold;
mod sink;

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use humantime::format_rfc3339_millis;
use relogin_session::{ConnectionId, SessionId, Timestamp, UserId};
use serde::{Serialize, Serializer};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::error;

use self::fold::Folds;
pub use self::{fold::Folded, sink::AuditFile};
use crate::{bus::Bus, errors::Chain};

/// Something that happened. What is not known of it is left out of its line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// What: a word of docs/audit.md.
    pub event: String,
    /// To which session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// On which connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionId>,
    /// From where, as the gateway says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_addr: Option<String>,
    /// The generation of the session's newest key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The line stands for so many of its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folded: Option<Folded>,
}

/// Takes events to be written down. A clone writes to the same trail.
#[derive(Clone, Debug, Default)]
pub struct Audit(Option<Open>);

#[derive(Clone, Debug)]
struct Open {
    events: mpsc::Sender<(Timestamp, Event)>,
    folds: Arc<Folds>,
}

/// Writes down what an [`Audit`] takes.
pub struct Trail {
    events: mpsc::Receiver<(Timestamp, Event)>,
    folds: Arc<Folds>,
    file: Option<AuditFile>,
    subject: Option<(Arc<dyn Bus>, String)>,
    /// Events that could not be written since the last that could.
    lost: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(serialize_with = "time")]
    time: Timestamp,
    #[serde(flatten)]
    event: &'a Event,
}

/// How many events wait to be written. Whoever has one more waits with it, so that none is lost in a storm.
const WAITING: usize = 4096;

/// How many are written together.
const AT_ONCE: usize = 512;

impl Audit {
    /// A trail that goes to a file or to standard output, and to a subject of the bus.
    #[must_use]
    pub fn new(file: Option<AuditFile>, subject: Option<(Arc<dyn Bus>, String)>) -> (Self, Trail) {
        let (sender, events) = mpsc::channel(WAITING);
        let folds = Arc::new(Folds::default());
        (
            Self(Some(Open { events: sender, folds: Arc::clone(&folds) })),
            Trail { events, folds, file, subject, lost: 0 },
        )
    }

    /// No trail.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Has an event written down, or counted, if strangers cause many of its kind. Waits only if many are waiting.
    pub async fn write(&self, now: Timestamp, event: Event) {
        if let Some(Open { events, folds }) = &self.0
            && folds.passes(now, &event, Instant::now().into_std())
            && events.send((now, event)).await.is_err()
        {
            error!("the audit trail has ended: an event was not written down");
        }
    }
}

impl Trail {
    /// Writes until it is told to stop, then what there is left.
    pub async fn run(mut self, stop: CancellationToken) {
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
                return;
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
            let written = tokio::task::spawn_blocking(move || {
                let written = file.append(text.as_bytes());
                (file, written)
            });
            match written.await {
                Ok((file, written)) => {
                    self.file = Some(file);
                    match written {
                        Ok(()) if self.lost > 0 => {
                            error!(lost = self.lost, "the audit trail can be written again; some of it was not");
                            self.lost = 0;
                        }
                        Ok(()) => {}
                        Err(failure) => {
                            if self.lost == 0 {
                                error!("the audit trail cannot be written: {}", Chain(&failure));
                            }
                            self.lost += lines.len() as u64;
                        }
                    }
                }
                Err(panic) => error!("writing the audit trail panicked: {}", Chain(&panic)),
            }
        }
        if let Some((bus, subject)) = &self.subject {
            for line in lines {
                let line = line.trim_end().to_owned();
                if let Err(failure) = bus.publish(subject, line.into()).await {
                    error!("an event of the audit trail was not published: {}", Chain(&failure));
                }
            }
        }
    }
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trail").field("file", &self.file).finish_non_exhaustive()
    }
}

fn line(time: Timestamp, event: &Event) -> String {
    serde_json::to_string(&Line { time, event }).expect("texts and numbers are written without fail") + "\n"
}

fn time<S: Serializer>(Timestamp(ms): &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(*ms)).unwrap_or(UNIX_EPOCH);
    serializer.collect_str(&format_rfc3339_millis(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::local::LocalBus;

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
        let stolen = Event {
            session: Some(SessionId([0; 16])),
            user: Some(UserId::Number(3)),
            connection: ConnectionId::parse("c1"),
            remote_addr: Some("1.2.3.4:5\n{".to_owned()),
            generation: Some(7),
            ..event("stolen")
        };
        audit.write(Timestamp(1_790_000_000_123), stolen).await;
        audit.write(Timestamp(0), event("logged_out")).await;
        stop.cancel();
        running.await.unwrap();
        let expected = [
            r#"{"time":"2026-09-21T14:13:20.123Z","event":"stolen","session":"AAAAAAAAAAAAAAAAAAAAAA","user":3,"connection":"c1","remoteAddr":"1.2.3.4:5\n{","generation":7}"#,
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
    async fn what_strangers_cause_is_counted_and_told_once_a_second() {
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
        let (told, single): (Vec<_>, Vec<_>) = seen.iter().partition(|line| line.get("folded").is_some());
        assert_eq!((told.len(), single.len()), (2, 101));
        let failed = &told.iter().find(|line| line["event"] == "login_failed").unwrap();
        assert_eq!(failed["folded"]["count"], 9950);
        assert_eq!(
            (&failed["time"], &failed["folded"]["since"]),
            (&"1970-01-01T00:00:09.999Z".into(), &"1970-01-01T00:00:00.050Z".into())
        );
        assert_eq!(failed["folded"]["users"]["7"], 3317);
        let addresses = failed["folded"]["remoteAddrs"].as_object().unwrap();
        assert_eq!((addresses.len(), &addresses["203.0.113.50"]), (16, &100.into()));

        // The last of them are told when it stops.
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
}
