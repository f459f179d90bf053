//! Logins by tokens of somebody else's issuer: a token that a browser signs for itself, here, and
//! brings in a cookie.

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Context, Result};
use relogin_tests::{browser::Browser, stage::Stage};
use serde_json::{Value, json};

on!(both:
    a_browser_is_logged_in_by_the_token_in_its_cookie,
    unusable_tokens_log_nobody_in,
);

const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

const ISSUERS: &str = r#"
[[issuer]]
name = "sso"
issuer = "https://sso.example"
audience = "chat"
algorithms = ["HS256"]
keys = "sso.secret"
cookie = "sso_token"
"#;

/// In the page: signs a token with WebCrypto, puts it into the cookie, opens a WebSocket and asks
/// what is to be asked.
const PLAY: &str = r"
    const [claims, head, requests, done] = arguments;
    const b64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)))
        .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
    const text = (value) => b64(new TextEncoder().encode(JSON.stringify(value)));
    (async () => {
        const secret = Uint8Array.from({ length: 32 }, (_, at) => at);
        const key = await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
        const message = `${text(head)}.${text(claims)}`;
        const signature = head.alg === 'none' ? '' : b64(await crypto.subtle.sign('HMAC', key, new TextEncoder().encode(message)));
        document.cookie = `sso_token=${message}.${signature}; path=/; SameSite=Strict`;
        const socket = new WebSocket(`ws://${location.host}/`);
        await new Promise((opened, failed) => { socket.onopen = opened; socket.onerror = () => failed('no connection'); });
        const answers = [];
        const ask = (method, params) => new Promise((answered) => {
            const id = answers.length + 1;
            socket.onmessage = ({ data }) => {
                const frame = JSON.parse(data);
                if (frame.id === id) { answers.push(frame.result ?? frame.error); answered(); }
            };
            socket.send(JSON.stringify({ id, method, params }));
        });
        for (const [method, params] of requests) await ask(method, params);
        socket.close();
        done(answers);
    })().catch((error) => done({ error: String(error) }));
";

async fn up(stage: &mut Stage) -> Result<()> {
    let folder = stage.folder();
    fs::write(folder.join("issuers.toml"), ISSUERS)?;
    fs::write(folder.join("sso.secret"), SECRET)?;
    fs::set_permissions(folder.join("sso.secret"), fs::Permissions::from_mode(0o600))?;
    stage.up(&["--jwt-issuers", "issuers.toml"]).await
}

fn claims() -> Value {
    let day = 86_400;
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    json!({
        "iss": "https://sso.example", "aud": ["chat"], "exp": now + day, "nbf": now - day,
        "sub": "jane@sso", "name": "Jane of SSO", "role": "user",
    })
}

async fn play(browser: &Browser, claims: &Value, alg: &str, requests: Value) -> Result<Vec<Value>> {
    let head = json!({ "alg": alg, "typ": "JWT" });
    let answers = browser.ask(PLAY, vec![claims.clone(), head, requests]).await?;
    Ok(answers.as_array().with_context(|| answers.to_string())?.clone())
}

/// The user's model among the resources that an answer brings.
fn user(answer: &Value) -> Value {
    let models = answer["models"].as_object();
    models.and_then(|models| models.values().next()).map_or(Value::Null, |model| model["id"].clone())
}

async fn a_browser_is_logged_in_by_the_token_in_its_cookie(stage: &mut Stage) -> Result<()> {
    up(stage).await?;
    let front = stage.front().await?;
    // A page of the same origin that does not connect by itself.
    let browser = stage.page("owner", &format!("{}healthz", front.url())).await?;
    let requests = json!([
        ["version", { "protocol": "1.2.3" }],
        ["get.session.user.{cid}", null],
        ["auth.session.headerLogin", null],
    ]);
    let answers = play(&browser, &claims(), "HS256", requests).await?;
    assert_eq!(user(&answers[1]), "jane@sso", "before the first message: {answers:?}");
    assert_eq!(answers[2]["code"], "session.alreadyLoggedIn");

    // By a call, where it gives a key; and from here on the browser has the cookie that sessions
    // are bound to.
    let requests = json!([
        ["version", { "protocol": "1.2.3" }],
        ["auth.session.logout", null],
        ["auth.session.headerLogin", { "attempt": "AAAAAAAAAAAAAAAAAAAAAA" }],
        ["auth.session.headerLogin", { "attempt": "AAAAAAAAAAAAAAAAAAAAAA" }],
    ]);
    let answers = play(&browser, &claims(), "HS256", requests).await?;
    let (given, again) = (&answers[2]["payload"]["reloginKey"], &answers[3]["payload"]["reloginKey"]);
    assert!(given.is_string() && given == again, "the same login again has the same answer: {answers:?}");

    // With the key it is a session like any other, for a client of any kind.
    let mut res = stage.res().await?;
    let refused = res.relogin(given, None).await?;
    assert_eq!(refused.code(), Some("session.invalidReloginKey"), "it is bound to the browser's cookie");
    let requests = json!([
        ["version", { "protocol": "1.2.3" }],
        ["auth.session.relogin", { "reloginKey": given, "attempt": "BAAAAAAAAAAAAAAAAAAAAA" }],
        ["get.session.user.{cid}", null],
    ]);
    let answers = play(&browser, &json!({}), "HS256", requests).await?;
    assert_eq!(answers[1]["payload"]["generation"], 2, "{answers:?}");
    assert_eq!(user(&answers[2]), "jane@sso");
    Ok(())
}

async fn unusable_tokens_log_nobody_in(stage: &mut Stage) -> Result<()> {
    up(stage).await?;
    let front = stage.front().await?;
    let browser = stage.page("stranger", &format!("{}healthz", front.url())).await?;
    let (mut expired, mut elsewhere, mut nobody) = (claims(), claims(), claims());
    expired["exp"] = json!(1_000_000_000);
    elsewhere["aud"] = json!("mail");
    nobody.as_object_mut().context("claims")?.remove("sub");
    let requests = json!([
        ["version", { "protocol": "1.2.3" }],
        ["get.session.user.{cid}", null],
        ["auth.session.headerLogin", null],
    ]);
    for (claims, alg) in
        [(&expired, "HS256"), (&elsewhere, "HS256"), (&nobody, "HS256"), (&claims(), "none"), (&claims(), "HS512")]
    {
        let answers = play(&browser, claims, alg, requests.clone()).await?;
        assert_eq!(user(&answers[1]), Value::Null, "{answers:?}");
        assert_eq!(answers[2]["code"], "session.invalidToken", "{answers:?}");
    }
    Ok(())
}
