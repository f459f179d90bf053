//! Serves the page: the files that Trunk has built into `target/page`, contained in the binary in
//! all encodings (`build/pack.rs`). Compresses nothing.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use super::encoding::Encoding;

/// A page, as packed by the build.
#[derive(Debug)]
pub(super) struct Page {
    /// Its files, by their paths.
    files: &'static [File],
    /// The file at the root for a demo.
    demo: Option<File>,
}

/// A file in all its encodings.
#[derive(Debug)]
struct File {
    path: &'static str,
    kind: &'static str,
    /// A weak tag, because the same content is sent in several encodings.
    tag: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

/// The page that existed when this was built.
pub(super) static PAGE: Page = include!(concat!(env!("OUT_DIR"), "/page.rs"));

#[cfg(test)]
#[path = "../../build/pack.rs"]
mod pack;

/// The file at the root.
pub(super) const INDEX: &str = "index.html";

const NO_PAGE: &str = "This server was built without its page. `cargo xtask run` builds and runs it with one.\n";
const NOT_FOUND: &str = "There is nothing here. The page is at /.\n";

/// The element in the page's head that names a gateway elsewhere.
const GATEWAY: &str = r#"<meta name="res-gateway" content=""#;

/// How long an immutable file may be cached, as a header value: a year, the usual maximum.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

impl Page {
    /// The file at `path`, or a text that says why there is none. With `demo` the page says that it
    /// is a demo.
    pub(super) fn serve(&self, path: &str, request: &HeaderMap, demo: bool) -> Response {
        let of_demo = self.demo.as_ref().filter(|file| demo && file.path == path);
        match of_demo.or_else(|| self.find(path)) {
            Some(file) => respond(file, request),
            None if path == INDEX => (StatusCode::NOT_FOUND, NO_PAGE).into_response(),
            None => (StatusCode::NOT_FOUND, NOT_FOUND).into_response(),
        }
    }

    /// What the page may do: run its own files and WebAssembly, and connect to its own server and
    /// the gateway that it names. No page may frame it, and no script may write markup.
    pub(super) fn policy(&self) -> HeaderValue {
        let page = self.find(INDEX).map(|file| file.plain).unwrap_or_default();
        let elsewhere = std::str::from_utf8(page).ok().and_then(gateway).unwrap_or_default();
        let text = format!(
            "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; \
             connect-src 'self'{elsewhere}; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'"
        );
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("default-src 'none'"))
    }

    fn find(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl File {
    fn forms(&self) -> impl Iterator<Item = (Encoding, &'static [u8])> {
        let packed = [(Encoding::Brotli, self.brotli), (Encoding::Gzip, self.gzip)];
        packed
            .into_iter()
            .filter_map(|(encoding, form)| Some((encoding, form?)))
            .chain([(Encoding::Identity, self.plain)])
    }
}

/// The sources of the gateway that the page names, if any: for its WebSocket and for requests.
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

fn respond(file: &File, request: &HeaderMap) -> Response {
    let caching = match file.path {
        // It may set a cookie, which is for one browser only.
        INDEX => "no-store",
        path if is_named_by_content(path) => IMMUTABLE,
        _ => "no-cache",
    };
    let headers =
        [(header::ETAG, file.tag), (header::CACHE_CONTROL, caching), (header::VARY, header::ACCEPT_ENCODING.as_str())];
    if is_known(file.tag, request) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let encoding = Encoding::choose(request, file.forms().map(|(encoding, _)| encoding));
    let form = file.forms().find_map(|(it, form)| (it == encoding).then_some(form)).unwrap_or(file.plain);
    let mut response = (headers, [(header::CONTENT_TYPE, file.kind)], Body::from(form)).into_response();
    if let Some(name) = encoding.name() {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    response
}

fn is_known(tag: &str, request: &HeaderMap) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|known| known.to_str().ok());
    known.flat_map(|known| known.split(',')).any(|known| known.trim() == "*" || opaque(known) == opaque(tag))
}

/// The page's first script; there is only one.
pub(super) fn is_start(path: &str) -> bool {
    path.starts_with("start-") && path.ends_with(".js")
}

/// Trunk puts the hash of a file's content into its name: `page-3f2a9c0d1e4b5a67_bg.wasm`.
fn is_named_by_content(path: &str) -> bool {
    let is_hash = |part: &str| part.len() >= 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    path.rsplit_once('-').is_some_and(|(_, end)| end.split(['_', '.']).next().is_some_and(is_hash))
}

#[cfg(test)]
mod tests {
    use std::{io::Read, path::Path};

    use super::{
        pack::{DEMO_OFF, DEMO_ON, Packed, demo_of, pack},
        *,
    };

    #[test]
    fn only_files_named_by_their_content_are_immutable() {
        for path in ["page-3f2a9c0d1e4b5a67.js", "page-3f2a9c0d1e4b5a67_bg.wasm", "style-0123456789abcdef.css"] {
            assert!(is_named_by_content(path), "{path}");
        }
        for path in ["index.html", "start.js", "log-in.js", "a-bcdef.js", "a-nothexnothex.js", "-/x.js"] {
            assert!(!is_named_by_content(path), "{path}");
        }
    }

    #[test]
    fn the_page_of_the_project_has_the_mark_that_makes_it_a_demo() {
        assert!(include_str!("../../../www/index.html").contains(DEMO_OFF));
    }

    const MISSING: Page = Page { files: &[], demo: None };

