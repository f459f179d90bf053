//! docs/limits.md is a table of limits. Each row names a test that exists.

use std::{collections::HashSet, fs};

use super::{
    report,
    sources::{self, root},
};

const PAGE: &str = "docs/limits.md";

/// The columns: what is limited, its default, its option, what happens beyond it, how that is seen,
/// its test.
const COLUMNS: usize = 6;

#[test]
fn every_limit_names_a_test_that_exists() {
    let text = fs::read_to_string(root().join(PAGE)).expect("the page of limits is there");
    let sources = sources::all();
    let functions: HashSet<&str> = sources.iter().flat_map(|source| functions(&source.text)).collect();
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").collect();
        // The row of dashes has no spaces between its bars.
        if cells.len() != COLUMNS && !line.starts_with("|---") {
            complaints.push(format!("{PAGE}:{}: {} columns, not {COLUMNS}", number + 1, cells.len()));
        }
        let is_name = |word: &&str| {
            word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
        };
        let tests = cells.last().into_iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).filter(is_name);
        let missing = tests.filter(|test| !functions.contains(test));
        complaints.extend(missing.map(|test| format!("{PAGE}:{}: there is no test `{test}`", number + 1)));
    }
    report(complaints);
}

/// The names of a source's functions.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    let name = |rest: &'_ str| rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    text.split("fn ").skip(1).map(move |rest| &rest[..name(rest)])
}
