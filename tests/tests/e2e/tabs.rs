//! Tabs of one browser: through restarts, with one of them frozen, all asleep, and with nothing to
//! take turns by. Bound and bearer: a page from a plain address has neither device keys nor locks.

use anyhow::{Context, Result};
use fantoccini::wd::WindowHandle;
use relogin_tests::{
    browser::{Browser, View},
    front::{Direction, Fate, Frame, Front},
    stage::Stage,
};

use crate::{ADMIN, JANE, Kind, LOGIN, RELOGIN, assert_no_key_refused, back_in};

on!(both:
    fifty_restarts,
    fifty_restarts_of_bearers,
    a_frozen_tab_holds_the_lock,
    a_frozen_tab_of_bearers,
    laptop_sleeps_over_two_refreshes,
    three_tabs_without_indexeddb_and_locks,
);

async fn fifty_restarts(stage: &mut Stage) -> Result<()> {
    restarts(stage, Kind::Bound).await
}

async fn fifty_restarts_of_bearers(stage: &mut Stage) -> Result<()> {
    restarts(stage, Kind::Bearer).await
}

/// Fault 4, often: each restart has both tabs use the key at once.
async fn restarts(stage: &mut Stage, kind: Kind) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &kind.url(&front)).await?;
    let tabs = two_tabs(&page, &front, kind).await?;
    let mark = front.mark();
    for _ in 0..50 {
        let mark = front.mark();
        stage.kill_gateway().await?;
        stage.start_gateway().await?;
        back_in(&front, mark, 2).await?;
    }
    for tab in &tabs {
        page.turn_to(tab).await?;
        page.is_user(JANE).await?;
        page.counter_runs().await?;
        assert!(!page.views_seen().await?.contains(&"login".to_owned()), "a tab was logged out");
    }
    assert_no_key_refused(&front, mark);
    assert!(front.requests(mark, LOGIN).is_empty());
    Ok(())
}

async fn a_frozen_tab_holds_the_lock(stage: &mut Stage) -> Result<()> {
    frozen_in_the_middle(stage, Kind::Bound).await
}

async fn a_frozen_tab_of_bearers(stage: &mut Stage) -> Result<()> {
    frozen_in_the_middle(stage, Kind::Bearer).await
}

/// A tab is frozen in the middle of its use of the key; the other goes on with that use.
async fn frozen_in_the_middle(stage: &mut Stage, kind: Kind) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &kind.url(&front)).await?;
    let [frozen, other] = two_tabs(&page, &front, kind).await?;

    page.turn_to(&frozen).await?;
    front.rule(|frame| if brings_key(frame) { Fate::Lose } else { Fate::Pass });
    let mark = front.mark();
    page.reload().await?;
    let (first, _) = front.exchange(mark, RELOGIN).await?;
    page.freeze().await?;
    front.rule(|_| Fate::Pass);

    page.turn_to(&other).await?;
    let held = page.run(
        "return navigator.locks?.query().then(({ held }) => held.some(({ name }) => name === 'relogin:session')) ?? false",
    );
    assert_eq!(held.await?, kind == Kind::Bound, "only trusted pages have locks");
    page.watch_for(View::Login).await?;
    page.reload().await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    let of_other = |frame: &Frame| frame.is_request(RELOGIN) && frame.connection != first.connection;
    let second = front.frame(mark, "the other's use", of_other).await?;
    for member in ["reloginKey", "attempt"] {
        assert_eq!(
            first.json["params"][member], second.json["params"][member],
            "it is one use of the key, in two tabs"
        );
    }

    for tab in [&frozen, &other] {
        page.turn_to(tab).await?;
        page.thaw().await?;
        page.is_user(JANE).await?;
        page.counter_runs().await?;
        assert!(!page.has_shown(View::Login).await?);
    }
    assert_no_key_refused(&front, mark);
    Ok(())
}

