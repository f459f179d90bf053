//! Comments and pages of text wrap at 100 columns.
//!
//! Tables, code and addresses may be longer: nothing is gained by breaking them.

use std::{fs, path::Path};

use super::{
    report,
    sources::{files, root},
};

const WIDTH: usize = 100;

#[test]
fn prose_wraps_at_100_columns() {
    let mut complaints = Vec::new();
    let mut seen = 0;
    for path in files(root()).iter().filter(|path| is_written_by_hand(path)) {
        let Some(marks) = marks(path) else { continue };
        seen += 1;
        let text = fs::read_to_string(path).expect("sources are UTF-8");
        let shown = path.strip_prefix(root()).unwrap_or(path).display();
        complaints.extend(too_long(&text, marks).map(|(number, length)| {
            format!("{shown}:{number}: {length} columns of prose, at most {WIDTH} are allowed: wrap it")
        }));
    }
    assert!(seen > 500, "tidy found {seen} files: it looks in the wrong place");
    report(complaints);
}

/// What a line of prose begins with; `None` for files that have none.
fn marks(path: &Path) -> Option<&'static [&'static str]> {
    match path.extension()?.to_str()? {
        "md" => Some(&[]),
        "rs" | "js" | "mjs" | "cjs" | "ts" | "jsx" | "go" => Some(&["//", "/**", "* "]),
        "toml" | "conf" | "py" => Some(&["#"]),
        _ => None,
    }
}

fn is_written_by_hand(path: &Path) -> bool {
    !path.starts_with(root().join("fuzz/corpus"))
}

/// Numbers and lengths of the lines of prose that are too long.
fn too_long<'a>(text: &'a str, marks: &'static [&'static str]) -> impl Iterator<Item = (usize, usize)> + 'a {
    let mut in_code = false;
    (1..).zip(text.lines()).filter_map(move |(number, line)| {
        let trimmed = line.trim_start();
        in_code ^= marks.is_empty() && trimmed.starts_with("```");
        let is_prose = match marks {
            [] => !in_code,
            marks => marks.iter().any(|mark| trimmed.starts_with(mark)),
        };
        let words = trimmed.trim_start_matches(['/', '!', '*', '#']).trim_start();
        let (length, is_table) = (line.chars().count(), words.starts_with('|'));
        (is_prose && !is_table && words.contains(' ') && length > WIDTH).then_some((number, length))
    })
}

#[test]
fn long_prose_is_found() {
    let (long, address) = ("word ".repeat(30), "a".repeat(120));
    let found = |text: &str, marks| too_long(text, marks).map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!(found(&format!("a\n{long}\n| {long} |\n{address}\n```sh\n{long}\n```\n{long}\n"), &[]), [2, 8]);
    assert_eq!(found(&format!("//! {long}\nlet a = \"{long}\";\n//! | {long} |\n  // {long}\n"), &["//"]), [1, 4]);
}
