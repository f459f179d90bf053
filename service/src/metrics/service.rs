//! Names what the session service counts, and its store.

use std::{fmt, sync::Arc};

use prometheus_client::registry::{Registry, Unit};
use relogin_store::{SessionStore, StoreStats};

use super::{
    gauge,
    series::{Counters, Gauges, Histograms},
};
use crate::{auth::AuthStats, sessions::OutcomeCounts};

/// Where the metrics of a session service come from.
pub struct ServiceStats {
    /// What decisions on sessions came to.
    pub outcomes: Arc<OutcomeCounts>,
    /// What requests came to.
    pub auth: AuthStats,
    /// The sessions.
    pub store: Arc<dyn SessionStore>,
}

impl fmt::Debug for ServiceStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceStats").field("auth", &self.auth).finish_non_exhaustive()
    }
}

pub(super) fn of_sessions(registry: &mut Registry, stats: &ServiceStats) {
    let text = "Decisions on sessions, by what they came to (docs/audit.md)";
    registry.register("relogin_session_decisions", text, Counters::by("outcome", stats.outcomes.by_word()));
    let text = "Relogin keys that were made, at logins and when a key was used, for sessions that are bound to a device \
                key (bound), to a cookie alone (cookie), or to nothing (bearer)";
    let keys = Counters::by_two(["session", "by"], stats.outcomes.keys().by_words());
    registry.register("relogin_session_keys", text, keys);
    let auth = &stats.auth;
    let text = "Requests to the session service that are over";
    registry.register("relogin_session_requests", text, Counters::by_two(["method", "outcome"], auth.requests()));
    let text = "Requests to the session service that are processed: logins, with changes of passwords, and others";
    registry.register("relogin_session_requests_pending", text, Gauges::by("of", auth.pending()));
    let text = "Time from the arrival of requests at the session service until they are over";
    let times = Histograms::by("method", auth.times());
    registry.register_with_unit("relogin_session_request_duration", text, Unit::Seconds, times);
    let text = "Passwords that are checked, and that wait for their check";
    registry.register("relogin_password_checks", text, Gauges::by("state", auth.password_checks()));
}

pub(super) fn of_the_store(registry: &mut Registry, stats: &StoreStats) {
    let text = "Sessions that are stored, those included that are over and not disposed of yet";
    registry.register("relogin_sessions", text, gauge(stats.sessions));
    let text = "Connections that are logged in: those on a session that is stored, wherever they are; one that ended \
                without a word counts until a probe finds that out";
    registry.register("relogin_session_connections", text, gauge(stats.connections));
    let text = "Writes of sessions that are not durable yet";
    registry.register("relogin_store_pending_writes", text, gauge(stats.pending_writes));
    let text = "Time of writes until the disk has them, or JetStream has acknowledged them; on disk, writes share them";
    let times = Histograms::one(stats.syncs);
    registry.register_with_unit("relogin_store_sync_duration", text, Unit::Seconds, times);
    if let Some(bytes) = stats.bytes {
        let text = "Bytes of sessions on disk, or in their bucket of JetStream";
        registry.register_with_unit("relogin_store", text, Unit::Bytes, gauge(bytes));
    }
}
