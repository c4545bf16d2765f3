//! Gathers a request body: in pieces as they come, hashed on the way where a signature needs it,
//! within limits. Only small pieces are joined.
//!
//! A signature upstream needs the hash of the whole body, so the body must be here before the
//! first byte leaves. What is held at once, over all calls, is limited in bytes; room is taken
//! by content-length before reading.

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context as Hasher, SHA256};
use bytes::{Bytes, BytesMut};
use http_body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Limits on bodies.
#[derive(Clone, Debug)]
pub struct GatherLimits {
    /// The most bytes of one body.
    pub body_bytes_max: usize,
    /// Room for bodies over all calls, one permit a byte.
    pub room: Arc<Semaphore>,
    /// The longest silence of a sender in mid-body. A whole body may take it once, and a second
    /// more for each [`PACE_BYTES_MIN`] that have come: who trickles is as good as silent.
    pub silence_max: Duration,
    /// The longest wait for room.
    pub room_wait_max: Duration,
}

/// A whole body.
#[derive(Debug)]
pub struct Gathered {
    /// Its pieces, in order.
    pub pieces: Vec<Bytes>,
    /// Its length in bytes.
    pub length: usize,
    /// Its SHA-256, where it was asked for.
    sha256: Option<[u8; 32]>,
    room: Option<OwnedSemaphorePermit>,
}

/// A body that was not gathered. Bedrock was not reached.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// Longer than `listener.body_bytes_max`.
    #[error("the body is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The bodies of other calls take all the room, and none came free in time.
    #[error("no room for the body")]
    NoRoom,
    /// The sender was silent for too long.
    #[error("the sender stopped in mid-body")]
    Silent,
    /// The connection broke or the framing of the body is wrong.
    #[error("the body was cut short: {0}")]
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

/// Reads a body to its end, and hashes it where a signature will need that.
///
/// # Errors
/// When it is too long (then it is read on and thrown away for a while, so that the sender hears
/// the answer instead of a reset), silent, broken, or when there is no room for it.
pub async fn gather<B>(
    mut body: B,
    limits: &GatherLimits,
    for_signature: bool,
) -> Result<Gathered, GatherError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limit = limits.body_bytes_max;
    let announced = body
        .size_hint()
        .exact()
        .map(|length| usize::try_from(length).ok());
    if announced.is_some_and(|length| length.is_none_or(|length| length > limit)) {
        discard(body, limits).await;
        return Err(GatherError::TooLong { limit });
    }
    let mut room = match reserve(limits, announced.flatten().unwrap_or(0)).await {
        Ok(room) => room,
        Err(error) => {
            discard(body, limits).await;
            return Err(error);
        }
    };
    let mut pieces = Vec::new();
    let mut joined = BytesMut::new();
    let mut length = 0_usize;
    let mut hasher = for_signature.then(|| Hasher::new(&SHA256));
    let begun = Instant::now();
    while let Some(piece) = next_piece(&mut body, patience(limits, begun, length)).await? {
        length = length.saturating_add(piece.len());
        if length > limit {
            discard(body, limits).await;
            return Err(GatherError::TooLong { limit });
        }
        let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if let (Some(more), Some(room)) = (
            reserve(limits, length.saturating_sub(held)).await?,
            &mut room,
        ) {
            room.merge(more);
        }
        if let Some(hasher) = &mut hasher {
            hasher.update(&piece);
        }
        keep(&mut pieces, &mut joined, piece);
    }
    flush(&mut pieces, &mut joined);
    let sha256 = hasher.and_then(|hasher| hasher.finish().as_ref().try_into().ok());
    Ok(Gathered {
        pieces,
        length,
        sha256,
        room,
    })
}

impl Gathered {
    /// Its SHA-256: as it came, or of the pieces now, should nobody have asked for it before.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256.unwrap_or_else(|| {
            let mut hasher = Hasher::new(&SHA256);
            for piece in &self.pieces {
                hasher.update(piece);
            }
            // A SHA-256 has 32 bytes.
            hasher.finish().as_ref().try_into().unwrap_or_default()
        })
    }

    /// Frees the room that the body took; its pieces are gone.
    pub fn release(&mut self) {
        self.pieces = Vec::new();
        self.room = None;
    }
}

/// Joins small pieces after the first: each holds on to the whole buffer that it was read into, so
/// a body that trickles in would take thousands of times the memory that it is counted for.
fn keep(pieces: &mut Vec<Bytes>, joined: &mut BytesMut, piece: Bytes) {
    if pieces.is_empty() || piece.len() >= JOIN_BELOW {
        flush(pieces, joined);
        pieces.push(piece);
        return;
    }
    joined.extend_from_slice(&piece);
    if joined.len() >= JOINED_BYTES_MAX {
        flush(pieces, joined);
    }
}

fn flush(pieces: &mut Vec<Bytes>, joined: &mut BytesMut) {
    if !joined.is_empty() {
        pieces.push(mem::take(joined).freeze());
    }
}

async fn reserve(
    limits: &GatherLimits,
    bytes: usize,
) -> Result<Option<OwnedSemaphorePermit>, GatherError> {
    let Ok(bytes) = u32::try_from(bytes) else {
        return Err(GatherError::NoRoom);
    };
    let room = Arc::clone(&limits.room);
    match tokio::time::timeout(limits.room_wait_max, room.acquire_many_owned(bytes)).await {
        Ok(Ok(permit)) => Ok(Some(permit)),
        Ok(Err(_)) | Err(_) => Err(GatherError::NoRoom),
    }
}

