//! The package for JavaScript, in pages: with its own client and with ResClient, bundled and not, and what README shows of it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use relogin_tests::{
    PATIENCE,
    browser::Browser,
    parts::Part,
    process::Process,
    site::{Pages, Site},
    stage::Stage,
};
use serde_json::{Value, json};

on!(both: a_session_on_our_client, a_session_on_resclient);
on!(embedded_alone: connecting_and_a_login_wait_for_no_back_off, what_readme_shows_in_javascript, what_readme_shows_in_rust, a_bundle_of_vites, a_page_of_vites_server, a_thousand_leave_nothing, who_waits_for_a_client_is_told, resources_are_what_resclient_makes_of_them);

async fn a_session_on_our_client(stage: &mut Stage) -> Result<()> {
    a_session(stage, "relogin").await
}

async fn a_session_on_resclient(stage: &mut Stage) -> Result<()> {
    a_session(stage, "resclient").await
}

async fn a_session(stage: &mut Stage, client: &str) -> Result<()> {
    stage.up(&[]).await?;
    let site = Site::open(page(include_str!("../../pages/session.js"))?).await?;
    let browser = stage.browser("page").await?;
    let url = format!("{}?client={client}&gateway={}", site.url(), stage.gateway_url());
    browser.open(&url).await?;
    browser.until("nobody", "document.body.dataset.state === 'anonymous'").await?;

    let refused = "return page.code(page.session.login('jane', 'wrong'))";
    assert_eq!(browser.run(refused).await?, "session.wrongUsernamePassword");
    assert_eq!(browser.run("return page.code(page.client.get('ticker.model'))").await?, "system.accessDenied");
    browser.run("return page.session.login('jane', 'jane')").await?;
    is_jane(&browser).await?;
    browser
        .until("a bound session", "document.body.dataset.binding === 'bound' || page.session.binding === 'bound'")
        .await?;
    browser.run("return page.count()").await?;
    counts(&browser).await?;

    for _ in 0..2 {
        browser.reload().await?;
        is_jane(&browser).await?;
        assert_eq!(browser.run("return page.seen").await?, json!(["resuming", "loggedIn"]), "no login form in between");
        browser.until("the page's own hook", "document.body.dataset.hooked").await?;
        // At once, and not denied.
        browser.run("return page.count()").await?;
        counts(&browser).await?;
    }

    stage.kill_gateway().await?;
    browser.until("the loss", "document.body.dataset.state === 'reconnecting'").await?;
    assert_eq!(browser.run("return document.body.dataset.user").await?, "Jane Doe");
    stage.start_gateway().await?;
    is_jane(&browser).await?;
    counts(&browser).await?;

    browser.run("return page.session.logout()").await?;
    browser.until("the end", "document.body.dataset.reason === 'loggedOut'").await?;
    assert_eq!(browser.run("return page.session.user").await?, json!(null));
    browser.reload().await?;
    browser.until("nobody", "document.body.dataset.state === 'anonymous'").await?;
    let told = browser.console().await?;
    assert!(!told.iter().any(|line| line.contains("Uncaught")), "{told:#?}");
    Ok(())
}

/// The browser's timers stand still: who waited for back-off would wait for ever.
async fn connecting_and_a_login_wait_for_no_back_off(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let site = Site::open(page(include_str!("../../pages/session.js"))?).await?;
    let browser = stage.browser("page").await?;
    browser.open(&format!("{}?client=relogin&gateway={}", site.url(), front.url())).await?;
    browser.until("nobody", "document.body.dataset.state === 'anonymous'").await?;
    browser.run("page.client.on('state', (state) => { document.body.dataset.connection = state; })").await?;
    browser.hold_timers().await?;
    for now in ["page.client.connect()", "page.session.login('jane', 'jane')"] {
        front.shut();
        browser.connection_is("reconnecting").await?;
        front.lead_to(stage.gateway_addr());
        browser.run(&format!("return {now}")).await?;
    }
    Ok(())
}

