//! The end-to-end tests in WebKit, apart from the others: where WebKitGTK cannot be had, `cargo
//! xtask test` leaves them out.
#![forbid(unsafe_code)]

#[macro_use(on)]
extern crate relogin_tests;

use anyhow::{Context, Result, ensure};
use relogin_tests::{
    browser::View,
    front::{Front, PageGateway},
    parts::Part,
    site::{Pages, Site},
    stage::Stage,
    webkit::Webkit,
};

on!(both: a_session_lives_its_life);
on!(embedded_alone: the_network_process_is_killed, a_page_with_compressed_messages);

const LOGIN: &str = "auth.session.login";
const RELOGIN: &str = "auth.session.relogin";
const JANE: [&str; 3] = ["3", "Jane Doe", "user"];

/// Log in, reload, the gateway restarts, log out.
async fn a_session_lives_its_life(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let mut webkit = Webkit::start(stage.evidence()).await?;
    let page = webkit.driven("jane").await?;
    stage.keep(&page);
    page.open(&front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    page.until("a bound session", "document.body.dataset.key === 'bound'").await?;

    let mark = front.mark();
    page.reload().await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    assert!(front.payload(mark, RELOGIN).await?["bound"] == true);

    page.watch_views().await?;
    stage.kill_gateway().await?;
    page.connection_is("reconnecting").await?;
    stage.start_gateway().await?;
    page.connection_is("connected").await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    assert_eq!(page.views_seen().await?, Vec::<String>::new(), "the page was on show all the time");

    page.click("#logout").await?;
    page.shows(View::Login).await?;
    assert_eq!(page.text("#login-reason").await?, "You are logged out.");
    page.reload().await?;
    page.shows(View::Login).await?;
    page.connection_is("connected").await?;
    page.close().await
}

/// The page itself, without a front between it and the gateway.
async fn a_page_with_compressed_messages(stage: &mut Stage) -> Result<()> {
    stage.up(&["--ws-compression"]).await?;
    let mut webkit = Webkit::start(stage.evidence()).await?;
    let page = webkit.driven("jane").await?;
    stage.keep(&page);
    page.open(&format!("http://{}", stage.service_addr())).await?;
    page.log_in("jane", "jane").await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    let extensions = "const [done] = arguments, socket = new WebSocket(location.origin.replace('http', 'ws'));
        socket.onopen = () => done(socket.extensions);
        socket.onclose = () => done('it is closed');";
    let extensions = page.ask(extensions, vec![]).await?;
    assert!(extensions.as_str().is_some_and(|it| it.starts_with("permessage-deflate")), "{extensions}");
    page.close().await
}

/// What iOS does when it needs the memory: databases fail from then on, until the page is loaded
/// again. A bound session has the key pair that it has read, and signs on.
async fn the_network_process_is_killed(stage: &mut Stage) -> Result<()> {
    let audit = stage.folder().join("audit");
    stage.up(&["--audit", audit.to_str().context("a path that is no text")?]).await?;
    let pages = Pages::default()
        .with("/index.html", include_str!("../../pages/reporting.html"))
        .with_folder("/relogin/", Part::Package.path()?);
    let site = Site::open(pages).await?;
    let front = Front::start(site.addr(), stage.gateway_addr(), PageGateway::Nothing).await?;
    stage.keep_record(&front);
    let webkit = Webkit::start(stage.evidence()).await?;
    let profile = stage.folder().join("webkit");
    let browser = webkit.browser(&profile, &front.url())?;
    assert!(front.payload(0, LOGIN).await?["bound"] == true);
    front.reported(0, "session: loggedIn").await?;
    front.reported(0, "database opens").await?;

    let mark = front.mark();
    browser.kill_network_process()?;
    // The first one by itself: its connection is gone with the process.
    used_without_database(&front, mark).await?;
    for _ in 0..3 {
        let mark = front.mark();
        front.cut();
        used_without_database(&front, mark).await?;
    }

    browser.kill().await?;
    let mark = front.mark();
    let _browser = webkit.browser(&profile, &front.url())?;
    assert!(front.payload(mark, RELOGIN).await?["bound"] == true);
    front.reported(mark, "session: loggedIn").await?;
    front.reported(mark, "database opens").await?;
    assert_eq!(front.requests(0, LOGIN).len(), 1, "nobody had to log in again");

    stage.stop_service().await?;
    let told = std::fs::read_to_string(audit)?;
    ensure!(told.contains(r#""event":"logged_in""#) && !told.contains("proof_missing"), "{told}");
    Ok(())
}

/// The next use of the key since `mark` carries a proof and is answered, and the page has no
/// databases after it.
async fn used_without_database(front: &Front, mark: usize) -> Result<()> {
    let (request, _) = front.exchange(mark, RELOGIN).await?;
    assert!(request.json["params"]["proof"]["signature"].is_string(), "{}", request.json);
    assert!(front.payload(mark, RELOGIN).await?["bound"] == true);
    front.reported(mark, "database fails: ").await
}
