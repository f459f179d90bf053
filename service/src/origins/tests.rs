//! Which pages and hosts are ours, and which may do what.

use super::*;

fn allow(list: &[&str]) -> AllowOrigin {
    AllowOrigin::List(list.iter().map(|&origin| origin.to_owned()).collect())
}

fn public(urls: &[&str]) -> Origins {
    Origins::new(urls.iter().map(|url| parse_public_url(url).unwrap()).collect(), AllowOrigin::default(), None, false)
}

fn listening(address: &str, urls: &[&str], allow: AllowOrigin) -> Origins {
    let urls = urls.iter().map(|url| parse_public_url(url).unwrap()).collect();
    Origins::new(urls, allow, Some(address.parse().unwrap()), false)
}

fn client(host: &str, pages: &[&str]) -> Origin {
    let mut client = Origin { host: Some(host.to_owned()), ..Origin::default() };
    pages.iter().for_each(|page| client.push_header("Origin", *page));
    client
}

fn may_connect(origins: &Origins, page: Option<&str>, host: &str) -> bool {
    let pages: Vec<_> = page.into_iter().collect();
    origins.check_page(&client(host, &pages)).is_ok()
}

fn may_act(origins: &Origins, pages: &[&str], host: &str) -> bool {
    origins.may_use_cookies(&client(host, pages))
}

#[test]
fn pages_of_the_same_origin_and_programs_may_connect() {
    for (page, host) in [
        (None, "example.org"),
        (Some("https://example.org"), "example.org"),
        (Some("https://EXAMPLE.org"), "example.org:443"),
        (Some("http://example.org"), "example.org:80"),
        (Some("https://example.org:8443"), "example.org:8443"),
        (Some("http://[2001:db8::1]:8080"), "[2001:db8::1]:8080"),
        (Some("http://localhost:8081"), "127.0.0.1:8080"),
        (Some("http://127.0.0.1:8081"), "localhost:8080"),
        (Some("http://[::1]:8081"), "[::1]:8080"),
    ] {
        assert!(may_connect(&Origins::default(), page, host), "{page:?} {host}");
    }
}

#[test]
fn other_pages_must_be_named() {
    let named = Origins::new(Vec::new(), allow(&["https://app.example"]), None, false);
    let any = Origins::new(Vec::new(), AllowOrigin::Any, None, false);
    for (page, host) in [
        ("https://example.com", "example.org"),
        ("https://example.org.evil.com", "example.org"),
        ("https://evil.com/example.org", "example.org"),
        ("https://example.org@evil.com", "example.org"),
        ("http://example.org:8081", "example.org:8080"),
        ("http://example.org", "example.org:8080"),
        ("https://evil.com", "127.0.0.1:8080"),
        ("http://localhost.evil.com", "localhost"),
        ("file://", "example.org"),
        ("", "example.org"),
        ("\u{e9}", "example.org"),
        ("null", "example.org"),
        ("null", "localhost"),
    ] {
        assert!(!may_connect(&named, Some(page), host), "{page} {host}");
        assert!(may_connect(&named, Some("https://app.example"), host), "{host}");
        assert!(may_connect(&any, Some(page), host), "{page} {host}");
    }
    let two = client("example.org", &["https://app.example", "https://evil.example"]);
    assert_eq!(named.check_page(&two), Err(Refusal::Page));
}

/// A page without an origin is anybody's: a frame that any page may make.
#[test]
fn pages_without_an_origin_connect_where_they_are_named_and_never_act_with_cookies() {
    let named = Origins::new(Vec::new(), allow(&["null", "capacitor://localhost"]), None, false);
    for host in ["example.org", "localhost:8080"] {
        assert!(!may_connect(&Origins::default(), Some("null"), host));
        assert!(may_connect(&named, Some("null"), host) && may_connect(&named, Some("capacitor://LOCALHOST"), host));
        assert!(!may_act(&named, &["null"], host));
        assert!(may_act(&named, &["capacitor://localhost"], host));
    }
}

