//! `cargo xtask npm`: the package for JavaScript, a folder that npm can pack: the WebAssembly
//! module, and the TypeScript in `web/npm/src` on top of it, as esbuild and TypeScript's compiler
//! make it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    context::Context,
    log::Log,
    no_arguments, report,
    setup::{self, TARGET, npm_packages, wasm_opt},
};

/// Cargo has a folder of this name beside the package's: it must not be the same.
const PROFILE: &str = "fast";

/// What wasm-bindgen makes of the crate `relogin-web`, beside which the package's scripts lie.
const MODULE: &str = "relogin";

/// The package's scripts that pages import.
const ENTRIES: &[&str] = &["index.ts", "testing.ts"];

/// Builds `target/npm`.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    no_arguments(arguments)?;
    setup::ensure(context, setup::Needs::Package)?;
    let package = build(context)?;
    let size = |name: &str| fs::metadata(package.join(name)).map_or(0, |file| file.len());
    report::begin(format_args!(
        "{}: {} kB of WebAssembly, {} kB of JavaScript beside it",
        package.display(),
        size("relogin_bg.wasm") / 1000,
        scripts(&package)?.iter().map(|name| size(name)).sum::<u64>() / 1000,
    ));
    Ok(())
}

/// Builds the package, and returns its folder.
pub(crate) fn build(context: &Context) -> Result<PathBuf> {
    let (package, sources) = (context.target.join("npm"), context.target.join("npm-sources"));
    let source = context.root.join("web/npm");
    // The TypeScript imports the module from its own folder, so the module and its types are put
    // there.
    let beside = sources.join("src");
    build_module(context, &["--lib", "--features", "bindings"], "relogin_web.wasm", MODULE, &beside)?;
    copy_folder(&source.join("src"), &beside)?;
    for file in ["tsconfig.json", "package.json"] {
        copy(&source.join(file), &sources.join(file))?;
    }
    empty(&package)?;
    compile(context, &sources, &package)?;

    let module = format!("{MODULE}_bg.wasm");
    copy(&beside.join(&module), &package.join(&module))?;
    for file in ["package.json", "README.md"] {
        copy(&source.join(file), &package.join(file))?;
    }
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&context.root.join(license), &package.join(license))?;
    }
    set_version(&package.join("package.json"))?;
    for needed in ["index.js", "types/index.d.ts", "relogin.js", "relogin_bg.wasm", "README.md"] {
        if !package.join(needed).is_file() {
            bail!("the package has no {needed}");
        }
    }
    Ok(package)
}

/// TypeScript's compiler checks types and writes declarations; esbuild writes the scripts, as ES
/// modules and as CommonJS.
fn compile(context: &Context, sources: &Path, package: &Path) -> Result<()> {
    let programs = npm_packages::builders(context).join("node_modules/.bin");
    let mut log = Log::create(context, "typescript")?;
    let (types, required) = (package.join("types"), package.join("cjs"));
    let mut tsc = context.command(programs.join("tsc"));
    log.run(tsc.current_dir(sources).arg("--outDir").arg(&types))?;
    let module = format!("{MODULE}.d.ts");
    copy(&sources.join("src").join(&module), &types.join(&module))?;

    let esbuild = |entries: &[&str], format: &str, to: &Path| {
        let mut esbuild = context.command(programs.join("esbuild"));
        esbuild.current_dir(sources).args(entries.iter().map(|entry| format!("src/{entry}")));
        esbuild.args(["--bundle", "--minify", "--target=es2022", "--log-level=error"]);
        esbuild.arg(format!("--format={format}")).arg(format!("--outdir={}", to.display()));
        esbuild
    };
    // The module's script stays a file of its own: it names the WebAssembly beside it, which
    // bundlers look for.
    log.run(&mut esbuild(&[&format!("{MODULE}.js")], "esm", package))?;
    log.run(esbuild(ENTRIES, "esm", package).args(["--splitting", &format!("--external:./{MODULE}.js")]))?;
    // CommonJS scripts do not know where the WebAssembly is; pages pass it to `init`.
    log.run(esbuild(ENTRIES, "cjs", &required).arg("--log-override:empty-import-meta=silent"))?;
    fs::write(required.join("package.json"), "{ \"type\": \"commonjs\" }\n").context("writing cjs/package.json")?;
    copy_folder(&types, &required.join("types"))
}

/// Builds the page in Rust that README.md shows, and returns its folder.
pub(crate) fn build_example(context: &Context) -> Result<PathBuf> {
    let folder = context.target.join("hello");
    build_module(context, &["--example", "hello"], "examples/hello.wasm", "hello", &folder)?;
    Ok(folder)
}

/// Builds a WebAssembly module of the crate `relogin-web`, and puts it with its JavaScript and
/// their types into `folder`, called `name`.
fn build_module(context: &Context, what: &[&str], built: &str, name: &str, folder: &Path) -> Result<()> {
    let mut log = Log::create(context, name)?;
    let mut cargo = context.cargo(&["build", "--package", "relogin-web", "--profile", PROFILE, "--target", TARGET]);
    log.run(cargo.args(what))?;
    empty(folder)?;
    let mut bindgen = context.command("wasm-bindgen");
    bindgen.args(["--target", "web", "--out-name", name, "--out-dir"]).arg(folder);
    log.run(bindgen.arg(context.target.join(TARGET).join(PROFILE).join(built)))?;
    if wasm_opt::is_there(context) {
        let module = folder.join(format!("{name}_bg.wasm"));
        let mut optimize = context.command("wasm-opt");
        log.run(optimize.arg("-O3").arg(&module).arg("--output").arg(&module))?;
    }
    Ok(())
}

/// The version is the workspace's.
fn set_version(manifest: &Path) -> Result<()> {
    let text = fs::read_to_string(manifest)?;
    let (placeholder, version) = (r#""version": "0.0.0""#, concat!("\"version\": \"", env!("CARGO_PKG_VERSION"), "\""));
    if !text.contains(placeholder) {
        bail!("web/npm/package.json should have the version 0.0.0, for this to put in the right one");
    }
    fs::write(manifest, text.replace(placeholder, version)).with_context(|| format!("writing {}", manifest.display()))
}

fn scripts(package: &Path) -> Result<Vec<String>> {
    let names = fs::read_dir(package)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: Result<Vec<String>> = names.collect();
    Ok(names?.into_iter().filter(|name| name.ends_with(".js")).collect())
}

/// Creates the folder, or empties it, so that no old file stays.
fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

/// Copies the files of a folder without subfolders.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}
