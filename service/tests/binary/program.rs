//! Runs the `relogin` program in a folder of its own.

use std::{
    cell::Cell,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
};

use futures_util::future::select_all;
use relogin_tests::{process::Process, res::Res};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::nats_gateway::DEADLINE;

/// A working directory that is removed at the end.
pub(crate) struct Folder(tempfile::TempDir);

/// The result of a run.
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
        // In a process session of its own, the program cannot ask for a password on the terminal
        // that the tests run in.
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
        // One that should refuse to serve, and serves, would run for as long as the tests do.
        let (pid, (ended, is_ended)) = (Pid::from_child(&child), mpsc::channel::<()>());
        let watchdog = thread::spawn(move || {
            if is_ended.recv_timeout(DEADLINE) == Err(RecvTimeoutError::Timeout) {
                kill_process(pid, Signal::KILL).ok();
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(ended);
        watchdog.join().unwrap();
        Ran { args: args.to_owned(), output }
    }
}

impl Ran {
    /// The output of a run that succeeded.
    pub(crate) fn success(&self) -> String {
        let Output { status, stdout, stderr } = &self.output;
        assert_eq!((status.code(), String::from_utf8_lossy(stderr).as_ref()), (Some(0), ""), "{}", self.args);
        String::from_utf8(stdout.clone()).unwrap()
    }

    /// The exit code and the standard error of a run that failed.
    pub(crate) fn failure(&self) -> (Option<i32>, String) {
        let Output { status, stderr, .. } = &self.output;
        assert!(!status.success(), "{} succeeded", self.args);
        (status.code(), String::from_utf8_lossy(stderr).into_owned())
    }

    /// The output, whatever came of the run.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output.stdout
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

/// A running `relogin serve`, ended when dropped.
pub(crate) struct Service {
    process: Process,
    /// Where it serves HTTP; empty if it does not.
    pub(crate) address: String,
}

impl Service {
    /// A new connection to its gateway.
    pub(crate) async fn connect(&self) -> Res {
        Res::connect(&format!("ws://{}/", self.address)).await.unwrap()
    }

    /// The status of a GET.
    pub(crate) async fn get(&self, path: &str) -> u16 {
        self.get_of(&self.address, path, "").await
    }

    /// The status of a request for the host `host`, with `headers`, each of which ends its line.
    pub(crate) async fn get_of(&self, host: &str, path: &str, headers: &str) -> u16 {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The head of the response to a request with `headers`, each of which ends its line.
    pub(crate) async fn head_of(&self, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// Waits until it has logged a line with `text` in it, since its start.
    pub(crate) async fn says(&self, text: &str) {
        self.process.line(text, |line| line.contains(text).then_some(())).await.unwrap();
    }

    /// The same, as often as this.
    pub(crate) async fn says_times(&self, text: &str, times: usize) {
        self.says_with_others(text, &Cell::new(0), times).await;
    }

    /// Waits until so many lines with `text` are logged, by it and by others that share the count.
    async fn says_with_others(&self, text: &str, said: &Cell<usize>, times: usize) {
        let count = |line: &str| {
            said.set(said.get() + usize::from(line.contains(text)));
            (said.get() >= times).then_some(())
        };
        self.process.line(text, count).await.unwrap();
    }

    /// Its whole output.
    pub(crate) fn said(&self) -> String {
        self.process.lines().join("\n")
    }

    pub(crate) fn pid(&self) -> Pid {
        self.process.pid().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for its end, and returns the exit code.
    pub(crate) async fn ended(self) -> Option<i32> {
        self.process.ended().await.unwrap().code()
    }

    /// Stops it cleanly.
    pub(crate) async fn stop(self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended().await, Some(0));
    }

    /// Ends it as a crash would.
    pub(crate) async fn kill(self) {
        self.process.kill().await.unwrap();
    }
}

impl Folder {
    /// Starts `relogin serve` with a free port, unless the options say otherwise, and waits until
    /// it is ready.
    pub(crate) async fn serve(&self, options: &str) -> Service {
        self.serve_with(options, &[]).await
    }

    /// The same, with these variables in its environment.
    pub(crate) async fn serve_with(&self, options: &str, env: &[(&str, &str)]) -> Service {
        self.start(&[], options, env, Stdio::null()).await
    }

    /// The same, by a program that ends by running `relogin` in its own place, and with this
    /// standard input.
    pub(crate) async fn serve_under(&self, wrapper: &[&str], options: &str, input: Stdio) -> Service {
        let path = std::env::var("PATH").unwrap_or_default();
        self.start(wrapper, options, &[("PATH", &path)], input).await
    }

    async fn start(&self, wrapper: &[&str], options: &str, env: &[(&str, &str)], input: Stdio) -> Service {
        let listen =
            if options.contains("--nats") || options.contains("--listen") { "" } else { "--listen 127.0.0.1:0 " };
        self.run_server(wrapper, &format!("serve {listen}{options}"), env, input).await
    }

    /// Starts `relogin gateway` with this configuration file of Resgate's, on a free port.
    pub(crate) async fn gateway(&self, config: &str) -> Service {
        self.launch_gateway(config).ready().await
    }

    /// Starts `relogin gateway` with these options, on a free port, and with these variables in its
    /// environment.
    pub(crate) async fn gateway_with(&self, options: &str, env: &[(&str, &str)]) -> Service {
        let args = format!("gateway --listen 127.0.0.1:0 {options}");
        self.run_server(&[], &args, env, Stdio::null()).await
    }

    async fn run_server(&self, wrapper: &[&str], args: &str, env: &[(&str, &str)], input: Stdio) -> Service {
        self.launch_under(wrapper, args, env, input).ready().await
    }

    /// Starts `relogin serve` with these options, and does not wait until it is ready.
    pub(crate) fn launch(&self, options: &str) -> Starting {
        self.launch_under(&[], &format!("serve {options}"), &[], Stdio::null())
    }

    /// Starts `relogin gateway` as [`Folder::gateway`] does, and does not wait until it is ready.
    pub(crate) fn launch_gateway(&self, config: &str) -> Starting {
        let args = format!("gateway --resgate-config {config} --listen 127.0.0.1:0");
        self.launch_under(&[], &args, &[], Stdio::null())
    }

    fn launch_under(&self, wrapper: &[&str], args: &str, env: &[(&str, &str)], input: Stdio) -> Starting {
        let process = Process::start_under(
            &wrapper.iter().map(|&word| word.to_owned()).collect::<Vec<_>>(),
            Path::new(env!("CARGO_BIN_EXE_relogin")),
            args.split(' ').filter(|arg| !arg.is_empty()),
            &self.path("log"),
            |command| {
                command.current_dir(self.0.path()).env_clear().envs(env.iter().copied()).stdin(input);
            },
        );
        Starting(process.unwrap())
    }
}

/// Waits until these services together have logged so many lines with `text` in them.
pub(crate) async fn all_say_times(services: impl Iterator<Item = &Service>, text: &str, times: usize) {
    let said = Cell::new(0);
    select_all(services.map(|service| Box::pin(service.says_with_others(text, &said, times)))).await;
}

/// A `relogin serve` or `relogin gateway` that may not be ready yet, ended when dropped.
pub(crate) struct Starting(Process);

impl Starting {
    /// Waits until it has logged a line with `text` in it.
    pub(crate) async fn says(&self, text: &str) {
        self.0.line(text, |line| line.contains(text).then_some(())).await.unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.0.pid().unwrap(), signal).unwrap();
    }

    /// Waits for its end, and returns the exit code.
    pub(crate) async fn ended(self) -> Option<i32> {
        self.0.ended().await.unwrap().code()
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(self) -> Service {
        let Self(process) = self;
        let ready = process.line("that it is ready", |line| line.strip_prefix("relogin: ready on ").map(str::to_owned));
        let ready = ready.await.unwrap();
        let address = ready.split_once("://").map_or("", |(_, address)| address).to_owned();
        Service { process, address }
    }
}
