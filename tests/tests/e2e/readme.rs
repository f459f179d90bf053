//! The table of README.md names tests that there are.

use std::{fs, path::Path};

use anyhow::{Context, Result};

#[test]
fn every_test_that_stands_against_a_fault_exists() -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate lies in a workspace")?;
    let readme = fs::read_to_string(workspace.join("tests/README.md"))?;
    let mut sources = String::new();
    for folder in ["core", "service", "tests"] {
        gather(&workspace.join(folder), &mut sources)?;
    }
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert_eq!(rows.len(), 12, "a row for each fault");
    for row in rows {
        // From the column of tests on; what stands in backticks is every second part.
        let cells = row.splitn(4, '|').last().unwrap_or_default();
        for name in cells.split('`').skip(1).step_by(2) {
            let exists = match name.split_once('…') {
                _ if name.contains('/') => workspace.join(name).is_file(),
                Some((start, _)) => sources.contains(&format!("fn {start}")),
                None => sources.contains(&format!("fn {name}(")),
            };
            assert!(exists, "there is no {name}");
        }
    }
    Ok(())
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
