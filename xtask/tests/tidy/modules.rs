//! The modules of a crate, and which of them use which others, as far as their text says so.
//!
//! A module uses another one if it names a path into it: in a `use`, or where the path is needed.
//! `crate`, `self`, `super`, modules below the own one, imported modules and reexports are
//! followed. A method that is called on a value names no path, and is not seen.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    imports::{Path, has_word, named_in},
    sources::Source,
};

/// A crate's modules.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    files: Vec<File>,
    /// The paths of all modules that are files, or parts of files.
    known: BTreeSet<Path>,
    /// For each module what its names stand for.
    imports: BTreeMap<Path, BTreeMap<String, Path>>,
}

#[derive(Debug)]
struct File {
    module: Path,
    path: String,
    code: String,
    /// The paths in it, each with the module that names it.
    named: Vec<(Path, Path)>,
    globs: Vec<(Path, Path)>,
}

/// One module uses another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Use {
    /// Paths of modules that are files.
    pub(crate) from: Path,
    pub(crate) to: Path,
    /// The file that says so, and how.
    pub(crate) evidence: String,
}

impl Modules {
    /// Reads the files of a crate whose root lies in `folder`.
    pub(crate) fn read(folder: &str, sources: &[Source]) -> Self {
        let mut modules = Self::default();
        for source in sources {
            let Some(module) = module(folder, &source.path) else { continue };
            modules.add(module, source);
        }
        modules
    }

    fn add(&mut self, module: Path, source: &Source) {
        let code = if source.is_test { source.code() } else { source.product_code() };
        let (mut paths, mut globs) = (Vec::new(), Vec::new());
        self.known.insert(module.clone());
        for named in named_in(&code) {
            let scope = [&module[..], &named.inside].concat();
            self.known.insert(scope.clone());
            match named.path.last().map(String::as_str) {
                Some("*") => globs.push((scope, named.path[..named.path.len() - 1].to_vec())),
                Some(last) => {
                    if named.is_import {
                        let last = if last == "self" { &named.path[named.path.len().saturating_sub(2)] } else { last };
                        let name = named.alias.unwrap_or_else(|| last.to_owned());
                        self.imports.entry(scope.clone()).or_default().insert(name, named.path.clone());
                    }
                    paths.push((scope, named.path));
                }
                None => {}
            }
        }
        self.files.push(File { module, path: source.path.clone(), code, named: paths, globs });
    }

    /// Every use of a module by another one of the crate.
    pub(crate) fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for file in &self.files {
            let paths = file.named.iter().cloned().chain(self.taken_by_globs(file));
            for (scope, path) in paths {
                let Some(to) = self.resolve(&scope, &path, 0) else { continue };
                let to = self.file_of(&to);
                if to != file.module {
                    let evidence = format!("{} names {}", file.path, path.join("::"));
                    uses.push(Use { from: file.module.clone(), to, evidence });
                }
            }
        }
        uses
    }

    /// What a file uses of the modules and imports of those from which it takes everything.
    fn taken_by_globs(&self, file: &File) -> Vec<(Path, Path)> {
        let mut taken = Vec::new();
        for (scope, glob) in &file.globs {
            let Some(of) = self.resolve(scope, glob, 0) else { continue };
            let below = self.known.iter().filter(|module| module.len() == of.len() + 1 && module.starts_with(&of));
            let below = below.filter_map(|module| module.last());
            let imported = self.imports.get(&of).into_iter().flat_map(BTreeMap::keys);
            for name in below.chain(imported).filter(|name| has_word(&file.code, name)) {
                taken.push((scope.clone(), [&glob[..], std::slice::from_ref(name)].concat()));
            }
        }
        taken
    }

    /// The module that has what the path stands for; `None` if it is of another crate.
    fn resolve(&self, scope: &Path, path: &Path, depth: usize) -> Option<Path> {
        // Two modules may take everything from each other.
        if depth > 8 {
            return None;
        }
        let (first, rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => vec![],
            "self" => scope.clone(),
            "super" => parent(scope)?,
            name => self.step(scope, name, depth)?,
        };
        for name in rest {
            match name.as_str() {
                "super" => at = parent(&at)?,
                "self" => {}
                name => match self.step(&at, name, depth) {
                    Some(next) => at = next,
                    None => break,
                },
            }
        }
        Some(at)
    }

    /// What a name stands for in a module: a module below it, or what it imports by that name.
    fn step(&self, scope: &Path, name: &str, depth: usize) -> Option<Path> {
        let below = [&scope[..], &[name.to_owned()]].concat();
        if self.known.contains(&below) {
            return Some(below);
        }
        let import = self.imports.get(scope)?.get(name)?;
        // `use tokio::time` names another crate, and not itself.
        let is_itself = import.first().is_some_and(|first| first == name);
        if is_itself { None } else { self.resolve(scope, import, depth + 1) }
    }

    /// The file that a module is in.
    fn file_of(&self, module: &Path) -> Path {
        let is_file = |path: &[String]| self.files.iter().any(|file| file.module == path);
        let length = (0..=module.len()).rev().find(|length| is_file(&module[..*length]));
        module[..length.unwrap_or_default()].to_vec()
    }
}

/// The path of a file's module in the crate whose root lies in the folder.
fn module(folder: &str, path: &str) -> Option<Path> {
    let inside = path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".rs")?;
    let parts: Path = inside.split('/').map(str::to_owned).collect();
    let is_root = matches!(inside, "lib" | "main");
    Some(if is_root { vec![] } else { parts })
}

fn parent(module: &Path) -> Option<Path> {
    module.split_last().map(|(_, parent)| parent.to_vec())
}
