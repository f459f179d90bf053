//! The package for JavaScript, in pages: with its own client and with ResClient.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use relogin_tests::{
    DEADLINE,
    browser::Browser,
    parts::Part,
    site::{Pages, Site},
    stage::Stage,
};
use serde_json::{Value, json};

use crate::{LOGIN, RELOGIN};

on!(both: a_session_on_our_client, a_session_on_resclient);
on!(embedded_alone: session_events_describe_a_whole_session_without_its_key, connecting_and_a_login_wait_for_no_back_off, loading_the_module_is_retried, any_failure_to_load_the_module_can_be_retried, the_module_comes_from_where_the_page_says, a_thousand_clients_leave_nothing_behind, a_client_that_is_waited_for_is_kept, resources_are_what_resclient_makes_of_them);

async fn a_session_on_our_client(stage: &mut Stage) -> Result<()> {
    a_session(stage, "relogin").await
}

async fn a_session_on_resclient(stage: &mut Stage) -> Result<()> {
    a_session(stage, "resclient").await
}

async fn a_session(stage: &mut Stage, client: &str) -> Result<()> {
    stage.up(&[]).await?;
    let site = Site::open(page(include_str!("../../pages/session.js"))?).await?;
    let browser = stage.browser("page").await?;
    let url = format!("{}?client={client}&gateway={}", site.url(), stage.gateway_url());
    browser.open(&url).await?;
    browser.until("nobody", "document.body.dataset.state === 'anonymous'").await?;
    assert_eq!(browser.run("return page.ready").await?, "anonymous");

    let refused = "return page.code(page.session.login('jane', 'wrong'))";
    assert_eq!(browser.run(refused).await?, "session.wrongUsernamePassword");
    assert_eq!(browser.run("return page.code(page.client.get('ticker.model'))").await?, "system.accessDenied");
    browser.run("return page.session.login('jane', 'jane')").await?;
    is_jane(&browser).await?;
    browser
        .until("a bound session", "document.body.dataset.binding === 'bound' || page.session.binding === 'bound'")
        .await?;
    browser.run("return page.count()").await?;
    counts(&browser).await?;

    for _ in 0..2 {
        browser.reload().await?;
        is_jane(&browser).await?;
        assert_eq!(browser.run("return page.seen").await?, json!(["resuming", "loggedIn"]), "no login form in between");
        assert_eq!(browser.run("return page.ready").await?, "loggedIn", "what a route's guard waits for");
        browser.until("the page's own hook", "document.body.dataset.hooked").await?;
        // At once, and not denied.
        browser.run("return page.count()").await?;
        counts(&browser).await?;
    }

    stage.kill_gateway().await?;
    browser.until("the loss", "document.body.dataset.state === 'reconnecting'").await?;
    assert_eq!(browser.run("return document.body.dataset.user").await?, "Jane Doe");
    stage.start_gateway().await?;
    is_jane(&browser).await?;
    counts(&browser).await?;

    browser.run("return page.session.logout()").await?;
    browser.until("the end", "document.body.dataset.reason === 'loggedOut'").await?;
    assert_eq!(browser.run("return page.session.user").await?, json!(null));
    browser.reload().await?;
    browser.until("nobody", "document.body.dataset.state === 'anonymous'").await?;
    let told = browser.console().await?;
    assert!(!told.iter().any(|line| line.contains("Uncaught")), "{told:#?}");
    Ok(())
}

