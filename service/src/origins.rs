//! Decides which web origins are this server's own, which others may connect, and what follows:
//! whose pages open WebSockets, whose act with cookies, which hosts requests may ask for, and
//! whether cookies are `Secure`. Does no I/O except a log line for what it refuses. Must not depend
//! on sessions.
//!
//! A page cannot lie about its origin (`Origin`), but it can choose the name by which it reaches
//! the server (`Host`): the owner of a name can have it resolve to any address (DNS rebinding). So
//! a name is the server's own only if the operator says so.

mod complaints;

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use axum::http::uri::Authority;
use relogin_res::service::{Headers, Origin};
use thiserror::Error;
use url::Host;

use self::complaints::Complaints;

/// The web origins that are the server's own or allowed.
#[derive(Debug, Default)]
pub struct Origins {
    /// The server's public origins; empty if none was given.
    public: Vec<url::Origin>,
    allow: AllowOrigin,
    /// Those of `allow` that are web sites.
    allowed: Vec<url::Origin>,
    /// Where this server listens; none if that does not determine its names.
    listen: Option<SocketAddr>,
    /// Whether `X-Forwarded-Proto` comes only from trusted proxies.
    believes_scheme: bool,
    /// Whether clients connect to it by TLS.
    has_tls: bool,
    /// Whether it has no page, and so no origin of its own.
    has_no_page: bool,
    complaints: Complaints,
}

/// Why a request is refused, whatever it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It asks for an unknown host.
    #[error("This server is not known by that name. Its --public-url sets the name.")]
    Host,
    /// It is sent by a page that may not connect.
    #[error("Pages of this origin may not connect. The server's --public-url and --allow-origin set which pages may.")]
    Page,
}

/// The longest origin or host that is parsed, in bytes: names have 253 at most. The cost of parsing
/// grows with the length.
const MAX_LENGTH: usize = 300;

/// The origin of pages that have none: files, sandboxed frames.
const OPAQUE: &str = "null";

/// Which pages may open a WebSocket, besides those that the gateway itself serves, and requests
/// without an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowOrigin {
    /// All.
    Any,
    /// Pages of these origins (`https://example.org`, `null`, in lower case).
    List(Vec<String>),
}

impl Default for AllowOrigin {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Origins {
    /// With `public`, only those are this server's own. Without it they are derived from what
    /// requests ask for, as far as that is safe where the server listens. Pages of `allow` may
    /// connect as well.
    #[must_use]
    pub fn new(
        public: Vec<url::Origin>,
        allow: AllowOrigin,
        listen: Option<SocketAddr>,
        believes_scheme: bool,
    ) -> Self {
        let allowed = match &allow {
            AllowOrigin::Any => Vec::new(),
            AllowOrigin::List(allowed) => allowed.iter().filter_map(|page| parse_page(page)).collect(),
        };
        Self { public, allow, allowed, listen, believes_scheme, ..Self::default() }
    }

    /// The same, of a server that clients connect to by TLS, if `has_tls`.
    #[must_use]
    pub fn over_tls(self, has_tls: bool) -> Self {
        Self { has_tls, ..self }
    }

    /// The same, of a server without any page: it may be reached by any name, as no page is its own
    /// by its name. Only pages of `allow` may connect.
    #[must_use]
    pub fn without_page(self) -> Self {
        Self { has_no_page: true, ..self }
    }

    /// Refuses a request for an unknown host. A request without a host is not from a browser.
    ///
    /// # Errors
    /// [`Refusal::Host`].
    pub fn check_host(&self, host: Option<&str>) -> Result<(), Refusal> {
        let Some(text) = host else { return Ok(()) };
        if parse_host(text).is_some_and(|(host, _)| self.is_host_ours(&host)) {
            return Ok(());
        }
        if let Some(text) = self.complaints.note("host", text, Instant::now()) {
            let url = format!("https://{text}");
            tracing::warn!(
                "refused a request for the host {text:?}; if that is this server's name, set --public-url {url:?}"
            );
        }
        Err(Refusal::Host)
    }

