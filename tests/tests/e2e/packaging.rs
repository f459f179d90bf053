//! The package for JavaScript where people use packages: bundled by each tool, typed in each way to
//! resolve modules, held by frameworks, and where there is no browser.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use relogin_tests::{
    browser::Browser,
    net::Address,
    parts::Part,
    process::Process,
    site::{Pages, Site},
    stage::Stage,
};
use serde_json::json;
use tokio::process::Command;

use crate::{
    redirect::{DEMO, leads_to},
    trunk::succeeds,
};

on!(embedded_alone: bundles_of_vite, pages_of_vites_server, bundles_of_webpack_esbuild_and_rollup, behind_the_proxies_of_vue, in_reacts_strict_mode, in_nexts_server_rendering);

/// How npm brings the package into a project.
const INSTALLED: [&str; 3] = ["folder", "link", "tarball"];

/// Pages that Vite has bundled.
async fn bundles_of_vite(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let browser = stage.browser("vite").await?;
    for how in INSTALLED {
        let project = vites_project(stage, &format!("vite-{how}"), how).await?;
        node(stage, &project, "vite/bin/vite.js", &["build"]).await?;
        let site = Site::open(Pages::default().with_folder("/", project.join("dist"))).await?;
        logs_in(stage, &browser, &site.url()).await?;
    }
    Ok(())
}

/// Pages that Vite's server gives out while somebody works on them. It puts modules that npm has
/// installed together by itself; those that are links it takes for the project's own.
async fn pages_of_vites_server(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let browser = stage.browser("vite-dev").await?;
    for how in INSTALLED {
        let project = vites_project(stage, &format!("vite-dev-{how}"), how).await?;
        let vite = npm_modules()?.join("vite/bin/vite.js");
        let arguments = [vite.as_os_str(), "--host".as_ref(), "127.0.0.1".as_ref(), "--port".as_ref(), "0".as_ref()];
        let log = stage.evidence().join(format!("vite-{how}.log"));
        let server = Process::start(&Part::Node.path()?, arguments, &log, |command| {
            command.current_dir(&project).env("NO_COLOR", "1");
        })?;
        let url = server.line("where it is", |line| Some(line.split_once("Local:")?.1.trim().to_owned())).await?;
        logs_in(stage, &browser, &url).await?;
        server.kill().await?;
    }
    Ok(())
}

/// Those that find the WebAssembly by themselves, and those that are told where it is.
async fn bundles_of_webpack_esbuild_and_rollup(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let project = project(stage, "bundles", "link").await?;
    fs::write(project.join("main.js"), MAIN)?;
    // esbuild leaves addresses alone, but knows files that are imported.
    let told =
        format!("import wasm from 'relogin/relogin_bg.wasm'; import {{ init }} from 'relogin'; init(wasm);\n{MAIN}");
    fs::write(project.join("main-esbuild.js"), told)?;
    fs::write(project.join("bundle.mjs"), include_str!("../../pages/bundle.mjs"))?;
    run_node(&project.join("bundle.mjs"), &[], &project, &stage.evidence().join("bundle.log")).await?;
    let site = Site::open(Pages::default().with_folder("/", project.join("dist"))).await?;
    let browser = stage.browser("bundles").await?;
    for tool in ["webpack", "esbuild", "rollup"] {
        logs_in(stage, &browser, &format!("{}/{tool}/index.html", site.url().trim_end_matches('/'))).await?;
    }
    Ok(())
}

async fn behind_the_proxies_of_vue(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let site = frameworks(stage).await?;
    for client in ["relogin", "resclient"] {
        let browser = stage.browser(client).await?;
        browser.open(&format!("{}?framework=vue&client={client}&gateway={}", site.url(), stage.gateway_url())).await?;
        browser.until("nobody", "document.body.dataset.state === 'anonymous'").await?;
        assert_eq!(
            browser.run("return page.use()").await?,
            json!({ "user": "Jane Doe", "same": true, "test": "loggedIn" })
        );
        assert_eq!(browser.run("return page.session.state").await?, "loggedIn");
        browser.run("return page.session.logout()").await?;
        browser.until("the end", "document.body.dataset.state === 'ended'").await?;
    }
    Ok(())
}