/// Login, relogin and logout, each by what it does, and nothing in it that is of use to somebody.
async fn session_events_describe_a_whole_session_without_its_key(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let site = Site::open(page(include_str!("../../pages/session.js"))?).await?;
    for client in ["relogin", "resclient"] {
        let browser = stage.browser(client).await?;
        let front = stage.front().await?;
        browser.open(&format!("{}?client={client}&gateway={}", site.url(), front.url())).await?;
        browser.until("nobody", "document.body.dataset.state === 'anonymous'").await?;
        browser.run("return page.session.login('jane', 'jane')").await?;
        is_jane(&browser).await?;
        let mut told = says(&browser, "generation 1, bound").await?;
        let mut records = vec![browser.stored_session().await?];
        browser.reload().await?;
        is_jane(&browser).await?;
        told.extend(says(&browser, "generation 2, bound").await?);
        records.push(browser.stored().await?);
        browser.run("document.body.dataset.told = ''; return page.session.logout()").await?;
        told.extend(says(&browser, "logout sent").await?);

        let beginnings = [
            "started: storage has no key",
            "login sent, attempt ",
            "answer: generation 1, bound",
            "started: storage has generation 1",
            "relogin sent: generation 1, attempt ",
            "answer: generation 2, bound",
            "ended: loggedOut",
            "logout sent",
        ];
        let mut lines = told.iter();
        for beginning in beginnings {
            ensure!(lines.any(|line| line.starts_with(beginning)), "`{beginning}` in its place: {told:#?}");
        }
        let frames = front.frames(0);
        let sent = frames.iter().filter(|frame| frame.is_request(LOGIN) || frame.is_request(RELOGIN));
        let secrets: Vec<&str> = records
            .iter()
            .map(|record| &record["key"])
            .chain(sent.map(|frame| &frame.json["params"]["attempt"]))
            .filter_map(Value::as_str)
            .collect();
        ensure!(secrets.len() >= 4, "two keys and two attempts at least: {}", secrets.len());
        for secret in secrets {
            let part = secret
                .as_bytes()
                .windows(8)
                .find(|part| told.iter().any(|line| line.as_bytes().windows(8).any(|of_line| of_line == *part)));
            ensure!(part.is_none(), "a part of {secret} is told: {told:#?}");
        }
    }
    Ok(())
}

/// The reported lines, once `text` is in one.
async fn says(browser: &Browser, text: &str) -> Result<Vec<String>> {
    let condition = format!("document.body.dataset.told.includes('{text}') && document.body.dataset.told");
    let told: String = serde_json::from_value(browser.until(text, &condition).await?)?;
    Ok(told.lines().map(str::to_owned).collect())
}

/// A WebAssembly module that cannot be fetched says nothing of the session: it has not ended, and
/// goes on when the module is there.
async fn loading_the_module_is_retried(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let site = Site::open(page(include_str!("../../pages/session.js"))?).await?;
    for client in ["relogin", "resclient"] {
        let browser = stage.browser(client).await?;
        // The site answers 503 for as long as the page's storage says so.
        let failing = "localStorage.broken ??= 'yes';
            const real = window.fetch;
            window.fetch = (...what) => localStorage.broken === 'yes'
              ? Promise.resolve(new Response('', { status: 503 }))
              : real(...what);";
        browser.before_each_page(failing).await?;
        let url = format!("{}?client={client}&gateway={}", site.url(), stage.gateway_url());
        browser.open(&url).await?;
        browser.until("the failure", "document.body.dataset.state === 'loadFailed'").await?;
        assert_eq!(browser.run("return page.ready").await?, "loadFailed");
        assert_eq!(browser.run("return page.session.error.code").await?, "client.notLoaded");
        assert_eq!(browser.run("return page.session.reason ?? null").await?, json!(null));
        let login = "return page.code(page.session.login('jane', 'jane'))";
        assert_eq!(browser.run(login).await?, "client.notLoaded", "a call tries again, and says what came of it");
        browser.run("localStorage.broken = 'no'").await?;
        // By itself, if nobody calls.
        browser.until("the session", "document.body.dataset.state === 'anonymous'").await?;
        browser.run("return page.session.login('jane', 'jane')").await?;
        is_jane(&browser).await?;
        browser.run("return page.count()").await?;
        counts(&browser).await?;

        // Somebody who is logged in, offline for a moment: the next call has it tried at once.
        browser.run("localStorage.broken = 'yes'").await?;
        browser.reload().await?;
        browser.until("the failure", "document.body.dataset.state === 'loadFailed'").await?;
        browser.run("localStorage.broken = 'no'; return page.code(page.client.get('ticker.model'))").await?;
        is_jane(&browser).await?;
        let told = browser.console().await?;
        assert!(!told.iter().any(|line| line.contains("Uncaught")), "{told:#?}");
    }
    Ok(())
}

