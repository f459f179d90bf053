//! Gives the options of a manifest to the packaged binary.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use relogin_tests::process::Process;
use rustix::process::{Signal, kill_process};

use crate::{output, package};

/// The binary of the archive, in a folder that lasts as long as its guard.
pub(crate) fn unpacked() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    output(Command::new("tar").arg("-C").arg(folder.path()).arg("-xzf").arg(package(".tar.gz")));
    let root = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    (folder, root)
}

/// Checks that the binary takes these arguments and the files that they name in `mounted`, by what
/// it says: it waits for NATS.
pub(crate) async fn waits_for_nats(args: &[String], mounted: &str) {
    let (folder, root) = unpacked();
    let config = folder.path().join("config");
    fs::create_dir(&config).unwrap();
    fs::write(config.join("passphrase"), "sixteen bytes or more\n").unwrap();
    fs::write(config.join("users.toml"), "").unwrap();
    // As Kubernetes mounts secrets for a group.
    for file in ["passphrase", "users.toml"].map(|name| config.join(name)) {
        fs::set_permissions(file, fs::Permissions::from_mode(0o440)).unwrap();
    }
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let here = |arg: &String| match arg.split_once('=') {
        Some(("--nats", servers)) => {
            let servers = servers.split(',').map(|_| format!("nats://{nowhere}")).collect::<Vec<_>>();
            format!("--nats={}", servers.join(","))
        }
        Some((name @ ("--listen" | "--metrics-listen"), _)) => format!("{name}=127.0.0.1:0"),
        Some((name, value)) => format!("{name}={}", value.replace(mounted, config.to_str().unwrap())),
        None => arg.clone(),
    };
    let args: Vec<String> = args.iter().map(here).collect();
    let process = Process::start(&root.join("relogin"), args, &folder.path().join("log"), |command| {
        command.env_clear().current_dir(folder.path());
    });
    let process = process.unwrap();
    let is_waiting = |line: &str| line.contains("no NATS server answers at").then_some(());
    process.line("that it waits for NATS", is_waiting).await.unwrap();
    kill_process(process.pid().unwrap(), Signal::TERM).unwrap();
    assert_eq!(process.ended().await.unwrap().code(), Some(0));
}
