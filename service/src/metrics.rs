//! The metrics of the process as OpenMetrics text: collects what others count, and names it. Must
//! not count anything. docs/metrics.md lists them; a test compares.

mod series;
mod service;

use std::{fmt, fs, sync::Arc};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};
use relogin_bus::{Bus, Link};
use relogin_gateway::{ClientMethod, End, Gateway, MessageKind, Refusal, RequestKind, RequestOutcome, Stats};
use relogin_res::Version;

use crate::http::{HttpCounts, Refused};
use series::{Counters, Gauges, Histograms};
pub use service::ServiceStats;

/// Where the metrics come from.
pub struct Metrics {
    /// The embedded gateway, if there is one.
    pub gateway: Option<Arc<Gateway>>,
    /// The message bus.
    pub bus: Arc<dyn Bus>,
    /// What the listening socket of the clients counts.
    pub http: Arc<HttpCounts>,
    /// The session service, if there is one.
    pub service: Option<ServiceStats>,
}

impl Metrics {
    /// The media type of the text.
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// All metrics as they are now.
    ///
    /// # Errors
    /// Never, as long as memory can be had: the text is written to memory.
    pub async fn text(&self) -> Result<String, fmt::Error> {
        let stats = match &self.gateway {
            Some(gateway) => gateway.stats().await.unwrap_or_default(),
            None => Stats::default(),
        };
        let mut registry = Registry::default();
        self.of_the_process(&mut registry);
        if let Some(service) = &self.service {
            service::of_sessions(&mut registry, service);
            service::of_the_store(&mut registry, &service.store.stats().await);
        }
        of_clients(&mut registry, &stats);
        of_services(&mut registry, &stats);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    fn of_the_process(&self, registry: &mut Registry) {
        let labels =
            vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("protocol", Version::CURRENT.to_string())];
        registry.register("relogin", "Versions of the program and of the RES protocol", Info::new(labels));
        if let Some(bytes) = resident_memory() {
            let help = "Memory that the process has of the machine";
            registry.register_with_unit("process_resident_memory", help, Unit::Bytes, ConstGauge::new(bytes));
        }
        if let Some(count) = open_files() {
            registry.register("process_open_fds", "File descriptors that are open", ConstGauge::new(count));
        }
        let is_up = i64::from(*self.bus.link().borrow() == Link::Up);
        registry.register("relogin_bus_connected", "1 while the message bus is connected", ConstGauge::new(is_up));
        let (http, text) = (&self.http, "Connections of clients, HTTP or WebSocket, that are open");
        registry.register("relogin_connections", text, gauge(http.connections()));
        let text = "Connections of clients that were accepted";
        registry.register("relogin_connections_accepted", text, ConstCounter::new(http.accepted()));
        let refused = Refused::ALL.map(|refused| (refused.name(), http.refused(refused)));
        let text = "Connections and requests that were refused whatever they ask for";
        registry.register("relogin_refused", text, Counters::by("reason", refused));
    }
}

