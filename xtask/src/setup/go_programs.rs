//! Programs that Go builds, each at the version that the tests are made for: Resgate, which the end-to-end tests set beside the
//! embedded gateway, and nats-server, of which package managers have versions too old for JetStream as it is used here.

use std::{env, fs, path::PathBuf};

use anyhow::Result;

use crate::{context::Context, log::Log, report};

/// A program, and where its source is.
#[derive(Debug)]
pub(super) struct GoProgram {
    name: &'static str,
    /// The environment variable that names another one, and by which tests are told.
    pub(super) variable: &'static str,
    module: &'static str,
    version: &'static str,
}

/// All of them.
pub(super) const ALL: [GoProgram; 2] = [
    GoProgram { name: "resgate", variable: "RESGATE", module: "github.com/resgateio/resgate", version: "v1.8.0" },
    GoProgram {
        name: "nats-server",
        variable: "NATS_SERVER",
        module: "github.com/nats-io/nats-server/v2",
        version: "v2.15.2",
    },
];

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
        // A module of our own that requires it, where `go install` would do: that one asks for all its versions too, which
        // not every proxy answers.
        let scratch = context.cache.join(format!("{name}-scratch"));
        fs::create_dir_all(&scratch)?;
        fs::write(scratch.join("go.mod"), format!("module scratch\n\ngo 1.20\n\nrequire {module} {version}\n"))?;
        fs::write(scratch.join("tools.go"), format!("//go:build tools\n\npackage tools\n\nimport _ \"{module}\"\n"))?;
        let mut build = context.command("go");
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
