//! A real browser through WebDriver: Chromium, or WebKit (`webkit`). Waits inside the page, on its
//! mutations, instead of asking again and again.
//!
//! Knows the page by its documented element ids and what docs/protocol.md says that it keeps.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use fantoccini::{
    Client, ClientBuilder, Locator,
    error::{CmdError, ErrorStatus},
    wd::{Capabilities, WindowHandle},
};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    DEADLINE,
    chromedriver::{Chromedriver, Extension},
    parts::Part,
};

mod devtools;
mod stored;

/// A name of this machine that browsers do not trust as they do loopback addresses: to a page from
/// there they give neither WebCrypto nor Web Locks.
pub const PLAIN_HOST: &str = "relogin.test";

/// The view of the page: `data-view` of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The login form.
    Login,
    /// A key is in storage and not yet answered.
    Resuming,
    /// Somebody is logged in.
    Session,
}

impl View {
    fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Resuming => "resuming",
            Self::Session => "session",
        }
    }
}

/// Whether commands wait until the page has loaded that the browser is on its way to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loading {
    /// Waits, as a user does.
    Awaited,
    /// Does not wait, for pages that never finish loading.
    Ignored,
}

impl Loading {
    fn strategy(self) -> &'static str {
        match self {
            Self::Awaited => "normal",
            Self::Ignored => "none",
        }
    }
}

/// A browser with a profile of its own. Dropping it kills it.
#[derive(Debug)]
pub struct Browser {
    label: String,
    client: Client,
    pid: Option<Pid>,
}

