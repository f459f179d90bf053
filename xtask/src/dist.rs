//! `cargo xtask dist`: builds the one file that is shipped, and tries it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{context::Context, no_arguments, page, report, setup};

/// The deadline for the binary to get ready, generous for any machine.
const READY_DEADLINE: Duration = Duration::from_secs(30);

/// Builds `dist/relogin` and checks that it serves the whole page by itself.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    no_arguments(arguments)?;
    setup::ensure(context, setup::Needs::Page)?;
    let built = page::build(context)?;
    let shipped = context.root.join("dist/relogin");
    fs::create_dir_all(context.root.join("dist"))?;
    fs::copy(&built, &shipped).with_context(|| format!("writing {}", shipped.display()))?;

    let empty = context.logs().join("dist-check");
    fs::create_dir_all(&empty)?;
    let mut relogin = Running::start(&shipped, &empty)?;
    let checked = relogin.address().and_then(|address| check_page(&address));
    drop(relogin);
    let files = checked.context("dist/relogin does not serve its page")?;

    let size = fs::metadata(&shipped)?.len();
    report::begin(format_args!("dist/relogin: {:.1} MB, the page's {files} files inside", size as f64 / 1e6));
    Ok(())
}

/// Fetches the page and each file that it names; returns their number.
fn check_page(address: &str) -> Result<usize> {
    let index = get(address, "/")?;
    let index = String::from_utf8(index).context("the page is not UTF-8")?;
    let mut files: Vec<&str> = index.split(['"', '\'']).filter(|word| is_own_file(word)).collect();
    files.sort_unstable();
    files.dedup();
    if !files.iter().any(|file| file.ends_with(".wasm")) {
        bail!("the page names no WebAssembly file");
    }
    for file in &files {
        let path = format!("/{}", file.trim_start_matches("./").trim_start_matches('/'));
        if get(address, &path)?.is_empty() {
            bail!("{path} is empty");
        }
    }
    Ok(files.len() + 1)
}

fn is_own_file(word: &str) -> bool {
    [".js", ".wasm", ".css", ".svg", ".ico"].iter().any(|ending| word.ends_with(ending))
        && !word.contains("://")
        && !word.contains(char::is_whitespace)
}

fn get(address: &str, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(READY_DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("reading {path}"))?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").with_context(|| format!("{path}: no answer"))?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("{path}: {status}");
    }
    Ok(answer.split_off(end + 4))
}

/// The binary, run in an empty folder, and stopped when it is dropped.
struct Running(Child);

impl Running {
    fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let mut command = Command::new(binary);
        command
            .args(["serve", "--demo", "--store", "memory", "--listen", "127.0.0.1:0", "--data", "."])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        Ok(Self(command.spawn().with_context(|| format!("starting {}", binary.display()))?))
    }

    /// The address in its ready line.
    fn address(&mut self) -> Result<String> {
        let output = self.0.stdout.take().context("the output was taken already")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().strip_prefix("relogin: ready on http://");
        address.map(str::to_owned).with_context(|| format!("it did not say that it is ready, but `{}`", line.trim()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself already, which is what the caller reports then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_page_are_distinguished_from_other_words() {
        assert!(is_own_file("/relogin-web-8a3d_bg.wasm"));
        assert!(is_own_file("./style.css"));
        assert!(!is_own_file("https://example.org/a.js"));
        assert!(!is_own_file("import a from b.js"));
    }
}
