//! Every state of the page, in light and in dark, narrow and wide: usable by everybody (by
//! axe-core), and nothing of it beside the window. With `RELOGIN_PICTURES` naming a folder,
//! pictures are left there: `cargo xtask screenshots` does that.

use std::{env, path::Path};

use anyhow::{Result, ensure};
use relogin_tests::{
    browser::{Browser, View},
    front::{Direction, Fate},
    stage::Stage,
};

use crate::{JANE, LOGIN};

on!(embedded_alone:
    the_login_form_in_every_state,
    a_session_in_every_state,
    every_end_of_a_session,
    a_session_that_expires,
    bearer_sessions_in_every_state,
    a_page_that_does_not_start,
);

async fn the_login_form_in_every_state(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.connection_is("connected").await?;
    looks_well(&page, "login").await?;
    let link = page.run("return document.querySelector('.more a[href^=\"https://\"]').checkVisibility()").await?;
    assert_eq!(link, true, "to the documentation");
    page.click("#login-submit").await?;
    says(&page, "Please enter").await?;
    looks_well(&page, "login-incomplete").await?;
    page.run("document.getElementById('username').value = 'x'.repeat(513)").await?;
    page.fill("#password", "jane").await?;
    page.click("#login-submit").await?;
    says(&page, "too long").await?;
    looks_well(&page, "login-too-long").await?;

    page.enter("jane", "wrong").await?;
    says(&page, "Wrong username or password").await?;
    page.click("#reveal").await?;
    looks_well(&page, "login-wrong-password").await?;
    // How many guesses are free is the service's to know.
    let answered = "document.getElementById('login-submit').ariaDisabled !== 'true' && \
         document.getElementById('login-error').textContent";
    while !page.until("an answer", answered).await?.as_str().is_some_and(|said| said.contains("Too many")) {
        page.enter("john", "wrong").await?;
    }
    looks_well(&page, "login-throttled").await?;

    front.rule(|frame| if frame.is_request(LOGIN) { Fate::Lose } else { Fate::Pass });
    page.enter("jane", "jane").await?;
    page.until("the login under way", "document.title.startsWith('Logging in')").await?;
    looks_well(&page, "login-pending").await?;
    front.rule(|_| Fate::Pass);

    page.open(&front.url()).await?;
    page.connection_is("connected").await?;
    front.shut();
    page.connection_is("reconnecting").await?;
    looks_well(&page, "login-connection-lost").await?;
    page.enter("jane", "jane").await?;
    says(&page, "cannot be reached yet").await?;
    looks_well(&page, "login-pending-without-connection").await?;
    page.reload().await?;
    page.connection_is("reconnecting").await?;
    looks_well(&page, "login-server-unreachable").await
}

async fn a_session_in_every_state(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.counter_runs().await?;
    looks_well(&page, "session").await?;
    page.click("#sessions summary").await?;
    page.until("the list", "document.querySelector('#session-list li')?.textContent.includes('this session')").await?;
    looks_well(&page, "session-list").await?;
    page.click("#sessions summary").await?;
    front.shut();
    page.connection_is("reconnecting").await?;
    page.until("the button", "!document.getElementById('retry').hidden").await?;
    looks_well(&page, "session-reconnecting").await?;
    page.set_offline(true).await?;
    page.until("no network", "document.getElementById('connection-state').textContent.startsWith('Offline')").await?;
    looks_well(&page, "session-without-network").await?;
    page.set_offline(false).await?;
    page.reload().await?;
    page.shows(View::Resuming).await?;
    page.connection_is("reconnecting").await?;
    looks_well(&page, "resuming-server-unreachable").await?;

    front.lead_to(stage.gateway_addr());
    page.is_user(JANE).await?;
    for fold in ["#events", "#theft"] {
        page.click(&format!("{fold} summary")).await?;
    }
    page.click("#steal").await?;
    page.until("the refusal", "document.getElementById('thief').textContent.includes('Refused')").await?;
    looks_well(&page, "session-unfolded").await?;
    page.click(".password summary").await?;
    page.click("#password-submit").await?;
    page.until("what is missing", "document.getElementById('password-error').textContent !== ''").await?;
    looks_well(&page, "session-password").await?;

    // Nobody answers: the key is being used.
    front.rule(|frame| if frame.direction == Direction::Down { Fate::Lose } else { Fate::Pass });
    page.reload().await?;
    page.shows(View::Resuming).await?;
    looks_well(&page, "resuming").await?;
    front.rule(|_| Fate::Pass);
    page.open(&format!("{}?debug", front.url())).await?;
    page.is_user(JANE).await?;
    page.click("#diagnostics summary").await?;
    page.until("a line", "document.getElementById('diagnostic-lines').innerText.includes('session: in')").await?;
    looks_well(&page, "session-debug").await
}