    /// Refuses a page that may not connect. A request without an `Origin` is not from a page.
    ///
    /// # Errors
    /// [`Refusal::Page`].
    pub fn check_page(&self, client: &Origin) -> Result<(), Refusal> {
        let page = match client.header.get("Origin").map(Vec::as_slice) {
            None | Some([]) => return Ok(()),
            Some([page]) if self.is_named(page) || self.is_own(page, client) => return Ok(()),
            _ if self.allow == AllowOrigin::Any => return Ok(()),
            Some([page, ..]) => page,
        };
        match self.complaints.note("page", page, Instant::now()) {
            Some(page) if self.has_no_page => {
                tracing::warn!("refused a page of {page:?}; if it may connect, add it to --allow-origin");
            }
            Some(page) if page == OPAQUE => tracing::warn!(
                "refused a page without an origin (null), such as a file; --allow-origin null accepts all of them"
            ),
            Some(page) => tracing::warn!(
                "refused a page of {page:?}; if that is this server's own address, set --public-url {page:?}; if it is \
                 another site that may connect, set --allow-origin {page:?}"
            ),
            None => {}
        }
        Err(Refusal::Page)
    }

    /// Logs a WebSocket request without the header that makes it one.
    pub fn note_lost_upgrade(&self) {
        if self.complaints.note("upgrade", "", Instant::now()).is_some() {
            tracing::warn!(
                "refused a WebSocket without the header Upgrade; if there is a proxy, configure it to pass on Upgrade and \
                 Connection, over HTTP/1.1"
            );
        }
    }

    /// True if pages of every origin may connect.
    #[must_use]
    pub fn allow_all(&self) -> bool {
        self.allow == AllowOrigin::Any
    }

    /// True if the page that sends the request may act with its visitor's cookies: it states its
    /// origin, and that is this server's own, or one that is allowed by name. That all pages may
    /// connect does not mean that all may act for their visitors.
    #[must_use]
    pub fn may_use_cookies(&self, client: &Origin) -> bool {
        let Some(page) = one(&client.header, "Origin").filter(|page| *page != OPAQUE) else { return false };
        if self.is_named(page) {
            return true;
        }
        if !self.is_own(page, client) {
            return false;
        }
        // Off loopback, cookies are sent over TLS only, unless configured otherwise: a page of the
        // same host without TLS, which anybody on the network could have written, is another
        // origin.
        let is_safe = !self.public.is_empty()
            || parse_page(page).is_some_and(|page| scheme(&page) == "https" || is_loopback(host(&page)));
        if !is_safe && let Some(page) = self.complaints.note("cookies", page, Instant::now()) {
            tracing::warn!(
                "ignored the cookies of a page of {page:?}, which was loaded without TLS; if this site has no TLS, set --public-url {page:?}"
            );
        }
        is_safe
    }

    /// True if cookies for this client are restricted to TLS: if the server's own origin is https,
    /// or, if that is not known, off loopback.
    #[must_use]
    pub fn are_cookies_secure(&self, client: &Origin) -> bool {
        match self.public_of(client) {
            Some(public) => scheme(public) == "https",
            None => self.known_scheme(client) == Some("https") || !is_local(client),
        }
    }

    fn is_host_ours(&self, host: &Host) -> bool {
        let is_named = self.public.iter().chain(&self.allowed).any(|named| self::host(named) == Some(host));
        if is_named || self.has_no_page || self.allow == AllowOrigin::Any {
            return true;
        }
        let is_address = !matches!(host, Host::Domain(_));
        let is_loopback = is_loopback(Some(host));
        match self.listen.map(|listen| listen.ip().to_canonical()) {
            Some(ip) if ip.is_loopback() => is_loopback,
            _ if self.public.is_empty() => true,
            // Each address of this machine. No other page can have one of them as its host.
            Some(ip) if ip.is_unspecified() => is_address || is_loopback,
            Some(ip) => ip_of(host) == Some(ip),
            None => false,
        }
    }

    /// True if pages of this origin are allowed by name.
    fn is_named(&self, page: &str) -> bool {
        match &self.allow {
            AllowOrigin::Any => false,
            AllowOrigin::List(allowed) if allowed.is_empty() => false,
            // Origins that are not web sites have one spelling.
            AllowOrigin::List(allowed) => match parse_page(page) {
                Some(page) => self.allowed.contains(&page),
                None => allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(page)),
            },
        }
    }

    /// True if a page of this origin is one of the server's own.
    fn is_own(&self, page: &str, client: &Origin) -> bool {
        let Some(page) = parse_page(page).filter(|_| !self.has_no_page) else { return false };
        if !self.public.is_empty() {
            return self.public.contains(&page);
        }
        let url::Origin::Tuple(scheme, page_host, page_port) = &page else { return false };
        let Some((host, port)) = client.host.as_deref().and_then(parse_host) else { return false };
        if is_loopback(Some(page_host)) && is_loopback(Some(&host)) {
            return true;
        }
        let default_port = if scheme == "https" { 443 } else { 80 };
        *page_host == host
            && *page_port == port.unwrap_or(default_port)
            && self.known_scheme(client).is_none_or(|known| known == scheme)
    }

