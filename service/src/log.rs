//! Sends log lines to a thread of its own, which writes them to standard error. Logging never
//! blocks: a pipe that is not read must not stall the service. Must not know what the lines say.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use humantime::format_rfc3339_micros;
use tracing_subscriber::fmt::MakeWriter;

/// How many lines may wait to be written.
const LINES: usize = 4096;

/// How long the waiting lines may take to be written at the end.
const END: Duration = Duration::from_secs(1);

/// Accepts lines. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Log {
    queue: SyncSender<Message>,
    /// Lines for which there was no room, and that were not reported yet.
    dropped: Arc<AtomicU64>,
}

/// Has the waiting lines written when dropped, if possible.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct LogGuard(SyncSender<Message>);

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// The last one.
    End(SyncSender<()>),
}

impl Log {
    /// A log written to `target`.
    ///
    /// # Errors
    /// [`io::Error`] if no thread is available.
    pub fn to(target: impl Write + Send + 'static) -> io::Result<(Self, LogGuard)> {
        let (queue, lines) = sync_channel(LINES);
        let dropped = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&dropped);
        thread::Builder::new().name("log".to_owned()).spawn(move || write(&lines, target, &counter))?;
        Ok((Self { queue: queue.clone(), dropped }, LogGuard(queue)))
    }
}

fn write(lines: &Receiver<Message>, mut target: impl Write, dropped: &AtomicU64) {
    while let Ok(message) = lines.recv() {
        // There is nobody left to report a failure to.
        match message {
            Message::Line(line) => target.write_all(&line).ok(),
            Message::End(done) => {
                target.flush().ok();
                return drop(done);
            }
        };
        let lost = dropped.swap(0, Relaxed);
        if lost > 0 {
            let now = format_rfc3339_micros(SystemTime::now());
            writeln!(target, "{now}  WARN relogin::log: log lines were dropped because nobody read them lines={lost}")
                .ok();
        }
    }
}

impl Write for Log {
    /// Takes a whole line at a time, as the subscriber writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Line(line.to_owned())) {
            self.dropped.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (done, ended) = sync_channel(0);
        let deadline = Instant::now() + END;
        let mut message = Message::End(done);
        while let Err(TrySendError::Full(again)) = self.0.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            // The queue cannot be waited for with a deadline.
            thread::sleep(Duration::from_millis(10));
            message = again;
        }
        // An error means that the other end is gone: everything is written.
        ended.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// Takes what is written once it is opened.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<State>, Condvar)>);

    #[derive(Default)]
    struct State {
        is_open: bool,
        written: Vec<u8>,
    }

    impl Gate {
        fn open(&self) {
            self.0.0.lock().unwrap().is_open = true;
            self.0.1.notify_all();
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().written.clone()).unwrap()
        }
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.1.wait_while(self.0.0.lock().unwrap(), |state| !state.is_open).unwrap();
            state.written.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_no_room_are_counted_and_the_others_are_written_in_order() {
        let gate = Gate::default();
        let (mut log, guard) = Log::to(gate.clone()).unwrap();
        for n in 0..2 * LINES {
            log.write_all(format!("{n}\n").as_bytes()).unwrap();
        }
        gate.open();
        drop(guard);
        let text = gate.text();
        let (reported, lines): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.contains("were dropped"));
        // One more may be with the writer, which may take it after lines were dropped.
        assert!((LINES..=LINES + 1).contains(&lines.len()), "{}", lines.len());
        let numbers: Vec<usize> = lines.iter().map(|line| line.parse().unwrap()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert_eq!(reported.len(), 1);
        assert!(reported[0].ends_with(&format!("lines={}", 2 * LINES - lines.len())), "{reported:?}");
    }

    #[test]
    fn an_end_does_not_wait_for_a_pipe_that_is_not_read() {
        let gate = Gate::default();
        let (mut log, guard) = Log::to(gate.clone()).unwrap();
        for _ in 0..2 * LINES {
            log.write_all(b"x\n").unwrap();
        }
        drop(guard);
        assert_eq!(gate.text(), "");
        gate.open();
    }
}
