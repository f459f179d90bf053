//! Many sessions: what they take of memory and disk, how soon a service with them is ready, and
//! what a week of refreshes leaves.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use futures_util::{StreamExt, stream};
use relogin_session::{ConnectionId, Device, Record, SessionId, Timestamp, UserId};
use relogin_store::{Revision, SessionStore, sled::SledStore};
use relogin_tests::process::Process;

/// The argument with which this program fills a folder, and is killed at the end.
pub(crate) const FILLER: &str = "fill";

const SESSIONS: u64 = 1_000_000;
const REFRESHING: u64 = 10_000;
const REFRESHES: u64 = 1_000;

pub(crate) async fn million() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = folder.path().join("data");
    fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
    let begun = Instant::now();
    let here = std::env::current_exe().unwrap();
    let filler = Command::new(here).arg(FILLER).arg(&data).arg(SESSIONS.to_string()).stdin(Stdio::null()).status();
    println!("  {SESSIONS} logins, then killed: {:.1} s ({:?})", begun.elapsed().as_secs_f64(), filler.unwrap().code());
    println!("  on disk: {} bytes a session", size(&data) / SESSIONS);
    let mut after = "SIGKILL";
    for is_killed in [true, true, false, false, false, true] {
        let begun = Instant::now();
        let service = serve(folder.path()).await;
        let (ready, memory) = (begun.elapsed().as_secs_f64(), resident(&service));
        println!("  ready after {after}: {ready:.2} s, {memory} MB resident (load {})", crate::figures::load());
        let begun = Instant::now();
        if is_killed {
            service.kill().await.unwrap();
            after = "SIGKILL";
        } else {
            service.stop().await.unwrap();
            after = "a clean stop";
            let bytes = size(&data) / SESSIONS;
            println!("  stopped in {:.2} s; on disk: {bytes} bytes a session", begun.elapsed().as_secs_f64());
        }
    }
    week(&folder.path().join("week")).await;
}

/// Stores so many sessions, as logins do, and ends without closing anything.
pub(crate) async fn fill(data: &Path, sessions: &str) {
    let store = Arc::new(SledStore::open(&data.join("sessions")).unwrap());
    log_in(&store, sessions.parse().unwrap()).await;
    std::process::abort();
}

/// A thousand refreshes of each of ten thousand sessions.
async fn week(data: &Path) {
    let store = Arc::new(SledStore::open(data).unwrap());
    let mut revisions = log_in(&store, REFRESHING).await;
    store.close().await.unwrap();
    drop(store);
    let start = size(data);
    let store = Arc::new(SledStore::open(data).unwrap());
    let (begun, mut largest) = (Instant::now(), start);
    for refresh in 0..REFRESHES {
        let written = revisions.into_iter().zip(0..).map(|(revision, n)| {
            let store = Arc::clone(&store);
            async move { store.replace(record(n, refresh + 2), revision).await.unwrap() }
        });
        revisions = stream::iter(written).buffered(512).collect().await;
        if refresh % 10 == 0 {
            largest = largest.max(size(data));
        }
    }
    let took = begun.elapsed().as_secs_f64();
    store.close().await.unwrap();
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "  {REFRESHES} refreshes of {REFRESHING} sessions: {took:.0} s; on disk {:.1} MB at first, {:.1} at most, {:.1} after a clean \
         stop: x{:.2}",
        mb(start),
        mb(largest),
        mb(size(data)),
        mb(size(data)) / mb(start)
    );
}

async fn log_in(store: &Arc<SledStore>, sessions: u64) -> Vec<Revision> {
    let made = (0..sessions).map(|n| {
        let store = Arc::clone(store);
        async move { store.create(record(n, 1)).await.unwrap() }
    });
    stream::iter(made).buffered(512).collect().await
}

async fn serve(folder: &Path) -> Process {
    let program = Path::new(env!("CARGO_BIN_EXE_relogin"));
    let arguments = ["serve", "--demo", "--store", "sled", "--data", "data", "--listen", "127.0.0.1:0"];
    let service = Process::start(program, arguments, &folder.join("log"), |command| {
        command.current_dir(folder).env("RELOGIN_LOG", "warn");
    });
    let service = service.unwrap();
    service.line("that it is ready", |line| line.contains("ready").then_some(())).await.unwrap();
    service
}

/// In megabytes.
pub(crate) fn resident(service: &Process) -> u64 {
    resident_of(service.pid().unwrap().as_raw_nonzero().get().unsigned_abs())
}

/// The same, of the process with this id.
pub(crate) fn resident_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024 / 1_000_000
}

/// What a folder takes of the disk, in bytes.
pub(crate) fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// A session as a desktop browser's login leaves it.
pub(crate) fn record(n: u64, generation: u64) -> Record {
    // The same for each run, and as good as random.
    let mix = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let bits = |kind: u64| {
        let halves = [mix(n * 8 + kind), mix(n * 8 + kind + 1)].map(u64::to_le_bytes);
        std::array::from_fn(|at| halves[at / 8][at % 8])
    };
    let connection = ConnectionId::parse(&format!("{:020x}", u128::from_le_bytes(bits(2)) >> 48)).unwrap();
    let now = 1_795_400_000_000 + generation * 60_000;
    let (sid, user_id) = (SessionId(bits(0)), UserId::Number(i64::try_from(n).unwrap()));
    Record {
        key_deadline: Timestamp(now + 86_400_000 * 14 + n),
        session_deadline: Timestamp(now + 86_400_000 * 30),
        generation,
        device: Device {
            user_agent: Some(
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
                    .to_owned(),
            ),
            remote_addr: Some("203.0.113.77:51423".to_owned()),
            ..Device::default()
        },
        ..Record::new(sid, bits(4), user_id, connection, Timestamp(now))
    }
}
