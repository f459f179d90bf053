//! The page: the files that Trunk has built into `target/page`, carried in the binary. (A debug build reads them afresh from
//! there each time.)

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use rust_embed::{EmbeddedFile, RustEmbed};

/// The page that was built.
#[derive(RustEmbed)]
#[folder = "../target/page"]
#[allow_missing = true]
pub(super) struct Page;

/// The file at the root.
pub(super) const INDEX: &str = "index.html";

const NO_PAGE: &str = "This server was built without its page. `cargo xtask run` builds and runs it with one.\n";
const NOT_FOUND: &str = "There is nothing here. The page is at /.\n";

/// What the page has in its head for us to say that it is a demo.
const DEMO_OFF: &str = r#"<meta name="relogin-demo" content="">"#;
const DEMO_ON: &str = r#"<meta name="relogin-demo" content="on">"#;

/// What the page has in its head to name a gateway elsewhere.
const GATEWAY: &str = r#"<meta name="res-gateway" content=""#;

/// How long a file that never changes may be kept, in words for caches: a year, as long as they go.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The file at `path`, or words on why there is none. With `demo` the page is told that it is one.
pub(super) fn serve<Files: RustEmbed>(path: &str, request: &HeaderMap, demo: bool) -> Response {
    match Files::get(path) {
        Some(file) => respond(path, file, request, demo),
        None if path == INDEX => (StatusCode::NOT_FOUND, NO_PAGE).into_response(),
        None => (StatusCode::NOT_FOUND, NOT_FOUND).into_response(),
    }
}

/// What the page may do: run its own files and WebAssembly, speak to its own server and the gateway that it names, and no more. No
/// page may frame it, nor any script write markup.
pub(super) fn policy<Files: RustEmbed>() -> HeaderValue {
    let page = Files::get(INDEX).map(|file| file.data).unwrap_or_default();
    let elsewhere = std::str::from_utf8(&page).ok().and_then(gateway).unwrap_or_default();
    let text = format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; \
         connect-src 'self'{elsewhere}; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    );
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// The sources of the gateway that the page names, if it names one: for its WebSocket and for requests.
fn gateway(page: &str) -> Option<String> {
    let url = page.split_once(GATEWAY)?.1.split('"').next()?;
    let url: Uri = url.parse().ok()?;
    let plain = match url.scheme_str()? {
        "wss" => "https",
        "ws" => "http",
        _ => return None,
    };
    let (scheme, host) = (url.scheme_str()?, url.authority()?);
    Some(format!(" {scheme}://{host} {plain}://{host}"))
}

fn respond(path: &str, file: EmbeddedFile, request: &HeaderMap, demo: bool) -> Response {
    let is_demo_page = demo && path == INDEX;
    let tag = tag(&file, is_demo_page);
    let caching = match path {
        // It may set a cookie, which is for one browser only.
        INDEX => "no-store",
        path if is_named_by_content(path) => FOR_EVER,
        _ => "no-cache",
    };
    let headers = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, caching.to_owned())];
    if is_known(&tag, request) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let kind = match file.metadata.mimetype() {
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    let content = if is_demo_page { with_demo(file.data) } else { file.data };
    let body = match content {
        Cow::Borrowed(content) => Body::from(content),
        Cow::Owned(content) => Body::from(content),
    };
    (headers, [(header::CONTENT_TYPE, kind)], body).into_response()
}

/// A weak tag, for the same content goes out compressed and not.
fn tag(file: &EmbeddedFile, is_demo_page: bool) -> String {
    let hash: String = file.metadata.sha256_hash()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{hash}{}\"", if is_demo_page { "-demo" } else { "" })
}

fn is_known(tag: &str, request: &HeaderMap) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|known| known.to_str().ok());
    known.flat_map(|known| known.split(',')).any(|known| known.trim() == "*" || opaque(known) == opaque(tag))
}

/// The page's first script: there is one.
pub(super) fn is_start(path: &str) -> bool {
    path.starts_with("start-") && path.ends_with(".js")
}

/// Trunk puts the hash of a file's content into its name: `page-3f2a9c0d1e4b5a67_bg.wasm`.
fn is_named_by_content(path: &str) -> bool {
    let is_hash = |part: &str| part.len() >= 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    path.rsplit_once('-').is_some_and(|(_, end)| end.split(['_', '.']).next().is_some_and(is_hash))
}

