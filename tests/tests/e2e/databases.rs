//! Browsers whose IndexedDB breaks, or gives no answer: no page waits for it forever, and nobody
//! is logged out by it.

use anyhow::{Context, Result};
use relogin_tests::{browser::View, stage::Stage};

use crate::{JANE, RELOGIN, assert_no_key_used_twice};

on!(embedded_alone:
    breaks_while_the_page_is_open,
    never_opens,
    transactions_never_end,
    a_page_knows_its_session_without_its_database,
);

/// What WebKit does when the system ends the process that has its databases: from then on,
/// everything fails.
const BREAKS: &str = r"
    const breaks = () => { throw new DOMException('Connection to Indexed Database server lost', 'UnknownError'); };
    IDBDatabase.prototype.transaction = breaks;
    IDBFactory.prototype.open = breaks;";

/// As browsers have been seen to do: it does not open, and does not fail either.
const NEVER_OPENS: &str = "IDBFactory.prototype.open = () => new EventTarget();";

/// It opens, and that is all.
const TRANSACTIONS_NEVER_END: &str = r"
    const request = () => new EventTarget();
    const objectStore = () => new Proxy({}, { get: () => request });
    IDBDatabase.prototype.transaction = () => Object.assign(new EventTarget(), { objectStore });";

/// A bound session's key pair was read before: it signs on. What localStorage loses at the same
/// time, as in WebKit, the page knows.
async fn breaks_while_the_page_is_open(stage: &mut Stage) -> Result<()> {
    let audit = stage.folder().join("audit");
    stage.up(&["--audit", audit.to_str().context("a path that is no text")?]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.watch_views().await?;
    page.run(BREAKS).await?;
    for loses in ["", "localStorage.clear()", "localStorage.clear()"] {
        page.run(loses).await?;
        let mark = front.mark();
        front.cut();
        assert!(front.payload(mark, RELOGIN).await?["bound"] == true);
        page.is_user(JANE).await?;
        page.counter_runs().await?;
    }
    assert_eq!(page.views_seen().await?, Vec::<String>::new());
    stage.stop_service().await?;
    let told = std::fs::read_to_string(audit)?;
    assert!(told.contains(r#""event":"logged_in""#) && !told.contains("proof_missing"), "{told}");
    Ok(())
}

async fn never_opens(stage: &mut Stage) -> Result<()> {
    without_an_answer(stage, NEVER_OPENS).await
}

async fn transactions_never_end(stage: &mut Stage) -> Result<()> {
    without_an_answer(stage, TRANSACTIONS_NEVER_END).await
}

/// The page goes on without its database, by localStorage.
async fn without_an_answer(stage: &mut Stage, script: &str) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.browser("jane").await?;
    page.before_each_page(script).await?;
    page.open(&front.url()).await?;
    page.log_in("jane", "jane").await?;
    for _ in 0..2 {
        page.reload().await?;
        page.is_user(JANE).await?;
        page.counter_runs().await?;
    }
    page.click("#logout").await?;
    page.shows(View::Login).await?;
    page.reload().await?;
    page.shows(View::Login).await?;
    assert_no_key_used_twice(&front);
    Ok(())
}

/// From localStorage: the database has not answered, and its time to do so cannot run out.
async fn a_page_knows_its_session_without_its_database(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.before_each_page(NEVER_OPENS).await?;
    page.before_each_page("globalThis.setTimeout = () => 0;").await?;
    page.watch_for(View::Login).await?;
    let mark = front.mark();
    page.reload().await?;
    page.until("a session to resume", "document.body.dataset.session === 'resuming'").await?;
    page.connection_is("connected").await?;
    assert!(!page.has_shown(View::Login).await?, "a form was shown to somebody who is logged in");
    assert!(front.requests(mark, RELOGIN).is_empty(), "the key is used in its turn only");
    Ok(())
}
