//! What the services in `examples/services` need to be run by tests, as the lock files beside them
//! pin it. The one in JavaScript has its packages from npm ([`npm_packages`]); here are the program
//! of the one in Go, and a Python that has the packages of the other.
//!
//! Both are kept under names that depend on their sources, so that clones with different sources
//! can share a cache.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{go_programs, npm_packages, programs};
use crate::{
    context::Context,
    log::{Log, succeeds},
    report,
};

const GO: &str = "SERVICE_GO";
const PYTHON: &str = "SERVICE_PYTHON";

/// Sets up what is missing. Returns the variables that tell tests where it is.
pub(super) fn ensure(context: &Context) -> Result<[(&'static str, PathBuf); 3]> {
    let packages = npm_packages::ensure_for_service(context)?;
    Ok([("SERVICE_JAVASCRIPT", packages), (GO, ensure_go(context)?), (PYTHON, ensure_python(context)?)])
}

/// True if Go has to build something.
pub(super) fn needs_go(context: &Context) -> Result<bool> {
    Ok(env::var_os(GO).is_none() && !go_program(context)?.is_file())
}

/// The service in Go.
fn ensure_go(context: &Context) -> Result<PathBuf> {
    if let Some(program) = env::var_os(GO) {
        return Ok(PathBuf::from(program));
    }
    let program = go_program(context)?;
    if program.is_file() {
        return Ok(program);
    }
    report::begin("the service in Go: go build (usually 20 s)");
    let mut build = context.command(go_programs::go(context)?);
    build.env("GOTOOLCHAIN", "local").env_remove("GOROOT");
    // The same program from each commit, and without git.
    build.current_dir(folder(context, "go")).args(["build", "-buildvcs=false", "-o"]).arg(&program);
    Log::create(context, "service-go")?.run(&mut build)?;
    Ok(program)
}

fn go_program(context: &Context) -> Result<PathBuf> {
    Ok(context.bin().join(keyed("service-go", &folder(context, "go"), &["main.go", "go.mod", "go.sum"])?))
}

/// A Python that has the packages of the service in Python.
fn ensure_python(context: &Context) -> Result<PathBuf> {
    if let Some(program) = env::var_os(PYTHON) {
        return Ok(PathBuf::from(program));
    }
    let source = folder(context, "python");
    let environment = context.cache.join(keyed("service-python", &source, &["requirements.txt"])?);
    let python = environment.join("bin/python");
    let runs = |python: &Path, code: &str| succeeds(context.command(python).args(["-c", code]));
    // The Python that it was made of may be gone.
    if runs(&python, "import nats") {
        return Ok(python);
    }
    // Debian has a part of it in a package of its own.
    if !context.find(&["python3"]).is_some_and(|python| runs(&python, "import ensurepip, venv")) {
        programs::install(context, &[&programs::PYTHON])?;
    }
    report::begin("the packages of the service in Python: pip install (usually 10 s)");
    let mut log = Log::create(context, "service-python")?;
    let maker = context.find(&["python3"]).context("Python is missing")?;
    log.run(context.command(maker).args(["-m", "venv", "--clear"]).arg(environment))?;
    let mut pip = context.command(&python);
    log.run(pip.current_dir(source).args(["-m", "pip", "install", "--require-hashes", "-r", "requirements.txt"]))?;
    Ok(python)
}

fn folder(context: &Context, language: &str) -> PathBuf {
    context.root.join("examples/services").join(language)
}

/// A name that is another one when a source is.
fn keyed(name: &str, folder: &Path, sources: &[&str]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for source in sources {
        let file = folder.join(source);
        fs::read(&file).with_context(|| format!("reading {}", file.display()))?.hash(&mut hasher);
    }
    Ok(format!("{name}-{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_source_has_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let name = |text: &str| {
            fs::write(folder.path().join("main.go"), text).unwrap();
            keyed("service", folder.path(), &["main.go"]).unwrap()
        };
        let first = name("package main");
        assert_ne!(name("package other"), first);
        assert_eq!(name("package main"), first);
        assert!(keyed("service", folder.path(), &["go.mod"]).is_err());
    }
}
