//! What strangers do by HTTP, and what proxies leave out.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use relogin_tests::{
    in_time,
    innocent::Innocent,
    raw::{Raw, STRANGER},
    res::Res,
    stage::Stage,
};

on!(embedded_alone: hundreds_of_unread_downloads_are_bounded_in_memory, hundreds_of_downloads_are_bounded_in_memory,
    a_foreign_name_that_resolves_to_this_machine_opens_nothing, beyond_this_machine_a_page_needs_a_host_of_its_own_and_tls_for_cookies, pages_without_an_origin_open_nothing, with_a_public_url_only_its_pages_connect, pages_without_tls_do_nothing_with_its_cookies,
    what_a_proxy_leaves_out_is_reported_in_the_log, behind_a_proxy_cookies_are_as_secure_as_the_site, many_strange_pages_are_few_lines_in_the_log,
    proxy_headers_are_read_from_proxies_only_and_bounded, bodies_that_take_their_time_are_not_waited_for,
    behind_a_proxy_each_client_has_its_places);
on!(embedded: login_attempts_behind_a_proxy_hold_up_nobody_elses_login);

/// How much more memory an attack may take, in bytes.
const MEMORY: u64 = 64 << 20;

/// What the page's program is asked for as.
pub(super) async fn program(to: SocketAddr) -> Result<String> {
    let index = answer(to, &format!("GET / HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")).await?;
    let path =
        index.split('"').find(|word| word.ends_with(".wasm")).context("no page: `cargo xtask test` builds it")?;
    Ok(format!("/{}", path.trim_start_matches("./")))
}

/// All that comes in answer to a request.
async fn answer(to: SocketAddr, request: &str) -> Result<String> {
    answer_from(STRANGER, to, request).await
}

async fn answer_from(from: Ipv4Addr, to: SocketAddr, request: &str) -> Result<String> {
    let mut raw = Raw::connect(to, from).await?;
    raw.send(request.as_bytes()).await?;
    Ok(String::from_utf8_lossy(&raw.ended().await?).into_owned())
}

/// The status of what comes in answer to a request for a WebSocket of this host and page.
async fn upgrade(to: SocketAddr, host: &str, page: &str) -> Result<String> {
    upgrade_from(STRANGER, to, host, page).await
}