/// Whatever name a page's owner gives to the address of a server without a page, its own pages are
/// not the server's.
#[test]
fn a_server_without_a_page_has_any_name_and_no_origin_of_its_own() {
    let gateway = listening("127.0.0.1:8080", &[], allow(&["https://app.example"])).without_page();
    for host in ["api.example", "localhost:8080", "evil.example:8080", "192.0.2.1"] {
        assert_eq!(gateway.check_host(Some(host)), Ok(()), "{host}");
        assert!(may_connect(&gateway, None, host) && may_connect(&gateway, Some("https://app.example"), host));
        assert!(may_act(&gateway, &["https://app.example"], host));
        let own = format!("http://{host}");
        assert!(!may_connect(&gateway, Some(&own), host) && !may_act(&gateway, &[&own], host), "{host}");
    }
}

/// Only the public URL, with its scheme, host and port, is our own origin once it is given.
#[test]
fn with_a_public_url_nothing_else_is_our_own_origin() {
    let origins = public(&["https://chat.example", "http://intra.example:8080"]);
    for host in ["chat.example", "127.0.0.1:8080", "intra.example", "evil.example"] {
        for page in ["https://chat.example", "https://CHAT.example:443", "http://intra.example:8080"] {
            assert!(may_connect(&origins, Some(page), host) && may_act(&origins, &[page], host), "{page} {host}");
        }
        for page in
            ["http://chat.example", "https://chat.example:8443", "http://intra.example", "http://localhost:3000"]
        {
            assert!(!may_connect(&origins, Some(page), host) && !may_act(&origins, &[page], host), "{page} {host}");
        }
        let same = format!("https://{host}");
        assert_eq!(may_connect(&origins, Some(&same), host), host == "chat.example");
    }
    assert!(may_connect(&origins, None, "chat.example"));
}

/// A page of `http://host` is not one of `https://host` where cookies count, for those go over TLS.
#[test]
fn pages_of_the_same_origin_and_named_ones_act_with_cookies() {
    let host = "api.example.org";
    let origins = Origins::default();
    for page in ["https://api.example.org", "https://API.example.org:443"] {
        assert!(may_act(&origins, &[page], host), "{page}");
    }
    assert!(may_connect(&origins, Some("http://api.example.org"), host));
    assert!(!may_act(&origins, &["http://api.example.org"], host));
    assert!(may_act(&public(&["http://api.example.org"]), &["http://api.example.org"], host));
    assert!(may_act(&origins, &["http://localhost:3000"], "127.0.0.1:8080"));

    let named = Origins::new(Vec::new(), allow(&["https://app.example.org", "http://app.example.org"]), None, false);
    assert!(may_act(&named, &["https://app.example.org"], host) && may_act(&named, &["http://app.example.org"], host));
    for pages in
        [&["https://evil.example"][..], &["null"], &[""], &[], &["https://app.example.org", "https://evil.example"]]
    {
        assert!(!may_act(&named, pages, host), "{pages:?}");
    }
    let any = Origins::new(Vec::new(), AllowOrigin::Any, None, false);
    assert!(may_act(&any, &["https://api.example.org"], host));
    assert!(!may_act(&any, &["https://evil.example"], host) && !may_act(&any, &[], host));
}

#[test]
fn overlong_names_are_not_read() {
    let name = |length: usize| format!("{}.", "a".repeat(63)).repeat(8)[..length].to_owned();
    let same = |name: &str| may_connect(&Origins::default(), Some(&format!("https://{name}")), name);
    assert!(same(&name(253)) && !same(&name(301)));
    assert_eq!(Origins::default().check_host(Some(&name(301))), Err(Refusal::Host));
}

/// The scheme counts where a trusted proxy says which it was, and only then.
#[test]
fn the_scheme_is_compared_where_it_is_known() {
    let forwarded = |origins: &Origins, scheme: &str, page: &str| {
        let mut client = client("example.org", &[page]);
        client.push_header("X-Forwarded-Proto", scheme);
        origins.check_page(&client).is_ok()
    };
    let (knows, does_not) = (Origins::new(Vec::new(), AllowOrigin::default(), None, true), Origins::default());
    for (scheme, page, is_same) in [
        ("https", "https://example.org", true),
        ("HTTPS", "https://example.org", true),
        ("https", "http://example.org", false),
        ("http", "https://example.org", false),
        ("http", "http://example.org", true),
        ("gopher", "http://example.org", true),
    ] {
        assert_eq!(forwarded(&knows, scheme, page), is_same, "{scheme} {page}");
        assert!(forwarded(&does_not, scheme, page), "{scheme} {page}");
    }
}

