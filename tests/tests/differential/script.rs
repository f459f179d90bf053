//! Reads scripts, which are texts in `scripts/`; several in a file, each below its name:
//!
//! ```text
//! == name_of_the_script
//! on: flat
//! differs: why the two may differ here
//! resgate: 1< a line that only Resgate's transcript has
//! ours: 1< a line that only ours has
//!
//! model test.a {"x":1}
//! 1! subscribe.test.a
//! event.test.a.change {"values":{"x":2}}
//!   1< test.a.change
//! ```
//!
//! What happens stands at the margin:
//! - `1> 7 get.test.a {…}`: client 1 sends a request; `1> {…}`: any text; `1>> {…}`: the same in a
//!   binary frame; `1>~ 7 …`: in many small frames, with pings between them; `1! get.test.a {…}`:
//!   sends a request and waits for its answer. A client connects when it is first named, and says
//!   that it speaks version 1.2.3;
//! - `1 open /path | Header: value`: it connects with that, and says nothing; `1 connecting`: the
//!   same, and does not wait until it is connected, as `1< opened` does; `1 cid`: it learns
//!   its cid, which `c1` stands for from then on; `1 token {…}`: it gets the token, and an answer
//!   after that; `1 close`;
//! - `get.test.a = {…}`: the service answers the request of that subject that was waited for last;
//!   the next time, the one before it;
//!   `get.test.a := {…}`: and all that come, from now on (`access.test.>`: all that begin so);
//!   `model test.a {…}` and `collection test.a […]` are short for that, and `grant` answers all
//!   access requests;
//! - `GET /api/test/a {…} | Header: value`: an HTTP request;
//! - `event.test.a.change {…}`: the service sends an event; `h1` is the first cid that came with a
//!   request and is not that of a client;
//! - `256 times 1! get.test.a`: as often as it says;
//! - `ours@ …`, `resgate@ …`: something that happens at one of the gateways only.
//!
//! Below it, indented, what is waited for; all that comes is in the transcript in any case:
//! - `get.test.a`: a request to the service; `get.test.a {…}`: with this payload; `get.test.*`: any
//!   whose subject begins so; `!get.test.*`: nothing of the kind has come;
//! - `1< 7`, `1< test.a.change`: an answer, an event, and what comes before it; `1< {…}`: this must
//!   be the next frame; `1< closed`; `1< deflated`: a compressed message has come;
//! - `200`, `404 {…}`: the response to the last HTTP request; `Location: …`: a header of it;
//!   `http`: any response.
//!
//! `test` stands for a name that no other script uses, `LONG` for 5,000 letters, `LARGE` for
//! 150,000 digits.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};

use crate::transcript::Difference;

/// A script.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) name: String,
    /// The configuration of the gateways.
    pub(crate) on: String,
    pub(crate) differs: Option<Differs>,
    pub(crate) lines: Vec<String>,
}

impl Script {
    /// True if it says with which headers a client connects.
    pub(crate) fn opens_by_itself(&self) -> bool {
        self.lines.iter().any(|line| line.contains(" open") || line.contains(" connecting"))
    }
}

/// A difference on purpose.
#[derive(Clone, Debug)]
pub(crate) struct Differs {
    pub(crate) why: String,
    pub(crate) lines: Difference,
}

/// All scripts, in the order of their files.
pub(crate) fn all() -> Result<Vec<Script>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/scripts");
    let entries = fs::read_dir(&folder).context("reading the folder of scripts")?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    let mut scripts = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).context("reading scripts")?;
        scripts.extend(parse(&text).with_context(|| format!("in {}", file.display()))?);
    }
    let mut names = BTreeSet::new();
    for script in &scripts {
        ensure!(names.insert(&script.name), "there are two scripts with the name {}", script.name);
    }
    Ok(scripts)
}

pub(crate) fn parse(text: &str) -> Result<Vec<Script>> {
    let mut scripts: Vec<Script> = Vec::new();
    let mut in_head = false;
    for line in text.lines().map(str::trim_end).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("== ") {
            let (name, on) = (name.to_owned(), "plain".to_owned());
            scripts.push(Script { name, on, differs: None, lines: Vec::new() });
            in_head = true;
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let script = scripts.last_mut().context("a line before the first script")?;
        let head = line.split_once(": ").filter(|_| in_head);
        let differs = script.differs.as_mut().context("it does not say why it differs");
        match head {
            Some(("on", name)) => script.on = name.to_owned(),
            Some(("differs", why)) => {
                script.differs = Some(Differs { why: why.to_owned(), lines: Difference::default() });
            }
            Some(("resgate", line)) => differs?.lines.first.push(line.to_owned()),
            Some(("ours", line)) => differs?.lines.second.push(line.to_owned()),
            _ if line.trim_start() != line && script.lines.is_empty() => bail!("{}: it waits for nothing", script.name),
            _ => {
                in_head = false;
                let (count, line) = match line.split_once(" times ") {
                    Some((count, line)) => (count.parse().context("how many times?")?, line),
                    None => (1, line),
                };
                script.lines.extend(std::iter::repeat_n(line.to_owned(), count));
            }
        }
    }
    Ok(scripts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_lines_are_told_apart() {
        let text = "# a comment\n== one\non: flat\ndiffers: so\nresgate: 1< a: b\nours: 1< c\n\n1> {\"on: \":1}\n  1< 1\n== two\nmodel test.a {}\n";
        let scripts = parse(text).unwrap();
        let one = &scripts[0];
        assert_eq!((one.name.as_str(), one.on.as_str(), one.lines.len()), ("one", "flat", 2));
        let differs = one.differs.as_ref().unwrap();
        assert_eq!(
            (differs.why.as_str(), &differs.lines.first[..], &differs.lines.second[..]),
            ("so", &["1< a: b".to_owned()][..], &["1< c".to_owned()][..])
        );
        assert_eq!((scripts[1].name.as_str(), scripts[1].on.as_str()), ("two", "plain"));
        assert!(
            parse("== one\nours: 1< c\n").is_err() && parse("1> x\n").is_err() && parse("== one\n  1< 1\n").is_err()
        );
    }
}
