//! A legacy service (docs/protocol.md, section 2), written after Resgate's guide and on nothing of
//! ours, behind Resgate: with our page, and with the package on ResClient. And legacy clients,
//! whose keys pages of ours take over. The native client has its own test,
//! crates/client-tokio/tests/legacy.rs.

use std::sync::Arc;

use anyhow::{Context, Result};
use relogin_tests::{
    browser::{Browser, View},
    site::Site,
    stage::Stage,
};
use serde_json::json;

use crate::{
    ADMIN, JANE, LOGOUT, RELOGIN, assert_no_key_refused, assert_no_key_used_twice,
    package::{counts, is_jane, page},
};

on!(resgate:
    our_page_on_a_legacy_service,
    two_tabs_on_a_legacy_service,
    two_tabs_on_one_that_clears_tokens_alone,
    key_of_a_legacy_service_is_stolen,
    the_package_on_resclient_and_a_legacy_service,
    a_legacy_client_gives_way_to_a_page_of_ours,
    a_legacy_client_of_a_legacy_service_gives_way_to_a_page_of_ours,
    our_page_takes_over_a_legacy_clients_key,
    our_page_takes_over_a_legacy_services_key,
    a_page_says_how_often_a_key_of_a_legacy_service_is_used,
);
on!(embedded_alone: a_service_that_says_how_often_a_key_is_used_has_the_last_word);

