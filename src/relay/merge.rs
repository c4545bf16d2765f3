//! Merges what is there: frames that have already arrived leave in one write.
//!
//! Nothing is ever held back for more to come. One frame alone passes as it is; several small
//! ones are joined, because a write of its own for each costs seven times as much.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::Frame;

/// Where frames come from.
pub trait Frames {
    /// What can go wrong.
    type Error;

    /// The next frame; `None` at the end.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>>;
}

/// What came out of one look.
#[derive(Debug)]
pub enum Merged<E> {
    /// Bytes to send on, and whether the source goes on.
    Data(Bytes, Next<E>),
    /// Trailers.
    Trailers(Frame<Bytes>),
    /// The end, without a byte.
    End,
    /// A failure, without a byte.
    Failed(E),
}

/// What follows merged bytes.
#[derive(Debug)]
pub enum Next<E> {
    /// More may come.
    Open,
    /// The source has ended.
    End,
    /// The source has failed.
    Failed(E),
    /// Trailers come next.
    Trailers(Frame<Bytes>),
}

/// Takes all frames that are there, up to about 64 KiB, showing each to `observe` first.
pub fn poll_merged<F: Frames>(
    frames: &mut F,
    cx: &mut Context<'_>,
    mut observe: impl FnMut(&[u8]),
) -> Poll<Merged<F::Error>> {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    loop {
        let next = match frames.poll_next(cx) {
            Poll::Pending if first.is_empty() => return Poll::Pending,
            Poll::Pending => Next::Open,
            Poll::Ready(None) if first.is_empty() => return Poll::Ready(Merged::End),
            Poll::Ready(None) => Next::End,
            Poll::Ready(Some(Err(e))) if first.is_empty() => return Poll::Ready(Merged::Failed(e)),
            Poll::Ready(Some(Err(e))) => Next::Failed(e),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    observe(&data);
                    if data.is_empty() {
                        continue;
                    } else if first.is_empty() {
                        first = data;
                    } else {
                        if joined.is_empty() {
                            joined.reserve(JOIN_BYTES_FIRST);
                            joined.extend_from_slice(&first);
                        }
                        joined.extend_from_slice(&data);
                    }
                    if first.len().max(joined.len()) < MERGE_BELOW {
                        continue;
                    }
                    Next::Open
                }
                Err(trailers) if first.is_empty() => {
                    return Poll::Ready(Merged::Trailers(trailers));
                }
                Err(trailers) => Next::Trailers(trailers),
            },
        };
        let data = if joined.is_empty() {
            first
        } else {
            joined.freeze()
        };
        return Poll::Ready(Merged::Data(data, next));
    }
}

/// The room first taken for a join; it doubles as needed.
const JOIN_BYTES_FIRST: usize = 8 * 1024;
/// A join that has grown this far leaves.
const MERGE_BELOW: usize = 48 * 1024;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use super::*;

    type Step = Poll<Option<Result<Frame<Bytes>, &'static str>>>;

    struct Script(VecDeque<Step>);

    impl Frames for Script {
        type Error = &'static str;

        fn poll_next(&mut self, _cx: &mut Context<'_>) -> Step {
            self.0.pop_front().unwrap_or(Poll::Pending)
        }
    }

    fn data(bytes: &'static [u8]) -> Step {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(bytes)))))
    }

    fn look(script: &mut Script) -> (Vec<u8>, Poll<Merged<&'static str>>) {
        let mut seen = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        let merged = poll_merged(script, &mut cx, |bytes| seen.extend_from_slice(bytes));
        (seen, merged)
    }

    #[test]
    fn frames_that_are_there_leave_together_and_nothing_waits() {
        let mut script = Script([data(b"a"), data(b""), data(b"bc"), Poll::Pending].into());
        let (seen, merged) = look(&mut script);
        assert_eq!(seen, b"abc");
        assert!(matches!(merged, Poll::Ready(Merged::Data(d, Next::Open)) if d == "abc"));
        assert!(look(&mut script).1.is_pending());
    }

    #[test]
    fn the_end_and_a_failure_follow_the_bytes_before_them() {
        let mut script = Script([data(b"a"), Poll::Ready(None)].into());
        assert!(matches!(
            look(&mut script).1,
            Poll::Ready(Merged::Data(_, Next::End))
        ));
        let mut script = Script([data(b"a"), Poll::Ready(Some(Err("reset")))].into());
        let merged = look(&mut script).1;
        assert!(matches!(
            merged,
            Poll::Ready(Merged::Data(_, Next::Failed("reset")))
        ));
        let mut script = Script([Poll::Ready(Some(Err("reset")))].into());
        assert!(matches!(
            look(&mut script).1,
            Poll::Ready(Merged::Failed("reset"))
        ));
    }

    #[test]
    fn a_single_frame_passes_without_a_copy() {
        let frame = Bytes::from_static(b"alone");
        let mut script = Script([Poll::Ready(Some(Ok(Frame::data(frame.clone()))))].into());
        let Poll::Ready(Merged::Data(out, Next::Open)) = look(&mut script).1 else {
            panic!()
        };
        assert_eq!(out.as_ptr(), frame.as_ptr());
    }
}
