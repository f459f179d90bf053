//! Limits repeated log lines: each call site may log a number of lines, then its lines are counted,
//! and the count is logged once a second. So nobody can fill a disk by what they can make the
//! service log. Must not know what the lines say.
//!
//! DEBUG and TRACE lines are not limited, because somebody asked for them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tracing::{
    Event, Level, Metadata,
    callsite::Identifier,
    error,
    field::{Field, Visit},
    info,
    level_filters::LevelFilter,
    warn,
};
use tracing_subscriber::layer::{Context, Filter};

use crate::trickle::Trickle;

/// A filter for a layer that writes lines. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Repetitions(Arc<Mutex<HashMap<Identifier, CallSiteLines>>>);

/// What one call site logs.
#[derive(Debug)]
struct CallSiteLines {
    trickle: Trickle,
    metadata: &'static Metadata<'static>,
    /// The first one that is not logged.
    message: String,
}

/// The call sites of the counts: their lines always pass.
const TARGET: &str = module_path!();

/// The longest message that is kept for the count, in characters.
const MESSAGE: usize = 200;

impl Repetitions {
    /// Logs the counts that are due. Call it about once a second, outside of any line.
    pub fn report(&self) {
        let now = Instant::now();
        let mut due = Vec::new();
        for line in self.lock().values_mut() {
            if line.trickle.due().is_some_and(|due| due <= now) {
                due.push((line.metadata, line.trickle.take(), std::mem::take(&mut line.message)));
            }
        }
        for (metadata, lines, message) in due {
            let (of, line) = (metadata.target(), metadata.line());
            match *metadata.level() {
                Level::ERROR => error!(lines, of, line, "more of: {message}"),
                Level::WARN => warn!(lines, of, line, "more of: {message}"),
                _ => info!(lines, of, line, "more of: {message}"),
            }
        }
    }

    fn passes(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == TARGET {
            return true;
        }
        let mut lines = self.lock();
        let new = || CallSiteLines { trickle: Trickle::new(now), metadata, message: String::new() };
        let line = lines.entry(metadata.callsite()).or_insert_with(new);
        let passes = line.trickle.passes(now);
        if !passes && line.message.is_empty() {
            event.record(&mut MessageVisitor(&mut line.message));
        }
        passes
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, CallSiteLines>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Filter<S> for Repetitions {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.passes(event, Instant::now())
    }

    /// It refuses no level. Without a hint, others' would not count.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
}

/// Collects an event's message.
struct MessageVisitor<'a>(&'a mut String);

impl Visit for MessageVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.extend(format!("{value:?}").chars().take(MESSAGE));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracing::debug;
    use tracing_subscriber::{Layer, Registry, layer::SubscriberExt};

    use super::*;
    use crate::trickle::{BURST, PAUSE};

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut text = String::new();
            event.record(&mut |field: &Field, value: &dyn fmt::Debug| {
                text += &format!("{field}={value:?} ");
            });
            self.0.lock().unwrap().push(format!("{} {text}", event.metadata().level()));
        }
    }

    #[test]
    fn repeated_lines_are_counted_and_reported_and_no_others_are_held_up() {
        let (lines, repetitions) = (Lines::default(), Repetitions::default());
        let subscriber = Registry::default().with(lines.clone().with_filter(repetitions.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let burst = BURST as usize;
            for n in 0..1000 {
                warn!(n, "a stranger did it");
                debug!("for who wants to know");
            }
            info!("something else");
            let said = std::mem::take(&mut *lines.0.lock().unwrap());
            assert_eq!(said.iter().filter(|line| line.contains("a stranger")).count(), burst);
            assert_eq!(said.iter().filter(|line| line.contains("wants to know")).count(), 1000);
            assert!(said.last().unwrap().contains("something else"));

            repetitions.report();
            assert!(lines.0.lock().unwrap().is_empty(), "not yet");
            for line in repetitions.lock().values_mut() {
                line.trickle = Trickle::new(Instant::now().checked_sub(PAUSE * 2).unwrap());
                let long_ago = Instant::now().checked_sub(PAUSE + Duration::from_millis(1)).unwrap();
                while line.trickle.passes(long_ago) {}
            }
            repetitions.report();
            let reported = lines.0.lock().unwrap().clone();
            let reported = reported.iter().find(|line| line.contains("a stranger did it")).unwrap();
            assert!(
                reported.starts_with("WARN") && reported.contains("lines=1 ") && reported.contains("more of: "),
                "{reported}"
            );
        });
    }
}
