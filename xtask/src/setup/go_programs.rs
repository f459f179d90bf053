//! Programs that Go builds, each at the version that the tests are made for: Resgate, which the
//! end-to-end tests set beside the embedded gateway, and nats-server, of which package managers
//! have versions too old for JetStream as it is used here.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    context::Context,
    log::{Log, output},
    report,
};

/// The Go that these programs need at least. Distributions may have an older one (Debian 12: 1.19).
const GO: [u32; 3] = [1, 26, 0];

/// A program, and where its source is.
#[derive(Debug)]
pub(super) struct GoProgram {
    name: &'static str,
    /// The environment variable that selects another one, and tells tests which one to run.
    pub(super) variable: &'static str,
    module: &'static str,
    version: &'static str,
}

pub(super) const RESGATE: GoProgram =
    GoProgram { name: "resgate", variable: "RESGATE", module: "github.com/resgateio/resgate", version: "v1.8.0" };
pub(super) const NATS_SERVER: GoProgram = GoProgram {
    name: "nats-server",
    variable: "NATS_SERVER",
    module: "github.com/nats-io/nats-server/v2",
    version: "v2.15.2",
};

/// All of them.
pub(super) const ALL: [GoProgram; 2] = [RESGATE, NATS_SERVER];

impl GoProgram {
    pub(super) fn find(&self, context: &Context) -> Option<PathBuf> {
        if let Some(path) = env::var_os(self.variable) {
            return Some(PathBuf::from(path));
        }
        let ours = self.path(context);
        ours.is_file().then_some(ours)
    }

    pub(super) fn ensure(&self, context: &Context) -> Result<PathBuf> {
        if let Some(found) = self.find(context) {
            return Ok(found);
        }
        let Self { name, module, version, .. } = self;
        report::begin(format_args!("{name} {version}: building it with Go (usually 40 s)"));
        // A module of our own that requires it, where `go install` would do: that one asks for all
        // its versions too, which not every proxy answers.
        let scratch = context.cache.join(format!("{name}-scratch"));
        fs::create_dir_all(&scratch)?;
        fs::write(scratch.join("go.mod"), format!("module scratch\n\ngo 1.20\n\nrequire {module} {version}\n"))?;
        fs::write(scratch.join("tools.go"), format!("//go:build tools\n\npackage tools\n\nimport _ \"{module}\"\n"))?;
        let mut build = context.command(go(context)?);
        build.env("GOTOOLCHAIN", "local").env_remove("GOROOT");
        build.current_dir(&scratch).args(["build", "-mod=mod", "-o"]).arg(self.path(context)).arg(module);
        Log::create(context, name)?.run(&mut build)?;
        fs::remove_dir_all(&scratch)?;
        Ok(self.path(context))
    }

    /// The version is in the name: another version is another file.
    fn path(&self, context: &Context) -> PathBuf {
        context.bin().join(format!("{}-{}", self.name, self.version))
    }
}

/// A Go that is new enough: the machine's, or one that the machine's Go downloads as a module,
/// which every version can do.
pub(super) fn go(context: &Context) -> Result<PathBuf> {
    let found = context.find(&["go"]).context("Go is missing")?;
    let about =
        output(context.command(&found).env("GOTOOLCHAIN", "local").args(["env", "GOVERSION", "GOOS", "GOARCH"]));
    let about = about.context("`go env` failed")?;
    let [version, os, arch] = about.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(anyhow::anyhow!("`go env` says {about:?}"));
    };
    if parse(version).is_some_and(|version| version >= GO) {
        return Ok(found);
    }
    let [major, minor, patch] = GO;
    report::begin(format_args!("Go {major}.{minor}: {version} downloads it (usually 10 s)"));
    let module = format!("golang.org/toolchain@v0.0.1-go{major}.{minor}.{patch}.{os}-{arch}");
    let mut download = context.command(&found);
    download.current_dir(&context.cache).env("GOTOOLCHAIN", "local").args(["mod", "download", "-json", &module]);
    let said = output(&mut download).with_context(|| format!("`go mod download {module}` failed"))?;
    let folder = said.lines().find_map(|line| line.trim().strip_prefix("\"Dir\": \"")?.strip_suffix("\","));
    let folder = Path::new(folder.with_context(|| format!("`go mod download` says {said:?}"))?);
    // Modules have no programs: a Go that knows of toolchains does this by itself.
    for programs in [folder.join("bin"), folder.join(format!("pkg/tool/{os}_{arch}"))] {
        let entries = fs::read_dir(&programs).with_context(|| format!("reading {}", programs.display()))?;
        for program in entries {
            fs::set_permissions(program?.path(), fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(folder.join("bin/go"))
}

/// `go1.26.8` as numbers.
fn parse(version: &str) -> Option<[u32; 3]> {
    let numbers = version.strip_prefix("go")?.split(|c: char| !c.is_ascii_digit());
    let mut numbers = numbers.map_while(|number| number.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_compared_as_numbers() {
        assert_eq!(parse("go1.19.8"), Some([1, 19, 8]));
        assert_eq!(parse("go1.26rc1"), Some([1, 26, 0]));
        assert_eq!(parse("go1.30"), Some([1, 30, 0]));
        assert_eq!(parse("devel"), None);
        assert!(parse("go1.9.7") < Some(GO) && parse("go1.100") > Some(GO));
    }
}
