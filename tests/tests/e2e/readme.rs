//! The tables of this crate's README.md and of docs/protocol.md name tests that there are.

use std::{fs, path::Path};

use anyhow::{Context, Result};

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

/// Looks the names up that stand in the last columns of the one table after `heading` in `page`. Returns how many rows it has.
fn check(page: &str, heading: &str) -> Result<usize> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate lies in a workspace")?;
    let text = fs::read_to_string(workspace.join(page))?;
    let (_, section) = text.split_once(heading).with_context(|| format!("{page} has no {heading}"))?;
    let mut sources = String::new();
    for folder in ["core", "service", "tests", "web"] {
        gather(&workspace.join(folder), &mut sources)?;
    }
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    for row in &rows {
        // From the column of tests on; what stands in backticks is every second part.
        let cells = row.splitn(4, '|').last().unwrap_or_default();
        for name in cells.split('`').skip(1).step_by(2) {
            let exists = match name.split_once('…') {
                _ if name.contains('/') => workspace.join(name).exists(),
                Some((start, _)) => sources.contains(&format!("fn {start}")),
                None => sources.contains(&format!("fn {name}(")),
            };
            assert!(exists, "there is no {name}");
        }
    }
    Ok(rows.len())
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
