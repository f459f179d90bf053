//! `cargo xtask site`: the documents as a site in `target/site/html`, built by mdBook.
//!
//! There is no second table of contents: the chapters are the documents that the README lists, and
//! what they link to comes after them. Must not change a document: what is read on the site is what
//! is in the repository.

mod chapters;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use chapters::Chapters;

use crate::{context::Context, log::Log, no_arguments, report, setup};

const CONFIGURATION: &str = r#"[book]
title = "Relogin"
language = "en"

[build]
build-dir = "html"
create-missing = false
# They would call README.md index.html, but not in links, and read more than Markdown into braces.
use-default-preprocessors = false

[output.html]
smart-punctuation = false
no-section-label = true

# The decisions are too many for one look.
[output.html.fold]
enable = true

[output.html.print]
enable = false
"#;

/// Builds the site.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    no_arguments(arguments)?;
    setup::ensure_book(context)?;
    let site = build(context)?;
    report::begin(format_args!("{}", site.join("index.html").display()));
    Ok(())
}

/// Builds the site and returns its folder.
///
/// # Errors
/// If a document links to a file that is not there, or mdBook fails.
pub(crate) fn build(context: &Context) -> Result<PathBuf> {
    let folder = context.target.join("site");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    let chapters = Chapters::read(&context.root)?;
    let source = folder.join("src");
    for file in chapters.files() {
        copy(&context.root.join(file), &source.join(file))?;
    }
    write(&source.join("SUMMARY.md"), &chapters.summary())?;
    write(&folder.join("book.toml"), CONFIGURATION)?;
    Log::create(context, "site")?.run(context.command("mdbook").arg("build").arg(&folder))?;
    Ok(folder.join("html"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    make_folder_of(to)?;
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    make_folder_of(path)?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn make_folder_of(file: &Path) -> Result<()> {
    let folder = file.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}