async fn upgrade_from(from: Ipv4Addr, to: SocketAddr, host: &str, page: &str) -> Result<String> {
    let mut raw = Raw::connect(to, from).await?;
    let request = Raw::upgrade(to, &[("Origin", page)]).replacen(&to.to_string(), host, 1);
    raw.send(request.as_bytes()).await?;
    Ok(raw.head().await?.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// The program, asked for a hundred times on each of six connections, which read nothing of it.
async fn hundreds_of_unread_downloads_are_bounded_in_memory(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let to = stage.gateway_addr();
    let request = format!("GET {} HTTP/1.1\r\nHost: {to}\r\nAccept-Encoding: gzip\r\n\r\n", program(to).await?);
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(4).await?;
    let before = stage.service()?.memory()?.resident;
    let mut attackers = Vec::new();
    for _ in 0..6 {
        let mut raw = Raw::connect(to, STRANGER).await?;
        raw.send(request.repeat(100).as_bytes()).await?;
        attackers.push(raw);
    }
    innocent.goes_on(12).await?;
    for raw in &mut attackers {
        let head = raw.head().await?;
        ensure!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-encoding: gzip"), "{head}");
        // What is compressed while it is sent has no length.
        ensure!(head.contains("content-length: "), "{head}");
    }
    innocent.leave().await?;
    let memory = stage.service()?.memory()?;
    ensure!(memory.peak < before + MEMORY, "{before} and then {memory:?}");
    Ok(())
}

/// The same by connections that do read, each in the encoding that it asks for.
async fn hundreds_of_downloads_are_bounded_in_memory(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let to = stage.gateway_addr();
    let program = program(to).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(4).await?;
    let before = stage.service()?.memory()?.resident;
    let sizes = async |encoding: &str| -> Result<usize> {
        let request = format!("GET {program} HTTP/1.1\r\nHost: {to}\r\nAccept-Encoding: {encoding}\r\n");
        let mut raw = Raw::connect(to, STRANGER).await?;
        raw.send(format!("{}{request}Connection: close\r\n\r\n", format!("{request}\r\n").repeat(49)).as_bytes())
            .await?;
        let all = raw.ended().await?;
        let heads = all.windows(9).filter(|window| window == b"HTTP/1.1 ").count();
        ensure!(heads == 50, "{heads} answers");
        Ok(all.len())
    };
    let (brotli, gzip, plain) = tokio::try_join!(sizes("br, gzip"), sizes("gzip"), sizes("br;q=0"))?;
    ensure!(brotli < gzip && gzip < plain, "{brotli} {gzip} {plain}");
    innocent.goes_on(12).await?;
    innocent.leave().await?;
    let memory = stage.service()?.memory()?;
    ensure!(memory.peak < before + MEMORY, "{before} and then {memory:?}");
    Ok(())
}

/// DNS rebinding. If its owner has a name resolve to this machine, the page of that name has the
/// same origin as what it asks for.
async fn a_foreign_name_that_resolves_to_this_machine_opens_nothing(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let to = stage.gateway_addr();
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    let host = format!("evil.example:{}", to.port());
    for page in [format!("http://{host}"), "null".to_owned(), format!("http://{to}")] {
        ensure!(upgrade(to, &host, &page).await? == "421", "{page}");
    }
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: none\r\nConnection: close\r\n\r\n");
    let page = answer(to, &request).await?;
    ensure!(page.starts_with("HTTP/1.1 421 ") && !page.contains("set-cookie"), "{page}");
    stage.service_says("which option would let it in", &format!("--public-url \"https://{host}\"")).await?;
    innocent.goes_on(2).await?;
    innocent.leave().await?;
    Ok(())
}

/// The address of this machine by which others reach it, if it has one.
fn own_address() -> Option<Ipv4Addr> {
    // Nothing is sent: the system says from where it would be.
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) if !ip.is_loopback() => Some(ip),
        _ => None,
    }
}

/// Listening beyond this machine, without knowing its own name: each host may be its name, and the
/// pages of that host are its own. But a page without an origin is nobody's, and one without TLS,
/// which anybody on the way may have written, does nothing with cookies. The honest one is the page
/// with TLS: there is no key to refresh, and the answer says so.
async fn beyond_this_machine_a_page_needs_a_host_of_its_own_and_tls_for_cookies(stage: &mut Stage) -> Result<()> {
    stage.listen_everywhere()?;
    stage.up(&["--cookie-session"]).await?;
    stage.service_says("that each name counts", "listening beyond this machine without --public-url").await?;
    let port = stage.gateway_addr().port();
    let by = own_address().into_iter().chain([Ipv4Addr::LOCALHOST]);
    for ip in by {
        let (to, from) = (SocketAddr::from((ip, port)), if ip.is_loopback() { STRANGER } else { ip });
        let host = format!("chat.example:{port}");
        for (page, is_own) in [
            (format!("http://{host}"), true),
            (format!("https://{host}"), true),
            ("http://chat.example".to_owned(), false),
            (format!("http://chat.example:{}", port ^ 1), false),
            (format!("http://other.example:{port}"), false),
            (format!("http://localhost:{port}"), false),
            ("null".to_owned(), false),
        ] {
            let opened = upgrade_from(from, to, &host, &page).await?;
            ensure!(opened == if is_own { "101" } else { "403" }, "{to} {page} {opened}");
            // Without a key there is nothing to refresh, which only who may act learns.
            let request = format!(
                "POST /api/session/refresh HTTP/1.1\r\nHost: {host}\r\nOrigin: {page}\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n"
            );
            let answer = answer_from(from, to, &request).await?;
            let status = if is_own && page.starts_with("https:") { "401" } else { "403" };
            ensure!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{to} {page} {answer}");
        }
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: none\r\nConnection: close\r\n\r\n");
        let page = answer_from(from, to, &request).await?;
        let cookie = page.lines().find_map(|line| line.strip_prefix("set-cookie: ")).context("no cookie")?;
        ensure!(cookie.starts_with("__Host-") && cookie.contains("Secure"), "{cookie}");
    }
    Ok(())
}

