//! The `relogin` program: parses the command line, runs the command, and turns errors into one line
//! and an exit code.
#![forbid(unsafe_code)]

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, IsTerminal, Write},
    pin::pin,
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::Context;
use relogin::{
    app::{
        App, AppFailure,
        config::{Config, GatewayConfig},
        gateway::GatewayApp,
    },
    cli::{self, Invocation},
    config,
    log::{Log, LogGuard},
    repetitions::Repetitions,
    traces::Traces,
};
use relogin_host::{errors::Chain, spans::SPANS};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::spawn_blocking,
    time::timeout,
};
use tracing::{Level, Subscriber, error, info};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, LevelFilter, filter_fn},
    fmt,
    layer::{Filter, Layered, SubscriberExt},
    util::SubscriberInitExt,
};
use url::Url;

/// Stays small for months, and returns freed memory to the system by threads of its own
/// (docs/adr/0111-jemalloc.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long standard output may take to accept the line that says that the service is ready.
const READY_DEADLINE: Duration = Duration::from_secs(1);

/// The exit code if the request cannot be carried out as given.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    run(env::args_os()).unwrap_or_else(|error| {
        complain(&format!("relogin: {}", Chain(error.as_ref())));
        ExitCode::from(EXIT_USAGE)
    })
}

fn run(args: impl Iterator<Item = OsString>) -> anyhow::Result<ExitCode> {
    match cli::parse(args) {
        Ok(Invocation::Print(text)) => io::stdout().write_all(text.as_bytes())?,
        Ok(Invocation::Health(address)) => {
            let problem = cli::health::check(&address).with_context(|| format!("nobody answers at {address}"))?;
            if let Some(problem) = problem {
                complain(&format!("relogin: {problem}"));
                return Ok(ExitCode::FAILURE);
            }
        }
        Ok(Invocation::Control(layers, nats, command)) => {
            let place = config::control_place(layers, nats)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.context("cannot start the runtime")?;
            let asking = async { cli::control::run(&place.reach().await?, command, &mut io::stdout()).await };
            let outcome = runtime.block_on(asking)?;
            outcome.problems.iter().for_each(|problem| complain(&format!("relogin: {problem}")));
            return Ok(ExitCode::from(outcome.code));
        }
        Ok(Invocation::Manual(folder)) => cli::manual::write(&folder)
            .with_context(|| format!("cannot write manual pages into {}", folder.display()))?,
        Ok(Invocation::User(layers, command)) => {
            let (path, cost, rules) = config::users_file(layers)?;
            cli::user::run(&path, (cost, rules), command, &mut io::stdout())?;
        }
        Ok(Invocation::Changed(layers, change)) => {
            cli::user::announce(&config::data_folder(layers)?, &change, &mut io::stdout())?;
        }
        Ok(Invocation::Store(layers, command)) => {
            // sled panics at some kinds of damage, which is reported in other words.
            std::panic::set_hook(Box::new(|_| {}));
            return Ok(ExitCode::from(cli::store::run(&config::data_folder(layers)?, command, &mut io::stdout())?));
        }
        Ok(Invocation::Copy(copying)) => {
            let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
            runtime.block_on(copying.run(&mut io::stdout()))?;
        }
        Ok(Invocation::Backup(layers, args)) => {
            let store = args.store();
            let backing_up = args.at(config::data_places(layers, store)?);
            let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
            runtime.block_on(backing_up.run(&mut io::stdout()))?;
        }
        Ok(Invocation::Restore(layers, args)) => {
            let store = args.store();
            let restoring = args.at(config::data_places(layers, store)?);
            let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
            runtime.block_on(restoring.run(&mut io::stdout()))?;
        }
        Ok(Invocation::Secret(change)) => {
            let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
            runtime.block_on(change.run(&mut io::stdout()))?;
        }
        Ok(Invocation::Serve(layers)) => {
            let config = config::resolve(layers)?;
            let (log, otlp) = (config.log.clone(), config.otlp.clone());
            return run_server(log.as_deref(), otlp.as_ref(), serve(config));
        }
        Ok(Invocation::Gateway(layers, file)) => {
            let config = config::gateway_alone(layers, file.as_deref())?;
            let log = config.log.clone();
            return run_server(log.as_deref(), None, serve_gateway(config));
        }
        Err(text) => {
            complain(text.trim_end());
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a server to its end, with this log filter and this collector of traces.
fn run_server(
    log: Option<&str>,
    otlp: Option<&Url>,
    server: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    let traces = otlp.map(|collector| Traces::to(collector, runtime.handle().clone())).transpose()?;
    let (repetitions, _log) = log_to_stderr(log, traces.as_ref())?;
    let reporter = thread::Builder::new().name("repetitions".to_owned());
    reporter.spawn(move || report_repetitions(&repetitions)).context("cannot start threads")?;
    let code = runtime.block_on(server);
    // While the runtime can send them.
    drop(traces);
    // Password checks that nobody waits for any more would delay the end.
    runtime.shutdown_background();
    code
}

/// Writes the line that says that a server is ready, and where.
async fn say_ready(url: Option<String>) {
    let ready = format!("relogin: ready on {}\n", url.as_deref().unwrap_or("nats"));
    // Nobody may be reading, or the pipe may be full.
    let written = spawn_blocking(move || io::stdout().write_all(ready.as_bytes()).and_then(|()| io::stdout().flush()));
    timeout(READY_DEADLINE, written).await.ok();
}

/// Reports once a second how often lines were left out of the log.
fn report_repetitions(repetitions: &Repetitions) {
    loop {
        thread::sleep(Duration::from_secs(1));
        repetitions.report();
    }
}

/// Runs the service until a signal stops it.
async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("cannot listen to signals")?;
    let Some(app) = signals.unless_stopped(App::start(config)).await.transpose()? else {
        return Ok(ExitCode::SUCCESS);
    };
    say_ready(app.url()).await;
    let failure = signals.serve_until(app.failed(), || app.reload()).await;
    if failure == Some(AppFailure::Store) {
        app.abandon().await;
        return Ok(ExitCode::FAILURE);
    }
    Ok(signals.end(failure, app.stop()).await)
}

/// Runs the gateway alone until a signal stops it.
async fn serve_gateway(config: GatewayConfig) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("cannot listen to signals")?;
    let Some(app) = signals.unless_stopped(GatewayApp::start(config)).await.transpose()? else {
        return Ok(ExitCode::SUCCESS);
    };
    say_ready(app.url()).await;
    let failure = signals.serve_until(app.failed(), || app.reload()).await;
    let stop = async {
        app.stop().await;
        Ok(())
    };
    Ok(signals.end(failure, stop).await)
}

/// SIGTERM, SIGINT and SIGHUP.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None if the program was started with the signal ignored, as `nohup` does.
    hangup: Option<Signal>,
    had_terminal: bool,
}

