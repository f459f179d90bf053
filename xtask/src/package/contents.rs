//! What is in the packages: files, read or made once for all of them. Must not know where a package
//! puts them.

use std::fs;

use anyhow::{Context as _, Result, bail};

use super::{Parts, components};

/// The files.
pub(super) struct Contents {
    pub(super) binary: Vec<u8>,
    /// With every option as a comment.
    pub(super) config: String,
    /// The pages of section 1, with their file names.
    pub(super) manual: Vec<(String, Vec<u8>)>,
    /// Of bash, zsh and fish.
    pub(super) completions: [Vec<u8>; 3],
    pub(super) readme: Vec<u8>,
    /// Our licences, with their file names.
    pub(super) licences: [(&'static str, String); 2],
    /// Those of what is linked into the binary.
    pub(super) notices: String,
    /// The CycloneDX list of what is linked into the binary.
    pub(super) components: String,
}

pub(super) fn gather(parts: &Parts<'_>) -> Result<Contents> {
    let read =
        |name: &str| fs::read_to_string(parts.context.root.join(name)).with_context(|| format!("reading {name}"));
    let components = components::list(parts)?;
    Ok(Contents {
        binary: fs::read(&parts.binary).with_context(|| format!("reading {}", parts.binary.display()))?,
        config: String::from_utf8(parts.printed(&["config"])?)?,
        manual: manual(parts)?,
        completions: [
            parts.printed(&["completions", "bash"])?,
            parts.printed(&["completions", "zsh"])?,
            parts.printed(&["completions", "fish"])?,
        ],
        readme: read("README.md")?.into_bytes(),
        licences: [("LICENSE-MIT", read("LICENSE-MIT")?), ("LICENSE-APACHE", read("LICENSE-APACHE")?)],
        notices: components.notices,
        components: components.json,
    })
}

fn manual(parts: &Parts<'_>) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = parts.context.target.join("package-man");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    parts.printed(&["man", &folder.to_string_lossy()])?;
    let mut pages = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        pages.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    pages.sort_unstable();
    Ok(pages)
}

/// The configuration with some keys set to other values.
pub(super) fn configured(config: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut config = config.to_owned();
    for (key, value) in values {
        let commented = format!("\n#{key} = ");
        let Some((before, after)) = config.split_once(&commented) else {
            bail!("`relogin config` prints no line for {key}");
        };
        let (_, after) = after.split_once('\n').context("each line ends")?;
        config = format!("{before}\n{key} = \"{value}\"\n{after}");
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_set_in_their_place() {
        let config = "# Text.\n#data = \"a\"\n\n#users = \"b\"\n";
        assert_eq!(configured(config, &[("data", "/d")]).unwrap(), "# Text.\ndata = \"/d\"\n\n#users = \"b\"\n");
        assert!(configured(config, &[("nats", "x")]).is_err());
    }
}
