//! The calls that are open right now.

use std::sync::Arc;

use dashmap::DashMap;

use crate::domain::{ApplicationId, CallId, Operation, TenantId, Timestamp};
use crate::ledger::OpenCall;
use crate::telemetry::Held;

/// The calls between their first upstream byte and their settlement. Sharded: workers do not
/// wait for each other.
#[derive(Debug, Default)]
pub struct OpenSet {
    calls: DashMap<CallId, LiveCall>,
}

/// What is said of an open call: nothing of its user or content.
#[derive(Clone, Debug)]
pub struct LiveCall {
    /// When it was admitted.
    pub opened_at: Timestamp,
    /// Who pays.
    pub tenant: TenantId,
    /// Which workload.
    pub application: ApplicationId,
    /// The operation.
    pub operation: Operation,
    /// The model as asked for: id or ARN.
    pub model: Option<Arc<str>>,
}

impl OpenSet {
    /// Notes a call until the mark is dropped.
    pub(super) fn mark(self: &Arc<Self>, call: &OpenCall, in_flight: Held) -> OpenMark {
        let live = LiveCall {
            opened_at: call.opened_at,
            tenant: call.tenant.clone(),
            application: call.application.clone(),
            operation: call.operation,
            model: call.model.as_ref().map(|model| Arc::clone(&model.asked)),
        };
        self.calls.insert(call.call_id, live);
        OpenMark {
            set: Arc::clone(self),
            call_id: call.call_id,
            _in_flight: in_flight,
        }
    }

    /// When the oldest open call was admitted.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.calls.iter().map(|call| call.opened_at).min()
    }

    /// How many calls are open, and the oldest of them, at most `most`; of one tenant where it is
    /// named.
    pub fn list(&self, most: usize, of: Option<&TenantId>) -> (usize, Vec<(CallId, LiveCall)>) {
        let is_asked_for = |tenant: &TenantId| of.is_none_or(|of| of == tenant);
        let calls = self.calls.iter().filter(|call| is_asked_for(&call.tenant));
        let mut calls: Vec<_> = calls.map(|call| (*call.key(), call.clone())).collect();
        let open = calls.len();
        calls.sort_by_key(|(id, call)| (call.opened_at, *id));
        calls.truncate(most);
        (open, calls)
    }
}

/// Says that a call is open.
#[derive(Debug)]
pub(super) struct OpenMark {
    set: Arc<OpenSet>,
    call_id: CallId,
    _in_flight: Held,
}

impl Drop for OpenMark {
    fn drop(&mut self) {
        self.set.calls.remove(&self.call_id);
    }
}
