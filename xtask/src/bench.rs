//! `cargo xtask bench`: whatever benchmarks the workspace has.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{context::Context, no_arguments, report};

/// Runs the benches of each package that has a `benches` folder; with an argument, one part of them.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    let part = match arguments {
        [] => None,
        [part] => Some(part),
        [_, rest @ ..] => return no_arguments(rest),
    };
    let packages = packages_with_benches(&context.root)?;
    if packages.is_empty() {
        report::begin("there are no benchmarks yet: a package that has a `benches` folder is run by this command");
    }
    for package in packages {
        report::begin(format_args!("{package}: cargo bench"));
        // Figures are the output here: they go to the terminal as they are.
        let mut bench = context.cargo(&["bench", "--quiet", "--package", &package, "--bench", "*"]);
        if let Some(part) = part {
            bench.args(["--", part]);
        }
        let status = bench.status()?;
        if !status.success() {
            bail!("the benchmarks of {package} failed");
        }
    }
    Ok(())
}

fn packages_with_benches(root: &Path) -> Result<Vec<String>> {
    let mut packages = Vec::new();
    for parent in [root.to_owned(), root.join("core")] {
        for entry in fs::read_dir(&parent)? {
            let folder = entry?.path();
            if folder.join("benches").is_dir() {
                packages.push(package_name(&folder)?);
            }
        }
    }
    packages.sort_unstable();
    Ok(packages)
}

fn package_name(folder: &Path) -> Result<String> {
    let path = folder.join("Cargo.toml");
    let manifest = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    name.map(str::to_owned).with_context(|| format!("{} names no package", path.display()))
}