/// The page in README.md, as it stands there, logs in and survives a reload.
async fn what_readme_shows_in_javascript(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let snippet = readme("```html\n")?;
    let page = page("")?.with("/index.html", &include_str!("../../pages/readme.html").replace("SNIPPET", &snippet));
    let site = Site::open(page).await?;
    let browser = stage.browser("readme").await?;
    browser.before_each_page(&elsewhere(stage)).await?;
    browser.open(&site.url()).await?;
    const SEND: &str = r"
        const form = document.querySelector('form');
        [form.username.value, form.password.value] = ['jane', PASSWORD];
        form.requestSubmit();";
    browser.until("the form", "!document.querySelector('form').hidden").await?;
    browser.run(&SEND.replace("PASSWORD", "'guess'")).await?;
    browser.until("the refusal", "document.querySelector('p').textContent.includes('rong')").await?;
    browser.run(&SEND.replace("PASSWORD", "'jane'")).await?;
    for _ in 0..2 {
        let hello = "document.querySelector('p').textContent === 'Hello Jane Doe!'";
        browser.until("the user", &format!("{hello} && document.querySelector('form').hidden")).await?;
        browser.reload().await?;
    }
    Ok(())
}

/// So does the one in Rust.
async fn what_readme_shows_in_rust(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let example = fs::read_to_string(workspace().join("web/examples/hello.rs"))?;
    let (_, code) = example.split_once("\n\n").context("the example has a header")?;
    assert_eq!(readme("```rust\n")?, code, "README.md shows web/examples/hello.rs, without its header");
    let pages = Pages::default()
        .with("/index.html", include_str!("../../pages/hello.html"))
        .with_folder("/hello/", Part::Hello.path()?);
    let site = Site::open(pages).await?;
    let browser = stage.browser("readme").await?;
    // The user, who is asked once.
    let user =
        "window.prompt = () => { sessionStorage.asked = 1 + Number(sessionStorage.asked ?? 0); return 'jane'; };";
    browser.before_each_page(&format!("{user}{}", elsewhere(stage))).await?;
    browser.open(&site.url()).await?;
    for _ in 0..2 {
        browser.until("the user", "document.body.innerText === 'Hello Jane Doe!'").await?;
        assert_eq!(browser.run("return sessionStorage.asked").await?, "1");
        browser.reload().await?;
    }
    Ok(())
}

/// A page that Vite has bundled.
async fn a_bundle_of_vites(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let project = vites_project(stage, "vite")?;
    node(stage, &project, "vite/bin/vite.js", &["build"]).await?;
    let site = Site::open(Pages::default().with_folder("/", project.join("dist"))).await?;
    vites_page_logs_in(stage, "vite", &site.url()).await
}

