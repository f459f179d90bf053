//! A client's connection: what is written to it must be read in time, and it occupies its place as
//! long as it exists. Must not depend on HTTP.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::places::Place;

/// A stream whose writes fail with [`io::ErrorKind::TimedOut`] when the client reads nothing for
/// this long.
pub(super) struct ClientStream<S = TcpStream> {
    stream: S,
    deadline: Duration,
    /// Runs while a write waits. Boxed, because hardly any connection has one.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Option<Arc<Place>>,
}

impl<S> ClientStream<S> {
    pub(super) fn new(stream: S, deadline: Duration, place: Option<Arc<Place>>) -> Self {
        Self { stream, deadline, stalled: None, _place: place }
    }

    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let deadline = self.deadline;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(deadline)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::Instant,
    };

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (near, _far) = tokio::io::duplex(10);
        let mut stream = ClientStream::new(near, DEADLINE, None);
        let start = Instant::now();
        let failed = stream.write_all(&[0; 11]).await.unwrap_err();
        assert_eq!((failed.kind(), start.elapsed()), (io::ErrorKind::TimedOut, DEADLINE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_little_at_a_time_is_kept() {
        let (near, mut far) = tokio::io::duplex(10);
        let mut stream = ClientStream::new(near, DEADLINE, None);
        let reading = tokio::spawn(async move {
            for _ in 0..100 {
                sleep(DEADLINE - Duration::from_secs(1)).await;
                far.read_u8().await.unwrap();
            }
            far
        });
        stream.write_all(&[0; 100]).await.unwrap();
        reading.await.unwrap();
    }
}
