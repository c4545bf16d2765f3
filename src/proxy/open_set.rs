//! The calls that are open right now, and how old the oldest is.

use std::sync::Arc;

use dashmap::DashMap;

use crate::domain::{CallId, Timestamp};
use crate::telemetry::Held;

/// The calls between their first upstream byte and their settlement. Sharded: workers do not
/// wait for each other.
#[derive(Debug, Default)]
pub struct OpenSet {
    calls: DashMap<CallId, Timestamp>,
}

impl OpenSet {
    /// Notes a call until the mark is dropped.
    pub(super) fn mark(
        self: &Arc<Self>,
        call_id: CallId,
        opened_at: Timestamp,
        in_flight: Held,
    ) -> OpenMark {
        self.calls.insert(call_id, opened_at);
        OpenMark {
            set: Arc::clone(self),
            call_id,
            _in_flight: in_flight,
        }
    }

    /// When the oldest open call was admitted.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.calls.iter().map(|call| *call.value()).min()
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