fn with_demo(content: Cow<'static, [u8]>) -> Cow<'static, [u8]> {
    match std::str::from_utf8(&content) {
        Ok(text) if text.contains(DEMO_OFF) => Cow::Owned(text.replacen(DEMO_OFF, DEMO_ON, 1).into_bytes()),
        _ => content,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_by_its_content_is_kept_for_ever() {
        for path in ["page-3f2a9c0d1e4b5a67.js", "page-3f2a9c0d1e4b5a67_bg.wasm", "style-0123456789abcdef.css"] {
            assert!(is_named_by_content(path), "{path}");
        }
        for path in ["index.html", "start.js", "log-in.js", "a-bcdef.js", "a-nothexnothex.js", "-/x.js"] {
            assert!(!is_named_by_content(path), "{path}");
        }
    }

    #[test]
    fn a_demo_says_so() {
        let page = |text: &'static str| with_demo(Cow::Borrowed(text.as_bytes())).into_owned();
        assert_eq!(
            page("<head><meta name=\"relogin-demo\" content=\"\"></head>"),
            format!("<head>{DEMO_ON}</head>").as_bytes()
        );
        assert_eq!(page("<head></head>"), b"<head></head>");
    }

    #[test]
    fn the_page_of_the_project_can_be_told_that_it_is_a_demo() {
        assert!(include_str!("../../../www/index.html").contains(DEMO_OFF));
    }

    #[derive(RustEmbed)]
    #[folder = "tests/page"]
    struct Fixture;

    #[derive(RustEmbed)]
    #[folder = "tests/no-page"]
    #[allow_missing = true]
    struct Missing;

    async fn text(response: Response) -> String {
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8_lossy(&body).into_owned()
    }

    fn header(response: &Response, name: header::HeaderName) -> &str {
        response.headers()[name].to_str().unwrap()
    }

    #[tokio::test]
    async fn files_go_out_with_their_type_and_as_long_as_they_may_be_kept() {
        for (path, kind, caching) in [
            ("index.html", "text/html; charset=utf-8", "no-store"),
            ("style-0123456789abcdef.css", "text/css; charset=utf-8", FOR_EVER),
            ("page-0123456789abcdef_bg.wasm", "application/wasm", FOR_EVER),
        ] {
            let response = serve::<Fixture>(path, &HeaderMap::new(), false);
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(header(&response, header::CONTENT_TYPE), kind);
            assert_eq!(header(&response, header::CACHE_CONTROL), caching);
            let tag = header(&response, header::ETAG).to_owned();
            assert_eq!(text(response).await.as_bytes(), std::fs::read(format!("tests/page/{path}")).unwrap());

            let mut again = HeaderMap::new();
            again.insert(header::IF_NONE_MATCH, tag.parse().unwrap());
            let response = serve::<Fixture>(path, &again, false);
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
            assert_eq!(header(&response, header::ETAG), tag);
            assert_eq!(text(response).await, "");
        }
    }

    #[tokio::test]
    async fn the_page_of_a_demo_is_another_one() {
        let plain = serve::<Fixture>(INDEX, &HeaderMap::new(), false);
        let demo = serve::<Fixture>(INDEX, &HeaderMap::new(), true);
        assert_ne!(header(&plain, header::ETAG), header(&demo, header::ETAG));
        assert!(text(plain).await.contains(DEMO_OFF));
        assert!(text(demo).await.contains(DEMO_ON));
    }

    #[tokio::test]
    async fn what_is_not_there_is_said_in_words() {
        let response = serve::<Fixture>("nothing", &HeaderMap::new(), false);
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(text(response).await, NOT_FOUND);
        let response = serve::<Missing>(INDEX, &HeaderMap::new(), false);
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(text(response).await, NO_PAGE);
    }

    #[test]
    fn the_page_speaks_to_its_server_and_the_gateway_it_names() {
        let page = |url: &str| gateway(&format!("<head>{GATEWAY}{url}\"></head>"));
        let sources = page("wss://api.example.com:8443/ws?x=1");
        assert_eq!(sources.as_deref(), Some(" wss://api.example.com:8443 https://api.example.com:8443"));
        for none in ["", "/ws", "javascript:x", "https://example.com", "wss://a b", "wss://a; script-src *"] {
            assert_eq!(page(none), None, "{none}");
        }
        let policy = policy::<Missing>();
        let policy = policy.to_str().unwrap();
        assert!(policy.contains("connect-src 'self';") && !policy.contains("unsafe-inline"), "{policy}");
        assert!(gateway(include_str!("../../../www/index.html")).is_none());
        assert!(include_str!("../../../www/index.html").contains(GATEWAY));
    }

    #[test]
    fn a_client_that_has_the_file_is_told_so() {
        let known = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, value.parse().unwrap());
            is_known("W/\"abc\"", &headers)
        };
        assert!(["W/\"abc\"", "\"abc\"", "\"x\", W/\"abc\"", "*"].into_iter().all(known));
        assert!(!["W/\"abd\"", "abc", ""].into_iter().any(known));
        assert!(!is_known("W/\"abc\"", &HeaderMap::new()));
    }
}
