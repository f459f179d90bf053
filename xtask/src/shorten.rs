//! What wasm-bindgen has written, made small: its script without what nobody calls and only readers need, and short names for what script and
//! program have between them. It gives each a name with a hash in it, to be told apart while linking; once in each of two files, they weigh
//! 3 kB that no compression takes away.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, bail};

use crate::{context::Context, scripts};

/// `cargo xtask shorten FOLDER`: what the page's build has behind wasm-bindgen.
pub(crate) fn command(_context: &Context, arguments: &[String]) -> Result<()> {
    let [folder] = arguments else { bail!("`shorten` wants the folder that wasm-bindgen has written to") };
    let mut files = fs::read_dir(folder).with_context(|| format!("reading {folder}"))?.flatten();
    let wasm = files.find_map(|file| Some(file.file_name().to_str()?.strip_suffix("_bg.wasm")?.to_owned()));
    let name = wasm.with_context(|| format!("{folder} has no program of wasm-bindgen's"))?;
    let (wasm, script) =
        (Path::new(folder).join(format!("{name}_bg.wasm")), Path::new(folder).join(format!("{name}.js")));
    scripts::merge(&script)?;
    // For programs that start while nothing else happens.
    let text = scripts::without(&fs::read_to_string(&script)?, "function initSync(module) {")?;
    let text = scripts::bare(&scripts::quiet(&text.replace("export { initSync, ", "export { ")))?;
    let text = with_short_private_names(&with_numbers(&text))?;
    let (short_wasm, short_script) = shorten(&fs::read(&wasm)?, &text)?;
    fs::write(wasm, short_wasm)?;
    Ok(fs::write(script, short_script)?)
}

/// Sections of a program: what tools have noted, which it runs without; what it is given; and what it gives.
const NOTES: u8 = 0;
const IMPORTS: u8 = 2;
const EXPORTS: u8 = 7;

/// Gives program and script short names for what both name, and takes the notes of tools out of the program.
fn shorten(wasm: &[u8], script: &str) -> Result<(Vec<u8>, String)> {
    let words: HashSet<&str> = words(script).filter(|(is_word, _)| *is_word).map(|(_, word)| word).collect();
    let mut free = (0..).map(|n| format!("_{n:x}")).filter(|name| !words.contains(name.as_str()));
    let mut names = HashMap::new();
    let mut rename = |name: &[u8]| -> Result<Vec<u8>> {
        let name = std::str::from_utf8(name)?.to_owned();
        let is_bindgens = name.starts_with("__wb") || name.starts_with("wasm_bindgen_");
        if !is_bindgens || !words.contains(name.as_str()) {
            return Ok(name.into_bytes());
        }
        let short = names.entry(name).or_insert_with(|| free.next().unwrap_or_default());
        Ok(short.clone().into_bytes())
    };

    let mut modules = Vec::new();
    let mut module = |name: &[u8]| -> Result<Vec<u8>> {
        let name = std::str::from_utf8(name)?.to_owned();
        if !script.contains(&format!("\"{name}\": ")) {
            return Ok(name.into_bytes());
        }
        let place = modules.iter().position(|known| *known == name).unwrap_or_else(|| {
            modules.push(name);
            modules.len() - 1
        });
        Ok(place.to_string().into_bytes())
    };

    let (head, mut rest) = wasm.split_at_checked(8).context("no WebAssembly")?;
    let mut written = head.to_vec();
    while let Some((&id, behind)) = rest.split_first() {
        rest = behind;
        let mut section = text(&mut rest)?;
        let renamed = match id {
            IMPORTS | EXPORTS => {
                let count = number(&mut section)?;
                let mut renamed = Vec::new();
                put_number(&mut renamed, count);
                for _ in 0..count {
                    if id == IMPORTS {
                        put_text(&mut renamed, &module(text(&mut section)?)?);
                    }
                    put_text(&mut renamed, &rename(text(&mut section)?)?);
                    let kind = take(&mut section, 1)?;
                    renamed.extend(kind);
                    // A function's type, or what is exported. wasm-bindgen's programs import nothing else.
                    if id == IMPORTS && kind != [0] {
                        bail!("an import that is no function");
                    }
                    put_number(&mut renamed, number(&mut section)?);
                }
                renamed
            }
            NOTES => continue,
            _ => section.to_vec(),
        };
        written.push(id);
        put_text(&mut written, &renamed);
    }
    let script = modules.iter().enumerate().fold(script.to_owned(), |script, (place, name)| {
        script.replace(&format!("\"{name}\": "), &format!("{place}: "))
    });
    let script = self::words(&script).map(|(is_word, word)| {
        let short = if is_word { names.get(word) } else { None };
        short.map_or(word, String::as_str)
    });
    Ok((written, script.collect()))
}

/// A script with numbers in place of the constants that name them.
fn with_numbers(script: &str) -> String {
    let constants: HashMap<&str, &str> = script.lines().filter_map(constant).collect();
    let once = |name: &str| script.lines().filter_map(constant).filter(|(known, _)| *known == name).count() == 1;
    // A name that somebody else's may be, in a text or behind an object, stays.
    let other = |name: &str| ['"', '\'', '`', '.'].iter().any(|mark| script.contains(&format!("{mark}{name}")));
    let number = |name: &str| constants.get(name).filter(|_| once(name) && !other(name)).copied();
    let is_used = |line: &&str| constant(line).is_none_or(|(name, _)| number(name).is_none());
    let rest: String = script.split_inclusive('\n').filter(is_used).collect();
    words(&rest).map(|(_, word)| number(word).unwrap_or(word)).collect()
}

