//! Attacks on what the gateway keeps and does for one client: subscriptions, cached resources,
//! requests, access asked again.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use relogin_tests::{
    in_time,
    innocent::Innocent,
    raw::STRANGER,
    res::{Answer, Res},
    service::Service,
    stage::Stage,
};

on!(embedded_alone:
    subscriptions_with_long_queries_are_refused,
    resources_that_nobody_wants_are_bounded_in_bytes,
    relogins_with_many_subscriptions_hold_up_nobody,
);
on!(over_nats:
    subscriptions_of_one_connection_are_bounded_in_bytes,
    subscriptions_of_all_connections_are_bounded_in_bytes,
    access_is_asked_again_32_requests_at_a_time,
);

const MIB: u64 = 1 << 20;

/// How many of the answers have which error; none for results.
fn codes(answers: &[Answer]) -> BTreeMap<Option<&str>, usize> {
    let mut codes = BTreeMap::new();
    for answer in answers {
        *codes.entry(answer.code()).or_default() += 1;
    }
    codes
}

/// A subscription to one's own user, with a query of this many bytes.
fn subscription(number: usize, bytes: usize) -> String {
    format!("subscribe.session.user.{{cid}}?{number:0bytes$}")
}

/// What may become of a subscription to one of many; a machine that is busy may have no time.
const EXPECTED: [Option<&str>; 3] = [None, Some("system.subscriptionLimitExceeded"), Some("system.timeout")];

/// A subscription to a model that nobody else has, with a query of this many bytes.
fn one_of_many(number: usize, bytes: usize) -> String {
    format!("subscribe.many.n{number}?{number:0bytes$}")
}

/// 16,836 of these took 3,000 MB.
async fn subscriptions_with_long_queries_are_refused(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(5).await?;
    let before = stage.service()?.memory()?.resident;
    let mut stranger = Res::connect_from(&stage.gateway_url(), STRANGER).await?;
    let answers = stranger.pipeline_all((0..1_000).map(|number| subscription(number, 60_000))).await?;
    ensure!(codes(&answers) == BTreeMap::from([(Some("system.invalidQuery"), 1_000)]), "{:?}", codes(&answers));
    // Shorter than it may be as it is written, and longer with the connection's id.
    let tags = "{cid}".repeat(400);
    let filled_in = stranger.request(&format!("subscribe.session.user.{{cid}}?{tags}"), None).await?;
    ensure!(filled_in.code() == Some("system.invalidQuery"), "{filled_in:?}");
    let peak = stage.service()?.memory()?.peak;
    ensure!(peak < before + 64 * MIB, "{} MiB more", (peak - before) / MIB);
    innocent.goes_on(5).await?;
    innocent.leave().await?;
    Ok(())
}