    /// The public origin that a request is for: the one of its page, else of the requested host,
    /// else one with TLS.
    fn public_of(&self, client: &Origin) -> Option<&url::Origin> {
        // To parse what the client says costs more than all else that is done about cookies.
        if self.public.is_empty() {
            return None;
        }
        let page = one(&client.header, "Origin").and_then(parse_page);
        let asked = client.host.as_deref().and_then(parse_host);
        let is_asked = |public: &&url::Origin| asked.as_ref().is_some_and(|(asked, _)| host(public) == Some(asked));
        let find = |is_it: &dyn Fn(&&url::Origin) -> bool| self.public.iter().find(is_it);
        find(&|public| page.as_ref() == Some(public))
            .or_else(|| find(&is_asked))
            .or_else(|| find(&|public| scheme(public) == "https"))
            .or_else(|| self.public.first())
    }

    /// The protocol by which the client came: what a trusted proxy reports, or the server's own.
    fn known_scheme(&self, client: &Origin) -> Option<&'static str> {
        let own = self.has_tls.then_some("https");
        let forwarded = one(&client.header, "X-Forwarded-Proto").filter(|_| self.believes_scheme);
        let Some(forwarded) = forwarded else { return own };
        ["https", "http"].into_iter().find(|known| forwarded.trim().eq_ignore_ascii_case(known))
    }
}

impl Refusal {
    /// The status of the response.
    #[must_use]
    pub fn status(self) -> axum::http::StatusCode {
        match self {
            Self::Host => axum::http::StatusCode::MISDIRECTED_REQUEST,
            Self::Page => axum::http::StatusCode::FORBIDDEN,
        }
    }
}

/// Parses the header `Origin`, if it is the origin of a web site.
fn parse_page(text: &str) -> Option<url::Origin> {
    if text.len() > MAX_LENGTH || text.ends_with('/') { None } else { parse_public_url(text) }
}

/// Parses `Host`.
fn parse_host(text: &str) -> Option<(Host, Option<u16>)> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let authority: Authority = text.parse().ok().filter(|authority: &Authority| !authority.as_str().contains('@'))?;
    Some((Host::parse(authority.host()).ok()?, authority.port_u16()))
}

fn scheme(origin: &url::Origin) -> &str {
    match origin {
        url::Origin::Tuple(scheme, ..) => scheme,
        url::Origin::Opaque(_) => "",
    }
}

fn host(origin: &url::Origin) -> Option<&Host> {
    match origin {
        url::Origin::Tuple(_, host, _) => Some(host),
        url::Origin::Opaque(_) => None,
    }
}

fn ip_of(host: &Host) -> Option<IpAddr> {
    match host {
        Host::Ipv4(ip) => Some((*ip).into()),
        Host::Ipv6(ip) => Some(IpAddr::from(*ip).to_canonical()),
        Host::Domain(_) => None,
    }
}

/// Parses the URL of a site: its origin and no more.
#[must_use]
pub fn parse_public_url(text: &str) -> Option<url::Origin> {
    let url = url::Url::parse(text).ok()?;
    let is_bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    Some(url.origin()).filter(|_| is_bare && matches!(url.scheme(), "http" | "https"))
}

fn is_loopback(host: Option<&Host>) -> bool {
    match host {
        Some(Host::Domain(name)) => name == "localhost",
        Some(host) => ip_of(host).is_some_and(|ip| ip.is_loopback()),
        None => false,
    }
}

/// True if the client is on this machine, according to itself: it asked for a loopback address, and
/// its page, if there is one, came from one too. (Behind a proxy the first can be true for
/// everybody.)
fn is_local(client: &Origin) -> bool {
    let asked = client.host.as_deref().and_then(parse_host);
    let page = one(&client.header, "Origin").filter(|page| *page != OPAQUE);
    is_loopback(asked.as_ref().map(|(host, _)| host))
        && page.is_none_or(|page| parse_page(page).is_some_and(|page| is_loopback(host(&page))))
}

/// The header's value, if there is exactly one.
fn one<'a>(header: &'a Headers, name: &str) -> Option<&'a str> {
    match header.get(name)?.as_slice() {
        [value] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
