//! A login survives reloads, restarts of every part, a move to another gateway, a second tab.

use anyhow::{Context, Result};
use relogin_tests::{
    browser::View,
    front::{Front, PageGateway},
    stage::{Arrangement, Stage},
};

use crate::{ADMIN, JANE, JOHN, LOGOUT, RELOGIN, assert_no_key_used_twice, relogins_after_logout};

on!(all: log_in_and_reload);
on!(both: gateway_restarts, service_is_killed, service_stops_cleanly, browser_restarts, two_tabs_through_a_restart);
on!(resgate: connection_moves, nats_restarts);

/// The page straight from the service, and its connection straight to the gateway: nothing of the
/// tests' in between, but for what tells the page where Resgate is.
async fn log_in_and_reload(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = match stage.arrangement() {
        Arrangement::Resgate => {
            Some(Front::start(stage.service_addr(), stage.gateway_addr(), PageGateway::Url(stage.gateway_url())).await?)
        }
        _ => None,
    };
    let url = front.as_ref().map_or_else(|| format!("http://{}/", stage.service_addr()), Front::url);
    let page = stage.page("admin", &url).await?;
    page.log_in("admin", "admin").await?;
    page.is_user(ADMIN).await?;
    page.connection_is("connected").await?;
    page.counter_runs().await?;
    let before = page.stored_session().await?;

    page.reload().await?;
    page.is_user(ADMIN).await?;
    page.counter_runs().await?;
    let after = page.stored().await?;
    assert_ne!(before["key"], after["key"], "the key was not used up");
    assert_eq!(after["generation"].as_u64(), before["generation"].as_u64().map(|generation| generation + 1));
    Ok(())
}

async fn gateway_restarts(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.counter_runs().await?;
    page.watch_views().await?;

    let mark = front.mark();
    stage.kill_gateway().await?;
    page.connection_is("reconnecting").await?;
    stage.start_gateway().await?;
    page.connection_is("connected").await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;

    assert_eq!(page.views_seen().await?, Vec::<String>::new(), "the page showed something else in between");
    let frames = front.frames(mark);
    let position =
        |method: &str| frames.iter().position(|frame| frame.is_request(method)).context("a request is missing");
    assert!(
        position(RELOGIN)? < position("subscribe.ticker.model")?,
        "the page resubscribed before it had its token back"
    );
    assert_no_key_used_twice(&front);
    Ok(())
}

async fn connection_moves(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.counter_runs().await?;

    let mark = front.mark();
    front.lead_to(stage.other_gateway_addr()?);
    front.cut();
    front.payload(mark, RELOGIN).await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;

    // And back, to where the session's first connection was.
    let mark = front.mark();
    front.lead_to(stage.gateway_addr());
    front.cut();
    front.payload(mark, RELOGIN).await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    assert_no_key_used_twice(&front);
    Ok(())
}

/// Fault 6: after a restart of the service everything about the session is as before.
async fn service_is_killed(stage: &mut Stage) -> Result<()> {
    stage.up(&["--refresh", "4s"]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;

    stage.kill_service().await?;
    stage.start_service().await?;
    page.connection_is("connected").await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;

    // The refresh timer's, for the reconnect's own relogin (if there was one) is behind us.
    let refresh = front.payload(front.mark(), RELOGIN).await?;
    assert!(refresh["generation"].as_u64() > Some(1));

    let mark = front.mark();
    page.click("#logout").await?;
    page.shows(View::Login).await?;
    front.payload(mark, LOGOUT).await?;
    assert_eq!(page.text("#login-error").await?, "");
    page.log_in("john", "john").await?;
    page.is_user(JOHN).await?;
    page.counter_runs().await?;
    assert_no_key_used_twice(&front);
    Ok(())
}

async fn service_stops_cleanly(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    assert!(stage.stop_service().await?.success());
    stage.start_service().await?;
    page.connection_is("connected").await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    page.reload().await?;
    page.is_user(JANE).await
}

async fn nats_restarts(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;

    // Resgate ends itself when it loses NATS; the service stays and waits.
    stage.kill_nats().await?;
    stage.gateway_ends().await?;
    page.connection_is("reconnecting").await?;
    stage.start_nats().await?;
    stage.start_gateway().await?;
    page.connection_is("connected").await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    assert_no_key_used_twice(&front);
    Ok(())
}

async fn browser_restarts(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.close().await?;

    let page = stage.page("jane", &front.url()).await?;
    page.is_user(JANE).await?;
    page.counter_runs().await
}

/// Fault 4.
async fn two_tabs_through_a_restart(stage: &mut Stage) -> Result<()> {
    stage.up(&["--refresh", "4s"]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    let (one, other) = page.open_tab(&front.url()).await?;
    let both = [&one, &other];
    for tab in both {
        page.turn_to(tab).await?;
        page.is_user(JANE).await?;
        page.counter_runs().await?;
        page.watch_views().await?;
    }

    for _ in 0..2 {
        stage.kill_gateway().await?;
        for tab in both {
            page.turn_to(tab).await?;
            page.connection_is("reconnecting").await?;
        }
        stage.start_gateway().await?;
        for tab in both {
            page.turn_to(tab).await?;
            page.connection_is("connected").await?;
            page.is_user(JANE).await?;
            page.counter_runs().await?;
        }
    }
    // The timers of both tabs run for the same key: whichever refreshes, the other has to notice.
    for _ in 0..2 {
        front.payload(front.mark(), RELOGIN).await?;
    }
    for tab in both {
        page.turn_to(tab).await?;
        page.is_user(JANE).await?;
        assert_eq!(page.views_seen().await?, Vec::<String>::new(), "the page showed something else in between");
    }
    assert_no_key_used_twice(&front);

    // Logged out in one is logged out in both, without either trying to get back in. Right after a
    // refresh, so that the next one's time is not now.
    front.payload(front.mark(), RELOGIN).await?;
    let mark = front.mark();
    page.click("#logout").await?;
    page.shows(View::Login).await?;
    assert_eq!(page.text("#login-error").await?, "");
    page.turn_to(&one).await?;
    page.shows(View::Login).await?;
    assert_eq!(
        page.text("#login-reason").await?,
        "You were logged out, in another tab, on another device or by an administrator."
    );
    page.log_in("john", "john").await?;
    assert_eq!(relogins_after_logout(&front, mark)?, 0, "a tab tried to get back in after the logout");
    Ok(())
}
