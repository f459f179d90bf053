//! The page in docs/client.md that keeps the key itself, with ResClient and without our package, as
//! it stands there.

use anyhow::Result;
use relogin_tests::{browser::Browser, site::Site, stage::Stage};
use serde_json::json;

use crate::{
    assert_no_key_refused, back_in,
    redirect::{DEMO, leads_to},
    snippets::{block, bundled},
};

on!(both: a_page_that_keeps_its_key_itself_survives_restarts_in_two_tabs, a_page_that_keeps_its_key_itself_survives_restarts_in_four_tabs);

async fn a_page_that_keeps_its_key_itself_survives_restarts_in_two_tabs(stage: &mut Stage) -> Result<()> {
    survives_restarts(stage, 2).await
}

async fn a_page_that_keeps_its_key_itself_survives_restarts_in_four_tabs(stage: &mut Stage) -> Result<()> {
    survives_restarts(stage, 4).await
}

/// Each restart has all tabs use the key at once.
async fn survives_restarts(stage: &mut Stage, count: usize) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let (browser, site) = (stage.browser("jane").await?, page(stage).await?);
    let to_front = leads_to(DEMO, &front.url().replacen("http", "ws", 1));
    let mut tabs = Vec::new();
    for number in 0..count {
        tabs.push(if number == 0 { browser.current_tab().await? } else { browser.empty_tab().await? });
        browser.before_each_page(&to_front).await?;
        let mark = front.mark();
        browser.open(&site.url()).await?;
        if number == 0 {
            browser.until("a user model", "document.body.dataset.user === 'nobody'").await?;
            let login =
                "const done = arguments[0]; login('jane', 'jane').then(() => done(true), (error) => done(error.code));";
            assert_eq!(browser.ask(login, vec![]).await?, json!(true));
        } else {
            back_in(&front, mark, 1).await?;
        }
        is_jane(&browser).await?;
    }
    let mark = front.mark();
    for _ in 0..8 {
        let mark = front.mark();
        stage.kill_gateway().await?;
        stage.start_gateway().await?;
        back_in(&front, mark, count).await?;
        for tab in &tabs {
            browser.turn_to(tab).await?;
            is_jane(&browser).await?;
        }
    }
    assert_no_key_refused(&front, mark);
    assert!(browser.run("return load().key").await?.is_string());

    let logout = "const done = arguments[0]; logout().then(() => done(true), (error) => done(error.code));";
    assert_eq!(browser.ask(logout, vec![]).await?, json!(true));
    for tab in &tabs {
        browser.turn_to(tab).await?;
        browser.until("nobody", "document.body.dataset.user === 'nobody'").await?;
    }
    Ok(())
}

/// The page in docs/client.md, bundled as it stands. Below it: who is logged in, as pages show it;
/// and its functions, for the test.
async fn page(stage: &Stage) -> Result<Site> {
    const MORE: &str = "
        Object.assign(window, { load, login, logout });
        client.get('session.user.{cid}').then((user) => {
          const show = () => { document.body.dataset.user = user.name ?? 'nobody'; };
          user.on('change', show);
          show();
        });";
    let script = block("docs/client.md", "```js\n")?;
    assert_eq!(script.matches("ws://localhost:8080").count(), 1);
    let page = "<!doctype html><title>What docs/client.md shows</title><body></body>\
                <script type=module src=/main.js></script>";
    bundled(stage, "own-page", page, Some(&format!("{script}{MORE}"))).await
}

async fn is_jane(browser: &Browser) -> Result<()> {
    browser.until("Jane", "document.body.dataset.user === 'Jane Doe'").await.map(drop)
}
