//! Copies of a browser's storage: used keys of bearer sessions end them, keys of bound sessions
//! open nothing.

use anyhow::{Context, Result};
use relogin_tests::{
    browser::{Browser, View},
    front::Frame,
    stage::Stage,
};
use serde_json::{Value, json};

use crate::{JANE, Kind, RELOGIN};

on!(both:
    storage_of_a_bound_session_is_copied,
    key_stolen_by_another_browser,
    key_stolen_by_a_legacy_client,
    key_stolen_while_the_owner_is_away,
);

on!(embedded_alone: browsers_that_lack_something);

/// What there is to copy: all but the device key, which the browser gives to nobody.
async fn copied(owner: &Browser, kind: Kind) -> Result<Value> {
    let loot = owner.stored_session().await?;
    assert!(loot["key"].is_string());
    kind.assert_of(&loot);
    Ok(loot)
}

/// Neither without a proof, nor with that of another device; and the owner does not even notice.
async fn storage_of_a_bound_session_is_copied(stage: &mut Stage) -> Result<()> {
    stage.up(&["--refresh", "3s"]).await?;
    let (owners, thiefs) = (stage.front().await?, stage.front().await?);
    let owner = stage.page("owner", &owners.url()).await?;
    owner.log_in("jane", "jane").await?;
    owner.counter_runs().await?;
    owner.watch_views().await?;

    // A browser with a device key of its own.
    let thief = stage.page("thief", &thiefs.url()).await?;
    thief.log_in("guest", "guest").await?;
    thief.open(&format!("{}healthz", thiefs.url())).await?;
    thief.store(&copied(&owner, Kind::Bound).await?).await?;
    let mark = thiefs.mark();
    thief.open(&thiefs.url()).await?;
    let (use_, refused) = thiefs.exchange(mark, RELOGIN).await?;
    assert!(use_.json["params"]["proof"]["signature"].is_string());
    assert_eq!(refused.error_code(), Some("session.invalidReloginKey"));
    thief.shows(View::Login).await?;

    let mut bare = stage.res().await?;
    let loot = copied(&owner, Kind::Bound).await?;
    let refused = bare.relogin(&loot["key"], loot["attempt"].as_str()).await?;
    assert_eq!(refused.code(), Some("session.invalidReloginKey"));
    stage.service_says("the audit", "outcome=proof_missing").await?;

    let refreshed = owners.payload(owners.mark(), RELOGIN).await?;
    assert_eq!(refreshed["bound"], true);
    owner.counter_runs().await?;
    owner.is_user(JANE).await?;
    assert_eq!(owner.views_seen().await?, Vec::<String>::new());
    Ok(())
}

/// Fault 5: the owner is notified, makes the extra attempt, and with that nobody keeps the session.
async fn key_stolen_by_another_browser(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let owner = stage.page("owner", &front.plain_url()).await?;
    owner.log_in("jane", "jane").await?;
    let loot = copied(&owner, Kind::Bearer).await?;

    let thief = stage.page("thief", &front.plain_url()).await?;
    // Else it could find the key before its reload, and use it twice.
    thief.connection_is("connected").await?;
    thief.shows(View::Login).await?;
    thief.store(&loot).await?;
    let owners = 0;
    let mark = front.mark();
    thief.reload().await?;
    assert_eq!(front.payload(mark, RELOGIN).await?["generation"], 2);
    let of_owner = |frame: &Frame| frame.is_request(RELOGIN) && frame.connection == owners;
    let extra = front.frame(mark, "the owner's extra attempt", of_owner).await?;
    let refused = front.frame(mark, "its refusal", |frame| frame.answers(&extra)).await?;
    assert_eq!(refused.error_code(), Some("session.invalidReloginKey"));
    stage.service_says("the audit", "outcome=reuse_detected").await?;
    for page in [&owner, &thief] {
        page.shows(View::Login).await?;
        page.until_stored("nothing", "record === null").await?;
    }

    // One message delay: what the second use brings about, it brings about at once, before the
    // thief does anything with its key.
    let frames = front.frames(mark);
    let second_use = frames.iter().position(of_owner).context("it was seen")?;
    let since: Vec<_> = frames[second_use..].iter().filter(|frame| frame.connection != owners).collect();
    let taken = |frame: &&Frame| {
        // Told, or not yet subscribed and then seen.
        let user = match frame.is_event("session.user.{cid}", "change") {
            true => &frame.json["data"]["values"],
            false => &frame.json["result"]["models"]["session.user.{cid}"],
        };
        user["id"].is_null() && user.is_object()
    };
    let end = since.iter().position(taken).context("the thief was not told")?;
    assert!(!since[..end].iter().any(|frame| frame.is_request(RELOGIN)), "{since:#?}");
    // The thief had seen its user go, and tried what it had: that is all.
    let tries = front.requests(mark, RELOGIN).iter().filter(|frame| frame.connection != owners).count();
    assert!(tries <= 2, "the thief's page tried {tries} times");

    owner.log_in("jane", "jane").await?;
    // Who knows the key may know the password.
    owner.until("the form for another password", "document.querySelector('.password').open").await?;
    owner.counter_runs().await
}

