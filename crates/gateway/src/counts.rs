//! What the gateway counts, for whoever shows it: connections, how they ended, frames and HTTP
//! requests. Must not know who does.

use std::sync::atomic::{AtomicU64, Ordering};

use relogin_gateway_proto as machine;

use crate::line::CloseReason;

/// How a WebSocket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed it.
    Client,
    /// The transport failed.
    Lost,
    /// Nothing came from the client for too long.
    Silent,
    /// The client took too long to read what was sent.
    Unread,
    /// The gateway was stopped, or has ended.
    Stopped,
    /// More waited to be sent than allowed.
    Backlog,
    /// All clients together held too much, and this one the most.
    Memory,
    /// A message was too large.
    TooLarge,
    /// A message was not finished in time.
    Unfinished,
    /// The client sent something that is not a WebSocket's, or text that is no UTF-8.
    Invalid,
    /// Too many events waited for the connection.
    Events,
    /// The message bus was lost.
    Bus,
    /// Something failed that should not.
    Internal,
}

/// Why a WebSocket did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is not a valid handshake.
    Handshake,
    /// The header authentication said so.
    HeaderAuth,
    /// The message bus could not be had, or the gateway failed.
    Unavailable,
    /// The gateway is being stopped.
    Stopping,
}

/// Which way messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

/// Messages that were compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeflateStats {
    /// How many.
    pub messages: u64,
    /// Bytes of what they say.
    pub bytes: u64,
    /// Bytes of them compressed.
    pub deflated_bytes: u64,
}

/// All that the gateway counts, and what it has now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// WebSockets that were opened.
    pub opened: u64,
    /// Those that have ended, in the order of [`End::ALL`].
    pub ended: [u64; End::ALL.len()],
    /// Those that did not open, in the order of [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Requests of the HTTP API, in the order of [`Stats::HTTP_METHODS`].
    pub http_requests: [u64; Stats::HTTP_METHODS.len()],
    /// Frames of clients.
    pub frames_received: u64,
    /// Bytes of them.
    pub bytes_received: u64,
    /// Frames to clients.
    pub frames_sent: u64,
    /// Bytes of them.
    pub bytes_sent: u64,
    /// Those of the frames of clients that were compressed.
    pub deflated_received: DeflateStats,
    /// Those of the frames to clients that were compressed.
    pub deflated_sent: DeflateStats,
    /// Bytes that are held for clients.
    pub client_bytes: usize,
    /// Bytes that are held for HTTP requests.
    pub http_bytes: usize,
    /// Frames of clients that are not answered.
    pub unanswered: usize,
    /// Requests to services that wait in the gateway.
    pub queued_requests: usize,
    /// What the state machine counts.
    pub machine: machine::Stats,
}

/// What connections count, each in a task of its own.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    opened: AtomicU64,
    ended: [AtomicU64; End::ALL.len()],
    refused: [AtomicU64; Refusal::ALL.len()],
    http_requests: [AtomicU64; Stats::HTTP_METHODS.len()],
    deflated: [DeflateCounts; 2],
}

/// Messages that were compressed: how many, their bytes, and their bytes compressed.
#[derive(Debug, Default)]
struct DeflateCounts([AtomicU64; 3]);

