//! ARCHITECTURE.md is a map: each path on it exists, and every folder with sources is on it.

use std::{collections::BTreeSet, fs, path::Path};

use super::{
    report,
    sources::{files, root},
};

const MAP: &str = "ARCHITECTURE.md";

/// A word with one of these endings is a file name.
const ENDINGS: &[&str] = &[".rs", ".toml", ".md", ".html", ".css", ".json", ".js"];

#[test]
fn every_path_on_the_map_exists() {
    let text = fs::read_to_string(root().join(MAP)).expect("the map lies at the root");
    let mut complaints = Vec::new();
    for (number, meanings) in named_paths(&text) {
        if !meanings.iter().any(|path| exists(path)) {
            complaints.push(format!(
                "{MAP}:{number}: there is no {}: correct the map in the commit that moves the file",
                meanings.join(" and no ")
            ));
        }
    }
    report(complaints);
}

#[test]
fn every_source_folder_is_on_the_map() {
    let text = fs::read_to_string(root().join(MAP)).expect("the map lies at the root");
    let named: BTreeSet<String> = named_paths(&text)
        .into_iter()
        .flat_map(|(_, meanings)| meanings)
        .filter_map(|path| found(&path).filter(|found| root().join(found).is_dir()))
        .collect();
    let folders: BTreeSet<String> = files(root()).iter().filter_map(|file| source_folder(file)).collect();
    assert!(folders.len() > 50, "tidy found {} folders with sources: it looks in the wrong place", folders.len());
    let missing = folders.iter().filter(|folder| {
        // A package's folder stands for its `src`.
        !named.contains(*folder) && !folder.strip_suffix("/src").is_some_and(|package| named.contains(package))
    });
    report(missing.map(|folder| format!("{MAP}: add a line for {folder}/, with what it is for")));
}

/// The folder of a source file.
fn source_folder(file: &Path) -> Option<String> {
    let ending = file.extension()?.to_str()?;
    let folder = file.parent()?.strip_prefix(root()).ok()?;
    let parts: Vec<&str> = folder.iter().filter_map(|part| part.to_str()).collect();
    matches!(ending, "rs" | "ts" | "js" | "css").then(|| parts.join("/"))
}

/// The line number of each path, and the paths that it may stand for.
fn named_paths(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut tree: Option<Vec<(usize, String)>> = None;
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            in_code = !in_code;
            tree = in_code.then(Vec::new);
            continue;
        }
        match &mut tree {
            Some(stack) => found.extend(tree_line(line, stack).into_iter().map(|paths| (index + 1, paths))),
            None => found.extend(quoted(line).map(|path| (index + 1, vec![path.to_owned()]))),
        }
    }
    found
}

/// A line of a tree: names, and after two spaces what they are for, in which files of a folder may
/// be named too.
fn tree_line(line: &str, stack: &mut Vec<(usize, String)>) -> Vec<Vec<String>> {
    let indent = line.len() - line.trim_start().len();
    let (names, about) = line.trim_start().split_once("  ").unwrap_or((line.trim_start(), ""));
    if !names.split(' ').all(|name| name.ends_with('/') || is_file_name(name)) {
        return Vec::new();
    }
    stack.retain(|(depth, _)| *depth < indent);
    let parent: String = stack.iter().map(|(_, name)| name.as_str()).collect();
    let mut found: Vec<Vec<String>> = names.split(' ').map(|name| vec![format!("{parent}{name}")]).collect();
    if let Some(folder) = names.split(' ').find(|name| name.ends_with('/')) {
        stack.push((indent, folder.to_owned()));
        let files = about.split([' ', ',', ';', ':', '(', ')']).filter(|word| is_file_name(word));
        found.extend(files.map(|file| vec![format!("{parent}{folder}{file}"), format!("{parent}{file}")]));
    }
    found
}

/// Paths that stand between backticks or as a link's target: words with a slash or a file's ending.
pub(crate) fn quoted(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split('`').skip(1).step_by(2);
    let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let path = |word: &&str| {
        let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        let is_built = word.starts_with("target/") || word.starts_with("dist/");
        is_plain && !is_built && (is_file_name(word) || (word.contains('/') && !word.starts_with('/')))
    };
    code.chain(links).filter(path)
}

fn is_file_name(word: &str) -> bool {
    ENDINGS.iter().any(|ending| word.len() > ending.len() && word.ends_with(ending))
}

pub(crate) fn exists(path: &str) -> bool {
    found(path).is_some()
}

/// The path from the root: as it stands, in a package's sources, or in those of `service` or `web`,
/// so that `auth.rs` and `crates/session/key.rs` are found.
fn found(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let with_src = (0..=parts.len()).map(|at| [&parts[..at], &["src"], &parts[at..]].concat().join("/"));
    let in_service = ["service/src", "web/src"].map(|base| format!("{base}/{}", parts.join("/")));
    let mut candidates = [parts.join("/")].into_iter().chain(with_src).chain(in_service);
    candidates.find(|candidate| root().join(candidate).exists())
}

#[test]
fn a_tree_is_read_with_its_folders() {
    let text = "`service/app.rs` and `Bus`\n```\ncrates/      PURE\n  res/       types\n    rid.rs   ids\nwww/         index.html, the page\n```\n";
    let found: Vec<String> = named_paths(text).into_iter().map(|(_, paths)| paths[0].clone()).collect();
    assert_eq!(found, ["service/app.rs", "crates/", "crates/res/", "crates/res/rid.rs", "www/", "www/index.html"]);
}
