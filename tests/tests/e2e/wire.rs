//! Requests that no well-behaved client sends, through the embedded gateway and through Resgate.

use anyhow::{Context, Result};
use futures_util::StreamExt;
use relogin_tests::{in_time, res::Res, stage::Stage};
use serde_json::{Value, json};

use crate::{LOGIN, LOGOUT, RELOGIN};

on!(both:
    params_of_every_kind,
    two_logins_at_once,
    relogin_sent_twice_on_a_connection,
    a_used_key_ends_the_session,
    nobody_reads_who_another_connection_is,
    everything_holds_over_a_restart,
);

// What passes between gateway and service can be read.
on!(nats: closed_connections_are_detached);

// Connections that outlive the service.
on!(resgate: old_connections_go_on_over_a_restart);

// Where Resgate does worse: it ends altogether, or has no bound.
on!(embedded: twenty_thousand_requests_at_once, a_frame_too_large);

fn nobody() -> Value {
    json!({ "id": null, "name": null, "role": null })
}

fn jane() -> Value {
    json!({ "id": 3, "name": "Jane Doe", "role": "user" })
}

async fn reads_the_counter(res: &mut Res) -> Result<bool> {
    Ok(res.request("get.ticker.model", None).await?.code().is_none())
}

/// Fault 1: no payload ends the process, or anybody's session.
async fn params_of_every_kind(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut bystander = stage.res().await?;
    bystander.log_in("jane", "jane").await?;
    bystander.user().await?;

    let mut res = stage.res().await?;
    for key in ["constructor", "__proto__", "toString", "", "a", "\u{0}", &"A".repeat(75), &"A".repeat(100_000)] {
        let answer = res.relogin(&json!(key), None).await?;
        let long = key.len() > 64 * 1024;
        let expected = if long { "system.invalidParams" } else { "session.invalidReloginKey" };
        assert_eq!(answer.code(), Some(expected), "for {key:.20}");
    }
    for key in [json!(null), json!(7), json!(true), json!([]), json!({}), json!(["constructor"])] {
        let answer = res.relogin(&key, None).await?;
        assert_eq!(answer.code(), Some("system.invalidParams"), "for {key}");
    }
    for params in [None, Some(json!(null)), Some(json!([])), Some(json!("constructor")), Some(json!({}))] {
        for method in [LOGIN, RELOGIN] {
            let answer = res.request(method, params.clone()).await?;
            assert_eq!(answer.code(), Some("system.invalidParams"), "for {method} with {params:?}");
        }
    }
    let unknown = res.request("auth.session.constructor", None).await?;
    assert_eq!(unknown.code(), Some("system.methodNotFound"));
    let called = res.request("call.session.user.{cid}.set", Some(json!({ "role": "admin" }))).await?;
    assert_eq!(called.code(), Some("system.accessDenied"));

    assert!(reads_the_counter(&mut bystander).await?);
    res.log_in("jane", "jane").await?;
    assert_eq!(res.user().await?, jane());
    Ok(())
}

/// Fault 7.
async fn two_logins_at_once(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut res = stage.res().await?;
    assert_eq!(res.user().await?, nobody());
    let params = || Some(json!({ "username": "jane", "password": "jane" }));
    let ids = [res.send(LOGIN, params()).await?, res.send(LOGIN, params()).await?];
    let answers = [res.answer(ids[0]).await?, res.answer(ids[1]).await?];
    let refused = answers.iter().filter(|answer| answer.code() == Some("session.alreadyLoggedIn")).count();
    assert_eq!(refused, 1, "{answers:?}");
    let won = answers.into_iter().find(|answer| answer.code().is_none());
    let won = won.expect("one was not refused").payload()?;
    res.event_where("session.user.{cid}.change", |change| change["values"] == jane()).await?;

    let again = res.relogin(&won["reloginKey"], None).await?.payload()?;
    assert_eq!(again["generation"], 2);
    assert!(reads_the_counter(&mut res).await?);
    res.request(LOGOUT, None).await?.ok()?;
    assert!(!reads_the_counter(&mut res).await?);
    // No orphan is left: the connection is free, and the key is dead.
    assert_eq!(res.relogin(&again["reloginKey"], None).await?.code(), Some("session.invalidReloginKey"));
    res.log_in("john", "john").await?;
    Ok(())
}

