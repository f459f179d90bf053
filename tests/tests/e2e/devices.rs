//! Cookie sessions that Chromium binds to a key of its device (Device Bound Session Credentials),
//! and what a copy of its cookies is worth then.

use std::{fs, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use relogin_tests::{
    DEADLINE,
    browser::{Browser, Loading, PLAIN_HOST, View},
    in_time,
    res::Res,
    stage::Stage,
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::JANE;

on!(embedded_alone: a_copy_of_the_cookies_opens_nothing_without_the_device);
on!(both: devices_are_registered_and_proven_behind_a_gateway);

/// Has Chromium bind sessions to keys on a machine without a module that keeps them.
const DEVICES: &str = "--enable-features=DeviceBoundSessions:RequireOriginTrialTokens/false,EnableBoundSessionCredentialsSoftwareKeysForManualTesting";

/// The status of the page's request for the next key: before it, the browser has its device sign,
/// if it has one and needs to.
async fn next_key(page: &Browser) -> Result<Value> {
    page.run("return fetch('/api/session/refresh', { method: 'POST' }).then((answer) => answer.status)").await
}

/// The name of the cookie that shows that the device has signed.
async fn device_cookie(page: &Browser) -> Result<Option<String>> {
    let cookies = page.cookies().await?;
    Ok(cookies.into_iter().map(|(name, _)| name).find(|name| name.starts_with("__Host-relogin-device-session-")))
}

async fn a_copy_of_the_cookies_opens_nothing_without_the_device(stage: &mut Stage) -> Result<()> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![PLAIN_HOST.to_owned()])?.self_signed(&key)?;
    let folder = tempfile::tempdir()?;
    let [cert_file, key_file] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name).display().to_string());
    fs::write(&cert_file, certificate.pem())?;
    fs::write(&key_file, key.serialize_pem())?;
    // Not by ignoring errors: a browser binds no session to a server that it does not trust.
    let digest = STANDARD.encode(Sha256::digest(key.subject_public_key_info()));
    let trust = format!("--ignore-certificate-errors-spki-list={digest}");

    let url = format!("https://{PLAIN_HOST}:{}/", stage.service_addr().port());
    let options = ["--cookie-session", "--tls-cert", &cert_file, "--tls-key", &key_file, "--public-url", &url];
    stage.up(&options).await?;
    let owner = stage.browser_with("owner", Loading::Awaited, &[&trust, DEVICES]).await?;
    owner.open(&url).await?;
    owner.log_in("jane", "jane").await?;
    // The first request after the registration proves the key. When the browser has registered it,
    // no page can tell.
    let deadline = Instant::now() + DEADLINE;
    let cookie = loop {
        assert_eq!(next_key(&owner).await?, 204);
        match device_cookie(&owner).await? {
            Some(cookie) => break cookie,
            None => ensure!(Instant::now() < deadline, "the browser has no cookie of its device"),
        }
    };
    stage.service_says("the log", "outcome=device_bound").await?;

    // The owner goes on when that has expired: by a request, by a connection, and by the page.
    owner.remove_cookie(&cookie).await?;
    assert_eq!(next_key(&owner).await?, 204);
    assert_eq!(device_cookie(&owner).await?.as_deref(), Some(cookie.as_str()));
    owner.remove_cookie(&cookie).await?;
    let connected = "return new Promise((done) => {
        const socket = new WebSocket('/');
        socket.onopen = () => done(true);
        socket.onclose = () => done(false);
    })";
    assert_eq!(owner.run(connected).await?, json!(true));
    assert_eq!(device_cookie(&owner).await?.as_deref(), Some(cookie.as_str()));
    owner.remove_cookie(&cookie).await?;
    owner.reload().await?;
    owner.is_user(JANE).await?;
    owner.counter_runs().await?;

    // A browser with a copy of the other cookies: of this kind, and of one without devices.
    let jar: Vec<_> = owner.cookies().await?.into_iter().filter(|(name, _)| *name != cookie).collect();
    for (label, more) in [("thief", &[trust.as_str(), DEVICES][..]), ("another-thief", &[trust.as_str()])] {
        let thief = stage.browser_with(label, Loading::Awaited, more).await?;
        thief.open(&url).await?;
        for (name, value) in &jar {
            thief.set_cookie(&url, name, value).await?;
        }
        ensure!(thief.cookies().await?.len() == jar.len(), "the copy is not whole: {label}");
        assert_eq!(next_key(&thief).await?, 401, "{label}");
        thief.close().await?;
    }
    stage.service_says("the log", "outcome=proof_missing").await?;
    owner.reload().await?;
    owner.is_user(JANE).await?;

    owner.click("#logout").await?;
    owner.reload().await?;
    owner.shows(View::Login).await
}

/// The page that the requests of the next scenario say they come from.
const PAGE: &str = "https://example.org";

