//! Determines the address of a client: its peer's, or the one that trusted proxies
//! (`--trusted-proxy`) report. The only place that reads `X-Forwarded-For`. Does no I/O.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use relogin_res::service::Origin;

/// The address of a client, as far as it is known: it is used for failed logins, the audit trail,
/// `remoteAddr` and the limits per address. An IPv4 address is never in its IPv6 form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress {
    ip: IpAddr,
    /// 0 if a proxy did not report it.
    port: u16,
}

/// The proxies that are trusted to name their clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Arc<[IpNet]>);

/// Determines who a request came from. The last address of the last line is the newest.
pub const FORWARDED_FOR: &str = "X-Forwarded-For";

impl ClientAddress {
    /// The address.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.ip
    }

    /// What counts as one client: an IPv4 address, or an IPv6 network of 64 bits, which is the
    /// least that one subscriber has.
    #[must_use]
    pub fn network(self) -> IpAddr {
        match self.ip {
            IpAddr::V4(_) => self.ip,
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        }
    }
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> Self {
        // On a socket that listens for both, IPv4 peers look like ::ffff:192.0.2.1.
        Self { ip: address.ip().to_canonical(), port: address.port() }
    }
}

impl From<ClientAddress> for SocketAddr {
    /// The port is 0 if a proxy did not report it.
    fn from(client: ClientAddress) -> Self {
        Self::new(client.ip, client.port)
    }
}

/// `ip:port`, as gateways write it in `remoteAddr`; the port is 0 if a proxy did not report it.
impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::from(*self).fmt(f)
    }
}

impl TrustedProxies {
    /// The proxies in these networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks.into())
    }

    /// True if no proxy is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if `ip` is trusted.
    #[must_use]
    pub fn contain(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// The client behind a request of `peer` with these lines of `X-Forwarded-For`: the last
    /// address that a trusted proxy has named and that is not a trusted proxy itself. What an
    /// untrusted peer says does not count, and neither does anything before an entry that is not an
    /// address.
    #[must_use]
    pub fn client<'a>(
        &self,
        peer: ClientAddress,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> ClientAddress {
        let mut hops = forwarded.rev().flat_map(|line| line.rsplit(','));
        let mut client = peer;
        while self.contain(client.ip) {
            match hops.next().and_then(hop) {
                Some(hop) => client = hop,
                None => break,
            }
        }
        client
    }

    /// Records the client that [`TrustedProxies::client`] finds, in what a gateway without
    /// knowledge of proxies reports about a connection.
    pub fn resolve(&self, origin: &mut Origin) {
        if self.is_empty() {
            return;
        }
        if let Some(peer) = origin.remote_addr.as_deref().and_then(hop) {
            let forwarded = origin.header.get(FORWARDED_FOR).into_iter().flatten().map(String::as_str);
            origin.remote_addr = Some(self.client(peer, forwarded).to_string());
        }
    }
}

/// Parses an address as proxies write it: with a port or without, IPv6 in brackets or not.
fn hop(text: &str) -> Option<ClientAddress> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.into());
    }
    let ip = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    Some(SocketAddr::new(ip.parse().ok()?, 0).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()])
    }

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut origin = Origin { remote_addr: Some(peer.to_owned()), ..Origin::default() };
        forwarded.iter().for_each(|line| origin.push_header(FORWARDED_FOR, *line));
        proxies().resolve(&mut origin);
        let client = origin.remote_addr.clone();
        proxies().resolve(&mut origin);
        assert_eq!(origin.remote_addr, client, "resolved twice");
        client.unwrap()
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_has() {
        for (peer, forwarded, expected) in [
            ("10.0.0.1:80", &["192.0.2.7"][..], "192.0.2.7:0"),
            ("10.0.0.1:80", &["192.0.2.7:4711"], "192.0.2.7:4711"),
            ("[::1]:80", &["192.0.2.7"], "192.0.2.7:0"),
            ("[::ffff:10.0.0.1]:80", &["::ffff:192.0.2.7"], "192.0.2.7:0"),
            ("10.0.0.1:80", &["2001:db8::1"], "[2001:db8::1]:0"),
            ("10.0.0.1:80", &["[2001:db8::1]:443"], "[2001:db8::1]:443"),
            ("10.0.0.1:80", &["[2001:db8::1]"], "[2001:db8::1]:0"),
            ("10.0.0.1:80", &["192.0.2.7, 10.0.0.2,10.0.0.3 "], "192.0.2.7:0"),
            // What the client wrote itself stands to the left of what is known.
            ("10.0.0.1:80", &["198.51.100.9, 192.0.2.7"], "192.0.2.7:0"),
            ("10.0.0.1:80", &["198.51.100.9", "192.0.2.7"], "192.0.2.7:0"),
            ("10.0.0.1:80", &["192.0.2.7", "10.0.0.2"], "192.0.2.7:0"),
            // From inside.
            ("10.0.0.1:80", &["10.0.0.2, 10.0.0.3"], "10.0.0.2:0"),
            ("10.0.0.1:80", &[], "10.0.0.1:80"),
        ] {
            assert_eq!(client(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn a_strangers_forwarding_headers_count_for_nothing() {
        assert_eq!(client("192.0.2.1:80", &["198.51.100.9"]), "192.0.2.1:80");
        assert_eq!(client("10.0.0.1:80", &["198.51.100.9, 192.0.2.7, 10.0.0.2"]), "192.0.2.7:0");
        for garbage in
            ["", "unknown", "_hidden", "192.0.2", "192.0.2.7:x", "[::1", "192.0.2.7 192.0.2.8", ",", "\u{fffd}"]
        {
            assert_eq!(client("10.0.0.1:80", &[garbage]), "10.0.0.1:80", "{garbage:?}");
            assert_eq!(client("10.0.0.1:80", &[&format!("192.0.2.7, {garbage}")]), "10.0.0.1:80", "{garbage:?}");
        }
        let peer = ClientAddress::from("10.0.0.1:80".parse::<SocketAddr>().unwrap());
        assert_eq!(TrustedProxies::default().client(peer, ["192.0.2.7"].into_iter()), peer);
    }

    #[test]
    fn what_is_counted_as_one_client() {
        for (address, network) in [
            ("192.0.2.7:1", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:1", "192.0.2.7"),
            ("[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2::"),
        ] {
            let address = ClientAddress::from(address.parse::<SocketAddr>().unwrap());
            assert_eq!(address.network().to_string(), network);
        }
    }
}
