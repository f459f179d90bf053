//! Resgate, the gateway that the end-to-end tests set beside the embedded one: built by Go at the version we know.

use std::{env, fs, path::PathBuf};

use anyhow::Result;

use crate::{context::Context, log::Log, report};

const MODULE: &str = "github.com/resgateio/resgate";
const VERSION: &str = "v1.8.0";

pub(super) fn find(context: &Context) -> Option<PathBuf> {
    if let Some(path) = env::var_os("RESGATE") {
        return Some(PathBuf::from(path));
    }
    let ours = path(context);
    ours.is_file().then_some(ours)
}

pub(super) fn ensure(context: &Context) -> Result<PathBuf> {
    if let Some(found) = find(context) {
        return Ok(found);
    }
    report::begin(format_args!("Resgate {VERSION}: building it with Go (usually 30 s)"));
    // A module of our own that requires it, where `go install` would do: that one asks for all its versions too, which not
    // every proxy answers.
    let scratch = context.cache.join("resgate-scratch");
    fs::create_dir_all(&scratch)?;
    fs::write(scratch.join("go.mod"), format!("module scratch\n\ngo 1.20\n\nrequire {MODULE} {VERSION}\n"))?;
    fs::write(scratch.join("tools.go"), format!("//go:build tools\n\npackage tools\n\nimport _ \"{MODULE}\"\n"))?;
    let mut build = context.command("go");
    build.current_dir(&scratch).args(["build", "-mod=mod", "-o"]).arg(path(context)).arg(MODULE);
    Log::create(context, "resgate")?.run(&mut build)?;
    fs::remove_dir_all(&scratch)?;
    Ok(path(context))
}

/// The version is in the name: another version is another file.
fn path(context: &Context) -> PathBuf {
    context.bin().join(format!("resgate-{VERSION}"))
}