async fn next_piece<B>(body: &mut B, silence_max: Duration) -> Result<Option<Bytes>, GatherError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        let frame = tokio::time::timeout(silence_max, frame);
        match frame.await.map_err(|_elapsed| GatherError::Silent)? {
            None => return Ok(None),
            Some(Err(error)) => return Err(GatherError::Broken(error.into())),
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        }
    }
}

/// How long to wait for the next piece.
fn patience(limits: &GatherLimits, begun: Instant, length: usize) -> Duration {
    let seconds = length / PACE_BYTES_MIN;
    let earned = Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX));
    let left = limits.silence_max.saturating_add(earned);
    left.saturating_sub(begun.elapsed()).min(limits.silence_max)
}

/// Reads a refused body and throws it away, within limits.
pub async fn discard<B>(mut body: B, limits: &GatherLimits)
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut left = limits.body_bytes_max.saturating_mul(4);
    let silence_max = limits.silence_max.min(DISCARD_SILENCE_MAX);
    let all = async {
        while let Ok(Some(piece)) = next_piece(&mut body, silence_max).await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return;
            }
        }
    };
    drop(tokio::time::timeout(DISCARD_TIME_MAX, all).await);
}

/// The least pace of a body, in bytes for each second after the first patience.
const PACE_BYTES_MIN: usize = 1000;
/// How long a refused body is read away in all.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(30);

/// Half of the least buffer that hyper reads into.
const JOIN_BELOW: usize = 4 * 1024;
const JOINED_BYTES_MAX: usize = 64 * 1024;
/// A sender whose body is refused anyway gets little patience.
const DISCARD_SILENCE_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn limits(body: usize, room: usize) -> GatherLimits {
        GatherLimits {
            body_bytes_max: body,
            room: Arc::new(Semaphore::new(room)),
            silence_max: Duration::from_secs(1),
            room_wait_max: Duration::from_millis(1),
        }
    }

    #[tokio::test]
    async fn a_body_is_hashed_as_it_comes_and_kept_in_pieces() {
        let pieces = ["ab", "", "c"].map(|p| {
            Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(p.as_bytes())))
        });
        let limits = limits(10, 10);
        let body = StreamBody::new(futures_util::stream::iter(pieces));
        let mut gathered = gather(body, &limits, true).await.unwrap();
        assert_eq!(gathered.pieces.concat(), b"abc");
        assert_eq!(gathered.length, 3);
        // SHA-256 of "abc": FIPS 180-4, appendix B.1.
        let on_the_way = gathered.sha256.take().unwrap();
        assert_eq!(on_the_way[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(gathered.sha256(), on_the_way, "hashed afterwards");
        assert_eq!(limits.room.available_permits(), 7);
        gathered.release();
        assert_eq!(limits.room.available_permits(), 10);
    }

    #[tokio::test]
    async fn small_pieces_are_joined_and_large_ones_kept_in_order() {
        let mut sizes = vec![1; 3000];
        sizes.extend([5000, 1, 1, 5000]);
        let frames = sizes.iter().zip((b'a'..=b'z').cycle());
        let frames: Vec<Bytes> = frames.map(|(n, b)| Bytes::from(vec![b; *n])).collect();
        let whole = frames.concat();
        let frames = frames
            .into_iter()
            .map(|bytes| Ok::<_, std::io::Error>(http_body::Frame::data(bytes)));
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let gathered = gather(body, &limits(100_000, 100_000), false)
            .await
            .unwrap();
        assert_eq!(gathered.sha256, None);
        let lengths: Vec<usize> = gathered.pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [1, 2999, 5000, 2, 5000]);
        assert_eq!(gathered.pieces.concat(), whole);
    }

    #[tokio::test]
    async fn the_last_allowed_byte_passes_and_the_next_does_not() {
        let limits = limits(4, 100);
        assert!(gather(Full::from("1234"), &limits, true).await.is_ok());
        let error = gather(Full::from("12345"), &limits, true)
            .await
            .unwrap_err();
        assert!(matches!(error, GatherError::TooLong { limit: 4 }));
        assert_eq!(limits.room.available_permits(), 100);
    }

    /// A sender of one byte in each pause.
    fn trickle(pause: Duration) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
        let bytes = futures_util::stream::unfold((), move |()| async move {
            tokio::time::sleep(pause).await;
            let frame = http_body::Frame::data(Bytes::from_static(b"x"));
            Some((Ok::<_, std::io::Error>(frame), ()))
        });
        StreamBody::new(Box::pin(bytes))
    }

    #[tokio::test]
    async fn a_sender_that_trickles_is_as_good_as_silent() {
        let mut limits = limits(100_000, 100_000);
        limits.silence_max = Duration::from_millis(100);
        let body = trickle(Duration::from_millis(5));
        let error = gather(body, &limits, true).await.unwrap_err();
        assert!(matches!(error, GatherError::Silent));
        assert_eq!(limits.room.available_permits(), 100_000);
    }

    #[test]
    fn what_has_come_earns_time_and_no_silence_is_longer_than_the_limit() {
        let limits = limits(100_000, 100_000);
        let check = |seconds_ago: u64, length: usize, expected_ms: u128| {
            let begun = Instant::now() - Duration::from_secs(seconds_ago);
            let left = patience(&limits, begun, length).as_millis();
            // What the clock went on meanwhile is little.
            assert!(left <= expected_ms && left + 500 >= expected_ms, "{left}");
        };
        check(0, 0, 1000);
        check(0, 50_000, 1000);
        check(2, 0, 0);
        check(10, 9_999, 0);
        check(10, 10_000, 1000);
    }

    #[tokio::test]
    async fn a_body_without_room_is_refused_in_the_end() {
        let limits = limits(100, 3);
        let error = gather(Full::from("1234"), &limits, true).await.unwrap_err();
        assert!(matches!(error, GatherError::NoRoom));
    }
}
