//! A limit of time that costs nothing where nothing has to wait.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;

/// What the future comes to; `None` when that takes longer than the limit. The timer is made when
/// the future first has to wait: most never do, and their callers stay small.
pub async fn at_most<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn what_is_ready_comes_and_what_is_not_has_so_long() {
        let (short, long) = (Duration::from_millis(1), Duration::from_hours(1));
        assert_eq!(at_most(Duration::ZERO, ready(1)).await, Some(1));
        assert_eq!(at_most(long, sleep(short)).await, Some(()));
        assert_eq!(at_most(short, pending::<()>()).await, None);
    }
}
