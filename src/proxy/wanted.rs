//! A table of budgets on its way into force: a reload leaves it here, the settling thread takes it.

use std::sync::{Mutex, PoisonError};

use crate::budgets::Budget;

/// The newest table that is not in force yet.
#[derive(Debug, Default)]
pub struct Wanted(Mutex<Option<Vec<Budget>>>);

impl Wanted {
    /// Leaves a table; one that waits already is forgotten.
    pub fn put(&self, table: Vec<Budget>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(table);
    }

    pub(super) fn take(&self) -> Option<Vec<Budget>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Leaves it again, unless a newer one came.
    pub(super) fn put_back(&self, table: Vec<Budget>) {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.get_or_insert(table);
    }
}
