//! A use of the key that is cut short, at every place that there is: at each message, and at each
//! step of the page.

use anyhow::{Context, Result};
use relogin_tests::{
    browser::{Loading, View},
    front::{Direction, Fate, Frame, Front, HOLD, Happening},
    stage::Stage,
};

use crate::{JANE, Kind, RELOGIN, assert_no_key_refused, back_in};

on!(both: a_connection_breaks_at_each_message, a_relogins_answer_is_lost_without_a_word);
on!(embedded_alone: a_connection_of_bearers_breaks_at_each_message, a_page_is_closed_at_each_step, a_page_of_bearers_is_closed_at_each_step);

async fn a_connection_breaks_at_each_message(stage: &mut Stage) -> Result<()> {
    breaks_at_each_message(stage, Kind::Bound).await
}

async fn a_connection_of_bearers_breaks_at_each_message(stage: &mut Stage) -> Result<()> {
    breaks_at_each_message(stage, Kind::Bearer).await
}

/// Connecting with a key, and refreshing it, with the connection lost at each of their messages in
/// turn.
async fn breaks_at_each_message(stage: &mut Stage, kind: Kind) -> Result<()> {
    stage.up(&["--refresh", "2s"]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &kind.url(&front)).await?;
    page.log_in("jane", "jane").await?;
    kind.assert_of(&page.stored_session().await?);
    page.watch_for(View::Login).await?;
    let mark = front.mark();
    page.reload().await?;
    page.is_user(JANE).await?;
    let connected =
        front.frame(mark, "the last message of a connect", |frame| frame.is_request("subscribe.ticker.model"));
    let connection = connected.await?.connection;
    let messages = front.frames(mark).iter().filter(|frame| frame.connection == connection).count();
    assert!(messages >= 6, "a connect takes handshake, relogin and user model, each with its answer");

    for position in 0..messages {
        let (mark, before) = (front.mark(), front.connections());
        let mut passed = 0;
        front.rule(move |frame| {
            passed += usize::from(frame.connection == before);
            if frame.connection == before && passed > position { Fate::Break } else { Fate::Pass }
        });
        page.reload().await?;
        let is_broken = |happening: &Happening| matches!(happening, Happening::Closed(closed) if *closed == before);
        front.happens(mark, &format!("the break at message {position}"), is_broken).await?;
        back_in(&front, after(&front, mark, before), 1).await?;
        page.is_user(JANE).await?;
    }

    for position in 0..4 {
        let (mark, mut uses) = (front.mark(), Vec::<Frame>::new());
        let mut passed = 0;
        front.rule(move |frame| {
            let ask = frame.is_request(RELOGIN) || frame.is_request("auth.session.challenge");
            if ask {
                uses.push(frame.clone());
            }
            let counts = ask || uses.iter().any(|request| frame.answers(request));
            passed += usize::from(counts);
            if counts && passed == position + 1 { Fate::Break } else { Fate::Pass }
        });
        let broken =
            front.happens(mark, "a break", |happening| matches!(happening, Happening::Frame(_, Fate::Break))).await?;
        let Happening::Frame(Frame { connection, .. }, _) = broken else { unreachable!("a frame was asked for") };
        back_in(&front, after(&front, mark, connection), 1).await?;
        page.is_user(JANE).await?;
    }
    front.rule(|_| Fate::Pass);
    page.counter_runs().await?;
    assert!(!page.has_shown(View::Login).await?, "the page was logged out");
    assert_no_key_refused(&front, 0);
    Ok(())
}