/// A network that is down, a server that answers every address with its page, and a
/// Content-Security-Policy.
async fn any_failure_to_load_the_module_can_be_retried(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    const POLICY: &str = "<meta http-equiv=\"Content-Security-Policy\" content=\"script-src 'self' 'unsafe-inline'\">";
    let answer = |answer: &str| format!("window.fetch = async () => {{ {answer} }};");
    let ways = [
        ("network", answer("throw new TypeError('Failed to fetch');"), ""),
        ("page", answer("return new Response('<!doctype html>', { headers: { 'content-type': 'text/html' } });"), ""),
        ("policy", String::new(), POLICY),
    ];
    for (name, script, tag) in ways {
        let html = include_str!("../../pages/page.html").replace("<head>", &format!("<head>{tag}"));
        let pages = page(include_str!("../../pages/session.js"))?.with("/index.html", &html);
        let (site, browser) = (Site::open(pages).await?, stage.browser(name).await?);
        browser.before_each_page(&script).await?;
        for client in ["relogin", "resclient"] {
            browser.open(&format!("{}?client={client}&gateway={}", site.url(), stage.gateway_url())).await?;
            browser.until("the failure", "document.body.dataset.state === 'loadFailed'").await.context(name)?;
            assert_eq!(browser.run("return page.ready").await?, "loadFailed", "{name}");
            assert_eq!(browser.run("return page.session.error.code").await?, "client.notLoaded", "{name}");
            let login = "return page.code(page.session.login('jane', 'jane'))";
            assert_eq!(browser.run(login).await?, "client.notLoaded", "{name}");
            assert_eq!(browser.run("return page.seen").await?, json!(["resuming", "loadFailed"]), "{name}");
        }
        let told = browser.console().await?;
        assert!(!told.iter().any(|line| line.contains("Uncaught")), "{name}: {told:#?}");
    }
    Ok(())
}

/// For bundlers and policies: the file beside the script is not what is loaded.
async fn the_module_comes_from_where_the_page_says(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    const SCRIPT: &str = "import { Client, Session, init } from 'relogin';
        const asked = new URLSearchParams(location.search);
        const url = new URL('/elsewhere/relogin_bg.wasm', location);
        const sources = {
          url: () => url,
          text: () => url.href,
          request: () => new Request(url),
          response: () => fetch(url),
          bytes: async () => (await fetch(url)).arrayBuffer(),
          view: async () => new Uint8Array(await (await fetch(url)).arrayBuffer()),
          module: async () => WebAssembly.compileStreaming(fetch(url)),
        };
        await init(await sources[asked.get('from')]());
        const session = new Session(new Client(asked.get('gateway')));
        document.body.dataset.state = await session.ready;";
    let pages = page(SCRIPT)?
        .with("/relogin/relogin_bg.wasm", "this is not the module")
        .with_folder("/elsewhere/", Part::Package.path()?);
    let (site, browser) = (Site::open(pages).await?, stage.browser("init").await?);
    for from in ["url", "text", "request", "response", "bytes", "view", "module"] {
        browser.open(&format!("{}?from={from}&gateway={}", site.url(), stage.gateway_url())).await?;
        browser.until("nobody", "document.body.dataset.state === 'anonymous'").await.context(from)?;
    }
    Ok(())
}

/// The browser's timers stand still: waiting for back-off would take forever.
async fn connecting_and_a_login_wait_for_no_back_off(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let site = Site::open(page(include_str!("../../pages/session.js"))?).await?;
    let browser = stage.browser("page").await?;
    browser.open(&format!("{}?client=relogin&gateway={}", site.url(), front.url())).await?;
    browser.until("nobody", "document.body.dataset.state === 'anonymous'").await?;
    browser.run("page.client.on('state', (state) => { document.body.dataset.connection = state; })").await?;
    browser.hold_timers().await?;
    for now in ["page.client.connect()", "page.session.login('jane', 'jane')"] {
        front.shut();
        browser.connection_is("reconnecting").await?;
        front.lead_to(stage.gateway_addr());
        browser.run(&format!("return {now}")).await?;
    }
    Ok(())
}