/// The meaning of a signal.
enum SignalMeaning {
    Stop,
    /// Read the files again.
    Reload,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: (!is_hangup_ignored()).then(|| signal(SignalKind::hangup())).transpose()?,
            had_terminal: has_terminal(),
        })
    }

    /// The output of `future`; `None` if a signal to stop comes first. A SIGHUP in the meantime is
    /// left for [`Signals::serve_until`].
    async fn unless_stopped<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            output = future => Some(output),
            _ = self.terminate.recv() => None,
            _ = self.interrupt.recv() => None,
        }
    }

    /// Calls `reload` as signals ask for it, until one asks to stop (`None`) or the server has
    /// failed.
    async fn serve_until<F>(&mut self, failed: impl Future<Output = F>, reload: impl Fn()) -> Option<F> {
        let mut failed = pin!(failed);
        loop {
            tokio::select! {
                meaning = self.next() => match meaning {
                    SignalMeaning::Stop => return None,
                    SignalMeaning::Reload => reload(),
                },
                failure = &mut failed => return Some(failure),
            }
        }
    }

    /// Waits for the stop of a server, which another signal cuts short. Returns the exit code.
    async fn end<F>(&mut self, failure: Option<F>, stop: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
        info!("stopping; send the signal again to stop at once");
        match self.unless_stopped(stop).await {
            Some(Ok(())) if failure.is_none() => ExitCode::SUCCESS,
            Some(Err(error)) => {
                error!("{}", Chain(error.as_ref()));
                ExitCode::FAILURE
            }
            Some(Ok(())) | None => ExitCode::FAILURE,
        }
    }

    /// The meaning of the next signal. Cancel safe.
    async fn next(&mut self) -> SignalMeaning {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => SignalMeaning::Stop,
            _ = self.interrupt.recv() => SignalMeaning::Stop,
            // A closed terminal ends what runs in it.
            _ = hangup => if self.had_terminal && !has_terminal() { SignalMeaning::Stop } else { SignalMeaning::Reload },
        }
    }
}

