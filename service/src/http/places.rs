//! Limits the number of connections, in all and from one address. Must not depend on HTTP.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::counts::{HttpCounts, Refused};
use crate::{
    client_address::{ClientAddress, TrustedProxies},
    descriptors::kept_back,
};

/// The limits of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub total: usize,
    /// From one address, or one IPv6 network of 64 bits. A trusted proxy's own connections do not
    /// count for its address. None: half of `total`, and no limit for loopback addresses.
    pub per_address: Option<usize>,
}

impl ConnectionLimits {
    /// The configured limits, as far as the limit of open files allows.
    #[must_use]
    pub fn new(total: Option<usize>, per_address: Option<usize>, descriptors: usize) -> Self {
        let most = descriptors.saturating_sub(kept_back(descriptors)).max(1);
        if let Some(total) = total.filter(|total| *total > most) {
            tracing::warn!("--max-connections {total} is more than the limit of open files allows; using {most}");
        }
        Self { total: total.map_or(most, |total| total.min(most)), per_address }
    }
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// There are as many as allowed.
    Full,
    /// There are as many as allowed from its address.
    FullForAddress,
}

/// The places of all connections.
#[derive(Debug)]
pub(super) struct Places {
    limits: ConnectionLimits,
    proxies: TrustedProxies,
    taken: Mutex<Taken>,
    counts: Arc<HttpCounts>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place. Returned on drop.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    /// The address it counts for, if any.
    address: Mutex<Option<IpAddr>>,
    is_counted: bool,
}

impl Places {
    pub(super) fn new(limits: ConnectionLimits, proxies: TrustedProxies, counts: Arc<HttpCounts>) -> Self {
        Self { limits, proxies, taken: Mutex::default(), counts }
    }

    /// A place for a connection of `peer`.
    pub(super) fn enter(self: &Arc<Self>, peer: ClientAddress) -> Result<Place, NoPlace> {
        let place = self.try_enter(peer);
        match &place {
            Ok(_) => self.counts.accept(),
            Err(reason) => self.refuse(*reason),
        }
        place
    }

    fn refuse(&self, reason: NoPlace) {
        self.counts.refuse(match reason {
            NoPlace::Full => Refused::Connections,
            NoPlace::FullForAddress => Refused::ConnectionsPerAddress,
        });
    }

    fn try_enter(self: &Arc<Self>, peer: ClientAddress) -> Result<Place, NoPlace> {
        {
            let mut taken = self.taken();
            if taken.total >= self.limits.total {
                return Err(NoPlace::Full);
            }
            taken.total += 1;
        }
        let mut place = Place { places: Arc::clone(self), address: Mutex::default(), is_counted: false };
        place.take_for(peer)?;
        place.is_counted = true;
        Ok(place)
    }

    /// How many are allowed from this address.
    fn max_of(&self, address: ClientAddress) -> usize {
        match self.limits.per_address {
            _ if self.proxies.contain(address.ip()) => usize::MAX,
            Some(max) => max,
            None if address.ip().is_loopback() => usize::MAX,
            None => self.limits.total.div_ceil(2),
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Counts the connection for this client from now on, and no longer for the previous one. If
    /// the client has as many as allowed, it is counted for nobody.
    pub(super) fn name(&self, client: ClientAddress) -> Result<(), NoPlace> {
        self.take_for(client).inspect_err(|reason| self.places.refuse(*reason))
    }

    fn take_for(&self, client: ClientAddress) -> Result<(), NoPlace> {
        let max = self.places.max_of(client);
        let new = (max < usize::MAX).then(|| client.network());
        let mut address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        if *address == new {
            return Ok(());
        }
        let mut taken = self.places.taken();
        if let Some(old) = address.take() {
            taken.leave(old);
        }
        if let Some(new) = new {
            let count = taken.by_address.entry(new).or_default();
            if *count >= max {
                return Err(NoPlace::FullForAddress);
            }
            *count += 1;
            *address = Some(new);
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let address = self.address.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let mut taken = self.places.taken();
        taken.total -= 1;
        if self.is_counted {
            self.places.counts.end();
        }
        if let Some(address) = address {
            taken.leave(address);
        }
    }
}

impl Taken {
    fn leave(&mut self, address: IpAddr) {
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(total: usize, per_address: Option<usize>) -> Arc<Places> {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        Arc::new(Places::new(ConnectionLimits { total, per_address }, proxies, Arc::default()))
    }

    fn client(ip: &str) -> ClientAddress {
        std::net::SocketAddr::new(ip.parse().unwrap(), 1).into()
    }

    #[test]
    fn places_are_limited_in_all_and_each_is_given_back() {
        let places = places(3, Some(3));
        let taken: Vec<_> = ["192.0.2.1", "192.0.2.2", "10.0.0.1"].map(|ip| places.enter(client(ip)).unwrap()).into();
        assert_eq!(places.enter(client("192.0.2.3")).unwrap_err(), NoPlace::Full);
        let counts = || (places.counts.connections(), places.counts.refused(Refused::Connections));
        assert_eq!(counts(), (3, 1));
        drop(taken);
        assert_eq!(counts(), (0, 1));
        assert!(places.taken().by_address.is_empty());
        assert_eq!(places.taken().total, 0);
        places.enter(client("192.0.2.3")).unwrap();
    }

    #[test]
    fn one_address_has_a_limit_and_others_their_own() {
        let places = places(100, Some(2));
        let _taken =
            ["192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::2"].map(|ip| places.enter(client(ip)).unwrap());
        for full in ["192.0.2.1", "2001:db8::3"] {
            assert_eq!(places.enter(client(full)).unwrap_err(), NoPlace::FullForAddress, "{full}");
        }
        let counts = || (places.counts.connections(), places.counts.refused(Refused::ConnectionsPerAddress));
        assert_eq!(counts(), (4, 2));
        for free in ["192.0.2.2", "2001:db8:0:1::1", "127.0.0.1"] {
            places.enter(client(free)).unwrap();
        }
        assert_eq!(places.taken().total, 4);
    }

    #[test]
    fn by_default_one_address_has_half_and_loopback_all() {
        let places = places(5, None);
        let taken: Vec<_> = (0..3).map(|_| places.enter(client("192.0.2.1")).unwrap()).collect();
        assert_eq!(places.enter(client("192.0.2.1")).unwrap_err(), NoPlace::FullForAddress);
        drop(taken);
        let _taken: Vec<_> = (0..5).map(|_| places.enter(client("127.0.0.1")).unwrap()).collect();
    }

    #[test]
    fn a_proxys_connection_counts_for_its_client() {
        let places = places(100, Some(1));
        let proxied: Vec<_> = (0..3).map(|_| places.enter(client("10.0.0.1")).unwrap()).collect();
        proxied[0].name(client("192.0.2.1")).unwrap();
        proxied[0].name(client("192.0.2.1")).unwrap();
        assert_eq!(proxied[1].name(client("192.0.2.1")), Err(NoPlace::FullForAddress));
        proxied[1].name(client("192.0.2.2")).unwrap();
        // The proxy uses it for another client now.
        proxied[0].name(client("192.0.2.3")).unwrap();
        proxied[2].name(client("192.0.2.1")).unwrap();
        drop(proxied);
        assert!(places.taken().by_address.is_empty());
    }
}
