//! The scripts of a WebAssembly module made one file: wasm-bindgen's own, and those that the crate brings (`web/src/browser`, and others), which
//! it puts beside it. So a page loads and checks one script, and what compresses together is together. And what only readers of the sources
//! need is taken out.
//!
//! Knows as much of JavaScript as those scripts use: imports and exports by name, one statement each, from files beside them; no
//! regular expression that has quotes or two slashes in it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

/// The folder in which wasm-bindgen puts a crate's scripts.
const BROUGHT: &str = "snippets";

/// Takes into the script at `path` all that it imports, and removes that.
///
/// # Errors
/// If a file cannot be read or written, or is none of those that this knows how to read.
pub(crate) fn merge(path: &Path) -> Result<()> {
    let mut merged = Merged::default();
    let script = merged.take_in(path)?;
    fs::write(path, merged.text + &script).with_context(|| format!("writing {}", path.display()))?;
    let brought = path.with_file_name(BROUGHT);
    if brought.exists() {
        fs::remove_dir_all(&brought).with_context(|| format!("removing {}", brought.display()))?;
    }
    Ok(())
}

#[derive(Default)]
struct Merged {
    /// What each file gives, by its path, is the constant of this name.
    names: BTreeMap<PathBuf, String>,
    text: String,
}

impl Merged {
    /// The text of a script, with its imports resolved.
    fn take_in(&mut self, path: &Path) -> Result<String> {
        let source = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let mut text = String::new();
        for line in source.lines() {
            let Some((what, from)) = import(line) else {
                ensure!(!line.starts_with("import "), "{}: an import of another kind: {line}", path.display());
                text += line;
                text.push('\n');
                continue;
            };
            let module = self.module(&path.with_file_name(from))?;
            let what = match what.strip_prefix("* as ") {
                Some(name) => name.to_owned(),
                None => what.replace(" as ", ": "),
            };
            writeln!(text, "const {what} = {module};")?;
        }
        Ok(text)
    }

    /// The name of what a file gives, which stands in the text.
    fn module(&mut self, path: &Path) -> Result<String> {
        let path = path.components().collect::<PathBuf>();
        if let Some(name) = self.names.get(&path) {
            ensure!(!name.is_empty(), "{}: imports in a circle", path.display());
            return Ok(name.clone());
        }
        self.names.insert(path.clone(), String::new());
        let (mut text, mut exports) = (String::new(), Vec::new());
        for line in self.take_in(&path)?.lines() {
            let declared = line.strip_prefix("export ");
            if let Some(declared) = declared {
                exports.push(name(declared).with_context(|| format!("an export of another kind: {line}"))?.to_owned());
            }
            text += declared.unwrap_or(line);
            text.push('\n');
        }
        let name = format!("$module{}", self.names.values().filter(|name| !name.is_empty()).count());
        writeln!(self.text, "const {name} = (() => {{\n{text}return {{ {} }};\n}})();", exports.join(", "))?;
        self.names.insert(path, name.clone());
        Ok(name)
    }
}

/// What a line imports, and from where.
fn import(line: &str) -> Option<(&str, &str)> {
    let (what, from) = line.strip_prefix("import ")?.split_once(" from ")?;
    let from = from.trim_end_matches(';');
    let from = from.strip_prefix(['"', '\''])?.strip_suffix(['"', '\''])?;
    from.starts_with("./").then_some((what, from))
}

/// The name that a line declares.
fn name(line: &str) -> Option<&str> {
    let kinds = ["const ", "class ", "function ", "async function "];
    let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '$')?;
    Some(&rest[..end]).filter(|name| !name.is_empty())
}

/// A script without comments, indentation and empty lines.
///
/// # Errors
/// If something in it does not end.
pub(crate) fn bare(script: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = script;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '"' | '\'' | '`' => {
                let length = quoted(rest).context("a text in a script that does not end")?;
                out += &rest[..length];
                length
            }
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").context("a comment in a script that does not end")? + 2,
            '\n' => {
                out.truncate(out.trim_end_matches(' ').len());
                if !out.is_empty() && !out.ends_with('\n') {
                    out.push('\n');
                }
                rest.len() - rest.trim_start().len()
            }
            ' ' if out.ends_with('\n') => 1,
            c => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Ok(out)
}

