//! The tables of README.md, tests/README.md, docs/protocol.md and docs/security.md name existing
//! tests.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use relogin_tests::parts::Part;

#[test]
fn every_test_that_stands_against_a_fault_exists() -> Result<()> {
    let rows = check("tests/README.md", "")?;
    assert_eq!(rows, 12, "a row for each fault");
    Ok(())
}

#[test]
fn every_test_that_shows_a_promise_exists() -> Result<()> {
    let rows = check("docs/protocol.md", "### The tests that show it")?;
    assert!(rows > 10, "only {rows} rows");
    Ok(())
}

/// "Beside others" on the front page: every line names its test.
#[test]
fn every_line_of_the_comparison_names_its_test() -> Result<()> {
    const HEADING: &str = "\n## Beside others\n";
    let rows = check("README.md", HEADING)?;
    assert!(rows >= 8, "only {rows} rows");
    let text = fs::read_to_string(workspace()?.join("README.md"))?;
    let (_, section) = text.split_once(HEADING).context("README.md has no such section")?;
    for row in section.lines().filter(|line| line.starts_with('|')).skip(2) {
        let test = row.trim_matches('|').split('|').next_back().unwrap_or_default();
        assert!(test.contains('`'), "a line without a test: {row}");
    }
    Ok(())
}

/// Why a session ended has one name in Rust, from which the package's types are made, and in the
/// package's README.
#[test]
fn every_reason_why_a_session_ends_is_documented_by_its_name() -> Result<()> {
    let types = fs::read_to_string(Part::Package.path()?.join("types/relogin.d.ts"))?;
    let reasons = types.lines().find_map(|line| line.strip_prefix("export type EndReason = ")?.strip_suffix(';'));
    let reasons: Vec<&str> = reasons.context("the types have reasons")?.split('"').skip(1).step_by(2).collect();
    let text = fs::read_to_string(workspace()?.join("web/npm/README.md"))?;
    let row = text.lines().find(|line| line.starts_with("| `ended` |")).context("there is a row for `ended`")?;
    let (_, named) = row.split_once("`reason`:").context("it has the reasons")?;
    assert_eq!(named.split('`').skip(1).step_by(2).collect::<Vec<_>>(), reasons);
    Ok(())
}

/// Nine attackers, five modes, and no claim without a test.
#[test]
fn whatever_is_refused_to_an_attacker_has_a_test() -> Result<()> {
    const MODES: [&str; 5] = ["bearer", "bound", "cookie-bound", "cookie session", "JWT key"];
    let text = fs::read_to_string(workspace()?.join("docs/security.md"))?;
    let (_, section) = text.split_once("\n## Attackers\n").context("there is no such section")?;
    let (section, _) = section.split_once("\n## ").context("it has no end")?;
    let sources = sources()?;
    let threats: Vec<&str> = section.split("\n### ").skip(1).collect();
    assert_eq!(threats.len(), 9);
    for threat in threats {
        let rows = threat.lines().filter(|line| line.starts_with('|')).skip(2);
        let cells: Vec<Vec<&str>> = rows.map(|row| row.split('|').map(str::trim).collect()).collect();
        assert_eq!(cells.iter().map(|cells| cells[1]).collect::<Vec<_>>(), MODES, "{threat}");
        for cells in cells {
            let [_, mode, outcome, tests, _] = cells[..] else { panic!("{cells:?}") };
            assert!(!outcome.contains("refused") || tests.contains('`'), "{mode}: {outcome}, says who?");
        }
        for name in threat.split('`').skip(1).step_by(2) {
            // Options and the like stand in backticks, too.
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let is_test = name.contains('_') && name.chars().all(is_name);
            assert!(!is_test || exists(name, &sources), "there is no {name}");
        }
    }
    Ok(())
}

/// Looks the names up that stand in the last columns of the one table after `heading` in `page`.
/// Returns how many rows it has.
fn check(page: &str, heading: &str) -> Result<usize> {
    let text = fs::read_to_string(workspace()?.join(page))?;
    let (_, section) = text.split_once(heading).with_context(|| format!("{page} has no {heading}"))?;
    let sources = sources()?;
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    for row in &rows {
        // From the column of tests on; what stands in backticks is every second part.
        let cells = row.splitn(4, '|').last().unwrap_or_default();
        for name in cells.split('`').skip(1).step_by(2) {
            let is_there = if name.contains('/') { workspace()?.join(name).exists() } else { exists(name, &sources) };
            assert!(is_there, "there is no {name}");
        }
    }
    Ok(rows.len())
}

fn exists(name: &str, sources: &str) -> bool {
    match name.split_once('…') {
        Some((start, _)) => sources.contains(&format!("fn {start}")),
        None => sources.contains(&format!("fn {name}(")),
    }
}

fn workspace() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate lies in a workspace")
}

fn sources() -> Result<String> {
    let mut sources = String::new();
    for folder in ["crates", "service", "tests", "web"] {
        gather(&workspace()?.join(folder), &mut sources)?;
    }
    Ok(sources)
}

fn gather(folder: &Path, sources: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(path)?);
        }
    }
    Ok(())
}
