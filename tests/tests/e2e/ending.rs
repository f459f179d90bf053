//! Ends of sessions: by logout, by expiry, by the removal of the user; for everybody concerned, and
//! for nobody else.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use relogin_tests::{
    browser::View,
    front::{Fate, Happening},
    stage::Stage,
};
use serde_json::{Value, json};

use crate::{ADMIN, JANE, JOHN, LOGIN, LOGOUT, RELOGIN, relogins_after_logout, relogins_before_login};

on!(both:
    log_out,
    a_session_is_ended_from_another_browser,
    key_expires_while_the_page_is_closed,
    session_reaches_its_lifetime,
    wrong_password,
    user_is_removed,
    a_password_is_changed_on_the_page,
    the_timer_of_a_session_that_was_logged_out,
    a_logout_without_a_network_is_finished_by_the_next_page,
    a_page_that_reloads_right_after_a_logout,
);

/// Fault 8; and a logout concerns no other browser.
async fn log_out(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let (one, other) = (stage.front().await?, stage.front().await?);
    let page = stage.page("leaves", &one.url()).await?;
    let stays = stage.page("stays", &other.url()).await?;
    for page in [&page, &stays] {
        page.log_in("jane", "jane").await?;
        page.counter_runs().await?;
    }
    stays.watch_views().await?;

    let (mark, mark_of_other) = (one.mark(), other.mark());
    page.click("#logout").await?;
    page.shows(View::Login).await?;
    one.payload(mark, LOGOUT).await?;
    assert_eq!(page.text("#login-error").await?, "");
    page.until_stored("nothing", "record === null").await?;

    stays.counter_runs().await?;
    stays.is_user(JANE).await?;
    assert_eq!(stays.views_seen().await?, Vec::<String>::new());
    assert!(other.requests(mark_of_other, RELOGIN).is_empty(), "the other browser had to get back in");
    stays.reload().await?;
    stays.is_user(JANE).await?;

    // Whatever the page does on its own account, it has done by the time that it has logged in
    // again.
    page.log_in("admin", "admin").await?;
    page.is_user(ADMIN).await?;
    assert_eq!(relogins_after_logout(&one, mark)?, 0, "a relogin followed the logout");
    let severe: Vec<_> = page.console().await?.into_iter().filter(|line| line.starts_with("SEVERE")).collect();
    assert_eq!(severe, Vec::<String>::new());
    Ok(())
}

/// The list of sessions is live, and who is on it can be logged out there.
async fn a_session_is_ended_from_another_browser(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let (one, other) = (stage.front().await?, stage.front().await?);
    let page = stage.page("stays", &one.url()).await?;
    let leaves = stage.page("leaves", &other.url()).await?;
    page.log_in("jane", "jane").await?;
    page.click("#sessions summary").await?;
    let listed = |count: usize| format!("document.querySelectorAll('#session-list li').length === {count}");
    page.until("this session", &listed(1)).await?;
    for round in ["#session-list button", "#revoke-others"] {
        leaves.log_in("jane", "jane").await?;
        leaves.counter_runs().await?;
        page.until("both sessions", &listed(2)).await?;
        assert_eq!(page.run("return document.querySelectorAll('#session-list button').length").await?, 1);
        let mark = other.mark();
        page.click(round).await?;
        leaves.until("the end", "document.body.dataset.session === 'elsewhere'").await?;
        leaves.shows(View::Login).await?;
        assert!(other.requests(mark, LOGIN).is_empty());
        page.until("one session", &listed(1)).await?;
    }
    assert_eq!(page.text("#sessions-message").await?, "");
    page.counter_runs().await?;
    page.is_user(JANE).await
}