/// Fault 9, from a legacy client.
async fn relogin_sent_twice_on_a_connection(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut res = stage.res().await?;
    let key = res.log_in("jane", "jane").await?["reloginKey"].clone();
    let params = || Some(json!({ "reloginKey": key }));
    let ids = [res.send(RELOGIN, params()).await?, res.send(RELOGIN, params()).await?];
    let first = res.answer(ids[0]).await?.payload()?;
    let second = res.answer(ids[1]).await?.payload()?;
    assert_eq!(first["reloginKey"], second["reloginKey"]);
    assert_eq!(first["generation"], 2);
    assert!(reads_the_counter(&mut res).await?);
    assert_eq!(res.user().await?, jane());
    Ok(())
}

async fn a_used_key_ends_the_session(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut owner = stage.res().await?;
    let key = owner.log_in("jane", "jane").await?["reloginKey"].clone();
    assert_eq!(owner.user().await?, jane());
    let next = owner.relogin(&key, None).await?.payload()?["reloginKey"].clone();

    let mut thief = stage.res().await?;
    let answer = thief.relogin(&key, None).await?;
    assert_eq!(answer.code(), Some("session.invalidReloginKey"));
    owner.event_where("session.user.{cid}.change", |change| change["values"] == nobody()).await?;
    assert_eq!(owner.relogin(&next, None).await?.code(), Some("session.invalidReloginKey"));
    assert!(!reads_the_counter(&mut owner).await?);
    Ok(())
}

/// Fault 12: the subject's cid has to be the asker's own.
async fn nobody_reads_who_another_connection_is(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut jane = stage.res().await?;
    jane.log_in("jane", "jane").await?;
    let mut guest = stage.res().await?;
    guest.log_in("guest", "guest").await?;
    for cid in ["bi17lut8smgihf37loa0", "*", ">", "constructor", "{cid}{cid}", "{cid}.{cid}"] {
        let answer = guest.request(&format!("get.session.user.{cid}"), None).await?;
        assert!(answer.code().is_some(), "session.user.{cid} was given away: {answer:?}");
    }
    assert_eq!(guest.user().await?["id"], 2);
    Ok(())
}

/// Fault 6, on the wire: logout, login and relogin mean after a restart what they meant before.
async fn everything_holds_over_a_restart(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut one = stage.res().await?;
    let mut other = stage.res().await?;
    let one_key = one.log_in("jane", "jane").await?["reloginKey"].clone();
    let other_key = other.log_in("john", "john").await?["reloginKey"].clone();
    other.request(LOGOUT, None).await?.ok()?;

    stage.kill_service().await?;
    stage.start_service().await?;
    let mut next = stage.res().await?;
    let refused = next.relogin(&other_key, None).await?;
    assert_eq!(refused.code(), Some("session.invalidReloginKey"), "a logout was forgotten");
    let key = next.relogin(&one_key, None).await?.payload()?["reloginKey"].clone();
    assert_eq!(next.user().await?, jane());
    assert!(reads_the_counter(&mut next).await?);
    next.request(LOGOUT, None).await?.ok()?;
    next.event_where("session.user.{cid}.change", |change| change["values"] == nobody()).await?;
    assert!(!reads_the_counter(&mut next).await?);
    assert_eq!(next.relogin(&key, None).await?.code(), Some("session.invalidReloginKey"));
    next.log_in("jane", "jane").await?;
    Ok(())
}