/// A page that Vite's server gives out while somebody works on it. It puts modules that npm has installed together by itself; those that are
/// links it takes for the project's own, so the package is a copy here.
async fn a_page_of_vites_server(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let project = vites_project(stage, "vite-dev")?;
    let installed = project.join("node_modules/relogin");
    fs::remove_file(&installed)?;
    copy(&Part::Package.path()?, &installed)?;
    fs::write(project.join("package.json"), r#"{"type":"module","dependencies":{"relogin":"*"}}"#)?;
    let vite = Part::Resclient.path()?.join("node_modules/vite/bin/vite.js");
    let arguments = [vite.as_os_str(), "--host".as_ref(), "127.0.0.1".as_ref(), "--port".as_ref(), "0".as_ref()];
    let server = Process::start(&Part::Node.path()?, arguments, &stage.evidence().join("vite.log"), |command| {
        command.current_dir(&project).env("NO_COLOR", "1");
    })?;
    let url = server.line("where it is", |line| Some(line.split_once("Local:")?.1.trim().to_owned())).await?;
    vites_page_logs_in(stage, "vite-dev", &url).await?;
    server.kill().await
}

/// A project of Vite's, of a page with a session.
fn vites_project(stage: &Stage, name: &str) -> Result<PathBuf> {
    let project = project(stage, name)?;
    fs::write(project.join("index.html"), "<!doctype html><title>V</title><script type=module src=/main.js></script>")?;
    let main = "import { Client, Session } from 'relogin';
        const client = new Client(new URLSearchParams(location.search).get('gateway'));
        const session = new Session(client);
        session.on('change', () => { document.body.dataset.state = session.state; });
        window.login = () => session.login('jane', 'jane');";
    fs::write(project.join("main.js"), main)?;
    Ok(project)
}

async fn vites_page_logs_in(stage: &mut Stage, label: &str, url: &str) -> Result<()> {
    let browser = stage.browser(label).await?;
    browser.open(&format!("{url}?gateway={}", stage.gateway_url())).await?;
    browser.until("nobody", "document.body.dataset.state === 'anonymous'").await?;
    browser.run("return login()").await?;
    browser.until("the user", "document.body.dataset.state === 'loggedIn'").await.map(drop)
}

#[tokio::test]
async fn its_types_hold_under_strict() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let modules = link_modules(folder.path())?;
    let strict = ["--strict", "--noEmit", "--module", "esnext", "--moduleResolution", "bundler", "--target", "es2023"];
    let sources = [
        ("types.ts", include_str!("../../pages/types.ts"), None),
        ("types-resclient.ts", include_str!("../../pages/types-resclient.ts"), Some("--skipLibCheck")),
    ];
    for (name, source, more) in sources {
        fs::write(folder.path().join(name), source)?;
        let arguments: Vec<&str> =
            strict.into_iter().chain(["--lib", "es2023,dom,dom.iterable"]).chain(more).chain([name]).collect();
        run_node(&modules.join("typescript/bin/tsc"), &arguments, folder.path(), &folder.path().join("tsc.log"))
            .await?;
    }
    Ok(())
}

/// Who makes thousands of clients with sessions, and closes or drops them, has what it had before.
async fn a_thousand_leave_nothing(stage: &mut Stage) -> Result<()> {
    let site = Site::open(page(include_str!("../../pages/thousand.js"))?).await?;
    let browser = stage.browser("thousand").await?;
    browser.open(&site.url()).await?;
    browser.until("the page", "document.body.dataset.state === 'there'").await?;
    // Until its tables have their size. Memory never shrinks, and how much of it some clients need depends a little on the order in which their
    // timers ring: it is made large enough for a few more of them than come then. Of 35 bytes left by each it has no room for those of so many.
    browser.run("return page.close(120, 30)").await?;
    let before = browser.run("return page.bytes()").await?;
    for _ in 0..8 {
        browser.run("return page.close(500, 20)").await?;
    }
    assert_eq!(browser.run("return page.bytes()").await?, before, "the module's memory");
    assert_eq!(browser.run("return [page.alive(), page.listening()]").await?, json!([0, 0]));

    browser.run("return page.drop(100)").await?;
    let deadline = Instant::now() + PATIENCE;
    // The browser says when it has collected, and clears up after that, in its own time.
    while browser.run("return page.alive()").await? != 0 {
        ensure!(Instant::now() < deadline, "what was dropped is still at work");
        browser.devtools("HeapProfiler.collectGarbage", json!({})).await?;
    }
    assert_eq!(browser.run("return page.listening()").await?, 0);
    Ok(())
}

/// A client that somebody waits for stays, whatever the browser collects meanwhile.
async fn who_waits_for_a_client_is_told(stage: &mut Stage) -> Result<()> {
    let site = Site::open(page(include_str!("../../pages/thousand.js"))?).await?;
    let browser = stage.browser("waits").await?;
    browser.open(&site.url()).await?;
    browser.until("the page", "document.body.dataset.state === 'there'").await?;
    browser.run("page.wait()").await?;
    browser.until("the socket", "document.body.dataset.late").await?;
    for _ in 0..3 {
        browser.devtools("HeapProfiler.collectGarbage", json!({})).await?;
    }
    browser.run("page.open()").await?;
    browser.until("the connection", "document.body.dataset.waited === 'told'").await.map(drop)
}

