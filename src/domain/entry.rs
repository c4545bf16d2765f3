//! One settled call, as the ledger keeps it for ever.

use std::sync::Arc;

use super::{
    ApplicationId, CallId, Charge, ModelRef, Operation, Outcome, PriceStatus, Reading, Region,
    ServiceTier, TenantId, Timestamp, UsageSource, Usd,
};

/// One settled call. Entries never change; a correction is another row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Identifies the call.
    pub call_id: CallId,
    /// When it was admitted: the instant that chooses its rates.
    pub opened_at: Timestamp,
    /// When it was settled.
    pub settled_at: Timestamp,
    /// Who pays.
    pub tenant: TenantId,
    /// Which workload.
    pub application: ApplicationId,
    /// The caller's user, as the identity settings allow it to be kept.
    pub user: Option<Arc<str>>,
    /// The caller's session or run.
    pub session: Option<Arc<str>>,
    /// The public id of the issued key that proved the caller.
    pub key: Option<Arc<str>>,
    /// What was called.
    pub operation: Operation,
    /// Which model; `None` for operations without one.
    pub model: Option<ModelRef>,
    /// The region that was called.
    pub region: Region,
    /// The tier that was asked for, where the request said so.
    pub tier_asked: Option<ServiceTier>,
    /// How it ended.
    pub outcome: Outcome,
    /// The status Bedrock answered with; `None` when no head arrived.
    pub status: Option<u16>,
    /// The error class that Bedrock answered with.
    pub error_class: Option<Arc<str>>,
    /// `x-amzn-requestid` of the answer: joins with AWS invocation logs.
    pub aws_request_id: Option<Arc<str>>,
    /// `amz-sdk-invocation-id`: the same for all attempts of one SDK call.
    pub sdk_invocation_id: Option<Arc<str>>,
    /// Which attempt of the SDK this was, counted from 1.
    pub sdk_attempt: Option<u16>,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// Bytes of the answer's body that were read.
    pub response_bytes: u64,
    /// From admission to the first byte of the answer's body, in milliseconds.
    pub first_byte_ms: Option<u64>,
    /// From admission to the end, in milliseconds.
    pub duration_ms: u64,
    /// What was used.
    pub reading: Reading,
    /// What it costs.
    pub charge: Charge,
    /// Version of the price catalogue that charged it.
    pub catalogue: Arc<str>,
    /// What budgets held for it; `None` where none applied.
    pub reserved: Option<Usd>,
    /// What the client had asked for, where a budget made it something cheaper.
    pub downgraded_from: Option<Arc<str>>,
}

impl Entry {
    /// What budgets count for the call: its cost where Bedrock reported the usage and it has a
    /// price, else what was held for it, if that is more. Unknown usage never gives back.
    pub fn counted(&self) -> Usd {
        let cost = self.charge.total.unwrap_or_default();
        let is_priced = !matches!(self.charge.status, PriceStatus::Unpriced(_));
        if is_priced && self.reading.source == UsageSource::Reported {
            return cost;
        }
        cost.max(self.reserved.unwrap_or_default())
    }
}