/// Posts to a method of the session, and gives the whole answer.
async fn post(gateway: SocketAddr, method: &str, headers: &[(&str, &str)]) -> Result<String> {
    let mut request = format!("POST /api/session/{method} HTTP/1.1\r\nHost: {gateway}\r\nConnection: close\r\n");
    for (name, value) in [("Origin", PAGE), ("Content-Length", "0")].iter().chain(headers) {
        request += &format!("{name}: {value}\r\n");
    }
    let answered = in_time("the answer", async {
        let mut stream = TcpStream::connect(gateway).await?;
        stream.write_all(format!("{request}\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    });
    answered.await
}

/// The text between two parts of an answer.
fn between<'a>(answer: &'a str, before: &str, after: &str) -> Result<&'a str> {
    let found = answer.split_once(before).and_then(|(_, rest)| rest.split_once(after));
    found.map(|(found, _)| found).with_context(|| format!("no {before:?} in {answer:?}"))
}

/// The token that the device signs.
fn token(device: &EcdsaKeyPair, challenge: &str, is_new: bool) -> Result<String> {
    let coordinate = |at: usize| URL_SAFE_NO_PAD.encode(&device.public_key().as_ref()[at..at + 32]);
    let mut header = json!({"alg": "ES256", "typ": "dbsc+jwt"});
    if is_new {
        header["jwk"] = json!({"kty": "EC", "crv": "P-256", "x": coordinate(1), "y": coordinate(33)});
    }
    let part = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", part(header), part(json!({ "jti": challenge })));
    let signature = device.sign(&SystemRandom::new(), message.as_bytes()).ok().context("signing")?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Request by request, because behind Resgate a browser would need a proxy in between.
async fn devices_are_registered_and_proven_behind_a_gateway(stage: &mut Stage) -> Result<()> {
    stage.up(&["--cookie-session", "--public-url", PAGE]).await?;
    let (gateway, url) = (stage.gateway_addr(), stage.gateway_url());
    let (_, given) = Res::bringing(&url, &[("Origin", PAGE)]).await?;
    let browser = given.first().and_then(|cookie| cookie.split(';').next()).context("no cookie")?;
    let (mut page, _) = Res::bringing(&url, &[("Origin", PAGE), ("Cookie", browser)]).await?;
    let shown = page.log_in("jane", "jane").await?["reloginKey"].take();
    let shown = shown.as_str().context("a text in the key's place")?;
    let first = post(gateway, "refresh", &[("Cookie", browser), ("X-Relogin", shown)]).await?;
    let key = format!("__Host-relogin-key-session={}", between(&first, "__Host-relogin-key-session=", ";")?);
    let jar = format!("{browser}; {key}");

    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let pkcs8 = pkcs8.ok().context("making a key")?;
    let device = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &SystemRandom::new()).ok();
    let device = device.context("reading a key")?;
    let offer = between(&first, "(ES256);path=\"registerDevice\";challenge=\"", "\"")?;
    let signed = token(&device, offer, true)?;
    let registered = post(gateway, "registerDevice", &[("Cookie", &jar), ("Secure-Session-Response", &signed)]).await?;
    ensure!(registered.starts_with("HTTP/1.1 200 "), "{registered}");
    let (_, body) = registered.split_once("\r\n\r\n").context("no body")?;
    let instructions: Value = serde_json::from_str(body).with_context(|| body.to_owned())?;
    assert_eq!(instructions["refresh_url"], "proveDevice");
    let id = format!("\"{}\"", instructions["session_identifier"].as_str().context("no identifier")?);

    let asked = post(gateway, "proveDevice", &[("Cookie", &jar), ("Sec-Secure-Session-Id", &id)]).await?;
    ensure!(asked.starts_with("HTTP/1.1 403 "), "{asked}");
    let challenge = between(&asked, "Secure-Session-Challenge: \"", "\"");
    let challenge = challenge.or_else(|_| between(&asked, "secure-session-challenge: \"", "\""))?;
    let signed = token(&device, challenge, false)?;
    let proof = [("Cookie", jar.as_str()), ("Sec-Secure-Session-Id", &id), ("Secure-Session-Response", &signed)];
    let proven = post(gateway, "proveDevice", &proof).await?;
    ensure!(proven.starts_with("HTTP/1.1 204 "), "{proven}");
    let name = instructions["credentials"][0]["name"].as_str().context("no cookie's name")?;
    let shown = format!("{name}={}", between(&proven, &format!("{name}="), ";")?);

    // With it the session is there, without it nothing is.
    for (cookies, user, status) in [(jar.clone(), Value::Null, "401"), (format!("{jar}; {shown}"), json!(3), "204")] {
        let (mut page, _) = Res::bringing(&url, &[("Origin", PAGE), ("Cookie", &cookies)]).await?;
        assert_eq!(page.user().await?["id"], user);
        let next = post(gateway, "refresh", &[("Cookie", &cookies)]).await?;
        ensure!(next.starts_with(&format!("HTTP/1.1 {status} ")), "{next}");
    }
    Ok(())
}
