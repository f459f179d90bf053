//! Runs the `relogin` program in a folder of its own.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// A working directory that is removed at the end.
pub(crate) struct Folder(tempfile::TempDir);

/// What a run came to.
pub(crate) struct Ran {
    args: String,
    output: Output,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program with `args`, in this folder, with none of our environment but what it needs.
    pub(crate) fn command(&self, args: &str) -> Command {
        // Nobody can be asked for a password in a session of its own, where the terminal of whoever runs the tests is not.
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(env!("CARGO_BIN_EXE_relogin"));
        command.args(args.split(' ')).current_dir(self.0.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    pub(crate) fn run(&self, args: &str, input: &str) -> Ran {
        self.run_with(args, &[], input)
    }

    pub(crate) fn run_with(&self, args: &str, env: &[(&str, &str)], input: &str) -> Ran {
        let mut command = self.command(args);
        command.envs(env.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may have refused before it read.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        Ran { args: args.to_owned(), output: child.wait_with_output().unwrap() }
    }
}

impl Ran {
    /// What a run that succeeded wrote.
    pub(crate) fn success(&self) -> String {
        let Output { status, stdout, stderr } = &self.output;
        assert_eq!((status.code(), String::from_utf8_lossy(stderr).as_ref()), (Some(0), ""), "{}", self.args);
        String::from_utf8(stdout.clone()).unwrap()
    }

    /// The one line with which a run refused.
    pub(crate) fn refused(&self) -> String {
        let Output { status, stdout, stderr } = &self.output;
        let stderr = std::str::from_utf8(stderr).unwrap();
        assert_eq!((status.code(), stdout.as_slice()), (Some(2), &b""[..]), "{}: {stderr}", self.args);
        let line = stderr.strip_suffix('\n').unwrap_or(stderr);
        assert!(!line.is_empty() && !line.contains('\n'), "{}: {stderr:?} is not one line", self.args);
        line.to_owned()
    }
}
