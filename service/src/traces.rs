//! Sends spans to an OpenTelemetry collector (`--otlp`), as OTLP in protobuf over HTTP. Must not
//! know what they are of: whoever makes them says that, with the target [`SPANS`], and puts no
//! secret into them.
//!
//! Spans that have ended wait in a bounded queue, and a thread sends them. If the collector is gone
//! or slow, the queue is full and later spans are dropped: nothing else waits for it.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use relogin_host::{errors::Chain, spans::SPANS};
use tokio::{net::TcpStream, runtime::Handle, time::timeout};
use tracing::{Level, Subscriber, info, warn};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};
use url::Url;

/// How long the collector has for one batch of spans.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long the last spans may take to be sent at the end.
const END: Duration = Duration::from_secs(1);

/// How much of the collector's answer is read, in bytes.
const ANSWER: usize = 64 * 1024;

/// Spans on their way to a collector. Those that wait are sent, if possible, when it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the traces"]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends them to `collector`, by tasks of `runtime`, which must outlive the result.
    ///
    /// # Errors
    /// If the standard environment variables (`OTEL_…`) make no sense.
    pub fn to(collector: &Url, runtime: Handle) -> anyhow::Result<Self> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(collector.as_str())
            .with_timeout(DEADLINE)
            .with_http_client(Client(runtime))
            .build()
            .context("cannot send traces as configured")?;
        let exporter = Reporting { exporter, is_failing: AtomicBool::default() };
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("relogin");
        }
        let resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
        Ok(Self(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build()))
    }

    /// What takes spans, and nothing else.
    pub fn layer<S: Subscriber + for<'span> LookupSpan<'span> + 'static>(&self) -> impl Layer<S> + use<S> {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("relogin"))
            // Where in the code a span was made says nothing to operators.
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(SPANS, Level::INFO))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // The exporter has already reported a collector that is gone.
        self.0.shutdown_with_timeout(END).ok();
    }
}

/// Says once that the collector takes no spans, and once that it does again.
#[derive(Debug)]
struct Reporting<E> {
    exporter: E,
    is_failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Reporting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        match (&result, self.is_failing.swap(result.is_err(), Relaxed)) {
            (Err(error), false) => warn!("cannot send traces, which are dropped until that is over: {}", Chain(error)),
            (Ok(()), true) => info!("traces are sent again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Sends each batch over a connection of its own, by a task of this runtime: the thread that asks
/// for it is none of its own.
#[derive(Debug)]
struct Client(Handle);

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // Its clock, too, is there for its tasks alone.
        self.0.spawn(async move { timeout(DEADLINE, send(request)).await }).await??
    }
}

async fn send(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().ok_or("the collector's URL names no host")?.clone();
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    parts.headers.insert(hyper::header::HOST, authority.as_str().parse()?);
    parts.headers.insert(hyper::header::CONNECTION, hyper::header::HeaderValue::from_static("close"));
    parts.uri = parts.uri.path().parse()?;
    let answer = async {
        let (parts, body) = sender.send_request(Request::from_parts(parts, Full::new(body))).await?.into_parts();
        Ok(Response::from_parts(parts, Limited::new(body, ANSWER).collect().await?.to_bytes()))
    }
    .await;
    connection.abort();
    answer
}
