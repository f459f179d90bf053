//! Commands to a browser that only the Chrome DevTools protocol has.

use anyhow::{Context, Result};
use fantoccini::wd::WindowHandle;
use serde_json::{Value, json};

use super::{Browser, View};
use crate::{chromedriver::Extension, parts::Part};

impl Browser {
    /// Runs `script` in the current tab before each page that it loads from now on.
    ///
    /// # Errors
    /// If the browser does not take it.
    pub async fn before_each_page(&self, script: &str) -> Result<()> {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await.map(drop)
    }

    /// Notes from the next page of the current tab on whether one shows `view`, reloads or not.
    ///
    /// # Errors
    /// If the browser does not take it.
    pub async fn watch_for(&self, view: View) -> Result<()> {
        const WATCH: &str = r"
            new MutationObserver(() => {
                if (document.body?.dataset.view === 'VIEW') sessionStorage.setItem('saw-VIEW', '1');
            }).observe(document, { subtree: true, childList: true, attributeFilter: ['data-view'] });";
        self.before_each_page(&WATCH.replace("VIEW", view.name())).await
    }

    /// Whether a page of the current tab has shown `view` since [`Browser::watch_for`].
    ///
    /// # Errors
    /// If the page cannot be asked.
    pub async fn has_shown(&self, view: View) -> Result<bool> {
        Ok(self.run(&format!("return sessionStorage.getItem('saw-{}')", view.name())).await? == "1")
    }

    /// Sets a cookie as the server at `url` would that uses it over TLS alone.
    ///
    /// # Errors
    /// If the browser refuses it.
    pub async fn set_cookie(&self, url: &str, name: &str, value: &str) -> Result<()> {
        let cookie = json!({ "url": url, "name": name, "value": value, "path": "/", "secure": true, "httpOnly": true });
        self.devtools("Network.setCookie", cookie).await.map(drop)
    }

    /// Freezes the current tab, as the system does to one in the background and to all when a
    /// laptop sleeps.
    ///
    /// # Errors
    /// If the browser does not do it.
    pub async fn freeze(&self) -> Result<()> {
        self.devtools("Page.setWebLifecycleState", json!({ "state": "frozen" })).await.map(drop)
    }

    /// Lets the current tab go on.
    ///
    /// # Errors
    /// If the browser does not do it.
    pub async fn thaw(&self) -> Result<()> {
        self.devtools("Page.setWebLifecycleState", json!({ "state": "active" })).await.map(drop)
    }

    /// Closes another tab than the current one, whatever it is doing.
    ///
    /// # Errors
    /// If there is no such tab.
    pub async fn close_tab(&self, tab: &WindowHandle) -> Result<()> {
        let target = String::from(tab.clone());
        self.devtools("Target.closeTarget", json!({ "targetId": target })).await.map(drop)
    }

    /// Takes the current tab off the network, or back.
    ///
    /// # Errors
    /// If the browser does not do it.
    pub async fn set_offline(&self, offline: bool) -> Result<()> {
        let conditions = json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.devtools("Network.emulateNetworkConditions", conditions).await.map(drop)
    }

    /// Keeps every timer from firing that the page in the current tab sets from now on, until it is
    /// reloaded: what waits for a timer waits forever.
    ///
    /// # Errors
    /// If the page cannot be reached.
    pub async fn hold_timers(&self) -> Result<()> {
        self.run("globalThis.setTimeout = () => 0;").await.map(drop)
    }

    /// Gives the current tab this width, in CSS pixels, and the colours that users of dark screens
    /// ask for, or of light ones. Nothing moves from then on, as for users who ask for that.
    ///
    /// # Errors
    /// If the browser does not do it.
    pub async fn dress(&self, width: u32, dark: bool) -> Result<()> {
        self.screen(width, 800).await?;
        let features = json!([
            { "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await.map(drop)
    }

    /// Gives the current tab this size, in CSS pixels.
    ///
    /// # Errors
    /// If the browser does not do it.
    pub async fn screen(&self, width: u32, height: u32) -> Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await.map(drop)
    }

    /// The violations that axe-core finds in the page, by all its rules: one per line.
    ///
    /// # Errors
    /// If axe-core is not there, or does not run.
    pub async fn faults(&self) -> Result<Vec<String>> {
        const RUN: &str = r"
            return axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.flatMap(
                ({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html}: ${failureSummary}`)));";
        let axe = Part::Resclient.path()?.join("node_modules/axe-core/axe.min.js");
        let axe = std::fs::read_to_string(&axe).with_context(|| format!("reading {}", axe.display()))?;
        self.run(&format!("if (!window.axe) {{ {axe} }}")).await?;
        Ok(serde_json::from_value(self.run(RUN).await?)?)
    }

    /// Sends a command of the Chrome DevTools protocol to the current tab.
    ///
    /// # Errors
    /// If the browser refuses it.
    pub async fn devtools(&self, command: &'static str, params: Value) -> Result<Value> {
        let command = Extension { path: "goog/cdp/execute", body: json!({ "cmd": command, "params": params }) };
        self.client.issue_cmd(command).await.with_context(|| self.about("a DevTools command"))
    }
}