async fn our_page_on_a_legacy_service(stage: &mut Stage) -> Result<()> {
    stage.legacy(&["strict"]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.enter("jane", "guess").await?;
    page.until("the refusal", "document.querySelector('#login-error').textContent.length > 0").await?;
    page.log_in("jane", "jane").await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;

    for generation in 2..13 {
        page.reload().await?;
        page.is_user(JANE).await?;
        let counted = format!("record && record.generation === {generation}");
        let stored = page.until_stored("the generation, which is counted here,", &counted).await?;
        assert!(stored["legacy"].is_string() && stored["attempt"].is_null(), "{stored}");
    }
    page.counter_runs().await?;

    stage.kill_gateway().await?;
    page.connection_is("reconnecting").await?;
    stage.start_gateway().await?;
    page.connection_is("connected").await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    for request in front.requests(0, RELOGIN) {
        assert_eq!(request.json["params"].as_object().map(serde_json::Map::len), Some(1), "{request:?}");
    }

    let mark = front.mark();
    page.click("#logout").await?;
    page.shows(View::Login).await?;
    let (logout, _) = front.exchange(mark, LOGOUT).await?;
    assert!(logout.json["params"].is_null(), "{logout:?}");
    assert_eq!(page.text("#login-error").await?, "");
    page.log_in("admin", "admin").await?;
    page.is_user(ADMIN).await?;
    page.counter_runs().await?;
    assert_no_key_used_twice(&front);
    assert_no_key_refused(&front, 0);
    Ok(())
}

async fn two_tabs_on_a_legacy_service(stage: &mut Stage) -> Result<()> {
    tabs_take_turns(stage, &["strict"]).await
}

async fn two_tabs_on_one_that_clears_tokens_alone(stage: &mut Stage) -> Result<()> {
    tabs_take_turns(stage, &["quiet"]).await
}

async fn tabs_take_turns(stage: &mut Stage, manners: &[&str]) -> Result<()> {
    stage.legacy(manners).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    let (one, other) = page.open_tab(&front.url()).await?;
    let both = [&other, &one, &other, &one];
    for tab in both {
        page.look_at(tab).await?;
        page.is_user(JANE).await?;
        page.counter_runs().await?;
    }
    stage.kill_gateway().await?;
    for tab in [&other, &one] {
        page.turn_to(tab).await?;
        page.connection_is("reconnecting").await?;
    }
    stage.start_gateway().await?;
    for tab in both {
        page.look_at(tab).await?;
        page.connection_is("connected").await?;
        page.is_user(JANE).await?;
        page.counter_runs().await?;
    }
    assert_no_key_used_twice(&front);
    assert_no_key_refused(&front, 0);

    page.click("#logout").await?;
    page.shows(View::Login).await?;
    page.look_at(&other).await?;
    page.shows(View::Login).await?;
    page.until_stored("nothing", "record === null").await.map(drop)
}

/// Owner and thief use one key: the second use ends the session for both.
async fn key_of_a_legacy_service_is_stolen(stage: &mut Stage) -> Result<()> {
    stage.legacy(&["strict"]).await?;
    let front = stage.front().await?;
    let owner = stage.page("owner", &front.url()).await?;
    owner.log_in("jane", "jane").await?;
    let loot = owner.stored_session().await?;

    let thief = stage.page("thief", &front.url()).await?;
    thief.connection_is("connected").await?;
    thief.shows(View::Login).await?;
    thief.store(&loot).await?;
    thief.reload().await?;
    stage.legacy_says("the second use", "a key was used twice").await?;
    for page in [&owner, &thief] {
        page.shows(View::Login).await?;
        page.until_stored("nothing", "record === null").await?;
    }
    owner.log_in("jane", "jane").await?;
    owner.counter_runs().await
}

async fn the_package_on_resclient_and_a_legacy_service(stage: &mut Stage) -> Result<()> {
    stage.legacy(&["strict"]).await?;
    let site = Site::open(page(include_str!("../../pages/session.js"))?).await?;
    let browser = stage.browser("page").await?;
    let url = format!("{}?client=resclient&gateway={}", site.url(), stage.gateway_url());
    browser.open(&url).await?;
    browser.until("nobody", "document.body.dataset.state === 'anonymous'").await?;
    let refused = "return page.code(page.session.login('jane', 'wrong'))";
    assert_eq!(browser.run(refused).await?, "session.wrongUsernamePassword");
    browser.run("return page.session.login('jane', 'jane')").await?;
    is_jane(&browser).await?;
    browser.run("return page.count()").await?;
    counts(&browser).await?;

    for _ in 0..11 {
        browser.reload().await?;
        is_jane(&browser).await?;
        assert_eq!(browser.run("return page.seen").await?, json!(["resuming", "loggedIn"]), "no login form in between");
    }
    browser.run("return page.count()").await?;
    counts(&browser).await?;

    stage.kill_gateway().await?;
    browser.until("the loss", "document.body.dataset.state === 'reconnecting'").await?;
    stage.start_gateway().await?;
    is_jane(&browser).await?;
    counts(&browser).await?;

    // A second tab, and back.
    let (one, other) = browser.open_tab(&url).await?;
    for tab in [&other, &one, &other] {
        browser.look_at(tab).await?;
        is_jane(&browser).await?;
        browser.run("return page.count()").await?;
        counts(&browser).await?;
    }

    browser.run("return page.session.logout()").await?;
    browser.until("the end", "document.body.dataset.reason === 'loggedOut'").await?;
    browser.look_at(&one).await?;
    browser.until("the end", "document.body.dataset.state === 'ended'").await?;
    browser.reload().await?;
    browser.until("nobody", "document.body.dataset.state === 'anonymous'").await?;

    // The key is copied to another profile, and used there.
    browser.run("return page.session.login('jane', 'jane')").await?;
    is_jane(&browser).await?;
    let loot = browser.stored_session().await?;
    let thief = stage.browser("thief").await?;
    thief.open(&url).await?;
    thief.until("nobody", "document.body.dataset.state === 'anonymous'").await?;
    thief.store(&loot).await?;
    thief.reload().await?;
    stage.legacy_says("the second use", "a key was used twice").await?;
    for page in [&browser, &thief] {
        page.until("the end", "['ended', 'anonymous'].includes(document.body.dataset.state)").await?;
    }
    let told = browser.console().await.context("the console")?;
    assert!(!told.iter().any(|line| line.contains("Uncaught")), "{told:#?}");
    Ok(())
}

async fn a_legacy_client_gives_way_to_a_page_of_ours(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    a_key_is_taken_over(stage).await
}

async fn a_legacy_client_of_a_legacy_service_gives_way_to_a_page_of_ours(stage: &mut Stage) -> Result<()> {
    stage.legacy(&["strict"]).await?;
    a_key_is_taken_over(stage).await
}

/// Nobody has to log in again, once; and a key that a legacy client has kept after a logout of ours
/// is left alone.
async fn a_key_is_taken_over(stage: &mut Stage) -> Result<()> {
    let ours = include_str!("../../pages/session.js")
        .replace("new Session(client)", "new Session(client, { adopt: 'reloginKey' })");
    let pages = page(&ours)?
        .with("/legacy.html", &include_str!("../../pages/page.html").replace("/page.js", "/legacy.js"))
        .with("/legacy.js", include_str!("../../pages/legacy.js"));
    let site = Site::open(pages).await?;
    let gateway = stage.gateway_url();
    let browser = stage.browser("page").await?;
    browser.open(&format!("{}legacy.html?gateway={gateway}", site.url())).await?;
    browser.until("nobody", "document.body.dataset.user === 'nobody'").await?;
    browser.run("return login('jane', 'jane')").await?;
    browser.until("Jane", "document.body.dataset.user === 'Jane Doe' && localStorage.reloginKey").await?;

    let url = format!("{}?client=resclient&gateway={gateway}", site.url());
    for _ in 0..2 {
        browser.open(&url).await?;
        is_jane(&browser).await?;
        assert_eq!(browser.run("return page.seen").await?, json!(["resuming", "loggedIn"]));
        assert_eq!(browser.run("return localStorage.getItem('reloginKey')").await?, json!(null));
        browser.run("return page.count()").await?;
        counts(&browser).await?;
    }

    browser.run("return page.session.logout()").await?;
    browser.until("the end", "document.body.dataset.reason === 'loggedOut'").await?;
    browser.run("localStorage.setItem('reloginKey', 'another')").await?;
    browser.reload().await?;
    browser.until("nobody", "document.body.dataset.state === 'anonymous'").await?;
    assert_eq!(browser.run("return localStorage.getItem('reloginKey')").await?, "another");
    Ok(())
}

async fn our_page_takes_over_a_legacy_clients_key(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    our_page_takes_a_key_over(stage).await
}

async fn our_page_takes_over_a_legacy_services_key(stage: &mut Stage) -> Result<()> {
    stage.legacy(&["strict"]).await?;
    our_page_takes_a_key_over(stage).await
}

/// As the package does, so does our page, whose `relogin-adopt` names the key.
async fn our_page_takes_a_key_over(stage: &mut Stage) -> Result<()> {
    const NAMED: &str = "document.addEventListener('readystatechange', () => {
            const adopt = document.querySelector('meta[name=relogin-adopt]');
            if (adopt) adopt.content = 'reloginKey';
        });";
    let front = stage.front().await?;
    let pages = page(include_str!("../../pages/legacy.js"))?;
    let site = Site::open(pages).await?;
    let browser = stage.browser("jane").await?;
    browser.open(&format!("{}?gateway={}", site.url(), stage.gateway_url())).await?;
    browser.until("nobody", "document.body.dataset.user === 'nobody'").await?;
    browser.run("return login('jane', 'jane')").await?;
    browser.until("Jane", "document.body.dataset.user === 'Jane Doe' && localStorage.reloginKey").await?;
    let key = browser.run("return localStorage.reloginKey").await?;

    // To the origin of our page, where the legacy client's was. (Each origin of a test has a port
    // of its own.)
    browser.open(&format!("{}healthz", front.url())).await?;
    browser.run(&format!("localStorage.reloginKey = {key}")).await?;
    browser.before_each_page(NAMED).await?;
    browser.watch_for(View::Login).await?;
    for _ in 0..2 {
        browser.open(&front.url()).await?;
        browser.is_user(JANE).await?;
        assert_eq!(browser.run("return localStorage.getItem('reloginKey')").await?, json!(null));
    }
    browser.counter_runs().await?;
    assert!(!browser.has_shown(View::Login).await?, "nobody has to log in again");
    assert_no_key_refused(&front, 0);

    // Once: what is there after a logout is somebody else's.
    browser.click("#logout").await?;
    browser.shows(View::Login).await?;
    browser.run("localStorage.reloginKey = 'another'").await?;
    browser.reload().await?;
    browser.shows(View::Login).await?;
    assert_eq!(browser.run("return localStorage.getItem('reloginKey')").await?, "another");
    Ok(())
}

