//! The package for JavaScript, in pages: with its own client and with ResClient, bundled and not, and what README shows of it.

use anyhow::Result;
use relogin_tests::{
    browser::Browser,
    parts::Part,
    site::{Pages, Site},
    stage::Stage,
};
use serde_json::json;

on!(both: a_session_on_our_client, a_session_on_resclient);

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
    browser.until("the end", "document.body.dataset.reason === 'loggedOutHere'").await?;
    assert_eq!(browser.run("return page.session.user").await?, json!(null));
    browser.reload().await?;
    browser.until("nobody", "document.body.dataset.state === 'anonymous'").await?;
    let told = browser.console().await?;
    assert!(!told.iter().any(|line| line.contains("Uncaught")), "{told:#?}");
    Ok(())
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
