//! The pages in `examples/`, built as their READMEs say and played in a browser.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use relogin_tests::{
    browser::Browser,
    parts::Part,
    site::{Pages, Site},
    stage::Stage,
};
use serde_json::{Value, json};

use crate::{
    packaging::{copy_folder, link_modules, node},
    redirect::{DEMO, leads_to},
};

on!(embedded_alone: the_plain_page, the_page_on_resclient, the_page_in_react, the_page_in_vue, the_page_in_rust);

async fn the_plain_page(stage: &mut Stage) -> Result<()> {
    // The root of the repository, as far as the page knows it.
    let pages = Pages::default()
        .with_folder("/examples/plain/", examples()?.join("plain"))
        .with_folder("/target/npm/", Part::Package.path()?);
    plays(stage, pages, "examples/plain/index.html").await
}

async fn the_page_on_resclient(stage: &mut Stage) -> Result<()> {
    vites_page_plays(stage, "resclient").await
}

async fn the_page_in_react(stage: &mut Stage) -> Result<()> {
    vites_page_plays(stage, "react").await
}

async fn the_page_in_vue(stage: &mut Stage) -> Result<()> {
    vites_page_plays(stage, "vue").await
}

async fn the_page_in_rust(stage: &mut Stage) -> Result<()> {
    let pages = Pages::default().with_folder("/", Part::RustExample.path()?);
    plays(stage, pages, "").await
}

async fn vites_page_plays(stage: &mut Stage, name: &str) -> Result<()> {
    let project = stage.folder().join(name);
    copy_folder(&examples()?.join(name), &project)?;
    if project.join("node_modules").exists() {
        // Somebody has started it by hand.
        fs::remove_dir_all(project.join("node_modules"))?;
    }
    link_modules(&project)?;
    node(stage, &project, "vite/bin/vite.js", &["build"]).await?;
    plays(stage, Pages::default().with_folder("/", project.join("dist")), "").await
}

/// Logs in, follows the counter, reloads, logs out.
async fn plays(stage: &mut Stage, pages: Pages, path: &str) -> Result<()> {
    const FORM: &str = "document.querySelector('form')?.checkVisibility()";
    const JANE: &str = "document.querySelector('#user')?.checkVisibility() && \
                        document.querySelector('#user').textContent === 'Jane Doe'";
    stage.up(&[]).await?;
    let site = Site::open(pages).await?;
    let browser = stage.browser("example").await?;
    // A reload that shows the form, if only for a moment, has asked somebody to log in who is.
    let watch = format!(
        "new MutationObserver(() => {{ if ({FORM}) window.formShown = true; }})
            .observe(document, {{ subtree: true, childList: true, attributes: true }});"
    );
    browser.before_each_page(&format!("{}{watch}", leads_to(DEMO, &stage.gateway_url()))).await?;
    browser.open(&format!("{}{path}", site.url())).await?;
    browser.until("the form", FORM).await?;
    browser.fill("[name=username]", "jane").await?;
    browser.fill("[name=password]", "guess").await?;
    browser.click("form button").await?;
    browser.until("the refusal", "document.querySelector('[role=alert]').textContent.includes('rong')").await?;

    // A framework may have emptied the form.
    browser.fill("[name=username]", "jane").await?;
    browser.fill("[name=password]", "jane").await?;
    browser.click("form button").await?;
    browser.until("Jane", JANE).await?;
    ensure!(browser.run("return window.formShown").await? == json!(true), "the watch for forms sees none");
    for _ in 0..2 {
        counts(&browser).await?;
        browser.reload().await?;
        browser.until("Jane", JANE).await?;
    }
    counts(&browser).await?;
    assert_eq!(browser.run("return window.formShown ?? null").await?, Value::Null, "no form after a reload");

    browser.click("#logout").await?;
    browser.until("the form", FORM).await?;
    browser.reload().await?;
    browser.until("the form", FORM).await?;
    let told = browser.console().await?;
    ensure!(!told.iter().any(|line| line.contains("Uncaught")), "{told:#?}");
    Ok(())
}

/// The demo's counter goes on.
async fn counts(browser: &Browser) -> Result<()> {
    const SECONDS: &str = "document.querySelector('#seconds')?.textContent";
    let shown = browser.until("a counter", &format!("/^[0-9]+$/.test({SECONDS}) && {SECONDS}")).await?;
    browser.until("a running counter", &format!("/^[0-9]+$/.test({SECONDS}) && {SECONDS} !== {shown}")).await.map(drop)
}

/// Each example asks npm for the versions that it is tested with.
#[test]
fn examples_are_played_with_the_versions_that_they_name() -> Result<()> {
    let installed = Part::Resclient.path()?.join("node_modules");
    let mut compared = 0;
    for name in ["resclient", "react", "vue"] {
        let manifest = json_file(&examples()?.join(name).join("package.json"))?;
        for kind in ["dependencies", "devDependencies"] {
            for (module, version) in manifest[kind].as_object().into_iter().flatten() {
                if module != "relogin" {
                    let found = json_file(&installed.join(module).join("package.json"))?;
                    assert_eq!(version, &found["version"], "{name}: {module}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 5, "{compared}");
    Ok(())
}

fn json_file(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

fn examples() -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate lies in a workspace")?;
    Ok(workspace.join("examples"))
}
