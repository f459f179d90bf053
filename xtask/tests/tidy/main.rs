//! The rules of this project that no compiler checks, as tests whose messages say what to do
//! instead.
//!
//! They read the sources as text; ARCHITECTURE.md says what the rules are for.

#![forbid(unsafe_code)]

mod architecture;
mod crates;
mod cycles;
mod dependencies;
mod docs;
mod imports;
mod limits;
mod manifests;
mod modules;
mod names;
mod prose;
mod purity;
mod recipes;
mod sources;

use sources::Source;

/// Lines a file may have before its tests.
const LONGEST: usize = 400;

#[test]
fn every_file_says_what_it_is_for() {
    let without = sources::all().into_iter().filter(|source| !source.text.starts_with("//!"));
    report(without.map(|source| {
        format!("{}: begin it with `//!`: what the file does, and what it must not depend on", source.path)
    }));
}

#[test]
fn files_are_short() {
    let long = sources::all().into_iter().filter(|source| !source.is_test && lines(source) > LONGEST);
    report(long.map(|source| {
        format!(
            "{}: {} lines before its tests, at most {LONGEST} are allowed: move a part with a purpose of its own into a file of its own",
            source.path,
            lines(&source)
        )
    }));
}

fn lines(source: &Source) -> usize {
    source.product_text().lines().count()
}

/// Fails with all complaints at once, a line for each.
fn report(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
