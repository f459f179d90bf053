//! The Debian package, packed by dpkg-deb from deploy/debian: that is on every Debian machine,
//! where tools that make the same of a Cargo manifest would have to be compiled first.

use std::{
    env::{self, consts::ARCH},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};

use super::{
    Parts, VERSION,
    archive::{emptied, file},
    contents::{Contents, configured},
};
use crate::log::{Log, output};

/// What the installed configuration sets, so that `relogin user` and the service find the same
/// files.
const SET: &[(&str, &str)] = &[("data", "/var/lib/relogin"), ("users", "/var/lib/relogin/users.toml")];

const CONFIG: &str = "etc/relogin/relogin.toml";
const DOC: &str = "usr/share/doc/relogin";

/// Writes the package, and returns its name.
pub(super) fn pack(parts: &Parts<'_>, contents: &Contents, log: &mut Log) -> Result<String> {
    let deploy = parts.context.root.join("deploy/debian");
    let read = |name: &str| fs::read(deploy.join(name)).with_context(|| format!("reading deploy/debian/{name}"));
    let folder = parts.context.target.join("package-debian");
    let root = emptied(&folder)?;
    let [bash, zsh, fish] = &contents.completions;
    file(root, "usr/bin/relogin", &contents.binary, 0o755)?;
    file(root, CONFIG, configured(&contents.config, SET)?.as_bytes(), 0o640)?;
    file(root, "usr/lib/systemd/system/relogin.service", &read("relogin.service")?, 0o644)?;
    file(root, "usr/lib/sysusers.d/relogin.conf", &read("relogin.sysusers")?, 0o644)?;
    file(root, "usr/lib/tmpfiles.d/relogin.conf", &read("relogin.tmpfiles")?, 0o644)?;
    file(root, "usr/share/bash-completion/completions/relogin", bash, 0o644)?;
    file(root, "usr/share/zsh/vendor-completions/_relogin", zsh, 0o644)?;
    file(root, "usr/share/fish/vendor_completions.d/relogin.fish", fish, 0o644)?;
    file(root, &format!("{DOC}/README.md"), &contents.readme, 0o644)?;
    file(root, &format!("{DOC}/copyright"), copyright(contents).as_bytes(), 0o644)?;
    file(root, &format!("{DOC}/relogin.cdx.json"), contents.components.as_bytes(), 0o644)?;
    for (page, text) in &contents.manual {
        file(root, &format!("usr/share/man/man1/{page}"), text, 0o644)?;
        log.run(parts.program("gzip").arg("-9n").arg(root.join("usr/share/man/man1").join(page)))?;
    }

    let sums = output(
        parts
            .program("sh")
            .current_dir(root)
            .args(["-c", "find etc usr -type f ! -path etc/relogin/relogin.toml -print0 | sort -z | xargs -0 md5sum"]),
    );
    file(root, "DEBIAN/md5sums", (sums.context("md5sum failed")? + "\n").as_bytes(), 0o644)?;
    file(root, "DEBIAN/control", control(size(root)?).as_bytes(), 0o644)?;
    file(root, "DEBIAN/conffiles", format!("/{CONFIG}\n").as_bytes(), 0o644)?;
    for script in ["postinst", "prerm", "postrm"] {
        file(root, &format!("DEBIAN/{script}"), &read(script)?, 0o755)?;
    }
    let packed = format!("relogin_{VERSION}_{}.deb", architecture());
    let mut deb = parts.program("dpkg-deb");
    deb.args(["--root-owner-group", "-Zxz", "--build"]).arg(root).arg(parts.to.join(&packed));
    log.run(&mut deb)?;
    Ok(packed)
}

/// Debian's name of this machine's architecture.
fn architecture() -> &'static str {
    match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn control(size: u64) -> String {
    format!(
        "Package: relogin\nVersion: {VERSION}\nArchitecture: {}\nMaintainer: {}\nInstalled-Size: {}\nDepends: \
         systemd (>= 247)\nSection: net\nPriority: optional\nDescription: Sessions that survive reconnects, for RES \
         APIs\n Keeps users of a RES API (Resgate, NATS) logged in over reconnects, reloads\n and restarts: a session \
         service and an embedded gateway.\n",
        architecture(),
        maintainer(variable("DEBFULLNAME"), variable("DEBEMAIL")),
        size.div_ceil(1024),
    )
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Who publishes the package, by the variables that Debian's own tools read. There is no address
/// that would be true for everybody who may build it.
fn maintainer(name: Option<String>, address: Option<String>) -> String {
    let name = name.unwrap_or_else(|| "The Relogin authors".to_owned());
    match address {
        Some(address) if address.contains('<') => address,
        Some(address) => format!("{name} <{address}>"),
        None => name,
    }
}

fn copyright(contents: &Contents) -> String {
    let [(_, mit), _] = &contents.licences;
    format!(
        "Relogin is licensed under the MIT licence or the Apache License 2.0, at your option. The latter is in\n\
         /usr/share/common-licenses/Apache-2.0, the former is this:\n\n{mit}\n{}",
        contents.notices
    )
}

/// The bytes of all files.
fn size(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        sum += if about.is_dir() { size(&entry.path())? } else { about.len() };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_publishes_a_package_is_named_as_for_debians_tools() {
        let named =
            |name: Option<&str>, address: Option<&str>| maintainer(name.map(str::to_owned), address.map(str::to_owned));
        assert_eq!(named(None, None), "The Relogin authors");
        assert_eq!(named(Some("Jane Doe"), Some("jane@example.org")), "Jane Doe <jane@example.org>");
        assert_eq!(named(None, Some("Jane <jane@example.org>")), "Jane <jane@example.org>");
    }
}
