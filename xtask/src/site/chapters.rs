//! Which documents the site has, and in which order. Reads Markdown; must not write.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// The README's section that lists the documents, an item for each group.
const LIST: &str = "Documentation";
/// The group of the documents that others link to, and the list does not name.
const OTHERS: &str = "More";

/// The documents of the site, and the files that they link to.
#[derive(Debug, Default)]
pub(super) struct Chapters {
    chapters: Vec<Chapter>,
    /// What is shown as it is: pictures, sources, configurations.
    files: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Chapter {
    group: String,
    /// From the root of the repository, as all paths here.
    path: PathBuf,
    title: String,
}

impl Chapters {
    /// Begins with the README, and goes on with whatever is linked to.
    ///
    /// # Errors
    /// If a link leads to a folder or to a file that is not there, or a document has no title.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let readme = PathBuf::from("README.md");
        let mut this = Self::default();
        this.add(root, String::new(), readme.clone())?;
        for (group, target) in listed(&text(root, &readme)?) {
            this.add(root, group, target)?;
        }
        let mut next = 0;
        while let Some(chapter) = this.chapters.get(next) {
            let path = chapter.path.clone();
            for target in local_links(&text(root, &path)?) {
                let target = resolve(&path, &target)
                    .with_context(|| format!("{}: {target} is outside of the repository", path.display()))?;
                if root.join(&target).is_dir() {
                    bail!("{}: {} is a folder; link to a file in it", path.display(), target.display());
                }
                if target.extension().is_some_and(|ending| ending == "md") {
                    this.add(root, OTHERS.to_owned(), target)?;
                } else {
                    this.files.insert(target);
                }
            }
            next += 1;
        }
        Ok(this)
    }

    /// Everything that the site is made of.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.chapters.iter().map(|chapter| chapter.path.as_path()).chain(self.files.iter().map(PathBuf::as_path))
    }

    /// mdBook's table of contents. A document is below the README of its folder.
    pub(super) fn summary(&self) -> String {
        let mut text = "# Summary\n".to_owned();
        let mut group = "";
        for chapter in self.chapters.iter().filter(|chapter| self.parent(chapter).is_none()) {
            if chapter.group.is_empty() {
                text.push_str(&format!("\n{}\n", chapter.link()));
                continue;
            }
            if chapter.group != group {
                group = &chapter.group;
                text.push_str(&format!("\n# {group}\n\n"));
            }
            text.push_str(&format!("- {}\n", chapter.link()));
            let mut below: Vec<&Chapter> =
                self.chapters.iter().filter(|other| self.parent(other) == Some(&chapter.path)).collect();
            below.sort_by_key(|chapter| &chapter.path);
            for chapter in below {
                text.push_str(&format!("  - {}\n", chapter.link()));
            }
        }
        text
    }

    fn parent(&self, chapter: &Chapter) -> Option<&PathBuf> {
        let front = chapter.path.parent()?.join("README.md");
        let is_below = chapter.group == OTHERS && chapter.path != front;
        self.chapters
            .iter()
            .map(|chapter| &chapter.path)
            .find(|path| is_below && **path == front && *path != Path::new("README.md"))
    }

    fn add(&mut self, root: &Path, group: String, path: PathBuf) -> Result<()> {
        if path.extension().is_none_or(|ending| ending != "md") {
            self.files.insert(path);
        } else if self.chapters.iter().all(|chapter| chapter.path != path) {
            let title = title(&text(root, &path)?).with_context(|| format!("{} has no title", path.display()))?;
            self.chapters.push(Chapter { group, path, title });
        }
        Ok(())
    }
}

impl Chapter {
    fn link(&self) -> String {
        format!("[{}]({})", self.title, self.path.display())
    }
}

fn text(root: &Path, path: &Path) -> Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("reading {}", path.display()))
}

/// The groups and paths of the README's list.
fn listed(readme: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let (mut heading, mut group) = (String::new(), String::new());
    let (mut in_heading, mut in_name) = (false, false);
    for event in parsed(readme) {
        match event {
            Event::Start(Tag::Heading { level: HeadingLevel::H2, .. }) => (in_heading, heading) = (true, String::new()),
            Event::End(TagEnd::Heading(_)) => in_heading = false,
            Event::Text(words) if in_heading => heading.push_str(&words),
            Event::Start(Tag::Item) => (in_name, group) = (true, String::new()),
            Event::Text(words) if in_name => {
                group.push_str(words.split(':').next().unwrap_or_default());
                in_name = !words.contains(':');
            }
            Event::Start(Tag::Link { dest_url, .. }) if heading == LIST => {
                if !group.is_empty()
                    && let Some(path) = local(&dest_url)
                {
                    found.push((group.clone(), PathBuf::from(path)));
                }
            }
            Event::End(TagEnd::List(_)) => group.clear(),
            _ => {}
        }
    }
    found
}

