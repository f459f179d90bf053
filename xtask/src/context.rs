//! Paths of the workspace, its target folder and the tool cache; starts child programs.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// The folders that every command works in.
#[derive(Debug)]
pub(crate) struct Context {
    /// The workspace.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// Tools that are set up once for all clones of this user.
    pub(crate) cache: PathBuf,
}

impl Context {
    /// # Errors
    /// If there is no folder for the cache.
    pub(crate) fn new() -> Result<Self> {
        // The variable of the run goes first: a clone that was moved keeps its compiled xtask.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).parent().context("xtask lies inside the workspace")?.to_owned();
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target));
        let context = Self { root, target, cache: cache_folder()? };
        fs::create_dir_all(context.bin())
            .with_context(|| format!("making the tool cache {}", context.cache.display()))?;
        fs::create_dir_all(context.logs())
            .with_context(|| format!("making the log folder {}", context.logs().display()))?;
        Ok(context)
    }

    /// Programs of the cache.
    pub(crate) fn bin(&self) -> PathBuf {
        self.cache.join("bin")
    }

    /// Output of child programs, and stamps of what was built from what.
    pub(crate) fn logs(&self) -> PathBuf {
        self.target.join("xtask")
    }

    /// A program, to be run in the workspace with the cache's programs first on its path.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("PATH", self.path());
        // `cargo run` has set these variables for xtask; build scripts that watch them would run
        // again for nothing.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text == "CARGO" || text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// `cargo` with the first arguments.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("cargo");
        command.args(arguments);
        command
    }

    /// A program of one of these names: in the cache, on the path, or where servers are installed.
    pub(crate) fn find(&self, names: &[&str]) -> Option<PathBuf> {
        let path = self.path();
        // Not on the path of everyone, but where distributions put servers and where Homebrew puts
        // everything.
        let more = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "/usr/local/bin"].map(PathBuf::from);
        let folders: Vec<PathBuf> = env::split_paths(&path).chain(more).collect();
        names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
    }

    /// The folders of this machine that compilers would name in what they build, and what is to
    /// take their places. Of two that fit, compilers take the last one.
    pub(crate) fn path_maps(&self) -> Vec<(String, &'static str)> {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
        let folders = [(Some(self.root.clone()), "/relogin"), (Some(self.target.clone()), "/target"), (home, "/cargo")];
        let known = folders.into_iter().filter_map(|(folder, name)| Some((folder?, name)));
        known.map(|(folder, name)| (folder.to_string_lossy().into_owned(), name)).collect()
    }

    /// A value of CARGO_ENCODED_RUSTFLAGS by which nothing of this machine is named.
    pub(crate) fn rustflags(&self) -> String {
        let flags: Vec<String> =
            self.path_maps().iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}")).collect();
        flags.join("\x1f")
    }

    /// Fails if a folder of this machine is named in `bytes`, which `what` are, in spite of
    /// [`Context::path_maps`]. A folder such as `/src` may be there as a part of another path.
    pub(crate) fn assert_unnamed(&self, what: &str, bytes: &[u8]) -> Result<()> {
        let text = String::from_utf8_lossy(bytes);
        let rustup = env::var_os("RUSTUP_HOME").map(PathBuf::from);
        let rustup = rustup.or_else(|| Some(env::home_dir()?.join(".rustup")));
        let mapped = self.path_maps().into_iter().map(|(folder, _)| PathBuf::from(folder));
        for folder in mapped.chain(rustup).filter(|folder| folder.components().count() > 2) {
            if let Some(at) = text.find(&format!("{}/", folder.display())) {
                let path = text[at..].split(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER).next();
                let path: String = path.unwrap_or_default().chars().take(200).collect();
                bail!("{what} would differ from machine to machine: it names {path}");
            }
        }
        Ok(())
    }

    /// Where programs are looked for.
    pub(crate) fn path(&self) -> OsString {
        let inherited = env::var_os("PATH").unwrap_or_default();
        let folders = [self.bin()].into_iter().chain(env::split_paths(&inherited));
        env::join_paths(folders).unwrap_or(inherited)
    }
}

fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("RELOGIN_XTASK_CACHE") {
        return std::path::absolute(folder).context("RELOGIN_XTASK_CACHE");
    }
    let caches = match env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => {
            env::home_dir().context("no home folder: name a folder for tools in RELOGIN_XTASK_CACHE")?.join(".cache")
        }
    };
    Ok(caches.join("relogin-xtask"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_this_machine_are_found_in_what_was_built() {
        let context = Context { root: "/home/a/relogin".into(), target: "/src".into(), cache: "/none".into() };
        let check = |bytes: &[u8]| context.assert_unnamed("it", bytes).map_err(|error| error.to_string());
        assert_eq!(check(b"\xff\0/relogin/service/src/main.rs /src/lib.rs"), Ok(()));
        let named = check(b"\xff\0of/home/a/relogin/service/src/main.rs\0more");
        let named = named.expect_err("a folder of this machine");
        assert!(named.ends_with("it names /home/a/relogin/service/src/main.rs"), "{named}");
    }
}
