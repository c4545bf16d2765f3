//! What the answer says of a call beside Bedrock's own words.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::refusal::{BUDGET_REMAINING, CALL_ID, DOWNGRADED_FROM};
use crate::domain::{CallId, Usd};

/// What the answer says of the call beside Bedrock's own words.
pub(super) struct Said {
    pub(super) call_id: CallId,
    /// What the tightest budget has left.
    pub(super) remaining: Option<Usd>,
    /// What the client had asked for, where a budget made it something cheaper.
    pub(super) downgraded_from: Option<Arc<str>>,
}

impl Said {
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let mut say = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        say(CALL_ID, &self.call_id.to_string());
        if let Some(remaining) = self.remaining {
            say(BUDGET_REMAINING, &remaining.to_string());
        }
        if let Some(from) = &self.downgraded_from {
            say(DOWNGRADED_FROM, from);
        }
    }
}