async fn key_expires_while_the_page_is_closed(stage: &mut Stage) -> Result<()> {
    stage.up(&["--key-lifetime", "3s", "--refresh", "2s"]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.open("about:blank").await?;

    // A session made later than the page's last key: when it has expired, that key has too.
    let mut witness = stage.res().await?;
    witness.user().await?;
    witness.log_in("guest", "guest").await?;
    witness.event_where("session.user.{cid}.change", |change| change["values"]["id"].is_null()).await?;

    let mark = front.mark();
    page.open(&front.url()).await?;
    page.shows(View::Login).await?;
    assert_eq!(page.stored().await?, Value::Null);
    page.log_in("john", "john").await?;
    page.is_user(JOHN).await?;
    assert_eq!(relogins_before_login(&front.frames(mark))?, 1, "one try, and no loop of errors");
    page.counter_runs().await
}

/// Fault 12: a session that refreshes itself forever still ends.
async fn session_reaches_its_lifetime(stage: &mut Stage) -> Result<()> {
    stage.up(&["--session-lifetime", "6s", "--key-lifetime", "4s", "--refresh", "2s"]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    front.payload(0, RELOGIN).await?;
    page.shows(View::Login).await?;
    page.until_stored("nothing", "record === null").await?;
    page.log_in("jane", "jane").await
}

async fn wrong_password(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.enter("jane", "wrong").await?;
    page.until("an error in words", "document.getElementById('login-error').textContent.trim() !== ''").await?;
    page.shows(View::Login).await?;
    assert_eq!(page.stored().await?, Value::Null);
    page.log_in("JANE", "jane").await?;
    page.is_user(JANE).await
}

/// Without the demo: a users file, edited while the service runs.
async fn user_is_removed(stage: &mut Stage) -> Result<()> {
    const ANN: [&str; 3] = ["1", "Ann", "user"];
    let file = stage.folder().join("users.toml").display().to_string();
    let user = ["user", "--users", &file];
    stage
        .relogin(&[&user[..], &["add", "ann", "--name", "Ann", "--password-stdin"]].concat(), "the first one\n")
        .await?;
    stage.serve(&["--users", &file]).await?;
    let front = stage.front().await?;
    let page = stage.page("ann", &front.url()).await?;
    page.log_in("ann", "the first one").await?;
    page.is_user(ANN).await?;

    // A new password ends what was made with the old one.
    stage.relogin(&[&user[..], &["passwd", "ann", "--password-stdin"]].concat(), "the second one\n").await?;
    page.shows(View::Login).await?;
    let elsewhere = stage.page("elsewhere", &front.url()).await?;
    for page in [&page, &elsewhere] {
        page.log_in("ann", "the second one").await?;
        page.is_user(ANN).await?;
    }

    stage.relogin(&[&user[..], &["remove", "ann"]].concat(), "").await?;
    for page in [&page, &elsewhere] {
        page.shows(View::Login).await?;
    }
    let refused =
        stage.res().await?.request(LOGIN, Some(json!({ "username": "ann", "password": "the second one" }))).await?;
    assert_eq!(refused.code(), Some("session.wrongUsernamePassword"));
    page.until_stored("nothing", "record === null").await?;
    page.reload().await?;
    page.shows(View::Login).await?;
    assert_eq!(page.stored().await?, Value::Null);
    Ok(())
}

/// The page on which it is done stays logged in, and all others are logged out.
async fn a_password_is_changed_on_the_page(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("changes", &front.url()).await?;
    let elsewhere = stage.page("elsewhere", &front.url()).await?;
    for page in [&page, &elsewhere] {
        page.log_in("jane", "jane").await?;
        page.counter_runs().await?;
    }
    page.click(".password summary").await?;
    page.fill("#new-password", "correct horse").await?;
    for (current, part, says) in [("john", "error", "password is wrong"), ("jane", "done", "is changed")] {
        page.fill("#current-password", current).await?;
        page.click("#password-submit").await?;
        page.until(says, &format!("document.getElementById('password-{part}').textContent.includes('{says}')")).await?;
    }
    assert_eq!(page.run("return document.getElementById('new-password').value").await?, "");
    elsewhere.shows(View::Login).await?;
    page.is_user(JANE).await?;
    page.reload().await?;
    page.is_user(JANE).await?;
    elsewhere.log_in("jane", "correct horse").await?;
    elsewhere.is_user(JANE).await
}

/// Fault 11: what was planned for a session does not touch the next one.
async fn the_timer_of_a_session_that_was_logged_out(stage: &mut Stage) -> Result<()> {
    stage.up(&["--refresh", "3s"]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.click("#logout").await?;
    page.shows(View::Login).await?;
    let mark = front.mark();
    page.log_in("john", "john").await?;
    let mut key = front.payload(mark, LOGIN).await?["reloginKey"].take();

    // Two refreshes: a timer left over would have fired among them.
    for _ in 0..2 {
        let (request, mut answer) = front.exchange(front.mark(), RELOGIN).await?;
        assert_eq!(request.json["params"]["reloginKey"], key);
        key = answer.json["result"]["payload"]["reloginKey"].take();
    }
    assert_eq!(front.requests(mark, RELOGIN).len(), 2);
    page.is_user(JOHN).await?;
    page.counter_runs().await
}

/// The page that logs out is gone before the service can get it.
async fn a_logout_without_a_network_is_finished_by_the_next_page(stage: &mut Stage) -> Result<()> {
    let audit = stage.folder().join("audit");
    stage.up(&["--audit", audit.to_str().context("a path that is no text")?]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    front.shut();
    page.connection_is("reconnecting").await?;
    page.click("#logout").await?;
    page.shows(View::Login).await?;
    page.until_stored("a pending logout", "!record.key && record.pendingLogouts.length === 1").await?;

    let gone = page.current_tab().await?;
    page.empty_tab().await?;
    page.close_tab(&gone).await?;
    page.watch_for(View::Session).await?;
    front.lead_to(stage.gateway_addr());
    let mark = front.mark();
    page.open(&front.url()).await?;
    page.shows(View::Login).await?;
    front.payload(mark, LOGOUT).await?;
    page.until_stored("nothing", "record === null").await?;
    assert!(!page.has_shown(View::Session).await?, "somebody was logged in as its former owner");
    page.log_in("admin", "admin").await?;
    page.is_user(ADMIN).await?;
    stage.stop_service().await?;
    assert_eq!(logged_out(&audit)?, 1);
    Ok(())
}

/// As `logout(); location.reload()` in a page: the service gets no logout from that page. The next
/// one finishes it, and no place has the key any more.
async fn a_page_that_reloads_right_after_a_logout(stage: &mut Stage) -> Result<()> {
    let audit = stage.folder().join("audit");
    stage.up(&["--audit", audit.to_str().context("a path that is no text")?]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    let key = page.stored_session().await?["key"].as_str().context("a key")?.to_owned();
    ensure!(page.run(KEPT).await?.to_string().contains(&key), "this finds what the page keeps");
    front.rule(|frame| if frame.connection == 0 && frame.is_request(LOGOUT) { Fate::Lose } else { Fate::Pass });
    page.watch_for(View::Session).await?;
    let mark = front.mark();
    page.run("window.before = true; document.getElementById('logout').click(); location.reload()").await?;
    page.until("the next page", "!window.before && document.body.dataset.view === 'login'").await?;
    front
        .happens(mark, "the next page's logout", |happening| match happening {
            Happening::Frame(frame, Fate::Pass) => frame.connection > 0 && frame.is_request(LOGOUT),
            _ => false,
        })
        .await?;
    page.until_stored("nothing", "record === null").await?;
    assert!(!page.has_shown(View::Session).await?, "somebody was logged in as its former owner");
    let kept = page.run(KEPT).await?.to_string();
    assert!(!kept.contains(&key), "{kept}");
    stage.stop_service().await?;
    assert_eq!(logged_out(&audit)?, 1);
    Ok(())
}

/// All texts that the page keeps.
const KEPT: &str = r#"
    return new Promise((resolve, reject) => {
        const opening = indexedDB.open("relogin:session");
        opening.onerror = () => reject(opening.error);
        opening.onsuccess = () => {
            const database = opening.result;
            const transaction = database.transaction(["entries", "texts"]);
            const all = ["entries", "texts"].map((store) => transaction.objectStore(store).getAll());
            transaction.oncomplete = () => {
                database.close();
                resolve(JSON.stringify([all.map((request) => request.result), Object.entries(localStorage)]));
            };
        };
    })"#;

/// How many logouts the audit trail has, once the service has stopped.
fn logged_out(audit: &Path) -> Result<usize> {
    let told = std::fs::read_to_string(audit)?;
    Ok(told.lines().filter(|line| line.contains(r#""event":"logged_out""#)).count())
}
