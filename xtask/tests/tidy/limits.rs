//! docs/limits.md is a table of limits, each row of which names a test. What docs/security.md and
//! it name as tests are tests.

use std::{collections::HashSet, fs};

use super::{
    report,
    sources::{self, root},
};

const PAGE: &str = "docs/limits.md";

/// The columns: what is limited, its default, its option, what happens beyond it, how that is seen,
/// its test.
const COLUMNS: usize = 6;

/// Words of docs/security.md that look like tests: what the audit trail calls its events.
const EVENTS: [&str; 3] = ["reuse_detected", "proof_missing", "cookie_mismatch"];

/// The macros that make tests of the functions that they are given.
const MAKERS: [&str; 2] = ["on!(", "contract!"];

#[test]
fn every_limit_names_a_test_that_exists() {
    let sources = sources::all();
    let tests = tests(&sources);
    let mut complaints = Vec::new();
    for (number, line) in page(PAGE).lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").collect();
        let (number, last) = (number + 1, cells.last().unwrap_or(&""));
        // The row of dashes has no spaces between its bars.
        if line.starts_with("|---") || line.starts_with("| what |") {
            continue;
        }
        if cells.len() != COLUMNS {
            complaints.push(format!("{PAGE}:{number}: {} columns, not {COLUMNS}", cells.len()));
        }
        if names(last).next().is_none() {
            complaints.push(format!("{PAGE}:{number}: name the test that exceeds this limit"));
        }
        let missing = names(last).filter(|test| !tests.contains(test));
        complaints.extend(missing.map(|test| format!("{PAGE}:{number}: there is no test `{test}`")));
    }
    report(complaints);
}

#[test]
fn every_test_that_the_page_of_security_names_exists() {
    const PAGE: &str = "docs/security.md";
    let sources = sources::all();
    let tests = tests(&sources);
    let text = page(PAGE);
    let named = text.lines().flat_map(names).filter(|name| !EVENTS.contains(name));
    let (there, missing): (Vec<_>, Vec<_>) = named.partition(|name| tests.contains(name));
    assert!(there.len() > 50, "tidy found {} tests: it looks in the wrong place", there.len());
    report(missing.into_iter().map(|test| format!("{PAGE}: there is no test `{test}`")));
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("the page is there")
}

/// What looks like the name of a test, in backticks.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |word: &&str| {
        word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
    };
    text.split('`').skip(1).step_by(2).filter(is_name)
}

/// The names of all tests.
fn tests(sources: &[sources::Source]) -> HashSet<&str> {
    sources.iter().flat_map(|source| marked(&source.text).chain(made(&source.text))).collect()
}

/// Functions with an attribute that makes them tests, whatever stands between that and them.
fn marked(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        if line.starts_with("#[") || line.starts_with("//") {
            is_test |= line.starts_with("#[") && !line.starts_with("#[cfg") && line.contains("test");
            return None;
        }
        let is_marked = std::mem::take(&mut is_test);
        line.trim_start_matches("async ").strip_prefix("fn ").filter(|_| is_marked).map(word)
    })
}

/// Functions of which a macro makes tests.
fn made(text: &str) -> impl Iterator<Item = &str> {
    let lists = MAKERS.iter().flat_map(|maker| text.split(maker).skip(1));
    let lists = lists.filter_map(|list| list.split([')', '}']).next());
    lists.flat_map(|list| list.split(|c: char| !is_of_a_word(c)))
}

fn word(text: &str) -> &str {
    text.split(|c: char| !is_of_a_word(c)).next().unwrap_or_default()
}

fn is_of_a_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
