//! The links and paths of the Markdown files lead to files that exist, and docs/adr is complete.
//!
//! Reads Markdown as text: a link is what is between `](` and `)`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    architecture::{exists, quoted},
    report,
    sources::{files, root},
};

const FOLDER: &str = "docs/adr";
const HEADINGS: &[&str] = &["\n## Context\n", "\n## Decision\n", "\n## Consequences\n"];

#[test]
fn every_link_leads_to_a_file() {
    let mut complaints = Vec::new();
    let mut seen = 0;
    for path in files(root()).into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "md")) {
        let text = fs::read_to_string(&path).expect("Markdown files are UTF-8");
        for target in links(&text) {
            seen += 1;
            if !folder_of(&path).join(target).exists() {
                complaints.push(format!("{}: the link to {target} leads nowhere", shown(&path)));
            }
        }
    }
    assert!(seen > 50, "tidy found {seen} links: it looks in the wrong place");
    report(complaints);
}

#[test]
fn the_front_page_is_short() {
    let lines = fs::read_to_string(root().join("README.md")).expect("there is a README").lines().count();
    assert!(lines < 150, "README.md has {lines} lines: what is more than a front page goes to docs/");
}

#[test]
fn every_path_that_the_pages_name_exists() {
    let is_page = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "md");
    let mut pages: Vec<PathBuf> = files(&root().join("docs")).iter().filter(is_page).cloned().collect();
    pages.extend(["README.md", "SECURITY.md"].map(|page| root().join(page)));
    let mut complaints = Vec::new();
    let mut seen = 0;
    // A decision names the paths of its day.
    for page in pages.iter().filter(|page| !page.starts_with(root().join(FOLDER))) {
        let text = fs::read_to_string(page).expect("Markdown files are UTF-8");
        for path in text.lines().flat_map(quoted).filter(|path| path.contains('/') && path.contains('.')) {
            seen += 1;
            if !exists(path) && !folder_of(page).join(path).exists() {
                complaints.push(format!("{}: there is no {path}", shown(page)));
            }
        }
    }
    assert!(seen > 50, "tidy found {seen} paths: it looks in the wrong place");
    report(complaints);
}

#[test]
fn every_decision_has_its_parts_and_a_line_in_the_index() {
    let index = fs::read_to_string(root().join(FOLDER).join("README.md")).expect("docs/adr has an index");
    let mut complaints = Vec::new();
    let mut numbers = Vec::new();
    for path in files(&root().join(FOLDER)).into_iter().filter(|path| !path.ends_with("README.md")) {
        let text = fs::read_to_string(&path).expect("Markdown files are UTF-8");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match decision(&name, &text) {
            Ok((number, line)) => {
                numbers.push(number);
                if !index.lines().any(|row| row == line) {
                    complaints.push(format!("{FOLDER}/README.md: add the line `{line}`"));
                }
            }
            Err(complaint) => complaints.push(format!("{FOLDER}/{name}: {complaint}")),
        }
    }
    if numbers.windows(2).any(|pair| pair[1] != pair[0] + 1) || numbers.first() != Some(&1) {
        complaints.push(format!("{FOLDER}: the numbers are not 1, 2, 3 and so on: {numbers:?}"));
    }
    let rows = index.lines().filter(|line| line.starts_with("| [")).count();
    if rows != numbers.len() {
        complaints.push(format!("{FOLDER}/README.md: {rows} lines for {} decisions", numbers.len()));
    }
    report(complaints);
}

/// A decision's number and its line in the index, or what is wrong with the file.
fn decision(name: &str, text: &str) -> Result<(u32, String), String> {
    let digits = name.split('-').next().unwrap_or_default();
    let number = digits.parse().map_err(|_| "name it NNNN-title.md".to_owned())?;
    let title = text.strip_prefix(&format!("# {digits}: ")).and_then(|rest| rest.lines().next());
    let title = title.ok_or_else(|| format!("begin it with `# {digits}: Title`"))?;
    let (head, _) = text.split_once("\n## ").ok_or("it has no sections")?;
    let field = |name: &str| head.split_once(name).map(|(_, rest)| rest.trim());
    let status = field("\n- Status: ").ok_or("it has no `- Status: `")?;
    let date = field("\n- Date: ").and_then(|rest| rest.lines().next()).filter(|date| is_date(date));
    let date = date.ok_or("it has no `- Date: YYYY-MM-DD`")?;
    let missing = HEADINGS.iter().find(|heading| !text.contains(**heading));
    if let Some(heading) = missing {
        return Err(format!("it has no section `{}`", heading.trim()));
    }
    let is_superseded = status.contains("superseded");
    let short = match is_superseded {
        false if status == "accepted" => "accepted",
        true if links(status).next().is_none() => return Err("say by which decision it is superseded".to_owned()),
        true if status.starts_with("superseded by ") => "superseded",
        true => "accepted, superseded in part",
        false => return Err(format!("the status `{status}` is neither `accepted` nor `superseded by …`")),
    };
    Ok((number, format!("| [{digits}]({name}) | {title} | {date} | {short} |")))
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == 3 && text.len() == 10 && parts.iter().all(|part| part.parse::<u16>().is_ok())
}

/// The targets of links to files, without what follows a `#`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let targets = targets.filter_map(|target| target.split('#').next());
    // Addresses, other parts of the same page, and code that only looks like a link.
    let is_file = |target: &&str| !target.is_empty() && !target.contains([':', ' ', '"', '\n', '`', '&', '|']);
    targets.filter(is_file)
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(root()).to_owned()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn a_decision_without_its_parts_is_found() {
    let whole =
        "# 0007: Why\n\n- Date: 2026-11-22\n- Status: accepted\n\n## Context\n\n## Decision\n\n## Consequences\n";
    let line = "| [0007](0007-why.md) | Why | 2026-11-22 | accepted |";
    assert_eq!(decision("0007-why.md", whole), Ok((7, line.to_owned())));
    for (part, instead) in
        [("0007", "0008"), ("Date", "Day"), ("accepted", "superseded by 8"), ("## Decision", "## What")]
    {
        assert!(decision("0007-why.md", &whole.replacen(part, instead, 1)).is_err(), "{instead}");
    }
}
