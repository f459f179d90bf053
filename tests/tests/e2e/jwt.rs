//! Relogin keys that are JSON Web Tokens: the page keeps its session by them, and others verify
//! them by what is published.

use anyhow::{Context, Result, ensure};
use relogin_tests::{browser::View, stage::Stage};
use serde_json::Value;

use crate::{JANE, Kind, LOGOUT, RELOGIN};

on!(both:
    keys_that_are_tokens_keep_a_session_and_others_verify_them,
    sessions_outlive_a_change_of_the_key_format,
    a_stolen_token_ends_a_bearer_session_and_opens_no_bound_one,
);

const FORMAT: [&str; 4] = ["--key-format", "jwt", "--key-issuer", "https://login.example"];

/// In the page: WebCrypto on the published keys, as any other service would do it, and what the
/// token claims.
const VERIFY: &str = r"
    const [token, done] = arguments;
    const bytes = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
    const json = (text) => JSON.parse(new TextDecoder().decode(bytes(text)));
    (async () => {
        const [head, payload, signature] = token.split('.');
        const { keys } = await (await fetch('/.well-known/jwks.json')).json();
        const { alg, typ, kid } = json(head);
        const jwk = keys.find((key) => key.kid === kid);
        const key = await crypto.subtle.importKey('jwk', { kty: jwk.kty, crv: jwk.crv, x: jwk.x }, 'Ed25519', false, ['verify']);
        const message = new TextEncoder().encode(`${head}.${payload}`);
        const valid = await crypto.subtle.verify('Ed25519', key, bytes(signature), message);
        done({ valid, alg, typ, claims: json(payload) });
    })().catch((error) => done({ error: String(error) }));
";

fn is_token(key: &Value) -> bool {
    key.as_str().is_some_and(|key| key.split('.').count() == 3)
}

async fn keys_that_are_tokens_keep_a_session_and_others_verify_them(stage: &mut Stage) -> Result<()> {
    stage.up(&[&FORMAT[..], &["--refresh", "2s"]].concat()).await?;
    let front = stage.front().await?;
    let browser = stage.page("owner", &front.url()).await?;
    browser.log_in("jane", "jane").await?;
    let first = browser.stored_session().await?;
    assert!(is_token(&first["key"]), "{first}");
    let verified = browser.ask(VERIFY, vec![first["key"].clone()]).await?;
    assert_eq!(verified["valid"], true, "{verified}");
    assert_eq!((verified["alg"].as_str(), verified["typ"].as_str()), (Some("EdDSA"), Some("relogin+jwt")));
    let claims = &verified["claims"];
    assert_eq!((&claims["sub"], &claims["gen"]), (&Value::from("3"), &Value::from(1)));
    assert_eq!((&claims["iss"], &claims["aud"]), (&Value::from("https://login.example"), &Value::from("session")));
    let lifetime = claims["exp"].as_u64().context("exp")? - claims["iat"].as_u64().context("iat")?;
    ensure!(lifetime == 86_400, "the demo's key lifetime, not {lifetime} s");

    let mark = front.mark();
    let refreshed = front.payload(mark, RELOGIN).await?;
    assert!(is_token(&refreshed["reloginKey"]), "{refreshed}");
    browser.reload().await?;
    browser.is_user(JANE).await?;
    stage.kill_gateway().await?;
    browser.connection_is("reconnecting").await?;
    stage.start_gateway().await?;
    browser.connection_is("connected").await?;
    browser.is_user(JANE).await?;

    // The page reads off such a key, too, which session it is to end.
    let mark = front.mark();
    browser.click("#logout").await?;
    let (request, _) = front.exchange(mark, LOGOUT).await?;
    assert_eq!(request.json["params"]["sid"], claims["sid"], "{}", request.json);
    browser.shows(View::Login).await
}

async fn sessions_outlive_a_change_of_the_key_format(stage: &mut Stage) -> Result<()> {
    stage.up(&["--refresh", "1h", "--key-lifetime", "2h"]).await?;
    let front = stage.front().await?;
    let browser = stage.page("owner", &front.url()).await?;
    browser.log_in("jane", "jane").await?;
    assert!(!is_token(&browser.stored().await?["key"]));
    for (options, tokens) in [(&FORMAT[..], true), (&["--key-issuer", "https://login.example"][..], false)] {
        stage.stop_service().await?;
        stage.restart_with(&[&["--demo", "--refresh", "1h", "--key-lifetime", "2h"], options].concat()).await?;
        browser.reload().await?;
        let condition = format!("record && !record.attempt && (record.key.split('.').length === 3) === {tokens}");
        browser.until_stored("a key of the other format", &condition).await?;
        browser.is_user(JANE).await?;
    }
    Ok(())
}

async fn a_stolen_token_ends_a_bearer_session_and_opens_no_bound_one(stage: &mut Stage) -> Result<()> {
    stage.up(&FORMAT).await?;
    let front = stage.front().await?;
    for (kind, label) in [(Kind::Bearer, "bearer"), (Kind::Bound, "bound")] {
        let owner = stage.page(label, &kind.url(&front)).await?;
        owner.log_in("jane", "jane").await?;
        let first = owner.stored_session().await?;
        kind.assert_of(&first);
        let mark = front.mark();
        owner.reload().await?;
        front.payload(mark, RELOGIN).await?;
        owner.is_user(JANE).await?;
        let mut thief = stage.res().await?;
        let refused = thief.relogin(&first["key"], None).await?;
        assert_eq!(refused.code(), Some("session.invalidReloginKey"));
        match kind {
            Kind::Bearer => owner.shows(View::Login).await?,
            Kind::Bound => owner.is_user(JANE).await?,
        }
    }
    Ok(())
}
