//! The page shows nothing that it has to take back; and its words in each state.

use anyhow::{Context, Result, ensure};
use relogin_tests::{browser::View, stage::Stage};
use serde_json::{Value, json};

use crate::JANE;

on!(embedded_alone:
    a_reload_that_resumes_paints_no_login_form,
    nothing_moves_on_load,
    a_login_and_a_retry_wait_for_no_back_off,
    the_login_form_spares_its_users_what_it_can,
    each_state_has_its_words_and_no_more_room_than_they_take,
    the_page_shows_what_becomes_of_thief_and_owner,
    diagnostics_appear_only_on_request,
    the_event_list_says_what_happens_and_stays_unfolded,
    a_stolen_key_is_shown_for_what_it_is_worth,
    behind_a_proxy_the_public_url_lets_the_page_in,
);

/// A proxy that asks for the service by its own address, as nginx does. Without the option the page
/// cannot connect, and the log says what to do; with it cookies are as that says, and the audit
/// trail knows who came.
async fn behind_a_proxy_the_public_url_lets_the_page_in(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    front.stand_for("192.0.2.7");
    let page = stage.page("jane", &front.plain_url()).await?;
    let url = front.plain_url().trim_end_matches('/').to_owned();
    stage.service_says("which option would let it in", &format!("--public-url \"{url}\"")).await?;

    stage.stop_service().await?;
    let audit = stage.folder().join("audit");
    let path = audit.to_str().context("a path that is no text")?.to_owned();
    stage.restart_with(&["--demo", "--public-url", &url, "--trusted-proxy", "loopback", "--audit", &path]).await?;
    page.reload().await?;
    page.log_in("jane", "jane").await?;
    page.reload().await?;
    page.is_user(JANE).await?;
    let cookies: Vec<_> = page.cookies().await?.into_iter().map(|(name, _)| name).collect();
    assert_eq!(cookies, ["relogin-session"], "without TLS, and without the prefix that needs it");
    // All is written by then.
    stage.stop_service().await?;
    let told = std::fs::read_to_string(audit)?;
    let login =
        told.lines().find(|line| line.contains(r#""event":"logged_in""#)).context("no login in the audit trail")?;
    ensure!(login.contains(r#""remoteAddr":"192.0.2.7:0""#), "{login}");
    Ok(())
}

/// Notes from the beginning of each document on what may be painted: the view of each frame, and of
/// each change of the document.
const WATCH: &str = r"
    window.painted = [];
    const note = () => {
        const shown = [...document.querySelectorAll('.view')].filter(view => getComputedStyle(view).visibility === 'visible');
        for (const view of shown.map(view => view.classList[1])) {
            if (window.painted.at(-1) !== view) window.painted.push(view);
        }
        const title = document.querySelector('#login-title');
        if (title?.checkVisibility({ visibilityProperty: true, opacityProperty: true })) window.painted.push('login form');
    };
    const each = () => { note(); requestAnimationFrame(each); };
    each();
    new MutationObserver(note).observe(document, { subtree: true, childList: true, attributes: true });";

/// Neither while the program loads, nor while the service takes its time.
async fn a_reload_that_resumes_paints_no_login_form(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.before_each_page(WATCH).await?;

    page.reload().await?;
    page.is_user(JANE).await?;
    assert_no_form(&page.run("return window.painted").await?);

    // Nobody answers: what is known is that there is a session to pick up.
    front.shut();
    page.reload().await?;
    page.shows(View::Resuming).await?;
    page.connection_is("reconnecting").await?;
    front.lead_to(stage.gateway_addr());
    page.is_user(JANE).await?;
    assert_no_form(&page.run("return window.painted").await?);
    Ok(())
}

fn assert_no_form(painted: &Value) {
    let painted = painted.as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(painted.last(), Some(&json!("view-session")), "{painted:?}");
    for form in ["view-login", "login form"] {
        assert!(!painted.contains(&json!(form)), "{painted:?}");
    }
}

/// By the browser's own measure, with everything unfolded, and while the session is resumed.
async fn nothing_moves_on_load(stage: &mut Stage) -> Result<()> {
    const MEASURE: &str = r"
        window.moved = [];
        new PerformanceObserver((list) => {
            for (const { value, sources } of list.getEntries()) {
                window.moved.push([value, ...sources.map(({ node }) => node?.id || node?.className || node?.nodeName)]);
            }
        }).observe({ type: 'layout-shift', buffered: true });";
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    for fold in ["#events", "#theft"] {
        page.click(&format!("{fold} summary")).await?;
        page.until("unfolded", &format!("localStorage.getItem('relogin-page:{}') !== null", &fold[1..])).await?;
    }
    page.before_each_page(MEASURE).await?;
    for width in [360, 700, 1280] {
        page.dress(width, false).await?;
        page.reload().await?;
        page.is_user(JANE).await?;
        page.counter_runs().await?;
        assert_eq!(page.run("return window.moved").await?, json!([]), "at {width} pixels");
        assert_eq!(
            // The form for another password and the list of sessions are folded, wherever they were
            // used last.
            page.run("return [...document.querySelectorAll('details[open]')].map(fold => fold.id)").await?,
            json!(["events", "theft"])
        );
        assert!(
            page.run("return document.documentElement.scrollWidth").await?.as_u64() <= Some(width.into()),
            "it fits"
        );
    }
    Ok(())
}

/// The page's timers stand still: waiting for back-off would take forever.
async fn a_login_and_a_retry_wait_for_no_back_off(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.connection_is("connected").await?;
    assert_eq!(page.run("return document.getElementById('retry').hidden").await?, true);
    page.hold_timers().await?;
    front.shut();
    page.connection_is("reconnecting").await?;
    page.until("the button", "!document.getElementById('retry').hidden").await?;
    front.lead_to(stage.gateway_addr());
    page.click("#retry").await?;
    page.connection_is("connected").await?;
    page.until("no button", "document.getElementById('retry').hidden").await?;
    assert_eq!(
        page.run("return document.activeElement.id").await?,
        "username",
        "nobody is left at a button that is gone"
    );

    front.shut();
    page.connection_is("reconnecting").await?;
    front.lead_to(stage.gateway_addr());
    page.log_in("jane", "jane").await
}

/// Focus, spaces, fields that are too full, a password to look at.
async fn the_login_form_spares_its_users_what_it_can(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.connection_is("connected").await?;
    assert_eq!(page.run("return document.activeElement.id").await?, "username");
    let says = |text: &str| format!("document.getElementById('login-error').textContent.includes('{text}')");
    let fill = |field: &str, length: usize| format!("document.getElementById('{field}').value = 'x'.repeat({length})");
    for (field, length, other) in [("username", 513, "password"), ("password", 8193, "username")] {
        page.run(&format!("{}; {}", fill(field, length), fill(other, 9))).await?;
        page.click("#login-submit").await?;
        page.until("whose fault it is", &says(&format!("This {field} is too long"))).await?;
        let at = "return document.activeElement.id + document.querySelectorAll('[aria-invalid=true]').length";
        assert_eq!(page.run(at).await?, format!("{field}1"));
    }

    page.run("document.getElementById('password').value = 'jane'").await?;
    page.click("#reveal").await?;
    let kind = "return document.getElementById('password').type + document.getElementById('reveal').textContent";
    assert_eq!(page.run(kind).await?, "textHide password");
    page.click("#reveal").await?;
    assert_eq!(page.run(kind).await?, "passwordShow password");
    page.click("#reveal").await?;
    page.enter("  jane ", "jane").await?;
    page.is_user(JANE).await?;
    assert_eq!(page.run(kind).await?, "passwordShow password", "as browsers know passwords");
    Ok(())
}

/// Titles, a logout that is called one, a way out where nothing works; and no gaps for messages
/// that are not there.
async fn each_state_has_its_words_and_no_more_room_than_they_take(stage: &mut Stage) -> Result<()> {
    const GAPS: &str = r"
        const shown = [...document.querySelectorAll('.view')].find((view) => getComputedStyle(view).visibility === 'visible');
        const views = document.querySelector('.views');
        const [room, taken] = [views, shown].map((element) => element.getBoundingClientRect().height);
        const empty = [...shown.querySelectorAll('p')].filter((p) => !p.textContent && p.offsetHeight > 0).map((p) => p.id);
        const box = shown.querySelector('.ticker')?.offsetHeight > 200 ? ['ticker'] : [];
        return [room - taken < 80 ? 0 : room - taken, ...empty, ...box];";
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    let titled = |title: &str| format!("document.title === '{title} – Relogin'");
    for width in [360, 1280] {
        page.dress(width, false).await?;
        page.until("the title", &titled("Log in")).await?;
        assert_eq!(page.run(GAPS).await?, json!([0]), "login at {width}");
        page.log_in("jane", "jane").await?;
        page.until("the title", &titled("Jane Doe")).await?;
        assert_eq!(page.run(GAPS).await?, json!([0]), "session at {width}");
        front.shut();
        page.until("the title", &titled("Offline, still logged in")).await?;
        assert_eq!(page.text(".eyebrow").await?, "Offline, still logged in");
        front.lead_to(stage.gateway_addr());
        page.connection_is("connected").await?;
        page.until("the title", &titled("Jane Doe")).await?;
        page.click("#logout").await?;
        page.until("the title", &titled("Logged out")).await?;
        assert_eq!(page.text("#login-reason").await?, "You are logged out.");
        page.reload().await?;
    }
    page.before_each_page("delete window.WebAssembly;").await?;
    page.reload().await?;
    page.until("the title", &titled("Could not start")).await?;
    assert_eq!(page.run(GAPS).await?, json!([0]), "failed");
    page.run("window.before = true").await?;
    page.click("#reload").await?;
    page.until("a new page", "window.before === undefined && document.body.dataset.view === 'failed'").await.map(drop)
}

/// On a screen of 1280 by 860, without scrolling, for both kinds of sessions.
async fn the_page_shows_what_becomes_of_thief_and_owner(stage: &mut Stage) -> Result<()> {
    const OUT_OF_VIEW: &str = r"
        return [...document.querySelectorAll('#thief, #owner')]
            .map((element) => element.getBoundingClientRect().bottom - innerHeight).filter((below) => below > 0);";
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    for (query, outcome) in [("", "Refused"), ("?bearer", "the key was used twice")] {
        page.open(&format!("{}{query}", front.url())).await?;
        page.screen(1280, 860).await?;
        page.log_in("jane", "jane").await?;
        if query.is_empty() {
            page.click("#theft summary").await?;
        } else {
            let text = page.text("#theft").await?;
            ensure!(!text.contains("device key"), "there is none: {text}");
        }
        page.click("#steal").await?;
        let came = format!("document.getElementById('thief').textContent.includes('{outcome}')");
        page.until("the outcome", &came).await?;
        assert_eq!(page.run("return scrollY").await?, 0, "{query}");
        assert_eq!(page.run(OUT_OF_VIEW).await?, json!([]), "{query}");
    }
    Ok(())
}

async fn diagnostics_appear_only_on_request(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    assert_eq!(page.run("return document.getElementById('diagnostics').hidden").await?, true);
    page.open(&format!("{}?debug", front.url())).await?;
    page.is_user(JANE).await?;
    page.click("#diagnostics summary").await?;
    page.until("a line", "document.getElementById('diagnostic-lines').innerText.includes('session: in')").await?;
    // By the session manager.
    for line in ["started: storage has generation 1", "relogin sent: generation 1, attempt ", "answer: generation 2, "]
    {
        let says = format!("document.getElementById('diagnostic-lines').textContent.includes('{line}')");
        page.until(line, &says).await?;
    }
    let key = page.stored_session().await?["key"].as_str().context("there is a key")?.to_owned();
    let told = page.text("#diagnostics").await?;
    ensure!(!told.contains(&key[..12]), "no key is told: {told}");
    Ok(())
}

async fn the_event_list_says_what_happens_and_stays_unfolded(stage: &mut Stage) -> Result<()> {
    stage.up(&["--refresh", "3s"]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    let says = |line: &str| format!("document.getElementById('event-lines').textContent.includes('{line}')");
    page.until("nobody", &says("Nobody is logged in")).await?;
    page.log_in("jane", "jane").await?;
    for line in [
        "Connected",
        "Logged in: Jane Doe",
        "Key of generation 1, refresh in 0:0",
        "Rotated to generation 2, refresh in 0:0",
    ] {
        page.until(line, &says(line)).await?;
    }
    page.click("#events summary").await?;
    page.until("remembered", "localStorage.getItem('relogin-page:events') !== null").await?;
    page.reload().await?;
    for line in ["Found a key, using it", "Resumed: Jane Doe"] {
        page.until(line, &says(line)).await?;
    }
    assert_eq!(page.run("return document.getElementById('events').open").await?, true);
    front.cut();
    for line in ["Connection lost", "Offline, still logged in"] {
        page.until(line, &says(line)).await?;
    }
    Ok(())
}

/// Of a bound session nothing, of a bearer one a moment, which ends it for both.
async fn a_stolen_key_is_shown_for_what_it_is_worth(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    let says = |who: &str, words: &str| format!("document.getElementById('{who}').textContent.includes('{words}')");
    page.log_in("jane", "jane").await?;
    page.click("#theft summary").await?;
    page.click("#steal").await?;
    page.until("the refusal", &says("thief", "Refused.")).await?;
    page.until("no notice", &says("owner", "noticed nothing")).await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;

    page.open(&format!("{}?bearer", front.url())).await?;
    page.log_in("jane", "jane").await?;
    page.click("#steal").await?;
    page.until("the end", &says("thief", "the key was used twice")).await?;
    page.until("its reason", &says("owner", "told why")).await?;
    page.shows(View::Login).await?;
    page.until("its words", &says("login-reason", "Somebody else has used your key")).await?;
    assert_eq!(page.run("return document.activeElement.id").await?, "steal", "nobody is moved who was not in the card");

    // And the other session is another one.
    page.open(&front.url()).await?;
    page.is_user(JANE).await
}