/// Each effect runs, is undone and runs again: what the first session has left is taken up by the
/// second one.
async fn in_reacts_strict_mode(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let site = frameworks(stage).await?;
    for client in ["relogin", "resclient"] {
        let browser = stage.browser(client).await?;
        browser
            .open(&format!("{}?framework=react&client={client}&gateway={}", site.url(), stage.gateway_url()))
            .await?;
        browser.until("nobody", "document.body.innerText === 'anonymous'").await?;
        assert_eq!(browser.run("return page.mounted").await?, 2);
        browser.run("return page.session.login('jane', 'jane')").await?;
        browser.until("the user", "document.body.innerText === 'loggedIn Jane Doe'").await?;
        browser.run("return page.client.get('ticker.model').then(() => {})").await?;
        // A session that comes, on a client that is connected, before the one that it follows has
        // gone.
        browser.run("page.swap()").await?;
        browser.until("the other session", "document.body.dataset.other === 'loggedIn'").await?;
        browser.run("return page.other.logout()").await?;
        browser.run("return page.other.login('jane', 'jane')").await?;
        browser.reload().await?;
        browser.until("the user", "document.body.innerText === 'loggedIn Jane Doe'").await?;
    }
    Ok(())
}

/// The server renders the first state; the browser takes it from there.
async fn in_nexts_server_rendering(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let project = project(stage, "next", "link").await?;
    let app = project.join("app");
    fs::create_dir(&app)?;
    fs::write(app.join("layout.jsx"), include_str!("../../pages/next/layout.jsx"))?;
    fs::write(app.join("page.jsx"), include_str!("../../pages/next/page.jsx"))?;
    fs::write(app.join("login.jsx"), include_str!("../../pages/next/login.jsx"))?;
    // The modules are links out of the project.
    fs::write(project.join("next.config.js"), "export default { turbopack: { root: '/' } };")?;
    let next = npm_modules()?.join("next/dist/bin/next");
    let mut build = Command::new(Part::Node.path()?);
    build.arg(&next).arg("build").current_dir(&project).env("NEXT_TELEMETRY_DISABLED", "1");
    succeeds(&mut build).await?;
    let (address, log) = (Address::reserve()?, stage.evidence().join("next.log"));
    let port = address.port().to_string();
    let start = [next.as_os_str(), "start".as_ref(), "-H".as_ref(), "127.0.0.1".as_ref(), "-p".as_ref(), port.as_ref()];
    let server = Process::start(&Part::Node.path()?, start, &log, |command| {
        command.current_dir(&project).env("NEXT_TELEMETRY_DISABLED", "1");
    })?;
    server.line("that it is ready", |line| line.contains("Ready").then_some(())).await?;

    let browser = stage.browser("next").await?;
    browser.before_each_page(&leads_to(DEMO, &stage.gateway_url())).await?;
    browser.open(&format!("http://{}/", address.get())).await?;
    let rendered = browser.run("return fetch(location).then((response) => response.text())").await?;
    assert!(rendered.as_str().is_some_and(|html| html.contains("<p id=\"state\">resuming</p>")), "{rendered}");
    let state = |state: &str| format!("document.querySelector('#state').textContent === '{state}'");
    browser.until("nobody", &state("anonymous")).await?;
    browser.click("#login").await?;
    for _ in 0..2 {
        browser.until("the user", &state("loggedIn")).await?;
        assert_eq!(browser.text("#user").await?, "Jane Doe");
        browser.reload().await?;
    }
    browser.until("the user", &state("loggedIn")).await?;
    browser.click("#logout").await?;
    browser.until("the end", &state("ended")).await?;
    let told = browser.console().await?;
    // React complains of a first state that is another one than the server's.
    let complaints: Vec<_> = told.iter().filter(|line| line.contains("SEVERE") && !line.contains("favicon")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    server.kill().await
}

/// Pages that hold the package as frameworks do, with what they need in one script.
async fn frameworks(stage: &Stage) -> Result<Site> {
    let project = project(stage, "frameworks", "link").await?;
    fs::write(project.join("frameworks.js"), include_str!("../../pages/frameworks.js"))?;
    let arguments = [
        "frameworks.js",
        "--bundle",
        "--format=esm",
        "--outfile=dist/main.js",
        "--loader:.wasm=file",
        "--define:process.env.NODE_ENV=\"development\"",
    ];
    esbuild(stage, &project, &arguments).await?;
    Site::open(Pages::default().with("/index.html", INDEX).with_folder("/", project.join("dist"))).await
}

/// Where there is no browser, nothing throws, nothing is rejected that nobody waits for, and
/// nothing keeps the process from ending: each is an exit code other than 0.
#[tokio::test]
async fn a_server_that_renders_pages_has_sessions_in_their_first_state() -> Result<()> {
    let folder = tempfile::tempdir()?;
    link_modules(folder.path())?;
    for (name, text) in
        [("server.mjs", include_str!("../../pages/server.mjs")), ("server.cjs", include_str!("../../pages/server.cjs"))]
    {
        fs::write(folder.path().join(name), text)?;
        run_node(&folder.path().join(name), &[], folder.path(), &folder.path().join("log")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn tests_of_pages_have_sessions_in_their_first_state_and_doubles() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let modules = link_modules(folder.path())?;
    for environment in ["node", "jsdom", "happy-dom"] {
        let text = format!("// @vitest-environment {environment}\n{}", include_str!("../../pages/double.test.js"));
        fs::write(folder.path().join(format!("{environment}.test.js")), text)?;
    }
    run_node(&modules.join("vitest/vitest.mjs"), &["run"], folder.path(), &folder.path().join("log")).await
}

#[tokio::test]
async fn its_types_hold_under_strict() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let modules = link_modules(folder.path())?;
    let files = [
        ("types.ts", include_str!("../../pages/types.ts")),
        ("types-resclient.ts", include_str!("../../pages/types-resclient.ts")),
        ("types.mts", include_str!("../../pages/types.ts")),
        ("types.cts", include_str!("../../pages/types.ts")),
    ];
    for (name, text) in files {
        fs::write(folder.path().join(name), text)?;
    }
    let bundler = ["--module", "esnext", "--moduleResolution", "bundler"];
    let node16 = ["--module", "node16", "--moduleResolution", "node16"];
    for (how, file, more) in [
        (bundler, "types.ts", None),
        (bundler, "types-resclient.ts", Some("--skipLibCheck")),
        (node16, "types.mts", None),
        (node16, "types.cts", None),
    ] {
        let strict = ["--strict", "--noEmit", "--target", "es2023", "--lib", "es2023,dom,dom.iterable", "--types", ""];
        let arguments: Vec<&str> = strict.into_iter().chain(how).chain(more).chain([file]).collect();
        let log = folder.path().join("tsc.log");
        run_node(&modules.join("typescript/bin/tsc"), &arguments, folder.path(), &log)
            .await
            .with_context(|| format!("{file}, {how:?}"))?;
    }
    Ok(())
}

/// The page of all bundlers.
const MAIN: &str = "import { Client, Session } from 'relogin';
const client = new Client(new URLSearchParams(location.search).get('gateway'));
const session = new Session(client);
session.on('change', () => { document.body.dataset.state = session.state; });
window.login = () => session.login('jane', 'jane');
window.logout = () => session.logout();
";

const INDEX: &str =
    "<!doctype html><title>A page of a test</title><body></body><script type=module src=/main.js></script>";

async fn vites_project(stage: &Stage, name: &str, how: &str) -> Result<PathBuf> {
    let project = project(stage, name, how).await?;
    fs::write(project.join("index.html"), INDEX)?;
    fs::write(project.join("main.js"), MAIN)?;
    Ok(project)
}

async fn logs_in(stage: &Stage, browser: &Browser, url: &str) -> Result<()> {
    browser.open(&format!("{url}?gateway={}", stage.gateway_url())).await?;
    let nobody = "['anonymous', 'ended'].includes(document.body.dataset.state)";
    browser.until("nobody", nobody).await.with_context(|| url.to_owned())?;
    browser.run("return login()").await?;
    browser.until("the user", "document.body.dataset.state === 'loggedIn'").await?;
    browser.run("return logout()").await.map(drop)
}

/// A folder of a project that has the package, and what else npm has for tests.
pub(crate) async fn project(stage: &Stage, name: &str, how: &str) -> Result<PathBuf> {
    let project = stage.folder().join(name);
    fs::create_dir_all(&project)?;
    fs::write(project.join("package.json"), r#"{"type":"module","dependencies":{"relogin":"*"}}"#)?;
    // A link leads out of the project, where Vite's server gives out nothing that it is not told
    // of.
    let allowed = json!([fs::canonicalize(Part::Package.path()?)?, &project]);
    fs::write(
        project.join("vite.config.js"),
        format!("export default {{ server: {{ fs: {{ allow: {allowed} }} }} }};"),
    )?;
    link_modules(&project)?;
    let (package, installed) = (Part::Package.path()?, project.join("node_modules/relogin"));
    if how != "link" {
        fs::remove_file(&installed)?;
    }
    match how {
        "folder" => copy_folder(&package, &installed)?,
        "tarball" => unpack(&package, &project, &installed).await?,
        _ => {}
    }
    Ok(project)
}

/// What npm would publish, as npm would install it.
async fn unpack(package: &Path, project: &Path, installed: &Path) -> Result<()> {
    let log = project.join("npm.log");
    let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
        Process::start(Path::new(program), arguments, &log, |command| {
            command.current_dir(project);
        })
    };
    let packed = run("npm", &["pack".as_ref(), "--offline".as_ref(), fs::canonicalize(package)?.as_os_str()])?;
    packed.succeeds().await.with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    let entries = fs::read_dir(project)?.collect::<Result<Vec<_>, _>>()?;
    let tarball = entries.iter().map(fs::DirEntry::path).find(|path| path.extension().is_some_and(|end| end == "tgz"));
    run("tar", &["-xzf".as_ref(), tarball.context("npm has packed it")?.as_os_str()])?.succeeds().await?;
    Ok(fs::rename(project.join("package"), installed)?)
}

pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Puts the modules into `folder`. Answers where those are that npm has.
pub(crate) fn link_modules(folder: &Path) -> Result<PathBuf> {
    let npm = npm_modules()?;
    let modules = folder.join("node_modules");
    fs::create_dir_all(&modules)?;
    symlink(fs::canonicalize(Part::Package.path()?)?, modules.join("relogin"))?;
    let all = [
        "@next",
        "@vitejs",
        "esbuild",
        "happy-dom",
        "jsdom",
        "next",
        "react",
        "react-dom",
        "resclient",
        "rollup",
        "styled-jsx",
        "typescript",
        "vite",
        "vitest",
        "vue",
        "webpack",
    ];
    for name in all {
        symlink(npm.join(name), modules.join(name))?;
    }
    Ok(npm)
}

fn npm_modules() -> Result<PathBuf> {
    Ok(Part::Resclient.path()?.join("node_modules"))
}

pub(crate) async fn node(stage: &Stage, folder: &Path, script: &str, arguments: &[&str]) -> Result<()> {
    run_node(&npm_modules()?.join(script), arguments, folder, &stage.evidence().join("node.log")).await
}

pub(crate) async fn esbuild(stage: &Stage, folder: &Path, arguments: &[&str]) -> Result<()> {
    let log = stage.evidence().join("esbuild.log");
    let esbuild = Process::start(&npm_modules()?.join(".bin/esbuild"), arguments, &log, |command| {
        command.current_dir(folder);
    })?;
    esbuild.succeeds().await.with_context(|| fs::read_to_string(&log).unwrap_or_default())
}

async fn run_node(script: &Path, arguments: &[&str], folder: &Path, log: &Path) -> Result<()> {
    let arguments = [script.as_os_str()].into_iter().chain(arguments.iter().map(AsRef::as_ref));
    let run = Process::start(&Part::Node.path()?, arguments, log, |command| {
        command.current_dir(folder).env("NO_COLOR", "1");
    })?;
    let outcome = run.succeeds().await;
    outcome.with_context(|| fs::read_to_string(log).unwrap_or_default())
}
