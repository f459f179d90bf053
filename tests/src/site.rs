//! A web site of a test's own: pages that it brings along, and folders. Must not depend on what is
//! on it.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use axum::{
    Router,
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    response::IntoResponse,
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A site at an address of its own. Ends when dropped.
#[derive(Debug)]
pub struct Site {
    addr: SocketAddr,
    server: JoinHandle<()>,
}

/// What is on a site.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    files: HashMap<String, String>,
    folders: Vec<(String, PathBuf)>,
}

impl Pages {
    /// With this text at `path` (`/page.js`).
    #[must_use]
    pub fn with(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }

    /// With all files of a folder below `path` (`/relogin/`).
    #[must_use]
    pub fn with_folder(mut self, path: &str, folder: impl Into<PathBuf>) -> Self {
        self.folders.push((path.to_owned(), folder.into()));
        self
    }

    async fn get(&self, path: &str) -> Option<Vec<u8>> {
        if let Some(text) = self.files.get(path) {
            return Some(text.clone().into_bytes());
        }
        let (rest, folder) =
            self.folders.iter().find_map(|(start, folder)| Some((path.strip_prefix(start.as_str())?, folder)))?;
        tokio::fs::read(folder.join(rest)).await.ok()
    }
}

impl Site {
    /// Opens the site.
    ///
    /// # Errors
    /// If there is no address for it.
    pub async fn open(pages: Pages) -> Result<Self> {
        let pages = Arc::new(pages);
        let app = Router::new().fallback(move |uri: Uri| {
            let pages = Arc::clone(&pages);
            async move {
                let path = if uri.path() == "/" { "/index.html" } else { uri.path() };
                match pages.get(path).await {
                    Some(bytes) => ([(CONTENT_TYPE, kind(path))], bytes).into_response(),
                    None => StatusCode::NOT_FOUND.into_response(),
                }
            }
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("an address for a site")?;
        let addr = listener.local_addr()?;
        let server = tokio::spawn(async move {
            // Ends with its task.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { addr, server })
    }

    /// The address that it is served at.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}