impl Browser {
    /// Starts Chromium on the profile folder `profile`. `label` names it in errors and evidence.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(driver: &Chromedriver, label: &str, profile: &Path, loading: Loading) -> Result<Self> {
        Self::start_with(driver, label, profile, loading, &[]).await
    }

    /// The same with `more` arguments.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_with(
        driver: &Chromedriver,
        label: &str,
        profile: &Path,
        loading: Loading,
        more: &[&str],
    ) -> Result<Self> {
        let args = [
            "--headless=new",
            // Containers have no user namespaces for Chromium's sandbox, and little shared memory.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1000,800",
            &format!("--host-resolver-rules=MAP {PLAIN_HOST} 127.0.0.1"),
            &format!("--user-data-dir={}", profile.display()),
        ];
        let args = [&args[..], more].concat();
        let capabilities = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": Part::Chromium.path()?, "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
            "pageLoadStrategy": loading.strategy(),
            // Our deadlines come first, and name what was waited for.
            "timeouts": { "script": 2 * DEADLINE.as_millis(), "pageLoad": 2 * DEADLINE.as_millis() },
        });
        let capabilities: Capabilities = serde_json::from_value(capabilities)?;
        Self::connect(driver.url(), label, capabilities).await
    }

    /// Has the driver at `url` start a browser.
    pub(crate) async fn connect(url: &str, label: &str, capabilities: Capabilities) -> Result<Self> {
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(url)
            .await
            .with_context(|| format!("starting the browser {label}"))?;
        let pid = client
            .capabilities()
            .and_then(|capabilities| capabilities.get("goog:processID")?.as_i64())
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        Ok(Self { label: label.to_owned(), client, pid })
    }

    /// Opens an address in the current tab and waits until it has loaded.
    ///
    /// # Errors
    /// If it does not load.
    pub async fn open(&self, url: &str) -> Result<()> {
        self.client.goto(url).await.with_context(|| self.about(&format!("opening {url}")))
    }

    /// Reloads the page.
    ///
    /// # Errors
    /// If it does not load.
    pub async fn reload(&self) -> Result<()> {
        self.client.refresh().await.with_context(|| self.about("reloading"))
    }

    /// Opens a second tab and turns to it. The handles of both come back, the new one last.
    ///
    /// # Errors
    /// If there is no second tab.
    pub async fn open_tab(&self, url: &str) -> Result<(WindowHandle, WindowHandle)> {
        let first = self.current_tab().await?;
        let second = self.empty_tab().await?;
        self.open(url).await?;
        Ok((first, second))
    }

    /// Opens an empty tab and turns to it.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn empty_tab(&self) -> Result<WindowHandle> {
        let tab = self.client.new_window(true).await?.handle;
        self.turn_to(&tab).await?;
        Ok(tab)
    }

    /// The tab that commands go to.
    ///
    /// # Errors
    /// If it is gone.
    pub async fn current_tab(&self) -> Result<WindowHandle> {
        self.client.window().await.with_context(|| self.about("asking for its tab"))
    }

    /// Sends what follows to this tab.
    ///
    /// # Errors
    /// If the tab is gone.
    pub async fn turn_to(&self, tab: &WindowHandle) -> Result<()> {
        self.client.switch_to_window(tab.clone()).await.with_context(|| self.about("turning to a tab"))
    }

    /// Sends what follows to this tab, and has the user look at it.
    ///
    /// # Errors
    /// If the tab is gone.
    pub async fn look_at(&self, tab: &WindowHandle) -> Result<()> {
        self.turn_to(tab).await?;
        self.devtools("Page.bringToFront", json!({})).await.map(drop)
    }

    /// Waits until the JavaScript expression `condition` is truthy, and answers its value. It is
    /// evaluated now and after each change of the document.
    ///
    /// # Errors
    /// If that does not come in time.
    pub async fn until(&self, what: &str, condition: &str) -> Result<Value> {
        const WAIT: &str = r"
            const [patience, done] = arguments;
            const condition = () => { try { return CONDITION; } catch { return false; } };
            const end = value => { observer.disconnect(); clearTimeout(timer); done(value); };
            const look = () => { const value = condition(); if (value) end(value); };
            const observer = new MutationObserver(look);
            const timer = setTimeout(() => end(null), patience);
            observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
            look();";
        let script = WAIT.replace("CONDITION", condition);
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left < Duration::from_millis(1) {
                let state =
                    "return { ...document.body.dataset, error: document.querySelector('#login-error')?.textContent }";
                let state = self.run(state).await.unwrap_or_default();
                bail!("{}; the page is at {state}", self.about(&format!("{what} did not come")));
            }
            match self.client.execute_async(&script, vec![json!(left.as_millis())]).await {
                Ok(Value::Null) => {}
                Ok(value) => return Ok(value),
                // The document that we waited in is gone, by a reload: wait in the next one.
                Err(CmdError::Standard(error))
                    if matches!(error.error, ErrorStatus::ScriptTimeout) || error.message.contains("unload") => {}
                Err(error) => return Err(error).with_context(|| self.about(&format!("waiting until {what}"))),
            }
        }
    }

    /// Waits until the page shows `view`.
    ///
    /// # Errors
    /// If that does not come in time.
    pub async fn shows(&self, view: View) -> Result<()> {
        let condition = format!("document.body.dataset.view === '{}'", view.name());
        self.until(&format!("the view {view:?}"), &condition).await.map(drop)
    }

    /// Waits until the page says that its connection is `connecting`, `connected` or
    /// `reconnecting`.
    ///
    /// # Errors
    /// If that does not come in time.
    pub async fn connection_is(&self, state: &str) -> Result<()> {
        let condition = format!("document.body.dataset.connection === '{state}'");
        self.until(&format!("the connection state {state}"), &condition).await.map(drop)
    }

    /// Fills in the login form and sends it.
    ///
    /// # Errors
    /// If there is no form.
    pub async fn enter(&self, username: &str, password: &str) -> Result<()> {
        self.shows(View::Login).await?;
        for (field, text) in [("#username", username), ("#password", password)] {
            self.fill(field, text).await?;
        }
        self.click("#login-submit").await
    }

    /// Types `text` into an empty field, or in place of what is there.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn fill(&self, selector: &str, text: &str) -> Result<()> {
        let field = self.client.find(Locator::Css(selector)).await;
        let field = field.with_context(|| self.about(&format!("finding {selector}")))?;
        field.clear().await?;
        Ok(field.send_keys(text).await?)
    }

    /// Logs in and waits until the page shows the session.
    ///
    /// # Errors
    /// If that does not come in time.
    pub async fn log_in(&self, username: &str, password: &str) -> Result<()> {
        self.enter(username, password).await?;
        self.shows(View::Session).await
    }

    /// Clicks an element.
    ///
    /// # Errors
    /// If it is not there or cannot be clicked.
    pub async fn click(&self, selector: &str) -> Result<()> {
        let element = self.client.find(Locator::Css(selector)).await;
        let element = element.with_context(|| self.about(&format!("finding {selector}")))?;
        element.click().await.with_context(|| self.about(&format!("clicking {selector}")))
    }

    /// The visible text of an element.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn text(&self, selector: &str) -> Result<String> {
        let element = self.client.find(Locator::Css(selector)).await;
        let element = element.with_context(|| self.about(&format!("finding {selector}")))?;
        Ok(element.text().await?)
    }

    /// Waits until the page says who is logged in, all three of id, name and role.
    ///
    /// # Errors
    /// If it is or stays somebody else.
    pub async fn is_user(&self, [id, name, role]: [&str; 3]) -> Result<()> {
        let condition = format!(
            "document.body.dataset.view === 'session' && \
             ['user-id', 'user-name', 'user-role'].map(id => document.getElementById(id).textContent.trim()).join('|') \
             === '{id}|{name}|{role}'"
        );
        self.until(&format!("the user {name}"), &condition).await.map(drop)
    }

    /// Waits until the demo's counter has changed twice. (Restarted, it counts from zero.)
    ///
    /// # Errors
    /// If it stands still.
    pub async fn counter_runs(&self) -> Result<()> {
        const SECONDS: &str = "parseInt(document.getElementById('ticker-seconds').textContent, 10)";
        let mut shown = self.until("a counter", &format!("({SECONDS} >= 0) && [{SECONDS}]")).await?;
        for _ in 0..2 {
            let change = format!("({SECONDS} >= 0) && ({SECONDS} !== {}) && [{SECONDS}]", shown[0]);
            shown = self.until("a running counter", &change).await?;
        }
        Ok(())
    }

    /// Starts noting which views the page turns to; a reload ends it.
    ///
    /// # Errors
    /// If the page cannot be reached.
    pub async fn watch_views(&self) -> Result<()> {
        const WATCH: &str = r"
            window.viewsSeen = [];
            new MutationObserver(() => {
                const view = document.body.dataset.view;
                const last = window.viewsSeen.at(-1) ?? window.viewAtFirst;
                if (view !== last) window.viewsSeen.push(view);
            }).observe(document.body, { attributeFilter: ['data-view'] });
            window.viewAtFirst = document.body.dataset.view;";
        self.run(WATCH).await.map(drop)
    }

    /// The views that the page has turned to since [`Browser::watch_views`].
    ///
    /// # Errors
    /// If the page cannot be asked, or has been reloaded.
    pub async fn views_seen(&self) -> Result<Vec<String>> {
        Ok(serde_json::from_value(self.run("return window.viewsSeen").await?)?)
    }

    /// Runs a script in the page that hands its answer to the function that is its last argument.
    ///
    /// # Errors
    /// If it throws.
    pub async fn ask(&self, script: &str, args: Vec<Value>) -> Result<Value> {
        self.client.execute_async(script, args).await.with_context(|| self.about("asking the page"))
    }

    /// Runs JavaScript in the page and answers what it returns.
    ///
    /// # Errors
    /// If it throws.
    pub async fn run(&self, script: &str) -> Result<Value> {
        self.client.execute(script, vec![]).await.with_context(|| self.about(&format!("running {script}")))
    }

    /// The cookies that the browser keeps for the page's host, also those that no script sees:
    /// names and values.
    ///
    /// # Errors
    /// If the browser does not answer.
    pub async fn cookies(&self) -> Result<Vec<(String, String)>> {
        let cookies = self.client.get_all_cookies().await?;
        Ok(cookies.iter().map(|cookie| (cookie.name().to_owned(), cookie.value().to_owned())).collect())
    }

    /// Removes a cookie, as its expiry would.
    ///
    /// # Errors
    /// If the browser does not answer.
    pub async fn remove_cookie(&self, name: &str) -> Result<()> {
        Ok(self.client.delete_cookie(name).await?)
    }

    /// The messages of the page's console since the last call, a line each.
    ///
    /// # Errors
    /// If the browser does not answer.
    pub async fn console(&self) -> Result<Vec<String>> {
        let entries = self.client.issue_cmd(Extension { path: "se/log", body: json!({ "type": "browser" }) }).await?;
        let entries = entries.as_array().context("the console's log is no list")?;
        let line = |entry: &Value| {
            format!("{} {}", entry["level"].as_str().unwrap_or_default(), entry["message"].as_str().unwrap_or_default())
        };
        Ok(entries.iter().map(line).collect())
    }

    /// Saves what can be seen of the browser into `folder`: screenshot, page, console.
    pub async fn save_evidence(&self, folder: &Path) {
        let file = |kind: &str| folder.join(format!("{}.{kind}", self.label));
        // What a dying browser does not give any more is missing from the evidence; the test has
        // failed already.
        if let Ok(picture) = self.client.screenshot().await {
            let _ = std::fs::write(file("png"), picture);
        }
        if let Ok(source) = self.client.source().await {
            let _ = std::fs::write(file("html"), source);
        }
        if let Ok(console) = self.console().await {
            let _ = std::fs::write(file("console.log"), console.join("\n"));
        }
    }

    /// Takes a picture of the page.
    ///
    /// # Errors
    /// If the browser gives none or the file cannot be written.
    pub async fn screenshot(&self, file: &Path) -> Result<()> {
        std::fs::write(file, self.client.screenshot().await?).context("writing a screenshot")
    }

    /// Closes the browser as a user does; what it keeps is on disk then.
    ///
    /// # Errors
    /// If it does not close.
    pub async fn close(&self) -> Result<()> {
        self.client.clone().close().await.map_err(|error| anyhow!(error)).with_context(|| self.about("closing"))
    }

    fn about(&self, what: &str) -> String {
        format!("browser {}: {what}", self.label)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its driver is its parent and waits for it, so that the id is not another's yet while the
        // driver runs.
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
