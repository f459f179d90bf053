//! A legacy service (docs/protocol.md, section 2), written after Resgate's guide and on nothing of ours, behind Resgate, with our
//! page. The native client has its own test, native/tests/legacy.rs.

use anyhow::Result;
use relogin_tests::{browser::View, stage::Stage};

use crate::{ADMIN, JANE, LOGOUT, RELOGIN, assert_no_key_refused, assert_no_key_used_twice};

on!(resgate:
    our_page_on_a_legacy_service,
    two_tabs_on_a_legacy_service,
    two_tabs_on_one_that_clears_tokens_alone,
    key_of_a_legacy_service_is_stolen,
);

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
        let stored = page.stored().await?;
        assert_eq!(stored["generation"], generation, "counted here: {stored}");
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
    let loot = owner.stored().await?;

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
