//! The snippets of README.md, the package's README and docs/client.md, letter by letter: the
//! package and ResClient come from npm's folder, by names alone. Only the gateway's address is
//! redirected.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use relogin_tests::{
    browser::Browser,
    parts::Part,
    site::{Pages, Site},
    stage::Stage,
};

use crate::{
    packaging::{esbuild, node, project},
    redirect::{DEMO, leads_to},
};

on!(embedded_alone: what_readme_shows_in_javascript, what_readme_shows_in_rust, what_the_packages_readme_shows, what_the_packages_readme_shows_esbuild);

/// The page in README.md logs in and survives a reload.
async fn what_readme_shows_in_javascript(stage: &mut Stage) -> Result<()> {
    const HELLO: &str = "document.querySelector('p').textContent === 'Hello Jane Doe!' && \
                         !document.querySelector('form').checkVisibility()";
    stage.up(&[]).await?;
    let page = format!("<!doctype html>\n{}", block("README.md", "```html\n")?);
    let site = bundled(stage, "readme", &page, None).await?;
    let browser = visitor(stage, "").await?;
    browser.open(&site.url()).await?;
    browser.until("the form", "document.querySelector('form').checkVisibility()").await?;
    browser.fill("[name=username]", "jane").await?;
    browser.fill("[name=password]", "guess").await?;
    browser.click("button").await?;
    browser.until("the refusal", "document.querySelector('p').textContent.includes('rong')").await?;
    browser.fill("[name=password]", "jane").await?;
    browser.click("button").await?;
    for _ in 0..2 {
        browser.until("the user", HELLO).await?;
        browser.reload().await?;
    }
    Ok(())
}

/// So does the one in Rust.
async fn what_readme_shows_in_rust(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let example = fs::read_to_string(workspace()?.join("web/examples/hello.rs"))?;
    let (_, code) = example.split_once("\n\n").context("the example has a header")?;
    assert_eq!(block("README.md", "```rust\n")?, code, "README.md shows web/examples/hello.rs, without its header");
    let pages = Pages::default()
        .with("/index.html", include_str!("../../pages/hello.html"))
        .with_folder("/hello/", Part::Hello.path()?);
    let site = Site::open(pages).await?;
    // The user, who is asked once.
    let user =
        "window.prompt = () => { sessionStorage.asked = 1 + Number(sessionStorage.asked ?? 0); return 'jane'; };";
    let browser = visitor(stage, user).await?;
    browser.open(&site.url()).await?;
    for _ in 0..2 {
        browser.until("the user", "document.body.innerText === 'Hello Jane Doe!'").await?;
        assert_eq!(browser.run("return sessionStorage.asked").await?, "1");
        browser.reload().await?;
    }
    Ok(())
}

/// What the package's README shows comes to its end: bundled by Vite, and, but for what tests of
/// pages import, without a bundler.
async fn what_the_packages_readme_shows(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let import_map = block(PACKAGE, "```html\n")?;
    let (mut pages, mut paths) = (Pages::default().with_folder("/relogin/", Part::Package.path()?), Vec::new());
    for (number, script) in package_blocks()?[1..].iter().enumerate() {
        let script = format!("{script}\n{DONE}");
        let dist = bundle(stage, &format!("package-{number}"), PAGE, Some(&script)).await?;
        pages = pages.with_folder(&format!("/bundled-{number}/"), dist);
        paths.push(format!("bundled-{number}/index.html"));
        if !script.contains("relogin/testing") {
            let page = format!("<!doctype html><title>R</title>{import_map}<script type=module>{script}</script>");
            pages = pages.with(&format!("/plain-{number}.html"), &page);
            paths.push(format!("plain-{number}.html"));
        }
    }
    assert_eq!(paths.len(), 7);
    // On one origin: the first of them has somebody logged in, who then may see the counter.
    let (site, browser) = (Site::open(pages).await?, visitor(stage, "").await?);
    for path in paths {
        comes_to_its_end(&browser, &format!("{}{path}", site.url())).await?;
    }
    Ok(())
}

/// The lines for esbuild, which leaves addresses alone: what follows them finds the WebAssembly.
async fn what_the_packages_readme_shows_esbuild(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let project = project(stage, "esbuild", "link").await?;
    let blocks = package_blocks()?;
    let (init, option) = (blocks[0].as_str(), "--loader:.wasm=file");
    ensure!(init.contains(&format!("// esbuild {option}")), "{init}");
    fs::write(project.join("main.js"), format!("{init}\n{}\n{DONE}", blocks[1]))?;
    esbuild(stage, &project, &["main.js", "--bundle", "--format=esm", "--outfile=dist/main.js", option]).await?;
    let pages = Pages::default().with("/index.html", PAGE).with_folder("/", project.join("dist"));
    let (site, browser) = (Site::open(pages).await?, visitor(stage, "").await?);
    comes_to_its_end(&browser, &site.url()).await
}

const PACKAGE: &str = "web/npm/README.md";

const PAGE: &str = "<!doctype html><title>R</title><body></body><script type=module src=./main.js></script>";

const DONE: &str = "document.body.dataset.done = 'yes';";

async fn comes_to_its_end(browser: &Browser, url: &str) -> Result<()> {
    browser.open(url).await?;
    let end = browser.until("its end", "document.body.dataset.done === 'yes'").await;
    end.map(drop).with_context(|| url.to_owned())
}

fn package_blocks() -> Result<Vec<String>> {
    let text = fs::read_to_string(workspace()?.join(PACKAGE))?;
    let blocks = text.split("```js\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned()));
    let blocks: Vec<String> = blocks.collect();
    ensure!(blocks.len() == 5, "{blocks:#?}");
    Ok(blocks)
}

/// A site with `page` as its index, and the script `main.js` if there is one, as Vite has bundled
/// them.
pub(crate) async fn bundled(stage: &Stage, name: &str, page: &str, script: Option<&str>) -> Result<Site> {
    let dist = bundle(stage, name, page, script).await?;
    Site::open(Pages::default().with_folder("/", dist)).await
}

async fn bundle(stage: &Stage, name: &str, page: &str, script: Option<&str>) -> Result<PathBuf> {
    let project = project(stage, name, "link").await?;
    fs::write(project.join("index.html"), page)?;
    if let Some(script) = script {
        fs::write(project.join("main.js"), script)?;
    }
    node(stage, &project, "vite/bin/vite.js", &["build", "--base", "./"]).await?;
    Ok(project.join("dist"))
}

/// A browser whose pages find the stage's gateway where the demo's is.
async fn visitor(stage: &mut Stage, more: &str) -> Result<std::sync::Arc<Browser>> {
    let gateway = leads_to(DEMO, &stage.gateway_url());
    let browser = stage.browser("visitor").await?;
    browser.before_each_page(&format!("{more}{gateway}")).await?;
    Ok(browser)
}

/// The first block of `file` that begins with `fence`.
pub(crate) fn block(file: &str, fence: &str) -> Result<String> {
    let text = fs::read_to_string(workspace()?.join(file))?;
    let (_, rest) = text.split_once(fence).with_context(|| format!("{file} has no such block"))?;
    let (block, _) = rest.split_once("```").context("the block has no end")?;
    Ok(block.to_owned())
}

fn workspace() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate lies in a workspace")
}
