//! Limits of one client: memory, frames and times. Must not know who enforces them.

use std::time::Duration;

/// Limits on what one client can make the gateway hold, and on how long the gateway waits for it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest frame of a client, or body of an HTTP request, in bytes. A larger frame ends the
    /// connection with close code 1009.
    pub frame: usize,
    /// How many of a client's frames may be unanswered. Its socket is not read until some are
    /// answered.
    pub frames: usize,
    /// How many bytes these frames may have together.
    pub frame_bytes: usize,
    /// How many bytes may wait to be sent to a client, or be in the body of an HTTP response. More
    /// of them close the connection with close code 1008.
    pub backlog: usize,
    /// How many bytes may be held for all clients together: what waits to be sent, unfinished
    /// messages, unanswered frames. Beyond it, the clients that hold the most are closed with close
    /// code 1013.
    pub memory: usize,
    /// How many bytes the bodies of HTTP requests and responses may have together. Beyond it, those
    /// that need more than 64 KiB are answered 503.
    pub http_memory: usize,
    /// How long a message may take once it has begun, and the body of an HTTP request. After that,
    /// the connection is closed with close code 1008.
    pub message: Duration,
    /// For each this many of its bytes, a message has a second more.
    pub message_rate: usize,
    /// How often a client is pinged.
    pub ping: Duration,
    /// How long a connection may be silent before it is dropped.
    pub silence: Duration,
    /// How long a client may take for one write.
    pub write: Duration,
    /// How long a client may take to answer that its connection is closed; and when the gateway is
    /// stopped, to read what waits for it.
    pub close: Duration,
    /// How long to wait for answers to clients' requests when the gateway is stopped.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: 1 << 20,
            frames: 256,
            frame_bytes: 4 << 20,
            backlog: 8 << 20,
            memory: 256 << 20,
            http_memory: 64 << 20,
            message: Duration::from_secs(10),
            message_rate: 16 << 10,
            ping: Duration::from_secs(30),
            silence: Duration::from_secs(75),
            write: Duration::from_secs(30),
            close: Duration::from_secs(1),
            drain: Duration::from_secs(2),
        }
    }
}