/// A minute, unless the page has another wish.
async fn a_page_says_how_often_a_key_of_a_legacy_service_is_used(stage: &mut Stage) -> Result<()> {
    stage.legacy(&["strict"]).await?;
    let front = stage.front().await?;
    for (client, options, wish) in [
        ("resclient", "{}", 60_000.0),
        ("relogin", "{}", 60_000.0),
        ("resclient", "{ refresh: 1500 }", 1500.0),
        ("relogin", "{ refresh: 1500 }", 1500.0),
    ] {
        let (browser, site) = session_with(stage, client, options).await?;
        browser.open(&format!("{}?client={client}&gateway={}", site.url(), web_socket(&front.url()))).await?;
        let refresh_in = refresh_after_login(&browser).await?;
        // By chance a little sooner or later, so that not all pages do it at once; and some of it
        // has gone by.
        assert!(refresh_in < wish * 1.2 && refresh_in > wish - 20_000.0, "{client}, {options}: {refresh_in}");
        for _ in 0..if wish < 20_000.0 { 3 } else { 0 } {
            let mark = front.mark();
            let (_, answer) = front.exchange(mark, RELOGIN).await?;
            assert!(answer.json["result"].is_object(), "{answer:?}");
            is_jane(&browser).await?;
        }
        browser.run("return page.session.logout()").await?;
    }
    assert_no_key_used_twice(&front);
    assert_no_key_refused(&front, 0);
    Ok(())
}