/// Models and collections: of the same frames both clients make the same objects, and tell of the same changes.
async fn resources_are_what_resclient_makes_of_them(stage: &mut Stage) -> Result<()> {
    let site = Site::open(page(include_str!("../../pages/resources.js"))?).await?;
    let browser = stage.browser("resources").await?;
    browser.open(&site.url()).await?;
    browser.until("the page", "document.body.dataset.state === 'there'").await?;
    let lines: [Vec<String>; 2] = serde_json::from_value(browser.run("return compare()").await?)?;
    // As values: ours have their members by name.
    let values =
        |lines: &[String]| lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<Vec<Value>, _>>();
    let (theirs, ours) = (values(&lines[0])?, values(&lines[1])?);
    ensure!(theirs.len() > 15, "{theirs:#?}");
    assert_eq!(ours, theirs);
    Ok(())
}

/// The first block of README.md that begins like this.
fn readme(fence: &str) -> Result<String> {
    let text = fs::read_to_string(workspace().join("README.md"))?;
    let (_, rest) = text.split_once(fence).context("README.md has no such block")?;
    let (block, _) = rest.split_once("```").context("the block has no end")?;
    Ok(block.to_owned())
}

/// A script that leads what asks for README's gateway to the stage's.
fn elsewhere(stage: &Stage) -> String {
    let gateway = stage.gateway_url();
    format!(
        "window.WebSocket = class extends WebSocket {{
            constructor(url) {{ super(String(url).replace(/^ws:..localhost:8080.?$/, '{gateway}')); }}
        }};"
    )
}

/// A folder of a project that has the package, and what else npm has for tests.
fn project(stage: &Stage, name: &str) -> Result<PathBuf> {
    let project = stage.folder().join(name);
    fs::create_dir_all(&project)?;
    fs::write(project.join("package.json"), r#"{"type":"module"}"#)?;
    link_modules(&project)?;
    Ok(project)
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Puts the modules into `folder`. Answers where those are that npm has.
fn link_modules(folder: &Path) -> Result<PathBuf> {
    let npm = Part::Resclient.path()?.join("node_modules");
    let modules = folder.join("node_modules");
    fs::create_dir_all(&modules)?;
    symlink(fs::canonicalize(Part::Package.path()?)?, modules.join("relogin"))?;
    for name in ["resclient", "typescript", "vite"] {
        symlink(npm.join(name), modules.join(name))?;
    }
    Ok(npm)
}

async fn node(stage: &Stage, folder: &Path, script: &str, arguments: &[&str]) -> Result<()> {
    let script = Part::Resclient.path()?.join("node_modules").join(script);
    run_node(&script, arguments, folder, &stage.evidence().join("node.log")).await
}

async fn run_node(script: &Path, arguments: &[&str], folder: &Path, log: &Path) -> Result<()> {
    let arguments = [script.as_os_str()].into_iter().chain(arguments.iter().map(AsRef::as_ref));
    let run = Process::start(&Part::Node.path()?, arguments, log, |command| {
        command.current_dir(folder);
    })?;
    let outcome = run.succeeds().await;
    outcome.with_context(|| fs::read_to_string(log).unwrap_or_default())
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// The page of `script`, with the package, and ResClient beside it.
fn page(script: &str) -> Result<Pages> {
    Ok(Pages::default()
        .with("/index.html", include_str!("../../pages/page.html"))
        .with("/page.js", script)
        .with("/resclient-module.js", include_str!("../../pages/resclient-module.js"))
        .with_folder("/resclient/", Part::Resclient.path()?.join("node_modules/resclient"))
        .with_folder("/relogin/", Part::Package.path()?))
}

async fn is_jane(browser: &Browser) -> Result<()> {
    let condition = "document.body.dataset.state === 'loggedIn' && document.body.dataset.user === 'Jane Doe'";
    browser.until("Jane", condition).await.map(drop)
}

/// The counter goes on.
async fn counts(browser: &Browser) -> Result<()> {
    let shown = browser.until("a counter", "[document.body.dataset.seconds ?? missing]").await?;
    let change = format!("document.body.dataset.seconds !== '{}'", shown[0].as_str().unwrap_or_default());
    browser.until("a running counter", &change).await.map(drop)
}
