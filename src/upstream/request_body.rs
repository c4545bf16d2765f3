//! The body of an upstream request.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// What is sent upstream: a body that was gathered (and so hashed), or one that flows while the
/// answer flows back (a bidirectional stream).
#[derive(Debug)]
pub enum RequestBody {
    /// All of it is here, in the pieces in which it came; sent without joining them.
    Gathered(std::vec::IntoIter<Bytes>, u64),
    /// It is still arriving.
    Duplex(Incoming),
}

impl RequestBody {
    /// The body of these pieces. They are shared with the caller, not copied.
    pub fn gathered(pieces: Vec<Bytes>) -> Self {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self::Gathered(pieces.into_iter(), length)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Gathered(pieces, left) => Poll::Ready(pieces.next().map(|piece| {
                *left = left.saturating_sub(piece.len() as u64);
                Ok::<_, Infallible>(Frame::data(piece)).map_err(|never| match never {})
            })),
            Self::Duplex(incoming) => Pin::new(incoming).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Gathered(pieces, _) => pieces.as_slice().is_empty(),
            Self::Duplex(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Gathered(_, left) => SizeHint::with_exact(*left),
            Self::Duplex(incoming) => incoming.size_hint(),
        }
    }
}
