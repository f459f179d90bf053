//! Running child programs quietly: their output goes to a file under `target/xtask`, and only what
//! matters reaches the terminal.

use std::{
    borrow::BorrowMut,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{context::Context, report};

const TAIL: usize = 40;
const LONGEST_EXCERPT: usize = 200;

/// The log file of one step, to which several programs may write in turn.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Creates `target/xtask/NAME.log`, or empties it.
    pub(crate) fn create(context: &Context, name: &str) -> Result<Self> {
        let path = context.logs().join(format!("{name}.log"));
        let file = File::create(&path).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// If it cannot be started or fails; the message then carries the end of its output.
    pub(crate) fn run(&mut self, command: &mut Command) -> Result<()> {
        let status = self.spawn(command)?.wait()?;
        self.judge(command, status)
    }

    /// Runs the program, but ends it when it takes longer than `limit`.
    ///
    /// # Errors
    /// As [`Log::run`], and if it takes longer than `limit`.
    pub(crate) fn run_within(&mut self, limit: Duration, command: &mut Command) -> Result<()> {
        let mut child = self.spawn(command)?;
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                child.kill()?;
                child.wait()?;
                bail!("`{}` did not end within {} s", name(command), limit.as_secs());
            }
            thread::sleep(Duration::from_millis(50));
        };
        self.judge(command, status)
    }

    /// Runs a test runner: its results, and the details of what failed, reach the terminal at once.
    ///
    /// # Errors
    /// As [`Log::run`].
    pub(crate) fn run_tests(&mut self, command: &mut Command) -> Result<()> {
        let (reader, writer) = io::pipe()?;
        self.note(command)?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let mut child = command.spawn().with_context(|| format!("starting `{}`", name(command)))?;
        // The command holds our copies of the writing end; the reader would wait for them forever.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut filter = TestFilter::default();
        for line in BufReader::new(reader).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            writeln!(self.file, "{line}")?;
            filter.pass(&line, &mut |line| report::line(line));
        }
        let status = child.wait()?;
        // The terminal shows failed tests already, but not a failed build.
        if !status.success() && filter.shown_failure() {
            bail!("tests failed; the whole output: {}", self.path.display());
        }
        self.judge(command, status)
    }

    fn spawn(&mut self, command: &mut Command) -> Result<Child> {
        self.note(command)?;
        command.stdin(Stdio::null()).stdout(self.file.try_clone()?).stderr(self.file.try_clone()?);
        command.spawn().with_context(|| format!("starting `{}`", name(command)))
    }

    fn note(&mut self, command: &Command) -> Result<()> {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        writeln!(self.file, "$ {} {}", name(command), arguments.join(" "))?;
        Ok(())
    }

    fn judge(&self, command: &Command, status: ExitStatus) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&fs::read(&self.path)?).into_owned();
        bail!("`{}` failed ({status}); the whole output: {}\n{}", name(command), self.path.display(), tail(&text))
    }
}

/// True if the program succeeds. Its output is discarded.
pub(crate) fn succeeds(mut command: impl BorrowMut<Command>) -> bool {
    let command = command.borrow_mut();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The output of the program without white space around it; none if it fails.
pub(crate) fn output(mut command: impl BorrowMut<Command>) -> Option<String> {
    let output = command.borrow_mut().stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// Filters the results and the details of failures from a test runner's output.
#[derive(Debug, Default)]
struct TestFilter {
    binary: Option<String>,
    in_failures: bool,
    shown: usize,
    failed: bool,
}

impl TestFilter {
    fn pass(&mut self, line: &str, show: &mut dyn FnMut(&str)) {
        let words = line.trim_start();
        if words.starts_with("Running ") || words.starts_with("Doc-tests ") {
            self.binary = Some(line.to_owned());
        } else if line.starts_with("test result:") {
            self.in_failures = false;
            self.failed |= line.contains("FAILED");
            // The result of a binary without tests is not shown.
            if !line.starts_with("test result: ok. 0 passed; 0 failed; 0 ignored") {
                self.binary.take().iter().for_each(|binary| show(binary));
                show(line);
            }
        } else if line.ends_with(" has been running for over 60 seconds") {
            // If it never ends, this says which one it was.
            self.binary.take().iter().for_each(|binary| show(binary));
            show(line);
        } else if line == "failures:" {
            self.in_failures = true;
            self.shown = 0;
            self.binary.take().iter().for_each(|binary| show(binary));
        }
        if self.in_failures && self.shown < LONGEST_EXCERPT {
            self.shown += 1;
            show(line);
        }
    }

    fn shown_failure(&self) -> bool {
        self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(output: &str) -> String {
        let mut filter = TestFilter::default();
        let mut shown = Vec::new();
        for line in output.lines() {
            filter.pass(line, &mut |line| shown.push(line.to_owned()));
        }
        shown.join("\n")
    }

    #[test]
    fn results_are_shown_and_passing_tests_are_not() {
        let output = "   Compiling a v0.1.0\n     Running unittests src/lib.rs (a)\n\nrunning 1 test\ntest one ... ok\n\n\
                      test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n   Doc-tests a\n\nrunning 0 tests\n\n\
                      test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured\n";
        assert_eq!(
            filtered(output),
            "     Running unittests src/lib.rs (a)\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured"
        );
    }

    #[test]
    fn failures_are_shown_with_their_details() {
        let output = "     Running unittests src/lib.rs (a)\n\nrunning 2 tests\ntest good ... ok\ntest bad ... FAILED\n\nfailures:\n\n\
                      ---- bad stdout ----\nleft: 1\n\nfailures:\n    bad\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored";
        let shown = filtered(output);
        assert!(shown.contains("---- bad stdout ----\nleft: 1"), "{shown}");
        assert!(shown.ends_with("test result: FAILED. 1 passed; 1 failed; 0 ignored"), "{shown}");
        assert!(!shown.contains("good"), "{shown}");
    }

    #[test]
    fn what_takes_long_is_named_while_it_runs() {
        let output = "     Running tests/a.rs (a)\n\nrunning 2 tests\ntest one ... ok\n\
                      test two has been running for over 60 seconds\n";
        assert_eq!(filtered(output), "     Running tests/a.rs (a)\ntest two has been running for over 60 seconds");
    }

    #[test]
    fn a_long_output_is_cut_to_its_end() {
        let text: String = (0..100).map(|number| format!("{number}\n")).collect();
        let tail = tail(&text);
        assert!(tail.starts_with("60\n") && tail.ends_with("\n99"), "{tail}");
    }
}