async fn a_service_that_says_how_often_a_key_is_used_has_the_last_word(stage: &mut Stage) -> Result<()> {
    stage.up(&["--refresh", "10m"]).await?;
    for client in ["resclient", "relogin"] {
        let (browser, site) = session_with(stage, client, "{ refresh: 1500 }").await?;
        browser.open(&format!("{}?client={client}&gateway={}", site.url(), stage.gateway_url())).await?;
        let refresh_in = refresh_after_login(&browser).await?;
        assert!(refresh_in > 200_000.0, "{client}: {refresh_in}");
    }
    Ok(())
}

/// A page whose session has these options, and a browser for it.
async fn session_with(stage: &mut Stage, client: &str, options: &str) -> Result<(Arc<Browser>, Site)> {
    let made = format!("new Session(client, {options})");
    let script = include_str!("../../pages/session.js").replace("new Session(client)", &made);
    let site = Site::open(page(&script)?).await?;
    Ok((stage.browser(&format!("{client}-{}", options.len())).await?, site))
}

/// Logs in. Answers in how many milliseconds the key is used next.
async fn refresh_after_login(browser: &Browser) -> Result<f64> {
    browser.until("nobody", "document.body.dataset.state === 'anonymous'").await?;
    browser.run("return page.session.login('jane', 'jane')").await?;
    is_jane(browser).await?;
    browser.run("return page.session.refreshIn").await?.as_f64().context("the key is used again")
}

fn web_socket(url: &str) -> String {
    url.replacen("http", "ws", 1)
}
