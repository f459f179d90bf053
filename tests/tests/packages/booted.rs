//! The Debian package on a machine that systemd has started: namespaces, with a copy of this
//! machine's files that takes what is written. The package's scripts talk to that systemd, and the
//! unit runs as it is shipped. Needs root, and dpkg and systemd on this machine, which they leave
//! as it is.

use std::{
    cell::Cell,
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
};

use relogin_tests::{DEADLINE, process::Process};

use crate::{
    debian::{is_root, next_version},
    installed::{PASSWORD, log_in, relogin},
    output, package,
};

/// Runs the other script in namespaces and in a cgroup of its own, and tidies that up.
const OUTSIDE: &str = r#"
    old=$(findmnt --noheadings --first-only --types cgroup2 --output TARGET)$(sed -n 's/^0:://p' /proc/self/cgroup)
    new=$old/relogin-packages-$$
    mkdir "$new"
    echo $$ > "$new/cgroup.procs"
    setpriv --pdeathsig=KILL unshare --mount --pid --cgroup --ipc --uts --fork --kill-child sh -ec "$2" boot "$1" || true
    echo $$ > "$old/cgroup.procs"
    find "$new" -depth -type d -exec rmdir {} +"#;

/// Becomes systemd, in a copy of `/` at `root` in the folder, with nothing enabled but the journal.
/// man-db would read all pages after each installation, and is told not to.
const INSIDE: &str = r#"
    mount --make-rprivate /
    mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
    cd "$1/root"
    for folder in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs $folder; done
    chmod 1777 tmp
    mkdir run/shared dev/shm dev/pts
    mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    mount --bind "$1/shared" run/shared
    for device in null zero full random urandom tty; do
        touch dev/$device
        mount --bind /dev/$device dev/$device
    done
    mount -t proc proc proc
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    rm -rf etc/systemd/system/* usr/lib/systemd/system/*.wants etc/machine-id etc/fstab
    rm -f var/lib/man-db/auto-update
    mkdir usr/lib/systemd/system/sysinit.target.wants
    ln -s ../systemd-journald.service usr/lib/systemd/system/sysinit.target.wants
    touch etc/machine-id
    pivot_root . mnt
    cd /
    umount -l /mnt
    exec env -i container=relogin NOTIFY_SOCKET=/run/shared/notify PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        setpriv --bounding-set=-sys_module,-sys_rawio,-sys_time,-audit_control /lib/systemd/systemd --unit=basic.target"#;

/// A machine, which is switched off with its guard.
struct Machine {
    process: Process,
    /// Its first process, as it is called here.
    init: String,
    journal: Process,
    starts: Cell<usize>,
    /// A file system that an overlay can be on, wherever the machine's own are.
    _folder: tempfile::TempDir,
}

impl Machine {
    /// Starts a machine that finds `packages` in `/run/shared`.
    async fn boot(packages: &[(&str, &Path)]) -> Self {
        assert!(is_root(), "only root may start systemd in namespaces");
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let [shared, log] = ["shared", "log"].map(|name| folder.path().join(name));
        for name in ["upper", "work", "root", "shared"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for (name, package) in packages {
            fs::copy(package, shared.join(name)).unwrap();
        }
        let notified = UnixDatagram::bind(shared.join("notify")).unwrap();
        notified.set_read_timeout(Some(DEADLINE)).unwrap();
        let script = ["-ec", OUTSIDE, "boot", folder.path().to_str().unwrap(), INSIDE];
        let process = Process::start(Path::new("sh"), script, &log, |_| ()).unwrap();
        let mut message = [0; 4096];
        loop {
            let length =
                notified.recv(&mut message).unwrap_or_else(|error| panic!("{error}\n{}", process.last_words()));
            if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1") {
                break;
            }
        }
        let init = child(&child(&process.pid().unwrap().as_raw_nonzero().to_string()));
        let follow = ["--all", "--target", &init, "journalctl", "--follow", "--lines=all", "--output=cat"];
        let journal = Process::start(Path::new("nsenter"), follow, &log, |_| ()).unwrap();
        Self { process, init, journal, starts: Cell::new(0), _folder: folder }
    }

    /// The output of a program there, which has to succeed.
    fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new("nsenter");
        command.args(["--all", "--target", &self.init]).args(words);
        command
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        output(&mut command).trim_end().to_owned()
    }

    fn is_there(&self, path: &str) -> bool {
        self.run(&["sh", "-c", "[ -e \"$0\" ] && echo there || echo gone", path]) == "there"
    }

    /// What systemd says of the unit.
    fn unit(&self, property: &str) -> String {
        self.run(&["systemctl", "show", "--value", "--property", property, "relogin"])
    }

    /// Waits for the next start of the service, and returns its address.
    async fn starts(&self) -> String {
        let known = self.starts.replace(self.starts.get() + 1);
        let seen = Cell::new(0);
        let ready = |line: &str| {
            let address = line.strip_prefix("relogin: ready on http://")?;
            (seen.replace(seen.get() + 1) == known).then(|| format!("ws://{address}/"))
        };
        self.journal.line("that it is ready", ready).await.unwrap()
    }

    /// Pulls the plug: with the first process the system ends all others. A shutdown by systemd
    /// would have to wait for the disks of the whole machine.
    async fn off(self) {
        output(Command::new("kill").args(["-KILL", &self.init]));
        self.process.ended().await.unwrap();
    }
}

/// The one child of a process.
fn child(of: &str) -> String {
    output(Command::new("pgrep").args(["--parent", of])).trim().to_owned()
}

#[tokio::test]
async fn under_systemd_a_session_outlives_kill_upgrade_and_removal_and_a_purge_leaves_nothing() {
    let package = package(".deb");
    let folder = tempfile::tempdir().unwrap();
    let next: PathBuf = next_version(&package, &folder.path().join("next"));
    let machine = Machine::boot(&[("first.deb", &package), ("next.deb", &next)]).await;
    let install = |name: &str| machine.run(&["dpkg", "--install", &format!("/run/shared/{name}")]);
    install("first.deb");
    assert_eq!([machine.unit("UnitFileState"), machine.unit("ActiveState")], ["disabled", "inactive"]);

    let any_port = r#"sed -i 's/^#listen = .*/listen = "127.0.0.1:0"/' /etc/relogin/relogin.toml"#;
    machine.run(&["sh", "-ec", any_port]);
    let add = r#"echo "$0" | runuser -u relogin -- relogin user --config /etc/relogin/relogin.toml add jane --password-stdin"#;
    machine.run(&["sh", "-ec", add, PASSWORD]);
    machine.run(&["systemctl", "enable", "--now", "relogin"]);
    let key = log_in(&machine.starts().await, "jane", PASSWORD).await;
    assert_eq!([machine.unit("UnitFileState"), machine.unit("ActiveState")], ["enabled", "active"]);
    let main = machine.unit("MainPID");
    assert_eq!(machine.run(&["stat", "--format=%U", &format!("/proc/{main}")]), "relogin");
    let status = machine.run(&["cat", &format!("/proc/{main}/status")]);
    assert!(status.contains("\nNoNewPrivs:\t1\n") && status.contains("\nSeccomp:\t2\n"), "{status}");
    let asks = ["runuser", "-u", "relogin", "--", "relogin", "status", "--config", "/etc/relogin/relogin.toml"];
    let status = machine.run(&asks);
    assert!(status.contains("sessions    1\n"), "{status}");

    machine.run(&["systemctl", "kill", "--signal=KILL", "relogin"]);
    let key = relogin(&machine.starts().await, &key).await;
    machine.run(&["systemctl", "reload", "relogin"]);
    let reloaded = |line: &str| line.contains("reloaded: 1 user, 1 secret").then_some(());
    machine.journal.line("that it was reloaded", reloaded).await.unwrap();

    let before = machine.unit("MainPID");
    install("next.deb");
    assert!(machine.run(&["dpkg-query", "--show", "relogin"]).ends_with("+next"));
    let key = relogin(&machine.starts().await, &key).await;
    let main = machine.unit("MainPID");
    assert_ne!(main, before);
    assert_eq!(machine.unit("UnitFileState"), "enabled");

    machine.run(&["dpkg", "--remove", "relogin"]);
    assert_eq!([machine.unit("LoadState"), machine.unit("ActiveState")], ["not-found", "inactive"]);
    assert!(!machine.is_there("/etc/systemd/system/multi-user.target.wants/relogin.service"));
    assert!(!machine.is_there(&format!("/proc/{main}/exe")) && machine.is_there("/var/lib/relogin/users.toml"));
    install("first.deb");
    machine.run(&["systemctl", "enable", "--now", "relogin"]);
    relogin(&machine.starts().await, &key).await;

    machine.run(&["dpkg", "--purge", "relogin"]);
    assert_eq!([machine.unit("LoadState"), machine.unit("ActiveState")], ["not-found", "inactive"]);
    for name in ["/var/lib/relogin", "/var/log/relogin", "/etc/relogin", "/usr/bin/relogin"] {
        assert!(!machine.is_there(name), "{name}");
    }
    machine.off().await;
}
