//! Entries that are made for a process that died count in the budgets that all replicas share.

use tokio::runtime::Handle;

use super::settle::of_entry;
use crate::budgets::Budgets;
use crate::domain::{Entry, ModelRef, SharedLate};
use crate::ledger::Witness;
use crate::replicas::{Late, Store};

/// Tells the store of them, where there is one. For a thread that may wait.
pub struct TellReplicas<'a> {
    budgets: &'a Budgets,
    store: Option<&'a Store>,
    runtime: &'a Handle,
    /// What is about to be committed.
    late: Option<Late>,
}

impl<'a> TellReplicas<'a> {
    /// Of entries that count in these budgets. The runtime asks the store.
    pub const fn new(budgets: &'a Budgets, store: Option<&'a Store>, runtime: &'a Handle) -> Self {
        Self {
            budgets,
            store,
            runtime,
            late: None,
        }
    }

    fn call(&self, entry: &Entry) -> SharedLate {
        let model = entry.model.as_ref().map(ModelRef::label);
        let spent = of_entry(entry, model.as_deref());
        SharedLate {
            call: entry.call_id,
            counters: self.budgets.shared_counters(&spent.subject, spent.at),
            amount: spent.amount,
        }
    }
}

impl Witness for TellReplicas<'_> {
    fn about_to_commit(&mut self, added: &[Entry]) {
        let Some(store) = self.store else { return };
        // One that costs nothing may have a hold.
        let calls: Vec<_> = added.iter().map(|entry| self.call(entry)).collect();
        if !calls.is_empty() {
            self.late = Some(self.runtime.block_on(store.begin_late(calls)));
        }
    }

    fn ended(&mut self) {
        if let (Some(store), Some(late)) = (self.store, self.late.take()) {
            self.runtime.block_on(store.end_late(late));
        }
    }
}