/// The text of the first heading.
fn title(markdown: &str) -> Option<String> {
    let mut events = parsed(markdown).skip_while(|event| !matches!(event, Event::Start(Tag::Heading { .. })));
    events.next()?;
    let mut title = String::new();
    for event in events {
        match event {
            Event::Text(words) | Event::Code(words) => title.push_str(&words),
            Event::End(TagEnd::Heading(_)) => break,
            _ => {}
        }
    }
    Some(title)
}

/// The paths of all links and pictures, without those to the web and within the page.
fn local_links(markdown: &str) -> Vec<String> {
    let target = |event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => local(&dest_url).map(str::to_owned),
        _ => None,
    };
    parsed(markdown).filter_map(target).collect()
}

fn local(link: &str) -> Option<&str> {
    let path = link.split('#').next().filter(|path| !path.is_empty())?;
    (!path.contains("://") && !path.starts_with("mailto:")).then_some(path)
}

/// The path that a link in a document means.
fn resolve(document: &Path, link: &str) -> Option<PathBuf> {
    let mut path = document.parent()?.to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if !path.pop() => return None,
            Component::ParentDir | Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

fn parsed(markdown: &str) -> Parser<'_> {
    Parser::new_ext(markdown, Options::ENABLE_TABLES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "# Name\n\n[a picture](b.md)\n\n- [no group](c.md)\n\n## Documentation\n\n\
                          - Using it: [one](docs/one.md) ([a part](docs/one.md#part)),\n  [two](docs/two.yaml)\n\
                          - Working: [three](three.md)\n\n[MIT](LICENSE)\n";

    #[test]
    fn the_list_has_groups() {
        let expected = [
            ("Using it", "docs/one.md"),
            ("Using it", "docs/one.md"),
            ("Using it", "docs/two.yaml"),
            ("Working", "three.md"),
        ];
        assert_eq!(listed(README), expected.map(|(group, path)| (group.to_owned(), PathBuf::from(path))));
    }

    #[test]
    fn what_is_linked_to_is_there_once_and_decisions_are_below_their_index() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("README.md", README),
            ("b.md", "# B\n\nSee [the picture](docs/p.png) and [Rust](https://rust-lang.org).\n"),
            ("c.md", "# C `code`\n\n`[not a link](x.md)`\n"),
            ("docs/one.md", "# One\n\n[why](adr/README.md) [first](adr/2.md) [b](../b.md#b)\n"),
            ("docs/adr/README.md", "# Decisions\n\n| a |\n|---|\n| [1](1.md) |\n"),
            ("docs/adr/1.md", "# 1\n"),
            ("docs/adr/2.md", "# 2\n"),
            ("three.md", "# Three\n\n[more](examples/README.md)\n"),
            ("examples/README.md", "# Examples\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let chapters = Chapters::read(root.path()).unwrap();
        assert_eq!(
            chapters.summary(),
            "# Summary\n\n[Name](README.md)\n\n# Using it\n\n- [One](docs/one.md)\n\n# Working\n\n- [Three](three.md)\n\n\
             # More\n\n- [B](b.md)\n- [C code](c.md)\n- [Decisions](docs/adr/README.md)\n  - [1](docs/adr/1.md)\n  \
             - [2](docs/adr/2.md)\n- [Examples](examples/README.md)\n"
        );
        let files: Vec<&Path> =
            chapters.files().filter(|file| file.extension().is_none_or(|ending| ending != "md")).collect();
        assert_eq!(files, ["LICENSE", "docs/p.png", "docs/two.yaml"].map(Path::new));
    }

    #[test]
    fn a_link_out_of_the_repository_is_an_error() {
        assert_eq!(resolve(Path::new("docs/a.md"), "../b.md"), Some("b.md".into()));
        assert_eq!(resolve(Path::new("docs/a.md"), "../../b.md"), None);
        assert_eq!(resolve(Path::new("a.md"), "/b.md"), None);
    }
}