fn of_clients(registry: &mut Registry, stats: &Stats) {
    let open = stats.opened.saturating_sub(stats.ended.iter().sum());
    registry.register("resgate_ws_current_connections", "WebSockets that are open", gauge(open));
    registry.register("resgate_ws_connections", "WebSockets that were opened", ConstCounter::new(stats.opened));
    let requests = ClientMethod::ALL.map(|method| (method.name(), stats.machine.client_requests[method as usize]));
    registry.register("resgate_ws_requests", "Requests over WebSockets", Counters::by("method", requests));
    let http = Stats::HTTP_METHODS.iter().copied().zip(stats.http_requests);
    registry.register("resgate_http_requests", "Requests of the HTTP API", Counters::by("method", http));

    let ended = End::ALL.map(|end| (end.name(), stats.ended[end as usize]));
    registry.register("relogin_ws_ended", "WebSockets that have ended", Counters::by("reason", ended));
    let refused = Refusal::ALL.map(|refusal| (refusal.name(), stats.refused[refusal as usize]));
    registry.register("relogin_ws_refused", "WebSockets that were not opened", Counters::by("reason", refused));
    let frames = [("in", stats.frames_received), ("out", stats.frames_sent)];
    registry.register("relogin_ws_frames", "Messages over WebSockets", Counters::by("direction", frames));
    let bytes = [("in", stats.bytes_received), ("out", stats.bytes_sent)];
    let text = "Bytes of messages over WebSockets";
    registry.register_with_unit("relogin_ws_message", text, Unit::Bytes, Counters::by("direction", bytes));
    let deflated = [("in", stats.deflated_received), ("out", stats.deflated_sent)];
    let messages = deflated.map(|(direction, of)| (direction, of.messages));
    let text = "Messages over WebSockets that were compressed";
    registry.register("relogin_ws_compressed", text, Counters::by("direction", messages));
    let bytes = deflated.map(|(direction, of)| (direction, of.bytes));
    let text = "Bytes of compressed messages before they were compressed";
    registry.register_with_unit("relogin_ws_uncompressed", text, Unit::Bytes, Counters::by("direction", bytes));
    let bytes = deflated.map(|(direction, of)| (direction, of.deflated_bytes));
    let text = "Bytes of compressed messages as they were sent";
    registry.register_with_unit("relogin_ws_compressed", text, Unit::Bytes, Counters::by("direction", bytes));
    let text = "Messages of clients that are not answered";
    registry.register("relogin_ws_unanswered_messages", text, gauge(stats.unanswered));
    let held = [("ws", stats.client_bytes), ("http", stats.http_bytes)];
    let text = "Bytes that are held for clients: what waits to be sent, unanswered and unfinished messages, bodies";
    registry.register_with_unit("relogin_client_backlog", text, Unit::Bytes, Gauges::by("of", held));
}

fn of_services(registry: &mut Registry, stats: &Stats) {
    let machine = &stats.machine;
    let text = "Resource names whose events are subscribed to";
    registry.register("resgate_cache_resources", text, gauge(machine.names));
    let text = "Subscriptions of all clients, references included";
    registry.register("resgate_cache_subscriptions", text, gauge(machine.subscriptions));
    registry.register("relogin_cache_entries", "Cached resources, one for each query", gauge(machine.resources));
    let bytes = [("contents", machine.content_bytes), ("subscriptions", machine.subscription_bytes)];
    let text = "Bytes that count towards the limit of subscriptions";
    registry.register_with_unit("relogin_cache", text, Unit::Bytes, Gauges::by("of", bytes));
    let text = "Events that have not reached all subscribers";
    registry.register("relogin_undelivered_events", text, gauge(machine.undelivered));

    let of = |kind: RequestKind| &machine.requests[kind as usize];
    let outcomes = RequestKind::ALL.into_iter().flat_map(|kind| {
        RequestOutcome::ALL.map(|outcome| ([kind.name(), outcome.name()], of(kind).outcomes[outcome as usize]))
    });
    let text = "Requests to services that are over";
    registry.register("relogin_service_requests", text, Counters::by_two(["type", "outcome"], outcomes));
    let pending = RequestKind::ALL.map(|kind| (kind.name(), of(kind).pending));
    let text = "Requests to services that are not answered";
    registry.register("relogin_service_requests_pending", text, Gauges::by("type", pending));
    let text = "Requests to services that wait in the gateway until others are answered";
    registry.register("relogin_service_requests_queued", text, gauge(stats.queued_requests));
    let text = "Bytes of the requests to services that are not answered";
    let bytes = gauge(machine.request_bytes);
    registry.register_with_unit("relogin_service_requests_pending", text, Unit::Bytes, bytes);
    let malformed = MessageKind::ALL.map(|kind| (kind.name(), machine.malformed[kind.index()]));
    let text = "Messages of services that made no sense: answers, and events on resources, tokens and for all gateways";
    registry.register("relogin_malformed_messages", text, Counters::by("type", malformed));
    let times = RequestKind::ALL.map(|kind| (kind.name(), of(kind).times));
    let text = "Time until services have answered";
    registry.register_with_unit("relogin_service_request_duration", text, Unit::Seconds, Histograms::by("type", times));
}

fn gauge(value: impl TryInto<i64>) -> ConstGauge {
    ConstGauge::new(value.try_into().unwrap_or(i64::MAX))
}

/// In bytes; none where there is no procfs.
fn resident_memory() -> Option<i64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse::<i64>().ok()?;
    Some(pages * i64::try_from(rustix::param::page_size()).ok()?)
}

fn open_files() -> Option<i64> {
    fs::read_dir("/proc/self/fd").ok()?.count().try_into().ok()
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}
