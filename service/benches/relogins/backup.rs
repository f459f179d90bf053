//! A million sessions: what it takes to back them up and to list them while others are refreshed,
//! and to restore them.

use std::{
    fs::{self, File},
    os::unix::fs::DirBuilderExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use relogin_test_support::nats_server::NatsServer;
use relogin_tests::process::Process;

use crate::{
    client::{Kind, round, sessions_at},
    figures::{Round, median, ms},
    million::{FILLER, size},
};

const SESSIONS: u64 = 1_000_000;
const REFRESHING: usize = 16;
/// Of each round: of so long there are several while a command runs.
const MEASURED: Duration = Duration::from_millis(500);
const QUIET: usize = 8;

pub(crate) async fn backup() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = folder.path().join("data");
    fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
    let here = std::env::current_exe().unwrap();
    Command::new(here).arg(FILLER).arg(&data).arg(SESSIONS.to_string()).stdin(Stdio::null()).status().unwrap();
    let nats = NatsServer::start(&[]);
    let program = Path::new(env!("CARGO_BIN_EXE_relogin"));
    let url = nats.url();
    let arguments = ["serve", "--demo", "--data", "data", "--nats", &url, "--sessions-per-user", "1000"];
    let service = Process::start(program, arguments, &folder.path().join("log"), |command| {
        command.current_dir(folder.path()).env("RELOGIN_LOG", "warn");
    });
    let service = service.unwrap();
    service.line("that it is ready", |line| line.contains("ready on nats").then_some(())).await.unwrap();
    let pid = service.pid().unwrap().as_raw_nonzero().get().unsigned_abs();
    let client = async_nats::connect(&url).await.unwrap();
    let mut refreshing = sessions_at(&client, "session", Kind::Refresh, REFRESHING).await;
    round(&mut refreshing, MEASURED).await;
    for arguments in [&["backup", "backup"][..], &["session", "list", "--json"], &["session", "list"]] {
        let mut quiet = Vec::new();
        for _ in 0..QUIET {
            quiet.push(round(&mut refreshing, MEASURED).await);
        }
        forget_peak(pid);
        let (before, begun) = (peak(pid), Instant::now());
        let mut command = start(folder.path(), arguments);
        let (mut busy, mut peak_of_command) = (Vec::new(), 0);
        let took = loop {
            busy.push(round(&mut refreshing, MEASURED).await);
            if let Some(status) = command.try_wait().unwrap() {
                assert!(status.success(), "{arguments:?}: {status}");
                break begun.elapsed();
            }
            peak_of_command = peak_of_command.max(peak(command.id()));
        };
        println!(
            "  {}: {:.1} s (or {:.1} s less), peak {peak_of_command} MB; the service had {before} MB, at most {} MB; {} MB written",
            arguments.join(" "),
            took.as_secs_f64(),
            MEASURED.as_secs_f64(),
            peak(pid),
            fs::metadata(folder.path().join(arguments[0])).unwrap().len() / 1_000_000
        );
        print("refreshes, quiet", &quiet);
        print("refreshes meanwhile", &busy);
    }
    service.stop().await.unwrap();
    println!("  on disk: {} MB", size(&data) / 1_000_000);

    let to = folder.path().join("restored");
    fs::DirBuilder::new().mode(0o700).create(&to).unwrap();
    fs::copy(data.join("secret"), to.join("secret")).unwrap();
    let (begun, mut peak_of_command) = (Instant::now(), 0);
    let mut command = start(folder.path(), &["restore", "backup", "--data", "restored"]);
    let status = loop {
        if let Some(status) = command.try_wait().unwrap() {
            break status;
        }
        peak_of_command = peak_of_command.max(peak(command.id()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success(), "restore: {status}");
    println!("  restore: {:.1} s, peak {peak_of_command} MB", begun.elapsed().as_secs_f64());
}

/// Starts a command, whose output goes to a file of its name.
fn start(folder: &Path, arguments: &[&str]) -> Child {
    let output = match arguments[0] {
        // That is the name of the backup.
        "backup" => Stdio::null(),
        name => File::create(folder.join(name)).unwrap().into(),
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_relogin"));
    command.args(arguments).env("RELOGIN_DATA", "data").current_dir(folder);
    command.stdin(Stdio::null()).stdout(output).spawn().unwrap()
}

fn print(name: &str, rounds: &[Round]) {
    let worst = rounds.iter().map(|round| ms(round.p99)).fold(0.0, f64::max);
    println!(
        "    {name}: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms (median of {} rounds), {worst:.2} ms in the worst",
        median(rounds.iter().map(|round| round.per_second)),
        median(rounds.iter().map(|round| ms(round.p50))),
        median(rounds.iter().map(|round| ms(round.p99))),
        rounds.len()
    );
}

/// How much memory a process has had at most, in megabytes; nothing once it is gone.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024 / 1_000_000)
}

/// From now on, that is what it has had at most.
fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}
