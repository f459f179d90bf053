//! The packages of `cargo xtask package`, unpacked or installed, and used; and the files of deploy/
//! with the binary that is in them. RELOGIN_PACKAGES names their folder, which is else that of
//! `cargo xtask test packages`.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod archive;
mod booted;
mod container;
mod debian;
mod installed;
mod manifests;
mod taken;
mod unit;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The package whose name has this ending.
fn package(ending: &str) -> PathBuf {
    let folder = env::var_os("RELOGIN_PACKAGES").map_or_else(|| repository().join("target/packages"), PathBuf::from);
    let folder = std::path::absolute(folder).unwrap();
    let entries = fs::read_dir(&folder);
    let entries = entries.unwrap_or_else(|error| {
        panic!("{}: {error}; `cargo xtask test packages` makes the packages", folder.display())
    });
    let names = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = names.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    assert_eq!(found.len(), 1, "packages {ending} in {}: {found:?}", folder.display());
    found.remove(0)
}

/// The folder of the sources.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The output of a program that has to succeed.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    said.into_owned()
}
