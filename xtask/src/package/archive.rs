//! The archive: one folder with everything, for machines without dpkg.

use std::{
    env::consts::{ARCH, OS},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result};

use super::{Parts, VERSION, contents::Contents};
use crate::log::Log;

/// Writes the archive, and returns its name.
pub(super) fn pack(parts: &Parts<'_>, contents: &Contents, log: &mut Log) -> Result<String> {
    let name = format!("relogin-{VERSION}-{ARCH}-{OS}");
    let folder = parts.context.target.join("package-archive");
    let root = emptied(&folder)?.join(&name);
    let [bash, zsh, fish] = &contents.completions;
    file(&root, "relogin", &contents.binary, 0o755)?;
    file(&root, "relogin.toml", contents.config.as_bytes(), 0o644)?;
    file(&root, "README.md", &contents.readme, 0o644)?;
    file(&root, "completions/relogin.bash", bash, 0o644)?;
    file(&root, "completions/_relogin", zsh, 0o644)?;
    file(&root, "completions/relogin.fish", fish, 0o644)?;
    file(&root, "NOTICES", contents.notices.as_bytes(), 0o644)?;
    file(&root, "relogin.cdx.json", contents.components.as_bytes(), 0o644)?;
    for (name, text) in &contents.licences {
        file(&root, name, text.as_bytes(), 0o644)?;
    }
    for (page, text) in &contents.manual {
        file(&root, &format!("man/man1/{page}"), text, 0o644)?;
    }
    let packed = format!("{name}.tar.gz");
    let mut tar = parts.program("tar");
    // gzip -n: without the time of packing.
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--format=gnu",
        "--use-compress-program=gzip -9n",
    ]);
    tar.arg(format!("--mtime=@{}", parts.epoch)).arg("--directory").arg(&folder);
    log.run(tar.arg("--create").arg("--file").arg(parts.to.join(&packed)).arg(&name))?;
    Ok(packed)
}

/// Writes a file and the folders above it, with these permissions whatever the umask.
pub(super) fn file(root: &Path, name: &str, content: &[u8], mode: u32) -> Result<()> {
    let path = root.join(name);
    let folder = path.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder)?;
    for folder in folder.ancestors().take_while(|folder| folder.starts_with(root)) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
    Ok(fs::set_permissions(&path, fs::Permissions::from_mode(mode))?)
}

/// The folder, with nothing in it.
pub(super) fn emptied(folder: &Path) -> Result<&Path> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(folder)?;
    Ok(folder)
}
