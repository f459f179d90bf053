//! `cargo xtask bench`: runs the workspace's benchmarks.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{context::Context, no_arguments, npm, page, report, setup};

/// The package whose benches run the product as it is shipped: they need all that the end-to-end
/// tests need.
const OF_THE_PRODUCT: &str = "relogin-tests";
/// Their parts, and the program that has each part.
const PRODUCT: [(&str, &str); 11] = [
    ("browser", "browser"),
    ("resources", "browser"),
    ("reload", "browser"),
    ("abuse", "abuse"),
    ("storm", "abuse"),
    ("gateway", "gateway"),
    ("resumes", "gateway"),
    ("calls", "gateway"),
    ("events", "gateway"),
    ("content", "gateway"),
    ("growth", "gateway"),
];

/// Runs the benches of each package that has a `benches` folder; with an argument, one part of
/// them.
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
        let of_the_product = package == OF_THE_PRODUCT;
        let program = part.and_then(|part| PRODUCT.iter().find(|(name, _)| name == part)).map(|(_, program)| *program);
        if part.is_some() && program.is_some() != of_the_product {
            continue;
        }
        // The output is figures: it goes to the terminal.
        let mut bench = context.cargo(&["bench", "--quiet", "--package", &package, "--bench", program.unwrap_or("*")]);
        if of_the_product {
            build_product(context, &mut bench)?;
        } else {
            setup::ensure_nats_server(context)?.name_to(&mut bench);
        }
        report::begin(format_args!("{package}: cargo bench"));
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

/// Builds page, package and binary as they are shipped, and tells `bench` where they are.
fn build_product(context: &Context, bench: &mut Command) -> Result<()> {
    let tools = setup::ensure(context, setup::Needs::Tests)?;
    bench.env("RELOGIN_BIN", page::build(context)?).env("RELOGIN_NPM", npm::build(context)?);
    tools.name_to(bench);
    Ok(())
}

fn packages_with_benches(root: &Path) -> Result<Vec<String>> {
    let mut packages = Vec::new();
    for parent in [root.to_owned(), root.join("crates")] {
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