/// A name that somebody else can have resolve to this machine is not ours.
#[test]
fn hosts_are_ours_by_where_we_listen_and_by_name() {
    let none = || AllowOrigin::default();
    let chat = &["https://chat.example:8443"][..];
    let origins = [
        listening("127.0.0.1:8080", &[], none()),
        listening("[::1]:8080", chat, none()),
        listening("0.0.0.0:8080", &[], none()),
        listening("[::]:8080", chat, none()),
        listening("192.0.2.1:8080", chat, none()),
        listening("127.0.0.1:8080", &[], allow(&["https://app.example"])),
        listening("127.0.0.1:8080", chat, AllowOrigin::Any),
    ];
    let ours = |host: &str| origins.iter().map(|origins| origins.check_host(Some(host)).is_ok()).collect::<Vec<_>>();
    for (host, expected) in [
        ("localhost:8080", [true, true, true, true, false, true, true]),
        ("127.0.0.1", [true, true, true, true, false, true, true]),
        ("[::1]:8080", [true, true, true, true, false, true, true]),
        ("evil.example:8080", [false, false, true, false, false, false, true]),
        ("localhost.evil.example", [false, false, true, false, false, false, true]),
        // A proxy may leave the port out, or have one of its own.
        ("chat.example", [false, true, true, true, true, false, true]),
        ("CHAT.example:9", [false, true, true, true, true, false, true]),
        ("192.0.2.1:8080", [false, false, true, true, true, false, true]),
        ("192.0.2.2", [false, false, true, true, false, false, true]),
        ("app.example", [false, false, true, false, false, true, true]),
        ("", [false; 7]),
        ("a@localhost", [false; 7]),
        ("localhost/evil", [false; 7]),
        ("\u{fffd}", [false; 7]),
    ] {
        assert_eq!(ours(host), expected, "{host:?}");
    }
    assert!(origins.iter().all(|origins| origins.check_host(None).is_ok()));
}

#[test]
fn without_a_public_url_loopback_is_what_host_and_page_say() {
    for (host, page, is_local) in [
        ("127.0.0.1:8080", None, true),
        ("[::1]", Some("http://localhost:3000"), true),
        ("localhost", Some("null"), true),
        ("127.0.0.1:8080", Some("https://example.org"), false),
        ("example.org", Some("http://localhost"), false),
        ("example.org", None, false),
        ("localhost.example.org", None, false),
        ("", None, false),
    ] {
        let pages: Vec<_> = page.into_iter().collect();
        assert_eq!(Origins::default().are_cookies_secure(&client(host, &pages)), !is_local, "{host} {page:?}");
    }
    assert!(Origins::default().are_cookies_secure(&Origin::default()));
    let mut behind = client("127.0.0.1:8080", &[]);
    behind.push_header("X-Forwarded-Proto", "https");
    assert!(!Origins::default().are_cookies_secure(&behind));
    assert!(Origins::new(Vec::new(), AllowOrigin::default(), None, true).are_cookies_secure(&behind));
}

/// A proxy asks us for a loopback address, whatever the browser has asked it for.
#[test]
fn cookies_are_as_secure_as_the_public_url() {
    let (tls, plain) = (&["https://chat.example"][..], &["http://chat.example"][..]);
    let both = &["http://intra.example", "https://chat.example"][..];
    for (urls, host, page, expected) in [
        (tls, "127.0.0.1:8080", None, true),
        (tls, "127.0.0.1:8080", Some("https://chat.example"), true),
        (tls, "localhost", Some("http://localhost"), true),
        (plain, "127.0.0.1:8080", None, false),
        (plain, "chat.example", Some("http://chat.example"), false),
        (both, "127.0.0.1:8080", None, true),
        (both, "127.0.0.1:8080", Some("http://intra.example"), false),
        (both, "127.0.0.1:8080", Some("https://chat.example"), true),
        (both, "intra.example", None, false),
        (both, "chat.example", None, true),
    ] {
        let pages: Vec<_> = page.into_iter().collect();
        assert_eq!(public(urls).are_cookies_secure(&client(host, &pages)), expected, "{urls:?} {host} {page:?}");
    }
}