/// Fault 11, for all tabs at once: they stand still over two refreshes, and wake together.
async fn laptop_sleeps_over_two_refreshes(stage: &mut Stage) -> Result<()> {
    stage.up(&["--refresh", "2s"]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    let tabs = two_tabs(&page, &front, Kind::Bound).await?;
    let mut clock = stage.clock().await?;
    for tab in &tabs {
        page.turn_to(tab).await?;
        page.freeze().await?;
    }
    let asleep = front.mark();
    clock.seconds(5).await?;
    assert!(front.requests(asleep, RELOGIN).is_empty(), "a tab was awake");
    let mark = front.mark();
    for tab in &tabs {
        page.turn_to(tab).await?;
        page.thaw().await?;
    }
    front.payload(mark, RELOGIN).await?;
    for tab in &tabs {
        page.turn_to(tab).await?;
        page.is_user(JANE).await?;
        page.counter_runs().await?;
        assert_eq!(page.views_seen().await?, Vec::<String>::new(), "the page showed something else in between");
    }
    assert_no_key_refused(&front, 0);
    Ok(())
}

/// As on a page from plain http in a browser that keeps IndexedDB from it: tabs share localStorage,
/// which lags between processes, and have nothing to take turns by.
const BARE: &str = r"
    Object.defineProperty(window, 'indexedDB', { value: undefined });
    Object.defineProperty(Navigator.prototype, 'locks', { value: undefined });";

/// A login in one tab logs all tabs in, and a logout logs all out; no key looks stolen.
async fn three_tabs_without_indexeddb_and_locks(stage: &mut Stage) -> Result<()> {
    let audit = stage.folder().join("audit");
    stage.up(&["--audit", audit.to_str().context("a path that is no text")?]).await?;
    let front = stage.front().await?;
    let browser = stage.browser("jane").await?;
    let mut tabs = Vec::new();
    for number in 0..3 {
        tabs.push(if number == 0 { browser.current_tab().await? } else { browser.empty_tab().await? });
        browser.before_each_page(BARE).await?;
        browser.open(&front.url()).await?;
        browser.shows(View::Login).await?;
        browser.connection_is("connected").await?;
        assert_eq!(
            browser.run("return [typeof indexedDB, typeof navigator.locks].join()").await?,
            "undefined,undefined"
        );
    }
    for round in 0..10 {
        for tab in &tabs {
            browser.turn_to(tab).await?;
            browser.watch_views().await?;
        }
        let (name, user) = if round % 2 == 0 { ("jane", JANE) } else { ("admin", ADMIN) };
        browser.turn_to(&tabs[round % 3]).await?;
        browser.log_in(name, name).await?;
        for tab in &tabs {
            browser.turn_to(tab).await?;
            browser.is_user(user).await.with_context(|| format!("in round {round}"))?;
        }
        // Time enough for the service to end a session whose key looks stolen.
        browser.counter_runs().await.with_context(|| format!("in round {round}"))?;
        for tab in &tabs {
            browser.turn_to(tab).await?;
            browser.is_user(user).await?;
            assert!(!browser.views_seen().await?.contains(&"login".to_owned()), "logged out in round {round}");
        }
        browser.click("#logout").await?;
        for tab in &tabs {
            browser.turn_to(tab).await?;
            browser.shows(View::Login).await?;
        }
    }
    stage.stop_service().await?;
    let told = std::fs::read_to_string(audit)?;
    assert!(told.contains(r#""event":"logged_out""#) && !told.contains(r#""event":"stolen""#), "{told}");
    Ok(())
}

/// Logs Jane in, in two tabs whose views are watched.
async fn two_tabs(page: &Browser, front: &Front, kind: Kind) -> Result<[WindowHandle; 2]> {
    page.log_in("jane", "jane").await?;
    kind.assert_of(&page.stored_session().await?);
    let (one, other) = page.open_tab(&kind.url(front)).await?;
    let tabs = [one, other];
    for tab in &tabs {
        page.turn_to(tab).await?;
        page.is_user(JANE).await?;
        page.counter_runs().await?;
        page.watch_views().await?;
    }
    Ok(tabs)
}

/// True for an answer with a relogin key in it.
fn brings_key(frame: &Frame) -> bool {
    frame.direction == Direction::Down && frame.json["result"]["payload"]["reloginKey"].is_string()
}