/// Fault 10, third case: the connection lives on, the answer never comes. On connecting, and at a
/// refresh.
async fn a_relogins_answer_is_lost_without_a_word(stage: &mut Stage) -> Result<()> {
    stage.up(&["--refresh", "3s"]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.watch_for(View::Login).await?;
    for connects in [true, false] {
        let mut lost = false;
        front.rule(move |frame| {
            let answer =
                frame.direction == Direction::Down && frame.json["result"]["payload"]["reloginKey"].is_string();
            if answer && !std::mem::replace(&mut lost, answer) { Fate::Lose } else { Fate::Pass }
        });
        let mark = front.mark();
        if connects {
            page.reload().await?;
        }
        let (first, _) = front.exchange(mark, RELOGIN).await?;
        let mark = front.mark();
        let (second, answer) = front.exchange(mark, RELOGIN).await?;
        for member in ["reloginKey", "attempt"] {
            assert_eq!(first.json["params"][member], second.json["params"][member], "the use was not repeated");
        }
        assert_eq!(answer.error_code(), None);
        page.is_user(JANE).await?;
    }
    page.counter_runs().await?;
    assert!(!page.has_shown(View::Login).await?, "the page was logged out");
    Ok(())
}

async fn a_page_is_closed_at_each_step(stage: &mut Stage) -> Result<()> {
    closed_at_each_step(stage, Kind::Bound).await
}

async fn a_page_of_bearers_is_closed_at_each_step(stage: &mut Stage) -> Result<()> {
    closed_at_each_step(stage, Kind::Bearer).await
}

/// A tab whose page stops for good before its nth step with socket, database or key pair, and is
/// closed then: between receiving and storing, too.
async fn closed_at_each_step(stage: &mut Stage, kind: Kind) -> Result<()> {
    const STOP: &str = r"
        let step = 0;
        const take = () => {
            window.steps = ++step;
            if (step !== STOP_AT) return;
            const request = new XMLHttpRequest();
            request.open('GET', 'HOLD', false);
            try { request.send(); } catch {}
            for (;;);
        };
        const before = (owner, name) => {
            const former = owner[name];
            owner[name] = function (...given) { take(); return former.apply(this, given); };
        };
        for (const name of ['add', 'getAll', 'get']) before(IDBObjectStore.prototype, name);
        before(WebSocket.prototype, 'send');
        if (window.SubtleCrypto && crypto.subtle) before(SubtleCrypto.prototype, 'sign');
        const { addEventListener } = EventTarget.prototype;
        EventTarget.prototype.addEventListener = function (event, ...more) {
            if (this instanceof WebSocket && event === 'message') addEventListener.call(this, event, take);
            return addEventListener.call(this, event, ...more);
        };";
    let stop_at = |step: u64| STOP.replace("HOLD", HOLD).replace("STOP_AT", &step.to_string());
    stage.up(&[]).await?;
    let front = stage.front().await?;
    // Whatever the driver did after a page has begun to load would wait for it, and the page has
    // stopped by then.
    let browser = stage.browser_for("jane", Loading::Ignored).await?;
    browser.open(&kind.url(&front)).await?;
    browser.log_in("jane", "jane").await?;
    kind.assert_of(&browser.stored_session().await?);
    browser.before_each_page(&stop_at(0)).await?;
    browser.reload().await?;
    browser.until("the page after the reload", "window.steps").await?;
    browser.until_stored("a successor", "record.generation === 2 && !record.attempt").await?;
    let steps = browser.run("return window.steps").await?.as_u64().context("a count")?;
    assert!(steps >= 12, "a relogin is to take reads, writes and messages, not {steps} steps");
    browser.open("about:blank").await?;

    let rest = browser.current_tab().await?;
    let mark = front.mark();
    for step in 1..=steps {
        let tab = browser.empty_tab().await?;
        browser.before_each_page(&stop_at(step)).await?;
        let mark = front.mark();
        // Not waited for: it does not load to its end.
        browser.run(&format!("setTimeout(() => location.href = '{}')", kind.url(&front))).await?;
        front.happens(mark, &format!("step {step}"), |happening| matches!(happening, Happening::Held)).await?;
        browser.turn_to(&rest).await?;
        browser.close_tab(&tab).await?;
    }
    browser.watch_for(View::Login).await?;
    browser.open(&kind.url(&front)).await?;
    browser.is_user(JANE).await?;
    browser.counter_runs().await?;
    assert!(!browser.has_shown(View::Login).await?, "the page was logged out");
    assert_no_key_refused(&front, mark);
    Ok(())
}

/// The place in the record behind the end of a connection, from `mark` on.
fn after(front: &Front, mark: usize, connection: usize) -> usize {
    let record = front.record();
    let record = record.borrow();
    let end = record
        .iter()
        .skip(mark)
        .position(|happening| matches!(happening, Happening::Closed(closed) if *closed == connection));
    mark + end.unwrap_or_default()
}