async fn every_end_of_a_session(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    let (one, other) = page.open_tab(&front.url()).await?;
    page.is_user(JANE).await?;
    let loot = page.stored_session().await?;
    page.click("#logout").await?;
    ended(&page, "out").await?;
    page.turn_to(&one).await?;
    ended(&page, "elsewhere").await?;
    page.turn_to(&other).await?;
    page.store(&loot).await?;
    page.reload().await?;
    ended(&page, "refused").await
}

async fn a_session_that_expires(stage: &mut Stage) -> Result<()> {
    stage.up(&["--key-lifetime", "3s", "--refresh", "2s"]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    front.shut();
    page.connection_is("reconnecting").await?;
    // A session made later than the page's last key: when it has expired, that key has too.
    let mut witness = stage.res().await?;
    witness.user().await?;
    witness.log_in("guest", "guest").await?;
    witness.event_where("session.user.{cid}.change", |change| change["values"]["id"].is_null()).await?;
    front.lead_to(stage.gateway_addr());
    ended(&page, "expired").await
}

/// Asked for, and where a page can get no device key.
async fn bearer_sessions_in_every_state(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.plain_url()).await?;
    page.log_in("jane", "jane").await?;
    page.counter_runs().await?;
    page.run("document.querySelector('.hint-mark').focus()").await?;
    looks_well(&page, "bearer-without-device-key").await?;
    page.open(&format!("{}?bearer", front.url())).await?;
    page.log_in("jane", "jane").await?;
    page.counter_runs().await?;
    page.click("#theft summary").await?;
    looks_well(&page, "bearer").await?;
    page.click("#steal").await?;
    ended(&page, "stolen").await
}

async fn a_page_that_does_not_start(stage: &mut Stage) -> Result<()> {
    const NEVER: &str = "WebAssembly.instantiateStreaming = WebAssembly.instantiate = () => new Promise(() => {});";
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.browser("jane").await?;
    page.before_each_page(NEVER).await?;
    page.open(&front.url()).await?;
    looks_well(&page, "starting").await?;
    page.before_each_page("delete window.WebAssembly;").await?;
    page.reload().await?;
    page.until("a word", "document.body.dataset.view === 'failed'").await?;
    looks_well(&page, "failed").await
}

async fn says(page: &Browser, words: &str) -> Result<()> {
    let says = format!("document.getElementById('login-error').textContent.includes('{words}')");
    page.until(words, &says).await.map(drop)
}

async fn ended(page: &Browser, why: &str) -> Result<()> {
    page.until(why, &format!("document.body.dataset.session === '{why}'")).await?;
    page.shows(View::Login).await?;
    looks_well(page, &format!("ended-{why}")).await
}

/// What is cut off at the right, of what is shown: its text is wider than it.
const CUT_OFF: &str = r"
    return [...document.querySelectorAll('main *, aside *')]
        .filter((element) => element.offsetWidth > 1 && element.scrollWidth > element.clientWidth + 1)
        .filter((element) => !['visible', 'auto', 'scroll'].includes(getComputedStyle(element).overflowX))
        .filter((element) => element.tagName !== 'INPUT')
        .map((element) => element.id || element.className || element.tagName);";

async fn looks_well(page: &Browser, state: &str) -> Result<()> {
    for (dress, width, dark) in
        [("light-1280", 1280, false), ("dark-1280", 1280, true), ("light-360", 360, false), ("dark-360", 360, true)]
    {
        page.dress(width, dark).await?;
        assert_eq!(page.faults().await?, Vec::<String>::new(), "{state}, {dress}");
        let wide = page.run("return document.documentElement.scrollWidth").await?;
        ensure!(wide.as_u64() <= Some(width.into()), "{state}, {dress}: {wide} pixels wide");
        assert_eq!(page.run(CUT_OFF).await?, serde_json::json!([]), "cut off in {state}, {dress}");
        let lines = page.run("return document.querySelector('.connection').offsetHeight").await?;
        ensure!(lines.as_u64() <= Some(64), "{state}, {dress}: {lines} pixels for the connection's state");
        if let Some(folder) = env::var_os("RELOGIN_PICTURES") {
            let whole = page.run("scrollTo(0, 0); return document.documentElement.scrollHeight").await?;
            page.screen(width, u32::try_from(whole.as_u64().unwrap_or(800))?).await?;
            page.screenshot(&Path::new(&folder).join(format!("{state}-{dress}.png"))).await?;
        }
    }
    Ok(())
}
