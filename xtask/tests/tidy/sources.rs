//! The Rust sources of the workspace, as text.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the workspace's root, with `/` between its parts.
    pub(crate) path: String,
    /// Its content.
    pub(crate) text: String,
    /// Whether the whole file is tests.
    pub(crate) is_test: bool,
}

impl Source {
    /// The part before the tests at the end of the file.
    pub(crate) fn product_text(&self) -> &str {
        if self.is_test {
            return "";
        }
        // Only a module with a body; `mod tests;` has its tests in another file.
        let mut marks = self.text.match_indices("\n#[cfg(test)]\nmod ");
        let tests = marks.find(|(at, mark)| {
            let rest = &self.text[at + mark.len()..];
            rest.lines().next().is_some_and(|line| line.ends_with('{'))
        });
        tests.map_or(&self.text, |(newline, _)| &self.text[..=newline])
    }

    /// All code without comments and the contents of strings.
    pub(crate) fn code(&self) -> String {
        strip(&self.text)
    }

    /// The product's code without comments and the contents of strings.
    pub(crate) fn product_code(&self) -> String {
        strip(self.product_text())
    }
}

/// The workspace.
pub(crate) fn root() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("xtask lies in a folder of the workspace")
}

/// Every Rust file of the workspace.
pub(crate) fn all() -> Vec<Source> {
    let files = files(root());
    let rust = files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    let sources: Vec<Source> = rust.map(|path| read(path)).collect();
    assert!(sources.len() > 20, "tidy found {} sources: it looks in the wrong place", sources.len());
    sources
}

/// The Rust files below a folder of the workspace.
pub(crate) fn below(folder: &str) -> Vec<Source> {
    let prefix = format!("{folder}/");
    all().into_iter().filter(|source| source.path.starts_with(&prefix)).collect()
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the workspace can be read") {
        let path = entry.expect("the workspace can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_built = matches!(name.as_str(), "target" | "dist" | "node_modules") || name.starts_with('.');
        match path.is_dir() {
            true if !is_built => found.extend(files(&path)),
            true => {}
            false => found.push(path),
        }
    }
    found.sort_unstable();
    found
}

fn read(path: &Path) -> Source {
    let relative = path.strip_prefix(root()).expect("it was found below the root");
    let parts: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    // The end-to-end crate at the root is called tests, and all of it is tests.
    let is_test = parts.iter().any(|part| matches!(part.as_str(), "tests" | "tests.rs" | "benches"));
    let text = fs::read_to_string(path).expect("sources are UTF-8");
    Source { path: parts.join("/"), text, is_test }
}

/// Replaces comments, and the contents of strings and characters, by spaces.
pub(crate) fn strip(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = skipped_length(rest, code.chars().next_back());
        if skipped > 0 {
            // Keeps line numbers.
            code.extend(rest[..skipped].chars().filter(|character| *character == '\n'));
            code.push(' ');
            rest = &rest[skipped..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

/// The length of the comment or literal that the text begins with; 0 if there is none.
fn skipped_length(text: &str, before: Option<char>) -> usize {
    let upto = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    let begins_word = !before.is_some_and(|character| character.is_alphanumeric() || character == '_');
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return upto("*/", 2);
    }
    if text.starts_with('"') {
        return escaped(text, '"');
    }
    for prefix in ["r", "br", "cr"] {
        let Some(raw) = text.strip_prefix(prefix).filter(|_| begins_word) else { continue };
        let hashes = raw.chars().take_while(|character| *character == '#').count();
        if raw[hashes..].starts_with('"') {
            return upto(&format!("\"{}", "#".repeat(hashes)), prefix.len() + hashes + 1);
        }
    }
    // A character, but not a lifetime: that has no second quote.
    let mut characters = text.strip_prefix('\'').unwrap_or_default().chars();
    match (characters.next(), characters.next()) {
        (Some('\\'), _) => escaped(text, '\''),
        (Some(character), Some('\'')) => character.len_utf8() + 2,
        _ => 0,
    }
}

/// Length of a literal that begins and ends with `quote`, in which a backslash takes the meaning
/// from what follows it.
fn escaped(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == quote => return at + character.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[test]
fn comments_and_literals_are_not_code() {
    let code = strip("a /* b */ c // d\n\"e \\\" f\" g r#\"i \" i\"# h '\\'' 'j' &'k l br\"m\"");
    let words: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(words, ["a", "c", "g", "h", "&'k", "l"]);
}