/// Any page can make a frame without an origin.
async fn pages_without_an_origin_open_nothing(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let to = stage.gateway_addr();
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    ensure!(upgrade(to, &to.to_string(), "null").await? == "403");
    stage.service_says("which option would let it in", "--allow-origin null").await?;
    innocent.goes_on(2).await?;
    innocent.leave().await?;
    Ok(())
}

/// Scheme, host and port, all three.
async fn with_a_public_url_only_its_pages_connect(stage: &mut Stage) -> Result<()> {
    stage.up(&["--public-url", "https://chat.example"]).await?;
    let to = stage.gateway_addr();
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    for host in [to.to_string(), "chat.example".to_owned()] {
        ensure!(upgrade(to, &host, "https://chat.example").await? == "101", "{host}");
        for page in ["http://chat.example", "https://chat.example:8443", &format!("http://{to}"), "null"] {
            ensure!(upgrade(to, &host, page).await? == "403", "{host} {page}");
        }
    }
    ensure!(upgrade(to, "evil.example", "https://chat.example").await? == "421");
    innocent.goes_on(2).await?;
    innocent.leave().await?;
    Ok(())
}

/// `http://host` is not `https://host`, where a page acts with cookies. The honest one is the page
/// that may: there is no key to refresh, and the answer says so.
async fn pages_without_tls_do_nothing_with_its_cookies(stage: &mut Stage) -> Result<()> {
    stage.up(&["--public-url", "https://chat.example", "--cookie-session"]).await?;
    let to = stage.gateway_addr();
    for (page, status) in [("https://chat.example", "401"), ("http://chat.example", "403"), ("null", "403")] {
        for method in ["refresh", "logout"] {
            let request = format!(
                "POST /api/session/{method} HTTP/1.1\r\nHost: chat.example\r\nOrigin: {page}\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n"
            );
            let status = if (method, status) == ("logout", "401") { "204" } else { status };
            let answer = answer(to, &request).await?;
            ensure!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{page} {method} {answer}");
        }
    }
    Ok(())
}

/// What nginx does by default, one thing after another: another `Host`, no `Upgrade`, HTTP/1.0.
async fn what_a_proxy_leaves_out_is_reported_in_the_log(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let to = stage.gateway_addr();
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    ensure!(upgrade(to, &to.to_string(), "https://chat.example").await? == "403");
    stage.service_says("which option would let it in", "--public-url \"https://chat.example\"").await?;
    let whole = Raw::upgrade(to, &[]);
    let lost =
        [whole.replace("Upgrade: websocket\r\n", "").replace("n: Upgrade", "n: close"), whole.replace("/1.1", "/1.0")];
    in_time("a line about what the proxy loses", async {
        // One line a second is about strangers.
        while !stage.service()?.lines().iter().any(|line| line.contains("refused a WebSocket without the header")) {
            for lost in &lost {
                let mut raw = Raw::connect(to, STRANGER).await?;
                raw.send(lost.as_bytes()).await?;
                let head = raw.head().await?;
                ensure!(head.contains(" 426 ") && head.contains("upgrade: websocket\r\n"), "{lost} {head}");
            }
        }
        Ok(())
    })
    .await?;
    innocent.goes_on(2).await?;
    innocent.leave().await?;
    Ok(())
}