/// True if there is a terminal that can end the program by closing.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// True if the program was started with SIGHUP ignored. Where there is no procfs, that is not
/// known.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    // The first bit is the first signal's.
    ignored.is_some_and(|signals| signals & 1 << (SignalKind::hangup().as_raw_value() - 1) != 0)
}

/// At their most verbose, these libraries log what passes through them, passwords included.
const TALKATIVE: [&str; 2] = ["async_nats", "tungstenite"];

/// Logs to standard error with the filter `filter`, else `RUST_LOG`, else a default for operators.
/// Repeated lines are counted: the counts are for [`Repetitions::report`]. Waiting lines are
/// written, if possible, when the guard is dropped. Spans go to `traces`, if there is one.
fn log_to_stderr(filter: Option<&str>, traces: Option<&Traces>) -> anyhow::Result<(Repetitions, LogGuard)> {
    let from_env = env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = filter.or(from_env.as_deref()).unwrap_or("info");
    // The bus reports changes of the NATS connection, as often as is useful.
    let filter: EnvFilter = format!("async_nats=warn,{filter}")
        .parse()
        .with_context(|| format!("RUST_LOG {filter:?} is not a log filter"))?;
    let (log, guard) = Log::to(io::stderr()).context("cannot start threads")?;
    let lines = fmt::layer().with_writer(log).with_ansi(io::stderr().is_terminal());
    let repetitions = Repetitions::default();
    let lines = lines.with_filter(filter_lines(filter, repetitions.clone()));
    match traces {
        // A layer that is none would have each span made that the lines do not take.
        None => with_lines(lines).init(),
        Some(traces) => with_lines(lines).with(traces.layer()).init(),
    }
    Ok((repetitions, guard))
}

fn with_lines<L: Layer<Registry>>(lines: L) -> Layered<L, Registry> {
    tracing_subscriber::registry().with(lines)
}

/// Lets through what `filter` does, but for what libraries should not say, and repetitions.
fn filter_lines<S: Subscriber>(filter: EnvFilter, repetitions: Repetitions) -> impl Filter<S> {
    // Without a hint of each filter nobody would know that none lets the libraries' records
    // through, and each of the several that a frame causes would be looked at.
    let is_discreet = filter_fn(|metadata| {
        // Spans for traces would be in each line that is logged within them.
        metadata.target() != SPANS
            && (*metadata.level() != Level::TRACE || !TALKATIVE.iter().any(|name| metadata.target().starts_with(name)))
    })
    .with_max_level_hint(LevelFilter::TRACE);
    filter.and(is_discreet).and(repetitions)
}

/// The last words on standard error. There is nobody left to report a failure to.
fn complain(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_collector_no_spans_are_made() {
        let lines = fmt::layer().with_writer(io::sink);
        let lines = lines.with_filter(filter_lines("info".parse().unwrap(), Repetitions::default()));
        tracing::subscriber::with_default(with_lines(lines), || {
            assert!(tracing::info_span!(target: SPANS, "request").is_disabled());
            assert!(!tracing::info_span!("other").is_disabled());
        });
    }

    #[test]
    fn levels_that_are_not_logged_are_known_before_a_line_is_looked_at() {
        for (filter, most) in [("warn", LevelFilter::WARN), ("info,relogin=debug", LevelFilter::DEBUG)] {
            let filter: EnvFilter = filter.parse().unwrap();
            let filter = filter_lines::<Registry>(filter, Repetitions::default());
            assert_eq!(filter.max_level_hint(), Some(most));
        }
    }
}