    /// A page as the build would pack it.
    fn fixture() -> Page {
        let files = pack(Path::new("tests/page")).unwrap();
        let demo = files.iter().find(|file| file.path == INDEX).and_then(demo_of).map(file);
        Page { files: files.into_iter().map(file).collect::<Vec<_>>().leak(), demo }
    }

    fn file(packed: Packed) -> File {
        let Packed { path, kind, tag, plain, brotli, gzip } = packed;
        let form = |form: Vec<u8>| &*form.leak();
        File {
            path: path.leak(),
            kind: kind.leak(),
            tag: tag.leak(),
            plain: form(plain),
            brotli: brotli.map(form),
            gzip: gzip.map(form),
        }
    }

    fn accepting(encodings: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(encodings))])
    }

    async fn bytes(response: Response) -> Vec<u8> {
        axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().into()
    }

    async fn text(response: Response) -> String {
        String::from_utf8(bytes(response).await).unwrap()
    }

    fn header(response: &Response, name: header::HeaderName) -> &str {
        response.headers()[name].to_str().unwrap()
    }

    #[tokio::test]
    async fn files_go_out_with_their_type_and_as_long_as_they_may_be_kept() {
        for (path, kind, caching) in [
            ("index.html", "text/html; charset=utf-8", "no-store"),
            ("style-0123456789abcdef.css", "text/css; charset=utf-8", IMMUTABLE),
            ("page-0123456789abcdef_bg.wasm", "application/wasm", IMMUTABLE),
        ] {
            let response = fixture().serve(path, &HeaderMap::new(), false);
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(header(&response, header::CONTENT_TYPE), kind);
            assert_eq!(header(&response, header::CACHE_CONTROL), caching);
            let tag = header(&response, header::ETAG).to_owned();
            assert_eq!(bytes(response).await, std::fs::read(format!("tests/page/{path}")).unwrap());

            let mut again = HeaderMap::new();
            again.insert(header::IF_NONE_MATCH, tag.parse().unwrap());
            let response = fixture().serve(path, &again, false);
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
            assert_eq!(header(&response, header::ETAG), tag);
            assert_eq!(text(response).await, "");
        }
    }

    /// What is sent compressed was compressed when the service was built.
    #[tokio::test]
    async fn a_file_goes_out_in_the_form_that_the_client_likes_best() {
        for demo in [false, true] {
            let plain = bytes(fixture().serve(INDEX, &HeaderMap::new(), demo)).await;
            for (accepted, encoding) in [("gzip, deflate, br", "br"), ("gzip", "gzip"), ("gzip;q=0, br;q=0", "")] {
                let response = fixture().serve(INDEX, &accepting(accepted), demo);
                assert_eq!(header(&response, header::VARY), "accept-encoding");
                assert_eq!(header(&response, header::CONTENT_TYPE), "text/html; charset=utf-8");
                let found = response.headers().get(header::CONTENT_ENCODING).map_or("", |name| name.to_str().unwrap());
                assert_eq!(found, encoding, "{accepted}");
                let tag = header(&response, header::ETAG).to_owned();
                let sent = bytes(response).await;
                let mut unpacked = Vec::new();
                match encoding {
                    "br" => brotli::BrotliDecompress(&mut &*sent, &mut unpacked).unwrap(),
                    "gzip" => drop(flate2::read::GzDecoder::new(&*sent).read_to_end(&mut unpacked).unwrap()),
                    _ => unpacked.clone_from(&sent),
                }
                assert_eq!(unpacked, plain, "{accepted}");
                assert_eq!(sent.len() < plain.len(), !encoding.is_empty(), "{accepted}");

                let mut again = accepting(accepted);
                again.insert(header::IF_NONE_MATCH, tag.parse().unwrap());
                let response = fixture().serve(INDEX, &again, demo);
                assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
                assert_eq!(
                    (header(&response, header::ETAG), header(&response, header::VARY)),
                    (&*tag, "accept-encoding")
                );
            }
        }
    }

    #[test]
    fn a_file_that_compression_makes_no_shorter_has_one_form() {
        let page = fixture();
        let file = page.find("page-0123456789abcdef_bg.wasm").unwrap();
        assert!(file.brotli.is_none() && file.gzip.is_none(), "{file:?}");
        assert!(page.find(INDEX).unwrap().brotli.is_some());
    }

    #[tokio::test]
    async fn the_page_of_a_demo_is_another_one() {
        let plain = fixture().serve(INDEX, &HeaderMap::new(), false);
        let demo = fixture().serve(INDEX, &HeaderMap::new(), true);
        assert_ne!(header(&plain, header::ETAG), header(&demo, header::ETAG));
        assert!(text(plain).await.contains(DEMO_OFF));
        assert!(text(demo).await.contains(DEMO_ON));
    }

    #[tokio::test]
    async fn missing_pages_are_answered_in_words() {
        let response = fixture().serve("nothing", &HeaderMap::new(), false);
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(text(response).await, NOT_FOUND);
        let response = MISSING.serve(INDEX, &HeaderMap::new(), false);
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
        let policy = MISSING.policy();
        let policy = policy.to_str().unwrap();
        assert!(policy.contains("connect-src 'self';") && !policy.contains("unsafe-inline"), "{policy}");
        assert!(gateway(include_str!("../../../www/index.html")).is_none());
        assert!(include_str!("../../../www/index.html").contains(GATEWAY));
    }

    #[test]
    fn a_file_that_the_client_has_is_recognised() {
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
