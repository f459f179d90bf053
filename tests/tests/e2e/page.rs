//! What the page shows, and when: nothing that is taken back.

use anyhow::Result;
use relogin_tests::{browser::View, stage::Stage};
use serde_json::{Value, json};

use crate::JANE;

on!(embedded_alone: a_reload_that_resumes_paints_no_login_form);

/// Notes from the beginning of each document on what may be painted: the view of each frame, and of each change of the document.
const WATCH: &str = r"
    window.painted = [];
    const note = () => {
        const shown = [...document.querySelectorAll('.view')].filter(view => getComputedStyle(view).visibility === 'visible');
        for (const view of shown.map(view => view.classList[1])) {
            if (window.painted.at(-1) !== view) window.painted.push(view);
        }
        const title = document.querySelector('#login-title');
        if (title?.checkVisibility({ visibilityProperty: true, opacityProperty: true })) window.painted.push('login form');
    };
    const each = () => { note(); requestAnimationFrame(each); };
    each();
    new MutationObserver(note).observe(document, { subtree: true, childList: true, attributes: true });";

/// Neither while the program loads, nor while the service takes its time.
async fn a_reload_that_resumes_paints_no_login_form(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let front = stage.front().await?;
    let page = stage.page("jane", &front.url()).await?;
    page.log_in("jane", "jane").await?;
    page.before_each_page(WATCH).await?;

    page.reload().await?;
    page.is_user(JANE).await?;
    assert_no_form(&page.run("return window.painted").await?);

    // Nobody answers: what is known is that there is a session to pick up.
    front.shut();
    page.reload().await?;
    page.shows(View::Resuming).await?;
    page.connection_is("reconnecting").await?;
    front.lead_to(stage.gateway_addr());
    page.is_user(JANE).await?;
    assert_no_form(&page.run("return window.painted").await?);
    Ok(())
}

fn assert_no_form(painted: &Value) {
    let painted = painted.as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(painted.last(), Some(&json!("view-session")), "{painted:?}");
    for form in ["view-login", "login form"] {
        assert!(!painted.contains(&json!(form)), "{painted:?}");
    }
}
