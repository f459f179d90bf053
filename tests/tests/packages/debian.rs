//! The Debian package through its life, in a root of its own: installed, used, upgraded, removed,
//! purged. Its scripts honour DPKG_ROOT, and start nothing there.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    installed::{Installed, PASSWORD},
    output, package,
};

/// What dpkg is told of the package that ours depends on.
const SYSTEMD: &str = "Package: systemd\nStatus: install ok installed\nMaintainer: Nobody\nArchitecture: all\n\
                       Version: 252\nDescription: stands for systemd\n\n";

/// The root of a machine, with an empty dpkg.
pub(crate) struct Root(tempfile::TempDir);

impl Root {
    pub(crate) fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        for folder in ["etc", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"] {
            fs::create_dir_all(root.path(folder)).unwrap();
        }
        fs::write(root.path("var/lib/dpkg/status"), SYSTEMD).unwrap();
        fs::write(root.path("var/lib/dpkg/info/systemd.list"), "").unwrap();
        root
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn dpkg(&self, arguments: &[&str]) -> String {
        // Root is who may change owners; others need to believe that they are.
        let mut command = if is_root() { Command::new("dpkg") } else { Command::new("fakeroot") };
        if !is_root() {
            command.arg("dpkg");
        }
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        command.env("PATH", path).env("LC_ALL", "C").stdin(Stdio::null());
        command.arg(format!("--root={}", self.0.path().display())).arg("--force-script-chrootless");
        command.arg(format!("--log={}", self.path("dpkg.log").display()));
        output(command.args(arguments))
    }

    pub(crate) fn install(&self, package: &Path) {
        self.dpkg(&["--install", package.to_str().unwrap()]);
    }

    fn status(&self) -> String {
        let status = fs::read_to_string(self.path("var/lib/dpkg/status")).unwrap();
        let block = status.split("\n\n").find(|block| block.contains("Package: relogin\n"));
        let line = |block: &str| block.lines().find_map(|line| line.strip_prefix("Status: ").map(str::to_owned));
        block.and_then(line).unwrap_or_default()
    }

    fn service(&self) -> Installed {
        Installed {
            binary: self.path("usr/bin/relogin"),
            config: self.path("etc/relogin/relogin.toml"),
            state: self.path("var/lib/relogin"),
        }
    }
}

#[tokio::test]
async fn installed_used_upgraded_removed_and_purged() {
    let root = Root::new();
    let package = package(".deb");
    root.install(&package);
    assert_eq!(root.status(), "install ok installed");
    assert_eq!(root.dpkg(&["--verify", "relogin"]), "", "files that differ from those of the package");
    for name in [
        "usr/lib/systemd/system/relogin.service",
        "usr/share/man/man1/relogin-serve.1.gz",
        "usr/share/bash-completion/completions/relogin",
        "usr/share/doc/relogin/copyright",
        "usr/share/doc/relogin/relogin.cdx.json",
    ] {
        assert!(root.path(name).is_file(), "{name}");
    }
    let page = output(Command::new("gzip").arg("-cd").arg(root.path("usr/share/man/man1/relogin.1.gz")));
    assert!(page.contains(".TH relogin"), "{page}");
    is_for_its_user(&root);

    let service = root.service();
    let config = fs::read_to_string(&service.config).unwrap();
    assert!(config.contains("\ndata = \"/var/lib/relogin\"\n") && config.contains("\n#listen = "), "{config}");
    service.add_user("jane");
    let log = root.path("log");
    let running = service.start(&log).await;
    let key = running.log_in("jane", PASSWORD).await;
    running.stop().await;

    // The operator's configuration survives an upgrade, and so do sessions.
    let own = config.replace("\n#drain = \"5s\"\n", "\ndrain = \"6s\"\n");
    assert_ne!(own, config);
    fs::write(&service.config, &own).unwrap();
    root.install(&next_version(&package, &root.path("next")));
    assert_eq!(fs::read_to_string(&service.config).unwrap(), own);
    assert!(root.dpkg(&["--list", "relogin"]).contains("+next"));
    let running = service.start(&log).await;
    let key = running.relogin(&key).await;
    running.stop().await;

    root.dpkg(&["--remove", "relogin"]);
    assert_eq!(root.status(), "deinstall ok config-files");
    assert!(!service.binary.exists() && !root.path("usr/lib/systemd/system/relogin.service").exists());
    assert_eq!(fs::read_to_string(&service.config).unwrap(), own);
    root.install(&package);
    let running = service.start(&log).await;
    running.relogin(&key).await;
    running.stop().await;

    fs::create_dir_all(root.path("var/log/relogin")).unwrap();
    root.dpkg(&["--purge", "relogin"]);
    assert_eq!(root.status(), "");
    for name in ["var/lib/relogin", "var/log/relogin", "etc/relogin", "usr/bin/relogin", "usr/share/doc/relogin"] {
        assert!(!root.path(name).exists(), "{name}");
    }
}

/// The state belongs to the service's user, who has a number now, and nobody else reads it or the
/// configuration.
fn is_for_its_user(root: &Root) {
    let users = fs::read_to_string(root.path("etc/passwd")).unwrap();
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let user = users.lines().map(fields).find(|fields| fields[0] == "relogin").expect("there is a user");
    assert_eq!((user[5].as_str(), user[6].as_str()), ("/var/lib/relogin", "/usr/sbin/nologin"));
    let state = fs::metadata(root.path("var/lib/relogin")).unwrap();
    let config = fs::metadata(root.path("etc/relogin/relogin.toml")).unwrap();
    assert_eq!((state.permissions().mode() & 0o777, config.permissions().mode() & 0o777), (0o700, 0o640));
    // fakeroot forgets owners with each run.
    if is_root() {
        assert_eq!((state.uid().to_string(), config.gid().to_string()), (user[2].clone(), user[3].clone()));
        assert_eq!(config.uid(), 0);
    }
}

/// The same package as a later version.
pub(crate) fn next_version(package: &Path, folder: &Path) -> PathBuf {
    output(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(folder));
    let control = folder.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let version = text.lines().find(|line| line.starts_with("Version: ")).unwrap();
    fs::write(&control, text.replace(version, &format!("{version}+next"))).unwrap();
    let next = folder.with_extension("deb");
    output(Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]).arg(folder).arg(&next));
    next
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
