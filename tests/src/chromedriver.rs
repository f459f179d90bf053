//! chromedriver: the program that starts browsers and drives them, and the commands that only it
//! has.

use std::path::Path;

use anyhow::Result;
use axum::http::Method;
use fantoccini::wd::WebDriverCompatibleCommand;
use serde_json::Value;
use url::{ParseError, Url};

use crate::{net::Address, parts::Part, process::Process};

/// The program that starts browsers and drives them.
#[derive(Debug)]
pub struct Chromedriver {
    _process: Process,
    /// Kept for it.
    _address: Address,
    url: String,
}

impl Chromedriver {
    /// Starts it.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(log: &Path) -> Result<Self> {
        // Asked for any port, it takes one that is free for IPv6 and ends if it is not for IPv4.
        let address = Address::reserve()?;
        let port = format!("--port={}", address.port());
        let process = Process::start(&Part::Chromedriver.path()?, [port], log, |_| {})?;
        process.line("that it is ready", |line| line.contains("started successfully on port").then_some(())).await?;
        let url = format!("http://{}", address.get());
        Ok(Self { _process: process, _address: address, url })
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