/// How long the text in quotes is that a script begins with. (One in a template is part of it: none of ours has such quotes.)
fn quoted(script: &str) -> Option<usize> {
    let quote = script.chars().next()?;
    let mut escaped = false;
    let end = script[1..].find(|c| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map(|end| end + 2)
}

/// A script without what it says to developers.
pub(crate) fn quiet(script: &str) -> String {
    script
        .lines()
        .filter(|line| !line.trim_start().starts_with("console.warn("))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// wasm-bindgen's script, with texts handed over in the way that is fastest for their length. Long ones at once by the browser's encoder: the
/// script goes through each letter until one is not ASCII, which for a large frame takes longer than to read it. And short ones letter by
/// letter: the browser's decoder takes longer to be asked than that.
///
/// # Errors
/// If it is not the script that it was.
pub(crate) fn with_fast_texts(script: &str) -> Result<String> {
    let mut script = script.to_owned();
    for (slow, fast) in [TO_PROGRAM, FROM_PROGRAM] {
        ensure!(
            script.matches(slow).count() == 1,
            "wasm-bindgen hands over texts in another way: `with_fast_texts` is to be looked at"
        );
        script = script.replace(slow, fast);
    }
    Ok(script)
}

// What is read is what is written as long as all is ASCII. Of other texts three times the room is needed at most, which the script goes on with.
const TO_PROGRAM: (&str, &str) = (
    "    for (; offset < len; offset++) {\n",
    "    if (len > 1023) {
        const { read, written } = cachedTextEncoder.encodeInto(arg, mem.subarray(ptr, ptr + len));
        if (read === written) offset = read;
    } else for (; offset < len; offset++) {
",
);

const FROM_PROGRAM: (&str, &str) = (
    "    return decodeText(getUint8ArrayMemory0().subarray(ptr, ptr + len));\n",
    "    const memory = getUint8ArrayMemory0();
    if (len < 33) {
        const letters = new Array(len);
        let at = 0;
        for (; at < len && memory[ptr + at] < 128; at++) letters[at] = memory[ptr + at];
        if (at === len) return String.fromCharCode.apply(null, letters);
    }
    return decodeText(memory.subarray(ptr, ptr + len));
",
);

/// A script without the function that its text `head` begins, if it has that.
///
/// # Errors
/// If the function does not end.
pub(crate) fn without(script: &str, head: &str) -> Result<String> {
    let Some((before, rest)) = script.split_once(head) else { return Ok(script.to_owned()) };
    let Some((_, after)) = rest.split_once("\n}\n") else { bail!("`{head}` has no end") };
    Ok([before, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> Result<tempfile::TempDir> {
        let folder = tempfile::tempdir()?;
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().context("it lies in a folder")?)?;
            fs::write(path, text)?;
        }
        Ok(folder)
    }

    #[test]
    fn what_is_imported_is_taken_in_once_and_before_it_is_used() -> Result<()> {
        let folder = folder(&[
            (
                "page.js",
                "import { b as c } from './snippets/x/b.js';\nimport * as all from \"./snippets/x/a.js\"\nc(all.a);\n",
            ),
            ("snippets/x/a.js", "// First.\nexport const a = 1;\nexport class K {}\n"),
            ("snippets/x/b.js", "import { a, K } from \"./a.js\";\n\nexport async function b() {\n  return a;\n}\n"),
        ])?;
        let script = folder.path().join("page.js");
        merge(&script)?;
        let expected = "const $module0 = (() => {\n// First.\nconst a = 1;\nclass K {}\nreturn { a, K };\n})();\n\
            const $module1 = (() => {\nconst { a, K } = $module0;\n\nasync function b() {\n  return a;\n}\nreturn { b };\n})();\n\
            const { b: c } = $module1;\nconst all = $module0;\nc(all.a);\n";
        assert_eq!(fs::read_to_string(&script)?, expected);
        assert!(!folder.path().join("snippets").exists());
        Ok(())
    }

    #[test]
    fn what_cannot_be_read_is_an_error() -> Result<()> {
        for (own, brought) in [
            ("import './snippets/a.js';\n", ""),
            ("import { a } from './snippets/a.js';\n", "export default 1;\n"),
            ("import { a } from './snippets/a.js';\n", "import { a } from \"./a.js\";\nexport const a = 1;\n"),
            ("import { a } from './snippets/missing.js';\n", ""),
        ] {
            let folder = folder(&[("page.js", own), ("snippets/a.js", brought)])?;
            assert!(merge(&folder.path().join("page.js")).is_err(), "{own}{brought}");
        }
        Ok(())
    }

    #[test]
    fn what_only_readers_need_goes() -> Result<()> {
        let script = "// A header.\n\nconst a = \"// no comment\"; // one\n  /* Another\n  one. */ const b = `it's /* none */`;\n\n    b.replace('\\'', a);\n";
        assert_eq!(bare(script)?, "const a = \"// no comment\";\nconst b = `it's /* none */`;\nb.replace('\\'', a);\n");
        assert!(bare("const a = \"").is_err());
        assert_eq!(without("a\nfunction b() {\n  c();\n}\nd\n", "function b() {")?, "a\nd\n");
        assert_eq!(without("a\n", "function b() {")?, "a\n");
        Ok(())
    }

    #[test]
    fn a_script_that_hands_over_texts_in_another_way_is_an_error() -> Result<()> {
        let slow = [TO_PROGRAM.0, FROM_PROGRAM.0].concat();
        assert_eq!(with_fast_texts(&slow)?, [TO_PROGRAM.1, FROM_PROGRAM.1].concat());
        for other in ["", TO_PROGRAM.0, FROM_PROGRAM.0, &slow.repeat(2)] {
            assert!(with_fast_texts(other).is_err(), "{other}");
        }
        Ok(())
    }
}