/// Fault 5, where the session moves: the owner's page is notified, in place of a key that silently
/// stops working.
async fn key_stolen_by_a_legacy_client(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let owner = stage.page("owner", &front.plain_url()).await?;
    owner.log_in("jane", "jane").await?;
    let loot = copied(&owner, Kind::Bearer).await?;

    let mark = front.mark();
    let mut thief = stage.res().await?;
    assert_eq!(thief.user().await?, json!({ "id": null, "name": null, "role": null }));
    let got_in = thief.relogin(&loot["key"], None).await?.payload()?;
    assert_eq!(got_in["generation"], 2);

    let (_, extra) = front.exchange(mark, RELOGIN).await?;
    assert_eq!(extra.error_code(), Some("session.invalidReloginKey"));
    owner.shows(View::Login).await?;
    thief.event_where("session.user.{cid}.change", |change| change["values"]["id"].is_null()).await?;
    let again = thief.relogin(&got_in["reloginKey"], None).await?;
    assert_eq!(again.code(), Some("session.invalidReloginKey"));
    let data = thief.request("get.ticker.model", None).await?;
    assert_eq!(data.code(), Some("system.accessDenied"), "data still flows to the thief");
    Ok(())
}

async fn key_stolen_while_the_owner_is_away(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let owner = stage.page("owner", &front.plain_url()).await?;
    owner.log_in("jane", "jane").await?;
    let loot = copied(&owner, Kind::Bearer).await?;
    owner.open("about:blank").await?;

    let mut thief = stage.res().await?;
    thief.user().await?;
    thief.relogin(&loot["key"], Some("AAAAAAAAAAAAAAAAAAAAAA")).await?.payload()?;
    thief.event_where("session.user.{cid}.change", |change| change["values"]["id"] == 3).await?;
    // The first that the owner does ends it for the thief.
    owner.open(&front.plain_url()).await?;
    owner.shows(View::Login).await?;
    thief.event_where("session.user.{cid}.change", |change| change["values"]["id"].is_null()).await?;
    let data = thief.request("get.ticker.model", None).await?;
    assert_eq!(data.code(), Some("system.accessDenied"), "data still flows to the thief");
    assert_eq!(front.requests(0, RELOGIN).len(), 1);
    owner.log_in("jane", "jane").await
}

/// Each keeps a session all the same, over a reload, and the page says what its key is worth.
async fn browsers_that_lack_something(stage: &mut Stage) -> Result<()> {
    const NO_DATABASE: &str = "Object.defineProperty(window, 'indexedDB', { value: undefined });";
    const NO_CRYPTO: &str = "Object.defineProperty(crypto, 'subtle', { value: undefined });";
    const NO_KEYS: &str = "SubtleCrypto.prototype.generateKey = () => Promise.reject(new Error('no'));";
    const NO_ED25519: &str = "
        const { generateKey } = SubtleCrypto.prototype;
        SubtleCrypto.prototype.generateKey = function (algorithm, ...more) {
            return algorithm.name === 'Ed25519' ? Promise.reject(new Error('no')) : generateKey.call(this, algorithm, ...more);
        };";
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let lacks = [
        ("nothing", "", Kind::Bound),
        ("Ed25519", NO_ED25519, Kind::Bound),
        ("IndexedDB", NO_DATABASE, Kind::Bearer),
        ("WebCrypto", NO_CRYPTO, Kind::Bearer),
        ("kinds-of-keys", NO_KEYS, Kind::Bearer),
    ];
    for (what, script, kind) in lacks {
        let page = stage.browser(&format!("without-{what}")).await?;
        page.before_each_page(script).await?;
        page.open(&front.url()).await?;
        page.log_in("jane", "jane").await?;
        page.reload().await?;
        page.is_user(JANE).await?;
        let note = page.run(
            "return document.getElementById('binding').hidden ? '' : document.getElementById('binding').textContent",
        );
        let note = note.await?.as_str().unwrap_or_default().to_owned();
        assert_eq!(note.contains("not bound to this browser"), kind == Kind::Bearer, "without {what}: {note}");
        if what == "IndexedDB" {
            kind.assert_of(&page.run("return JSON.parse(localStorage.getItem('relogin:session'))").await?);
        } else {
            kind.assert_of(&page.stored_session().await?);
        }
        page.close().await?;
    }
    Ok(())
}
