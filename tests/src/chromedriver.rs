//! chromedriver: the program that starts browsers and drives them, and the commands that only it has.

use std::path::Path;

use anyhow::Result;
use axum::http::Method;
use fantoccini::wd::WebDriverCompatibleCommand;
use serde_json::Value;
use url::{ParseError, Url};

use crate::{parts::Part, process::Process};

/// The program that starts browsers and drives them.
#[derive(Debug)]
pub struct Chromedriver {
    _process: Process,
    url: String,
}

impl Chromedriver {
    /// Starts it on a port of its own choice.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(log: &Path) -> Result<Self> {
        let process = Process::start(&Part::Chromedriver.path()?, ["--port=0"], log, |_| {})?;
        let port = process
            .line("its port", |line| {
                line.split_once("started successfully on port ").map(|(_, port)| port.trim_end_matches('.').to_owned())
            })
            .await?;
        Ok(Self { _process: process, url: format!("http://127.0.0.1:{port}") })
    }

    /// Where it takes commands.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// A command of chromedriver's own.
#[derive(Debug)]
pub struct Extension {
    /// Its path below the session's.
    pub path: &'static str,
    /// Its params.
    pub body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}