/// A proxy whose `Host` is that of this machine. Cookies of the site with TLS are for TLS all the
/// same.
async fn behind_a_proxy_cookies_are_as_secure_as_the_site(stage: &mut Stage) -> Result<()> {
    for (options, is_secure) in [(&[][..], false), (&["--public-url", "https://chat.example"], true)] {
        stage.up(options).await?;
        let to = stage.gateway_addr();
        let request = format!("GET / HTTP/1.1\r\nHost: {to}\r\nSec-Fetch-Site: none\r\nConnection: close\r\n\r\n");
        let page = answer(to, &request).await?;
        let (_, cookie) = page.split_once("set-cookie: ").context("no cookie")?;
        let cookie = cookie.lines().next().unwrap_or_default();
        ensure!(cookie.contains("Secure") == is_secure && cookie.starts_with("__Host-") == is_secure, "{cookie}");
        stage.stop_service().await?;
    }
    Ok(())
}
/// Strangers choose what is reported of them.
async fn many_strange_pages_are_few_lines_in_the_log(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let to = stage.gateway_addr();
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    for n in 0..500 {
        let page = format!("https://{n}{}.example", "x".repeat(10_000));
        ensure!(upgrade(to, &to.to_string(), &page).await? == "403");
    }
    innocent.goes_on(2).await?;
    innocent.leave().await?;
    let (_, lines) = stage.stop_service_saying().await?;
    let log: usize = lines.iter().map(String::len).sum();
    ensure!(log < 64 << 10, "{log} bytes");
    Ok(())
}

