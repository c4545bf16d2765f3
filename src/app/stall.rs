//! Ends connections whose client has stopped reading, or as good as.
//!
//! Such a client stops the body from being polled, so no limit of the answer applies: without
//! this its call, its place in flight and its connection to Bedrock would stay for ever.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A stream whose writes fail when the peer takes too little for too long: less than
/// [`TAKEN_BYTES_MIN`] in all the time that writes have waited for it.
#[derive(Debug)]
pub(super) struct StallGuard<S> {
    stream: S,
    limit: Duration,
    /// How much more waiting there may be.
    left: Duration,
    /// What was taken since the patience was whole.
    taken: usize,
    /// Runs while a write waits; made only then, for most writes never do.
    stalled: Option<Stalled>,
}

#[derive(Debug)]
struct Stalled {
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<S> StallGuard<S> {
    pub(super) const fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            left: limit,
            taken: 0,
            stalled: None,
        }
    }

    /// What a write came to, or the end of patience.
    fn judge(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = &written {
            self.wrote(*result.as_ref().unwrap_or(&0));
            return written;
        }
        let left = self.left;
        let stalled = self.stalled.get_or_insert_with(|| Stalled {
            since: Instant::now(),
            timer: Box::pin(tokio::time::sleep(left)),
        });
        match stalled.timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Only waiting costs patience: an answer that comes slowly does not.
    fn wrote(&mut self, bytes: usize) {
        if let Some(stalled) = self.stalled.take() {
            self.left = self.left.saturating_sub(stalled.since.elapsed());
        } else if self.left == self.limit {
            return;
        }
        self.taken = self.taken.saturating_add(bytes);
        if self.taken >= TAKEN_BYTES_MIN {
            self.taken = 0;
            self.left = self.limit;
        }
    }
}

/// What a reader must take before its patience is spent; TCP hands on less than that only by a
/// window that is nearly closed.
const TAKEN_BYTES_MIN: usize = 64 * 1024;

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge(cx, written)
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_reader_that_stops_ends_the_connection_and_a_slow_one_does_not() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut guarded = StallGuard::new(near, Duration::from_millis(20));
        guarded.write_all(b"full").await.unwrap();
        let stopped = guarded.write_all(b"more").await.unwrap_err();
        assert_eq!(stopped.kind(), io::ErrorKind::TimedOut);

        let (near, mut slow) = tokio::io::duplex(4);
        let mut guarded = StallGuard::new(near, Duration::from_mins(1));
        let reading = tokio::spawn(async move {
            let mut read = Vec::new();
            slow.read_to_end(&mut read).await.unwrap();
            read
        });
        guarded.write_all(b"in several pieces").await.unwrap();
        drop(guarded);
        assert_eq!(reading.await.unwrap(), b"in several pieces");
        far.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_reader_that_takes_a_byte_now_and_then_is_no_reader() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut guarded = StallGuard::new(near, Duration::from_millis(50));
        let trickle = tokio::spawn(async move {
            let mut taken = 0_usize;
            while far.read_u8().await.is_ok() {
                taken += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            taken
        });
        let stopped = guarded.write_all(&[0; 10_000]).await.unwrap_err();
        assert_eq!(stopped.kind(), io::ErrorKind::TimedOut);
        drop(guarded);
        assert!(trickle.await.unwrap() < 10_000);
    }

    #[tokio::test]
    async fn a_reader_that_takes_enough_has_its_patience_back() {
        let (near, mut far) = tokio::io::duplex(TAKEN_BYTES_MIN / 2);
        let mut guarded = StallGuard::new(near, Duration::from_mins(1));
        let reading = tokio::spawn(async move {
            let mut read = Vec::new();
            far.read_to_end(&mut read).await.unwrap();
            read.len()
        });
        guarded
            .write_all(&vec![0; 4 * TAKEN_BYTES_MIN])
            .await
            .unwrap();
        assert!(guarded.taken < TAKEN_BYTES_MIN);
        drop(guarded);
        assert_eq!(reading.await.unwrap(), 4 * TAKEN_BYTES_MIN);
    }
}
