//! What of this process's open calls is still to be told to the store that replicas share.
//!
//! The open-calls log on this machine's disk is the guarantee; this is for the day when the disk
//! is gone. A call that ends before it was told costs nothing there. Knows no store.

use std::mem;
use std::sync::{Mutex, PoisonError};

use dashmap::DashMap;

use crate::domain::CallId;

/// The calls to tell of. No longer than the calls in flight.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    /// Opened, and not told yet: their records.
    opened: DashMap<CallId, Box<[u8]>>,
    /// Told, and ended since.
    ended: Mutex<Vec<CallId>>,
}

/// What is told at once.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Calls that were opened, with their records.
    pub(super) opened: Vec<(CallId, Box<[u8]>)>,
    /// Calls that ended.
    pub(super) ended: Vec<CallId>,
}

impl Mirror {
    pub(super) fn opened(&self, call: CallId, record: &[u8]) {
        self.opened.insert(call, record.into());
    }

    pub(super) fn ended(&self, call: CallId) {
        if self.opened.remove(&call).is_none() {
            self.ended_calls().push(call);
        }
    }

    /// What there is to tell. What ends from here on was told.
    pub(super) fn take(&self) -> News {
        let mut opened = Vec::new();
        self.opened.retain(|call, record| {
            opened.push((*call, mem::take(record)));
            false
        });
        News {
            opened,
            ended: mem::take(&mut *self.ended_calls()),
        }
    }

    /// It could not be told, or nobody knows whether it was.
    pub(super) fn put_back(&self, news: News) {
        // A call that has ended meanwhile is told as opened and as ended, in this order.
        for (call, record) in news.opened {
            self.opened.insert(call, record);
        }
        self.ended_calls().extend(news.ended);
    }

    fn ended_calls(&self) -> std::sync::MutexGuard<'_, Vec<CallId>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    fn ids(news: &News) -> (Vec<CallId>, Vec<CallId>) {
        let opened = news.opened.iter().map(|(call, _)| *call).collect();
        (opened, news.ended.clone())
    }

    #[test]
    fn a_call_that_ends_before_it_was_told_is_not_told_at_all() {
        let [short, long] = [1, 2].map(|ms| CallId::generate(Timestamp::from_unix_ms(ms)));
        let mirror = Mirror::default();
        mirror.opened(short, b"s");
        mirror.opened(long, b"l");
        mirror.ended(short);
        assert_eq!(ids(&mirror.take()), (vec![long], vec![]));
        assert_eq!(ids(&mirror.take()), (vec![], vec![]));
        mirror.ended(long);
        assert_eq!(ids(&mirror.take()), (vec![], vec![long]));
    }

    #[test]
    fn what_could_not_be_told_is_told_again_with_its_end() {
        let call = CallId::generate(Timestamp::from_unix_ms(1));
        let mirror = Mirror::default();
        mirror.opened(call, b"record");
        let news = mirror.take();
        mirror.ended(call);
        mirror.put_back(news);
        let news = mirror.take();
        assert_eq!(ids(&news), (vec![call], vec![call]));
        assert_eq!(&*news.opened[0].1, b"record");
    }
}