/// Fault 6, for those who were there before: refresh and logout on their own connections, and an
/// end that is announced.
async fn old_connections_go_on_over_a_restart(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let (mut one, mut sibling, mut other) = (stage.res().await?, stage.res().await?, stage.res().await?);
    let key = one.log_in("jane", "jane").await?["reloginKey"].clone();
    let key = sibling.relogin(&key, Some(&format!("{:021}A", 1))).await?.payload()?["reloginKey"].clone();
    other.log_in("john", "john").await?;
    for res in [&mut one, &mut sibling, &mut other] {
        assert!(res.user().await?["id"].is_number());
    }

    stage.kill_service().await?;
    stage.start_service().await?;
    let key = one.relogin(&key, Some(&format!("{:021}A", 2))).await?.payload()?["reloginKey"].clone();
    assert!(reads_the_counter(&mut one).await? && reads_the_counter(&mut sibling).await?);
    let rotated = sibling.event("session.user.{cid}.rotated").await?;
    assert_eq!(rotated, json!({ "generation": 3 }));
    other.request(LOGOUT, None).await?.ok()?;
    other.event_where("session.user.{cid}.change", |change| change["values"] == nobody()).await?;
    assert!(!reads_the_counter(&mut other).await?);
    one.request(LOGOUT, None).await?.ok()?;
    for res in [&mut one, &mut sibling] {
        res.event_where("session.user.{cid}.change", |change| change["values"] == nobody()).await?;
        assert!(!reads_the_counter(res).await?);
    }
    assert_eq!(one.relogin(&key, None).await?.code(), Some("session.invalidReloginKey"));
    Ok(())
}

/// A gateway that is asked by `system.tokenReset` answers for its open connections, and the others
/// leave the session.
async fn closed_connections_are_detached(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let nats = async_nats::connect(stage.nats_url()).await?;
    let mut tokens = nats.subscribe("conn.*.token").await?;
    nats.flush().await?;
    let (mut tabs, mut key) = (Vec::<(String, Res)>::new(), Value::Null);
    for n in 0..6 {
        // The fifth connection exceeds the probe threshold; three have closed.
        if n == 4 {
            for (_, closing) in tabs.drain(1..) {
                closing.close().await?;
            }
        }
        let mut tab = stage.res().await?;
        let answer = match n {
            0 => tab.log_in("jane", "jane").await?,
            _ => tab.relogin(&key, Some(&format!("{n:021}A"))).await?.payload()?,
        };
        key = answer["reloginKey"].clone();
        tabs.push((token_event(&mut tokens, |token| !token.is_null()).await?, tab));
    }
    for _ in 0..3 {
        let gone = token_event(&mut tokens, Value::is_null).await?;
        assert!(tabs.iter().all(|(there, _)| *there != gone), "{gone} is open");
    }
    for (_, tab) in &mut tabs {
        assert_eq!(tab.user().await?, jane());
        assert!(reads_the_counter(tab).await?);
    }
    Ok(())
}

/// The connection of the next token event that `is_it`.
async fn token_event(tokens: &mut async_nats::Subscriber, is_it: impl Fn(&Value) -> bool) -> Result<String> {
    in_time("a token event", async {
        loop {
            let message = tokens.next().await.context("NATS is gone")?;
            let event: Value = serde_json::from_slice(&message.payload)?;
            if is_it(&event["token"]) {
                let cid = message.subject.split('.').nth(1).context("a subject without a cid")?;
                return Ok(cid.to_owned());
            }
        }
    })
    .await
}

async fn twenty_thousand_requests_at_once(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut bystander = stage.res().await?;
    let mut res = stage.res().await?;
    res.log_in("jane", "jane").await?;
    assert_eq!(res.pipeline("get.ticker.model", 20_000).await?, 20_000);
    assert_eq!(bystander.user().await?, nobody());
    Ok(())
}

async fn a_frame_too_large(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut bystander = stage.res().await?;
    let mut res = stage.res().await?;
    res.send_text(format!("{{\"id\":2,\"method\":\"{}\"}}", "a".repeat(1024 * 1024))).await?;
    let frame = res.closed().await?.map(|frame| u16::from(frame.code));
    assert_eq!(frame, Some(1009));
    assert_eq!(bystander.user().await?, nobody());
    Ok(())
}
