//! Messages that are lost, doubled or late, networks that are gone, tabs that sleep: no honest
//! client is logged out by them.

use anyhow::Result;
use relogin_tests::{
    browser::View,
    front::{Direction, Fate, Frame, Happening},
    stage::Stage,
};
use serde_json::Value;
use tokio::time::Instant;

use crate::{JANE, RELOGIN, assert_no_key_used_twice};

on!(both:
    refresh_falls_due_offline,
    relogin_is_doubled,
    relogins_answer_is_lost,
    page_reloads_before_it_has_the_new_key,
    tab_sleeps_through_its_refresh,
    local_storage_is_cleared,
    database_is_deleted,
);

/// Faults 2 and 3: offline, the refresh waits and the key stays; then one relogin does for
/// reconnect and refresh.
async fn refresh_falls_due_offline(stage: &mut Stage) -> Result<()> {
    stage.up(&["--refresh", "3s"]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    let login = Instant::now();
    page.watch_views().await?;
    let key = page.stored_session().await?["key"].clone();

    let mark = front.mark();
    front.shut();
    page.set_offline(true).await?;
    page.connection_is("reconnecting").await?;
    // The browser knows that it is offline; the page's own tries, which the front sees once the
    // browser is back online but the gateway is not, tell the time: by then the refresh is overdue.
    page.set_offline(false).await?;
    let overdue = login + std::time::Duration::from_secs(4);
    front
        .happens(mark, "a try to connect after the refresh was due", |happening| {
            matches!(happening, Happening::TurnedAway) && Instant::now() > overdue
        })
        .await?;
    assert_eq!(page.stored().await?["key"], key);
    page.is_user(JANE).await?;

    let mark = front.mark();
    front.lead_to(stage.gateway_addr());
    page.connection_is("connected").await?;
    page.counter_runs().await?;
    page.is_user(JANE).await?;
    assert_eq!(page.views_seen().await?, Vec::<String>::new(), "the page showed something else in between");
    let first = &front.requests(mark, RELOGIN)[0];
    assert_eq!(first.json["params"]["reloginKey"], key);
    assert_no_key_used_twice(&front);
    Ok(())
}

/// Fault 9.
async fn relogin_is_doubled(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    front.rule(|frame| if frame.is_request(RELOGIN) { Fate::Double } else { Fate::Pass });
    for _ in 0..2 {
        page.reload().await?;
        page.is_user(JANE).await?;
        page.counter_runs().await?;
    }
    assert_eq!(page.stored().await?["generation"], 3);
    Ok(())
}

/// Fault 10, first case: the connection breaks with the answer on its way.
async fn relogins_answer_is_lost(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;

    let mut break_in_two = 2;
    front.rule(move |frame| {
        let answer = frame.direction == Direction::Down && frame.json["result"]["payload"]["reloginKey"].is_string();
        if answer && break_in_two > 0 {
            break_in_two -= 1;
            return Fate::Break;
        }
        Fate::Pass
    });
    let mark = front.mark();
    front.cut();
    front.happens(mark, "a third connection", |happening| matches!(happening, Happening::Opened(3))).await?;
    page.connection_is("connected").await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    let attempts: Vec<_> = front.requests(mark, RELOGIN).iter().map(use_of).collect();
    assert!(attempts.len() >= 3 && attempts[..3].iter().all(|use_| *use_ == attempts[0]), "{attempts:?}");
    assert_eq!(page.stored().await?["generation"], 2);
    Ok(())
}

/// Fault 10, second case.
async fn page_reloads_before_it_has_the_new_key(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;

    front.rule(|frame| {
        let answer = frame.direction == Direction::Down && frame.json["result"]["payload"]["reloginKey"].is_string();
        if answer { Fate::Lose } else { Fate::Pass }
    });
    let mark = front.mark();
    page.reload().await?;
    let (first, _) = front.exchange(mark, RELOGIN).await?;
    front.rule(|_| Fate::Pass);
    let mark = front.mark();
    page.reload().await?;
    let (second, _) = front.exchange(mark, RELOGIN).await?;
    assert_eq!(use_of(&first), use_of(&second));
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    assert_eq!(page.stored().await?["generation"], 2);
    Ok(())
}

/// Which use of which key a relogin is. Its proof is another each time: it is over what the
/// connection was asked.
fn use_of(relogin: &Frame) -> [Value; 2] {
    ["reloginKey", "attempt"].map(|member| relogin.json["params"][member].clone())
}

/// Fault 11: a tab whose timers stand still refreshes when it wakes.
async fn tab_sleeps_through_its_refresh(stage: &mut Stage) -> Result<()> {
    stage.up(&["--refresh", "2s"]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.counter_runs().await?;

    let mut clock = stage.clock().await?;
    page.freeze().await?;
    clock.seconds(5).await?;
    let mark = front.mark();
    page.thaw().await?;
    front.payload(mark, RELOGIN).await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    assert_no_key_used_twice(&front);
    Ok(())
}

/// What the user has cleared, the log restores: in the tab that is open, in another one, and after
/// a reload.
async fn local_storage_is_cleared(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    let (first, second) = page.open_tab(&front.url()).await?;
    page.is_user(JANE).await?;
    page.turn_to(&first).await?;
    for _ in 0..3 {
        page.run("localStorage.removeItem('relogin:session')").await?;
        page.reload().await?;
        page.is_user(JANE).await?;
        page.until("restored", "localStorage.getItem('relogin:session') !== null").await?;
    }
    page.turn_to(&second).await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    page.run("localStorage.removeItem('relogin:session')").await?;
    front.cut();
    page.counter_runs().await?;
    page.is_user(JANE).await?;
    assert_no_key_used_twice(&front);
    Ok(())
}

/// A bearer session is restored from localStorage. A bound one has lost its key pair: it ends, and
/// the page says that it was refused.
async fn database_is_deleted(stage: &mut Stage) -> Result<()> {
    const NO_CRYPTO: &str = "Object.defineProperty(crypto, 'subtle', { value: undefined });";
    const DELETE: &str = "return new Promise((resolve, reject) => {
        const deletion = indexedDB.deleteDatabase('relogin:session');
        deletion.onsuccess = () => resolve(true);
        deletion.onerror = () => reject(deletion.error);
    })";
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.browser("bearer").await?;
    page.before_each_page(NO_CRYPTO).await?;
    page.open(&front.url()).await?;
    page.log_in("jane", "jane").await?;
    for _ in 0..3 {
        page.run(DELETE).await?;
        page.reload().await?;
        page.is_user(JANE).await?;
        page.counter_runs().await?;
    }
    assert_no_key_used_twice(&front);
    page.close().await?;

    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.run(DELETE).await?;
    page.reload().await?;
    page.shows(View::Login).await?;
    page.log_in("jane", "jane").await
}