/// The name and the number of a constant, if that is what the line declares.
fn constant(line: &str) -> Option<(&str, &str)> {
    let (name, number) = line.trim_end().strip_prefix("const ")?.strip_suffix(';')?.split_once(" = ")?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    (is_name && number.bytes().all(|byte| byte.is_ascii_digit())).then_some((name, number))
}

/// A script whose classes have short names for what is only theirs.
///
/// # Errors
/// If a text begins as such a name does: it would be taken for one.
fn with_short_private_names(script: &str) -> Result<String> {
    if ['"', '\'', '`'].iter().any(|quote| script.contains(&format!("{quote}#"))) {
        bail!("a script has a text that begins as a private name does");
    }
    let (mut names, mut is_private) = (Vec::new(), false);
    let pieces = words(script).map(|(is_word, word)| {
        let renamed = is_word && is_private;
        is_private = !is_word && word.ends_with('#');
        if !renamed {
            return word.to_owned();
        }
        let place = names.iter().position(|known| *known == word).unwrap_or_else(|| {
            names.push(word);
            names.len() - 1
        });
        format!("_{place:x}")
    });
    Ok(pieces.collect())
}

/// The script in pieces: words, and what is between them.
fn words(script: &str) -> impl Iterator<Item = (bool, &str)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    let mut rest = script;
    std::iter::from_fn(move || {
        let first = is_word(rest.chars().next()?);
        let end = rest.find(|c| is_word(c) != first).unwrap_or(rest.len());
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        Some((first, piece))
    })
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Result<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(count).context("WebAssembly that ends early")?;
    *bytes = rest;
    Ok(taken)
}

/// A number in LEB128.
fn number(bytes: &mut &[u8]) -> Result<usize> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = take(bytes, 1)?[0];
        number |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return Ok(number);
        }
        if shift > 28 {
            bail!("WebAssembly with a number that is too long");
        }
    }
}

fn put_number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Bytes with their count before them.
fn text<'b>(bytes: &mut &'b [u8]) -> Result<&'b [u8]> {
    let count = number(bytes)?;
    take(bytes, count)
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    put_number(bytes, text.len());
    bytes.extend(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sections`: their ids and contents.
    fn program(sections: &[(u8, &[u8])]) -> Vec<u8> {
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        for (id, content) in sections {
            wasm.push(*id);
            put_text(&mut wasm, content);
        }
        wasm
    }

    fn entry(texts: &[&str], rest: &[u8]) -> Vec<u8> {
        let mut entry = Vec::new();
        texts.iter().for_each(|text| put_text(&mut entry, text.as_bytes()));
        [&entry[..], rest].concat()
    }

    #[test]
    fn what_both_name_gets_one_short_name() {
        let imports = |module, name| {
            [&[2][..], &entry(&[module, name], &[0, 200, 1]), &entry(&[module, "other"], &[0, 5])].concat()
        };
        let exports = |name| [&[2][..], &entry(&["memory"], &[2, 0]), &entry(&[name], &[0, 7])].concat();
        let long = format!("wasm_bindgen_{}", "x".repeat(300));
        let code = vec![7; 1000];
        let wasm = program(&[
            (2, &imports("./a.js", "__wbg_new_0123456789abcdef")),
            (7, &exports(&long)),
            (10, &code),
            (0, b"x"),
        ]);
        let script = format!(
            "{{ \"./a.js\": {{__wbg_new_0123456789abcdef: _0, other}} }}; wasm.{long}(wasm.memory); __wbg_new_0"
        );
        let (short_wasm, short_script) = shorten(&wasm, &script).unwrap();
        assert_eq!(short_wasm, program(&[(2, &imports("0", "_1")), (7, &exports("_2")), (10, &code)]));
        assert_eq!(short_script, "{ 0: {_1: _0, other} }; wasm._2(wasm.memory); __wbg_new_0");
    }

    #[test]
    fn numbers_stand_in_for_the_constants_that_name_them() {
        let script = "const A_B = 12;\nconst C = 3;\nconst D = \"4\";\nconst E = 5;\nconst E = 6;\nconst F = 7;\n";
        let used = "tell(A_B, A_B2, C, D, E, F);\nx.F = 'C';\n";
        let numbers = "const D = \"4\";\nconst E = 5;\nconst E = 6;\nconst F = 7;\n";
        let expected = ["const C = 3;\n", numbers, "tell(12, A_B2, C, D, E, F);\nx.F = 'C';\n"].concat();
        assert_eq!(with_numbers(&[script, used].concat()), expected);
    }

    #[test]
    fn private_names_are_short() {
        let script = "class A {\n#name; #other = x.#name;\nname = this.#name?.#more;\n}\n";
        let expected = "class A {\n#_0; #_1 = x.#_0;\nname = this.#_0?.#_2;\n}\n";
        assert_eq!(with_short_private_names(script).unwrap(), expected);
        assert!(with_short_private_names("a.href = '#name';").is_err());
    }

    #[test]
    fn what_is_no_program_is_an_error() {
        let good = program(&[(2, &[&[1][..], &entry(&["m", "__wbg_a"], &[0, 1])].concat())]);
        assert!(shorten(&good, "").is_ok());
        for end in 0..good.len() {
            assert!(shorten(&good[..end], "").is_err() || end == 8, "{end}");
        }
        assert!(shorten(&program(&[(2, &[&[1][..], &entry(&["m", "t"], &[1, 0x70, 0, 1])].concat())]), "").is_err());
    }
}
