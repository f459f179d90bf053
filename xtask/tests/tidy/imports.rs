//! The paths that a piece of code names: `use crate::a::{B, c::D}` is `crate::a::B` and
//! `crate::a::c::D`.

use std::collections::BTreeMap;

use super::sources::{Source, all};

/// A path from its root word on.
pub(crate) type Path = Vec<String>;

/// A path in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The modules inside the file, from the outermost on, around the place.
    pub(crate) inside: Path,
    pub(crate) path: Path,
    /// What comes after `as`.
    pub(crate) alias: Option<String>,
    /// Whether it is in a `use`.
    pub(crate) is_import: bool,
}

/// The paths in the code that begin with `root`, and have more than it.
pub(crate) fn paths_from(code: &str, root: &str) -> Vec<Path> {
    let paths = named_in(code).into_iter().map(|named| named.path);
    paths.filter(|path| path.len() > 1 && path[0] == root).collect()
}

/// All imports in the code, and all its other paths of at least two words.
pub(crate) fn named_in(code: &str) -> Vec<Named> {
    let tokens = tokens(code);
    let mut named = Vec::new();
    let (mut inside, mut depth, mut at) = (Vec::new(), 0, 0);
    while let Some(token) = tokens.get(at) {
        let is_import = *token == "use";
        let is_path = is_name(token) && tokens.get(at + 1) == Some(&"::") && (at == 0 || tokens[at - 1] != "::");
        if is_import || is_path {
            let mut found = Vec::new();
            at += usize::from(is_import);
            at += read_tree(&tokens[at..], &mut vec![], &mut found).max(usize::from(is_path));
            let inside: Path = inside.iter().map(|(name, _): &(String, usize)| name.clone()).collect();
            named.extend(found.into_iter().map(|(path, alias)| Named {
                inside: inside.clone(),
                path,
                alias,
                is_import,
            }));
            continue;
        }
        match *token {
            "mod" if tokens.get(at + 2) == Some(&"{") => inside.push((tokens[at + 1].to_owned(), depth)),
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inside.retain(|(_, outside)| *outside < depth);
            }
            _ => {}
        }
        at += 1;
    }
    named
}

/// Whether the word stands in the code.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    tokens(code).contains(&word)
}

/// What a crate's `lib.rs` reexports: each name, and the module that it is from.
pub(crate) fn reexports(package: &str) -> BTreeMap<String, String> {
    let lib = format!("{package}/src/lib.rs");
    let lib_rs = all().into_iter().find(|source| source.path == lib);
    let code = lib_rs.map(|source| source.product_code()).unwrap_or_default();
    let tokens = tokens(&code);
    let mut names = BTreeMap::new();
    for at in 0..tokens.len() {
        if tokens[at..].starts_with(&["pub", "use"]) {
            let mut paths = Vec::new();
            read_tree(&tokens[at + 2..], &mut vec![], &mut paths);
            for (path, _) in paths.iter().filter(|(path, _)| path.len() > 1) {
                names.insert(path[path.len() - 1].clone(), path[0].clone());
            }
        }
    }
    names
}

/// The top-level module that a file belongs to: `nats` for `crates/bus/src/nats/connect.rs`; `None`
/// for `lib.rs`.
pub(crate) fn module(source: &Source) -> Option<String> {
    let (_, inside) = source.path.split_once("/src/")?;
    let module = inside.split('/').next()?.trim_end_matches(".rs");
    (module != "lib").then(|| module.to_owned())
}

/// Reads a path with all its branches, each with its alias; returns how many tokens it took.
fn read_tree(tokens: &[&str], stem: &mut Path, paths: &mut Vec<(Path, Option<String>)>) -> usize {
    let depth = stem.len();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if *token == "{" {
            at += 1;
            while tokens.get(at).is_some_and(|token| *token != "}") {
                at += read_tree(&tokens[at..], stem, paths).max(1);
                at += usize::from(tokens.get(at) == Some(&","));
            }
            stem.truncate(depth);
            return at + 1;
        }
        if !is_name(token) {
            break;
        }
        stem.push((*token).to_owned());
        at += 1;
        if tokens.get(at) != Some(&"::") {
            break;
        }
        at += 1;
    }
    if stem.len() > depth {
        let alias = (tokens.get(at) == Some(&"as")).then(|| tokens.get(at + 1).copied().unwrap_or_default());
        at += if alias.is_some() { 2 } else { 0 };
        paths.push((stem.clone(), alias.map(str::to_owned)));
    }
    stem.truncate(depth);
    at
}

fn is_name(token: &str) -> bool {
    token == "*" || token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |character: char| character.is_alphanumeric() || character == '_';
        let length = if is_word(first) {
            rest.find(|character| !is_word(character)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

#[test]
fn trees_and_plain_paths_are_read_alike() {
    let code = "use crate::{a::{B, c::D as E}, f, g::*}; fn h() -> crate::i::J<crate::K> { other::crate::l() }";
    let paths: Vec<String> = paths_from(code, "crate").iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["crate::a::B", "crate::a::c::D", "crate::f", "crate::g::*", "crate::i::J", "crate::K"]);
}

#[test]
fn a_path_has_the_modules_around_it_and_its_alias() {
    let code = "mod a { mod b { use super::{c as d}; } fn e() { f::g() } } use h;";
    let named = named_in(code).into_iter();
    let named: Vec<String> = named
        .map(|named| format!("{}: {} as {:?}", named.inside.join("::"), named.path.join("::"), named.alias))
        .collect();
    assert_eq!(named, ["a::b: super::c as Some(\"d\")", "a: f::g as None", ": h as None"]);
}