/// What the driver counts.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    pub(crate) received: u64,
    pub(crate) bytes_received: u64,
    pub(crate) sent: u64,
    pub(crate) bytes_sent: u64,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Client,
        Self::Lost,
        Self::Silent,
        Self::Unread,
        Self::Stopped,
        Self::Backlog,
        Self::Memory,
        Self::TooLarge,
        Self::Unfinished,
        Self::Invalid,
        Self::Events,
        Self::Bus,
        Self::Internal,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::Unread => "unread",
            Self::Stopped => "stopped",
            Self::Backlog => "backlog",
            Self::Memory => "memory",
            Self::TooLarge => "too_large",
            Self::Unfinished => "unfinished",
            Self::Invalid => "invalid",
            Self::Events => "events",
            Self::Bus => "bus",
            Self::Internal => "internal",
        }
    }

    pub(crate) fn because(close_reason: CloseReason) -> Self {
        match close_reason.code() {
            1008 if close_reason.is(CloseReason::BEHIND) => Self::Backlog,
            1008 => Self::Unfinished,
            1013 if close_reason.is(CloseReason::CROWDED) => Self::Memory,
            1013 => Self::Events,
            1001 => Self::Stopped,
            1009 => Self::TooLarge,
            1002 | 1007 => Self::Invalid,
            1012 => Self::Bus,
            _ => Self::Internal,
        }
    }
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Handshake, Self::HeaderAuth, Self::Unavailable, Self::Stopping];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::HeaderAuth => "header_auth",
            Self::Unavailable => "unavailable",
            Self::Stopping => "stopping",
        }
    }
}

impl Stats {
    /// The methods by which HTTP requests are counted: `HEAD` as `GET`, and all others as `other`,
    /// whatever they are called.
    pub const HTTP_METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "other"];
}

impl Counts {
    pub(crate) fn open(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self, end: End) {
        self.ended[end as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request(&self, http_method: &str) {
        let http_method = if http_method == "HEAD" { "GET" } else { http_method };
        let place = Stats::HTTP_METHODS.iter().position(|known| *known == http_method);
        self.http_requests[place.unwrap_or(Stats::HTTP_METHODS.len() - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// A message of so many bytes was compressed to fewer, or, if it was made to, to more.
    pub(crate) fn deflated(&self, direction: Direction, bytes: usize, deflated_bytes: usize) {
        let DeflateCounts([messages, before, after]) = &self.deflated[direction as usize];
        messages.fetch_add(1, Ordering::Relaxed);
        before.fetch_add(bytes as u64, Ordering::Relaxed);
        after.fetch_add(deflated_bytes as u64, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub(crate) fn stats(&self) -> Stats {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let [deflated_received, deflated_sent] = self.deflated.each_ref().map(|DeflateCounts(counts)| {
            let [messages, bytes, deflated_bytes] = counts.each_ref().map(get);
            DeflateStats { messages, bytes, deflated_bytes }
        });
        // Ends first: no more than were opened.
        let ended = self.ended.each_ref().map(get);
        Stats {
            opened: get(&self.opened),
            ended,
            refused: self.refused.each_ref().map(get),
            http_requests: self.http_requests.each_ref().map(get),
            deflated_received,
            deflated_sent,
            ..Stats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_stands_at_its_own_index_and_unknown_methods_share_one() {
        assert!(End::ALL.iter().enumerate().all(|(place, end)| *end as usize == place));
        assert!(Refusal::ALL.iter().enumerate().all(|(place, refusal)| *refusal as usize == place));
        let counts = Counts::default();
        ["GET", "HEAD", "DELETE", "BREW", "get"].iter().for_each(|http_method| counts.request(http_method));
        assert_eq!(counts.stats().http_requests, [2, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn each_close_reason_counts_under_its_cause() {
        let machine = |code| CloseReason::of_the_machine(code, "a reason");
        for (reason, end) in [
            (CloseReason::STOPPED.to_a_crowd_of(9), End::Stopped),
            (CloseReason::BEHIND, End::Backlog),
            (CloseReason::CROWDED, End::Memory),
            (CloseReason::CROWDED.to_a_crowd_of(9), End::Memory),
            (CloseReason::RESTART.to_a_crowd_of(9), End::Bus),
            (CloseReason::TOO_LARGE, End::TooLarge),
            (CloseReason::UNFINISHED, End::Unfinished),
            (CloseReason::NO_TEXT, End::Invalid),
            (CloseReason::NO_WEBSOCKET, End::Invalid),
            (machine(1013).to_a_crowd_of(9), End::Events),
            (machine(1012), End::Bus),
            (machine(1011), End::Internal),
        ] {
            assert_eq!(End::because(reason), end, "{reason:?}");
        }
    }
}