/// A page that makes thousands of clients with sessions, and closes or drops them, uses no more
/// memory than before.
async fn a_thousand_clients_leave_nothing_behind(stage: &mut Stage) -> Result<()> {
    let site = Site::open(page(include_str!("../../pages/thousand.js"))?).await?;
    let browser = stage.browser("thousand").await?;
    browser.open(&site.url()).await?;
    browser.until("the page", "document.body.dataset.state === 'there'").await?;
    // Until its tables have their size. Memory never shrinks, and how much of it some clients need
    // depends a little on the order in which their timers fire: so it grows here to what a few more
    // clients need than are open at once below. If each client left only 35 bytes behind, it would
    // have to grow again.
    browser.run("return page.close(120, 30)").await?;
    let before = browser.run("return page.bytes()").await?;
    for _ in 0..8 {
        browser.run("return page.close(500, 20)").await?;
    }
    assert_eq!(browser.run("return page.bytes()").await?, before, "the module's memory");
    assert_eq!(browser.run("return [page.alive(), page.listening()]").await?, json!([0, 0]));

    browser.run("return page.drop(100)").await?;
    let deadline = Instant::now() + DEADLINE;
    // The browser says when it has collected, and clears up after that, in its own time.
    while browser.run("return page.alive()").await? != 0 {
        ensure!(Instant::now() < deadline, "dropped clients are still at work");
        browser.devtools("HeapProfiler.collectGarbage", json!({})).await?;
    }
    assert_eq!(browser.run("return page.listening()").await?, 0);
    Ok(())
}

/// A client that somebody waits for stays, whatever the browser collects meanwhile.
async fn a_client_that_is_waited_for_is_kept(stage: &mut Stage) -> Result<()> {
    let site = Site::open(page(include_str!("../../pages/thousand.js"))?).await?;
    let browser = stage.browser("waits").await?;
    browser.open(&site.url()).await?;
    browser.until("the page", "document.body.dataset.state === 'there'").await?;
    browser.run("page.wait()").await?;
    browser.until("the socket", "document.body.dataset.late").await?;
    for _ in 0..3 {
        browser.devtools("HeapProfiler.collectGarbage", json!({})).await?;
    }
    browser.run("page.open()").await?;
    browser.until("the connection", "document.body.dataset.waited === 'told'").await.map(drop)
}

/// Models and collections: of the same frames both clients make the same objects, and tell of the
/// same changes.
async fn resources_are_what_resclient_makes_of_them(stage: &mut Stage) -> Result<()> {
    let site = Site::open(page(include_str!("../../pages/resources.js"))?).await?;
    let browser = stage.browser("resources").await?;
    browser.open(&site.url()).await?;
    browser.until("the page", "document.body.dataset.state === 'there'").await?;
    let lines: [Vec<String>; 2] = serde_json::from_value(browser.run("return compare()").await?)?;
    // As values: ours have their members by name.
    let values =
        |lines: &[String]| lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<Vec<Value>, _>>();
    let (theirs, ours) = (values(&lines[0])?, values(&lines[1])?);
    ensure!(theirs.len() > 15, "{theirs:#?}");
    assert_eq!(ours, theirs);
    Ok(())
}

/// The page of `script`, with the package, and ResClient beside it.
pub(crate) fn page(script: &str) -> Result<Pages> {
    Ok(Pages::default()
        .with("/index.html", include_str!("../../pages/page.html"))
        .with("/page.js", script)
        .with("/resclient-module.js", include_str!("../../pages/resclient-module.js"))
        .with_folder("/resclient/", Part::Resclient.path()?.join("node_modules/resclient"))
        .with_folder("/relogin/", Part::Package.path()?))
}

pub(crate) async fn is_jane(browser: &Browser) -> Result<()> {
    let condition = "document.body.dataset.state === 'loggedIn' && document.body.dataset.user === 'Jane Doe'";
    browser.until("Jane", condition).await.map(drop)
}

/// The counter goes on.
pub(crate) async fn counts(browser: &Browser) -> Result<()> {
    let shown = browser.until("a counter", "[document.body.dataset.seconds ?? missing]").await?;
    let change = format!("document.body.dataset.seconds !== '{}'", shown[0].as_str().unwrap_or_default());
    browser.until("a running counter", &change).await.map(drop)
}