/// Queries as long as they may be, and short ones, each of a resource of its own.
async fn subscriptions_of_one_connection_are_bounded_in_bytes(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    Service::connect(&stage.nats_url(), "many").await?.grants_all(r#"{"a":1}"#);
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(5).await?;
    let before = stage.service()?.memory()?.resident;
    // 22 kB each, and 2 kB. Of the names, 2,048 have a subscription of their own at the client of
    // NATS, which are 16 MiB.
    for (bytes, count, granted, most) in [(4_000, 2_000, 1_600, 64), (10, 17_000, 16_000, 96)] {
        let mut stranger = Res::connect_from(&stage.gateway_url(), STRANGER).await?;
        let answers = stranger.pipeline_all((0..count).map(|number| one_of_many(number, bytes))).await?;
        let codes = codes(&answers);
        ensure!(codes.keys().all(|code| EXPECTED.contains(code)), "{codes:?}");
        let refused = codes.get(&Some("system.subscriptionLimitExceeded")).copied().unwrap_or(0);
        ensure!(refused > 0 && codes[&None] < granted, "queries of {bytes} bytes: {codes:?}");
        let more = (stage.service()?.memory()?.peak - before) / MIB;
        ensure!(more < most, "{more} MiB more, {codes:?}");
        // The connection goes on all the same.
        stranger.request("auth.session.challenge", None).await?.ok()?;
        stranger.close().await?;
    }
    innocent.goes_on(5).await?;
    innocent.leave().await?;
    Ok(())
}

/// From many connections: those with few subscriptions are still served.
async fn subscriptions_of_all_connections_are_bounded_in_bytes(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    Service::connect(&stage.nats_url(), "many").await?.grants_all(r#"{"a":1}"#);
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(5).await?;
    let before = stage.service()?.memory()?.resident;
    let (mut strangers, mut granted, mut refused) = (Vec::new(), 0, 0);
    // None of them has as many as one connection may have.
    for number in 0..12 {
        let mut stranger = Res::connect_from(&stage.gateway_url(), STRANGER).await?;
        let numbers = number * 1_400..(number + 1) * 1_400;
        let answers = stranger.pipeline_all(numbers.map(|number| one_of_many(number, 4_000))).await?;
        let codes = codes(&answers);
        ensure!(codes.keys().all(|code| EXPECTED.contains(code)), "{codes:?}");
        granted += codes.get(&None).copied().unwrap_or(0);
        refused += codes.get(&Some("system.subscriptionLimitExceeded")).copied().unwrap_or(0);
        strangers.push(stranger);
    }
    // 256 MiB of 22 kB each.
    ensure!(refused > 0 && granted < 12_500, "{granted} granted, {refused} refused");
    let more = (stage.service()?.memory()?.peak - before) / MIB;
    ensure!(more < 176, "{more} MiB more, {refused} refused");
    let mut late = Res::connect(&stage.gateway_url()).await?;
    let answers = late.pipeline_all((0..10).map(|number| subscription(number, 100))).await?;
    ensure!(answers.iter().all(|answer| answer.code().is_none()), "{answers:?}");
    innocent.goes_on(10).await?;
    innocent.leave().await?;
    Ok(())
}

/// 102,724 of these in 15 s took 923 MB for 5 s.
async fn resources_that_nobody_wants_are_bounded_in_bytes(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(5).await?;
    let before = stage.service()?.memory()?.resident;
    let mut stranger = Res::connect_from(&stage.gateway_url(), STRANGER).await?;
    for round in 0..20 {
        let names = (0..1_000).map(|number| format!("get.session.user.{:03800}", round * 1_000 + number));
        let answers = stranger.pipeline_all(names).await?;
        ensure!(answers.iter().all(|answer| answer.code().is_some()), "{:?}", codes(&answers));
    }
    let peak = stage.service()?.memory()?.peak;
    ensure!(peak < before + 64 * MIB, "{} MiB more", (peak - before) / MIB);
    innocent.goes_on(5).await?;
    innocent.leave().await?;
    Ok(())
}

/// Each relogin of a user with 65,000 subscriptions was as many access requests at once.
async fn relogins_with_many_subscriptions_hold_up_nobody(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(5).await?;
    let mut user = Res::connect_from(&stage.gateway_url(), STRANGER).await?;
    let mut key = user.log_in("john", "john").await?;
    // All of them are one resource, which a connection may have by 256 names.
    for (numbers, code) in [(0..256, None), (256..1_000, Some("system.subscriptionLimitExceeded"))] {
        let answers = user.pipeline_all(numbers.map(|number| subscription(number, 10))).await?;
        ensure!(answers.iter().all(|answer| answer.code() == code), "{:?}", codes(&answers));
    }
    let rounds = innocent.requests();
    for number in 0..200 {
        key = user.relogin(&key["reloginKey"], Some(&format!("{number:021}A"))).await?.payload()?;
    }
    // With each relogin, the honest client was refused nothing, and got what it asked for.
    innocent.goes_on(5).await?;
    ensure!(innocent.requests() > rounds);
    // What waited for its turn is there in the end: events come of all subscriptions.
    user.request("auth.session.logout", None).await?.ok()?;
    for number in [0, 255] {
        user.event(&format!("session.user.{{cid}}?{number:010}.change")).await?;
    }
    innocent.leave().await?;
    Ok(())
}

/// After a login, a service is asked again for access to what the user is subscribed to, 32
/// requests at a time.
async fn access_is_asked_again_32_requests_at_a_time(stage: &mut Stage) -> Result<()> {
    const SUBSCRIPTIONS: usize = 100;
    const AT_ONCE: usize = 32;
    stage.up(&[]).await?;
    let mut service = Service::connect(&stage.nats_url(), "some").await?;
    let mut user = Res::connect_from(&stage.gateway_url(), STRANGER).await?;
    for number in 0..SUBSCRIPTIONS {
        let id = user.send(&format!("subscribe.some.n{number}"), None).await?;
        for (kind, answer) in [("access", r#"{"get":true}"#), ("get", r#"{"model":{"a":1}}"#)] {
            let request = service.asked(&format!("{kind}.some.n{number}")).await?;
            service.answer(&request, &format!(r#"{{"result":{answer}}}"#)).await?;
        }
        user.answer(id).await?.ok()?;
    }
    user.log_in("john", "john").await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    for left in (0..SUBSCRIPTIONS).step_by(AT_ONCE).map(|asked| (SUBSCRIPTIONS - asked).min(AT_ONCE)) {
        in_time("requests for access", async {
            while service.unexpected().await?.len() < left {}
            Ok(())
        })
        .await?;
        innocent.goes_on(5).await?;
        let asked = service.unexpected().await?;
        ensure!(asked.len() == left, "{} requests at once", asked.len());
        for request in service.take() {
            service.answer(&request, r#"{"result":{"get":true}}"#).await?;
        }
    }
    innocent.leave().await?;
    Ok(())
}
