//! The systemd unit of the Debian package, as systemd reads it.

use std::{fs, process::Command};

use crate::{debian::Root, output, package};

/// Ten times the exposure that `systemd-analyze security` may find, of 100.
const EXPOSURE: &str = "--threshold=20";

#[test]
fn systemd_takes_the_unit_and_finds_it_hardened() {
    let root = Root::new();
    root.install(&package(".deb"));
    let installed = root.path("usr/lib/systemd/system/relogin.service");
    let text = fs::read_to_string(&installed).unwrap();
    // Of what it names, systemd looks for programs here, where the binary has another path.
    let binary = root.path("usr/bin/relogin");
    let here = text.replace("=/usr/bin/relogin ", &format!("={} ", binary.display()));
    assert_ne!(here, text);
    let unit = root.path("relogin.service");
    fs::write(&unit, here).unwrap();
    let said = output(Command::new("systemd-analyze").args(["--man=no", "verify"]).arg(&unit));
    // What it says of other units of this machine is not ours to mend.
    assert!(!said.contains("relogin.service"), "{said}");
    let security = ["--no-pager", "security", "--offline=true", EXPOSURE];
    let said = output(Command::new("systemd-analyze").args(security).arg(&unit));
    assert!(said.contains("Overall exposure level for relogin.service"), "{said}");

    // The manual pages that it names are in the package.
    let documented = text.lines().find_map(|line| line.strip_prefix("Documentation=")).unwrap();
    for page in documented.split(' ').map(|page| page.trim_start_matches("man:").trim_end_matches("(1)")) {
        assert!(root.path(&format!("usr/share/man/man1/{page}.1.gz")).is_file(), "{page}");
    }
}
