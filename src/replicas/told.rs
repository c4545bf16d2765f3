//! Which calls of this replica have places among the calls at once, and what of that is still to be
//! told to the store.
//!
//! A call has a number before the store is asked for it. So when a connection begins, all that may
//! be open is told with it, and what the store knows besides is over: an answer that was lost leaks
//! no place, and a call that is open is never missing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Names of counters.
pub(super) type Counters = Arc<[Arc<str>]>;

/// The calls.
#[derive(Debug, Default)]
pub(super) struct Told {
    open: HashMap<u64, Open>,
    changes: VecDeque<Change>,
    last: u64,
    /// Since a connection began: until then there is nothing to change.
    has_begun: bool,
}

#[derive(Debug)]
struct Open {
    counters: Counters,
    /// Whether the store may know of it.
    is_told: bool,
}

/// Something the store is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A call has places of these counters.
    Open(u64, Counters),
    /// It has ended.
    Left(u64),
}

impl Told {
    fn insert(&mut self, counters: Counters, is_told: bool) -> u64 {
        self.last = self.last.saturating_add(1);
        self.open.insert(self.last, Open { counters, is_told });
        self.last
    }

    /// The store is going to be asked for places.
    pub(super) fn ask(&mut self, counters: Counters) -> u64 {
        self.insert(counters, false)
    }

    /// It gave them, or may have.
    pub(super) fn taken(&mut self, id: u64) {
        if let Some(open) = self.open.get_mut(&id) {
            open.is_told = true;
        }
    }

    /// A call has places that the store was not asked for.
    pub(super) fn opened(&mut self, counters: Counters) -> u64 {
        let id = self.insert(Arc::clone(&counters), self.has_begun);
        if self.has_begun {
            self.changes.push_back(Change::Open(id, counters));
        }
        id
    }

    /// A call has ended, or was given nothing.
    pub(super) fn left(&mut self, id: u64) {
        let open = self.open.remove(&id);
        if self.has_begun && open.is_some_and(|open| open.is_told) {
            self.changes.push_back(Change::Left(id));
        }
    }

    /// A connection begins: all that may be open.
    pub(super) fn begin(&mut self) -> Vec<Change> {
        self.has_begun = true;
        self.changes.clear();
        let all = self.open.iter_mut().map(|(id, open)| {
            open.is_told = true;
            Change::Open(*id, Arc::clone(&open.counters))
        });
        all.collect()
    }

    /// It is over.
    pub(super) fn end(&mut self) {
        self.has_begun = false;
        self.changes.clear();
    }

    /// The oldest that the store was not told, at most so many.
    pub(super) fn next(&self, most: usize) -> Vec<Change> {
        self.changes.iter().take(most).cloned().collect()
    }

    /// So many of them were told.
    pub(super) fn done(&mut self, count: usize) {
        self.changes.drain(..count.min(self.changes.len()));
    }

    /// How many were not.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters() -> Counters {
        Arc::from([Arc::from("all")])
    }

    #[test]
    fn what_the_store_never_gave_is_not_taken_back_and_what_it_may_have_given_is() {
        let mut told = Told::default();
        assert_eq!(told.begin(), []);
        let refused = told.ask(counters());
        told.left(refused);
        assert_eq!(told.next(9), []);
        let unsure = told.ask(counters());
        told.taken(unsure);
        told.left(unsure);
        told.left(unsure);
        assert_eq!(told.next(9), [Change::Left(unsure)]);
        told.done(1);
        assert_eq!(told.len(), 0);
    }

    #[test]
    fn a_connection_begins_with_all_that_may_be_open_and_nothing_else() {
        let mut told = Told::default();
        // Without a store: nobody waits to tell of what is over.
        let over = told.opened(counters());
        let open = told.opened(counters());
        told.left(over);
        assert_eq!(told.len(), 0);
        let asked = told.ask(counters());
        let mut all = told.begin();
        all.sort_by_key(|change| match change {
            Change::Open(id, _) | Change::Left(id) => *id,
        });
        let expected = [open, asked].map(|id| Change::Open(id, counters()));
        assert_eq!(all, expected);
        // What was told of may be refused after all.
        told.left(asked);
        let late = told.opened(counters());
        let expected = [Change::Left(asked), Change::Open(late, counters())];
        assert_eq!(told.next(9), expected);
        told.end();
        told.left(open);
        assert_eq!(told.len(), 0);
        assert_eq!(told.begin(), [Change::Open(late, counters())]);
    }
}