/// A proxy that everybody comes through. Guesses have to wait; right passwords get in, through the
/// same proxy.
async fn login_attempts_behind_a_proxy_hold_up_nobody_elses_login(stage: &mut Stage) -> Result<()> {
    stage.up(&["--trusted-proxy", "127.0.0.66"]).await?;
    let through =
        async |client: &str| Raw::websocket(stage.gateway_addr(), STRANGER, &[("X-Forwarded-For", client)]).await;
    let log_in = async |proxy: &mut Raw, username: &str, password: &str| -> Result<String> {
        let params = format!(r#"{{"username":"{username}","password":"{password}"}}"#);
        proxy.send(&Raw::text(&format!(r#"{{"id":9,"method":"auth.session.login","params":{params}}}"#))).await?;
        loop {
            let (_, payload) = proxy.server_frame().await?;
            let text = String::from_utf8(payload)?;
            if text.contains(r#""id":9"#) {
                return Ok(text);
            }
        }
    };
    let mut guesser = through("198.51.100.9").await?;
    for n in 0..64 {
        let answer = log_in(&mut guesser, &format!("nobody{n}"), "guess").await?;
        if answer.contains("session.tooManyAttempts") {
            let answer = log_in(&mut through("192.0.2.7").await?, "jane", "jane").await?;
            ensure!(answer.contains("reloginKey"), "{answer}");
            // What comes from elsewhere says nothing by a header.
            let mut direct = Res::connect(&stage.gateway_url()).await?;
            direct.log_in("john", "john").await?;
            return Ok(());
        }
    }
    anyhow::bail!("64 guesses, and none has to wait")
}
/// PROXY headers from clients that are no proxies, too long ones, and ones that are never finished.
/// What a proxy sends before it stops counts for nothing.
async fn proxy_headers_are_read_from_proxies_only_and_bounded(stage: &mut Stage) -> Result<()> {
    stage.up(&["--trusted-proxy", "127.0.0.66"]).await?;
    let to = stage.gateway_addr();
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    let header = |length: u16| {
        let rest = [&[192, 0, 2, 7, 127, 0, 0, 1, 0, 80, 0, 80][..], &vec![0; usize::from(length) - 12]].concat();
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &length.to_be_bytes(), &rest].concat()
    };
    let whole = |length: u16| [header(length), Raw::upgrade(to, &[]).into_bytes()].concat();
    let answer = async |from: Ipv4Addr, bytes: &[u8]| -> Result<String> {
        let mut raw = Raw::connect(to, from).await?;
        // It may be cut off while it is sent.
        let _ = raw.send(bytes).await;
        Ok(raw.head().await.unwrap_or_default())
    };
    ensure!(answer(STRANGER, &whole(12)).await?.starts_with("HTTP/1.1 101 "));
    ensure!(!answer(Ipv4Addr::new(127, 0, 0, 67), &whole(12)).await?.contains(" 101 "));
    ensure!(answer(STRANGER, &whole(u16::MAX)).await?.is_empty());
    let before = stage.service()?.memory()?.resident;
    let mut unfinished = Vec::new();
    for _ in 0..200 {
        let mut raw = Raw::connect(to, STRANGER).await?;
        raw.send(&header(4_000)[..3_999]).await?;
        unfinished.push(raw);
    }
    innocent.goes_on(4).await?;
    for raw in unfinished {
        ensure!(raw.ended().await?.is_empty());
    }
    innocent.leave().await?;
    let memory = stage.service()?.memory()?;
    ensure!(memory.peak < before + MEMORY, "{before} and then {memory:?}");
    Ok(())
}

/// Requests with bodies that come byte by byte. Only the HTTP API reads bodies, and not for
/// long; all others are answered without, and that is their end.
async fn bodies_that_take_their_time_are_not_waited_for(stage: &mut Stage) -> Result<()> {
    stage.up(&["--cookie-session"]).await?;
    let to = stage.gateway_addr();
    let mut innocent = Innocent::enter_as(&stage.gateway_url(), "jane", Duration::ZERO).await;
    let before = stage.service()?.memory()?.resident;
    let mut slow = Vec::new();
    for n in 0..300 {
        let path = ["/", "/api/session/refresh", "/api/session/logout", "/nowhere"][n % 4];
        let body = ["Content-Length: 1000000\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\nfffff\r\nx"][n % 2];
        let mut raw = Raw::connect(to, STRANGER).await?;
        raw.send(format!("POST {path} HTTP/1.1\r\nHost: {to}\r\n{body}").as_bytes()).await?;
        slow.push((path, raw));
    }
    if let Ok(innocent) = &mut innocent {
        innocent.goes_on(5).await?;
    }
    for (path, mut raw) in slow {
        let head = raw.head().await?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(if path.starts_with("/api") { status == "408" } else { status == "405" }, "{path} {head}");
        raw.ended().await.context("the connection stays open for the rest of the body")?;
    }
    let memory = stage.service()?.memory()?;
    ensure!(memory.peak < before + MEMORY, "{before} and then {memory:?}");
    Ok(())
}

/// A client behind a proxy has as many connections as it may, and others theirs, from the same
/// proxy.
async fn behind_a_proxy_each_client_has_its_places(stage: &mut Stage) -> Result<()> {
    stage.up(&["--trusted-proxy", "127.0.0.66", "--max-connections-per-address", "3"]).await?;
    let to = stage.gateway_addr();
    let open = async |client: &str| -> Result<(Raw, String)> {
        let mut raw = Raw::connect(to, STRANGER).await?;
        raw.send(Raw::upgrade(to, &[("X-Forwarded-For", client)]).as_bytes()).await?;
        let head = raw.head().await?;
        Ok((raw, head.split(' ').nth(1).unwrap_or_default().to_owned()))
    };
    let mut taken = Vec::new();
    for n in 0..6 {
        let (raw, status) = open("198.51.100.9").await?;
        ensure!(status == if n < 3 { "101" } else { "503" }, "{n}: {status}");
        taken.push(raw);
    }
    for _ in 0..3 {
        let (raw, status) = open("192.0.2.7").await?;
        ensure!(status == "101", "another client: {status}");
        taken.push(raw);
    }
    // A connection that ends makes room.
    drop(taken.remove(0));
    in_time("a place that is given back", async {
        while open("198.51.100.9").await?.1 != "101" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    })
    .await
}
