//! Every way in which the proxy itself says no: one closed table, spoken in Bedrock's own shape.
//!
//! The table is code, documentation (`docs/refusals.md`), metric label and the header
//! `x-bedrock-meter-error` at once. A refused call never reached Bedrock, except where the kind
//! says that it may have.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::aws::error_response;
use crate::domain::{CallId, TenantId};
use crate::identity::{Forbidden, IdentityError};
use crate::relay::{GatherError, HeadError};
use crate::routing::RoutingError;
use crate::upstream::{RoleUnavailable, UpstreamError};

/// The header that names the kind of a refusal.
pub(super) const ERROR_KIND: HeaderName = HeaderName::from_static("x-bedrock-meter-error");
/// The header that says what the tightest budget has left, with this call taken off.
pub(super) const BUDGET_REMAINING: HeaderName =
    HeaderName::from_static("x-bedrock-meter-budget-remaining-usd");
/// The header that says what a client had asked for, where a budget made it something cheaper.
pub(super) const DOWNGRADED_FROM: HeaderName =
    HeaderName::from_static("x-bedrock-meter-downgraded-from");
/// The header that names the call, on every answer.
pub(super) const CALL_ID: HeaderName = HeaderName::from_static("x-bedrock-meter-call-id");

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The kind: metric label and header value.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The AWS error class that SDKs raise.
    pub class: &'static str,
    /// Whether SDKs try again by themselves.
    pub retried: bool,
    /// What the developer does about it.
    pub mend: &'static str,
}

macro_rules! refusals {
    ($($variant:ident => $name:literal $status:literal $class:literal $retried:literal $mend:literal,)*) => {
        /// The kinds of refusal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RefusalKind {
            $(#[doc = $mend] $variant,)*
        }

        impl RefusalKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The row of the table.
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row {
                        name: $name,
                        status: $status,
                        class: $class,
                        retried: $retried,
                        mend: $mend,
                    },)*
                }
            }
        }
    };
}

refusals! {
    UnknownOperation => "unknown_operation" 404 "UnknownOperationException" false
        "Use a path of bedrock-runtime; the endpoint setting may hold one path segment too many.",
    MalformedPath => "malformed_path" 400 "ValidationException" false
        "Mend the path: percent-encoding, model id, or base path.",
    MalformedHead => "malformed_head" 400 "ValidationException" false
        "Send a head that can be read in one way only: HTTP/1.1 with one Host, one framing of the body.",
    DuplexNotServed => "bidirectional_not_served" 400 "ValidationException" false
        "Call the bidirectional stream at Bedrock itself: it is not metered yet, and nothing passes unmetered.",
    RegionNotServed => "region_not_served" 403 "AccessDeniedException" false
        "Use a region of `upstream.regions`, or ask the operator to add it.",
    Unproven => "unproven_caller" 403 "AccessDeniedException" false
        "Call from a trusted network, or ask the operator to add yours to `identity.trusted_networks`.",
    Untrusted => "untrusted_caller" 403 "AccessDeniedException" false
        "Call from a trusted network: elsewhere a tenant's name is not believed.",
    TenantMissing => "tenant_missing" 403 "AccessDeniedException" false
        "Name a tenant: put /tenant/NAME into the endpoint URL, or send the tenant header.",
    Ambiguous => "ambiguous_claim" 400 "ValidationException" false
        "Send each tenancy header once.",
    Contradiction => "contradicting_claims" 400 "ValidationException" false
        "Name one tenant and one application: header and base path differ.",
    InvalidName => "invalid_name" 400 "ValidationException" false
        "Use names of 1 to 64 letters, digits or . _ - : @ /",
    UnknownTenant => "unknown_tenant" 403 "AccessDeniedException" false
        "Use a tenant of `identity.tenants`, or ask the operator to add yours.",
    UnlistedApplication => "unlisted_application" 403 "AccessDeniedException" false
        "Use an application that the tenant lists, or ask the operator to add yours.",
    CredentialsMissing => "credentials_missing" 403 "UnrecognizedClientException" false
        "Use a key of this proxy: its operator issues it with `bedrock-meter keys create`.",
    ForeignKey => "foreign_key" 403 "UnrecognizedClientException" false
        "Use the key that this proxy's operator issued to you, not one of AWS.",
    InvalidSignature => "invalid_signature" 403 "InvalidSignatureException" false
        "Check access key id and secret; in between, nobody may change path, host, signed headers or body.",
    ClockSkew => "clock_skew" 403 "RequestTimeTooSkewed" false
        "Set the caller's clock: it differs from the proxy's by more than `identity.clock_skew_max`.",
    InvalidToken => "invalid_token" 403 "UnrecognizedClientException" false
        "Check that the token was copied whole, or ask the operator for a new one.",
    IssuerUnavailable => "issuer_unavailable" 503 "ServiceUnavailableException" true
        "Wait: the keys of the token's issuer cannot be read; the operator finds why in the log.",
    KeyExpired => "key_expired" 403 "AccessDeniedException" false
        "Ask the operator for a new key (`bedrock-meter keys create` or `rotate`).",
    KeyRevoked => "key_revoked" 403 "AccessDeniedException" false
        "Ask the operator for a new key: this one was revoked.",
    TenantInactive => "tenant_inactive" 403 "AccessDeniedException" false
        "Ask the operator: the tenant is suspended, or outside its dates.",
    Replayed => "replayed" 403 "InvalidSignatureException" false
        "Sign each request anew: `identity.refuse_replays` takes a signature once.",
    ApplicationNotAllowed => "application_not_allowed" 403 "AccessDeniedException" false
        "Name an application that key and tenant list, or ask the operator to add yours.",
    ModelNotAllowed => "model_not_allowed" 403 "AccessDeniedException" false
        "Use a model that key and tenant may use; an opaque ARN has to be listed itself.",
    GeographyNotAllowed => "geography_not_allowed" 403 "AccessDeniedException" false
        "Use an inference profile of a geography that key and tenant may use.",
    RegionNotAllowed => "region_not_allowed" 403 "AccessDeniedException" false
        "Call a region that key and tenant may call.",
    OperationNotAllowed => "operation_not_allowed" 403 "AccessDeniedException" false
        "Ask the operator to allow the operation to key and tenant.",
    NetworkNotAllowed => "network_not_allowed" 403 "AccessDeniedException" false
        "Call from a network that the key lists.",
    ResourceNotAllowed => "resource_not_allowed" 403 "AccessDeniedException" false
        "Use resources that the tenant lists as its own, or ask the operator to add yours.",
    GuardrailRequired => "guardrail_required" 403 "AccessDeniedException" false
        "Name the guardrail that the key demands.",
    MetadataFull => "request_metadata_full" 400 "ValidationException" false
        "Send fewer or shorter pairs of request metadata: the proxy's own take part of what Bedrock accepts.",
    MetadataUnreadable => "request_metadata_unreadable" 400 "ValidationException" false
        "Send JSON as UTF-8, and request metadata once, with plain names.",
    PriceUnknown => "price_unknown" 403 "AccessDeniedException" false
        "The model has no price here and `when.price_unknown` refuses; ask the operator.",
    BudgetExhausted => "budget_exhausted" 400 "ServiceQuotaExceededException" false
        "Wait until the budget is whole again, ask for less (`max_tokens`), or ask the budget's owner.",
    BudgetDenied => "budget_denied" 403 "AccessDeniedException" false
        "Wait until the budget is whole again, ask for less (`max_tokens`), or ask the budget's owner.",
    RateLimited => "rate_limited" 429 "ThrottlingException" true
        "Wait as the retry headers say; or ask the limit's owner for more `requests_per_minute`.",
    TokensLimited => "tokens_limited" 429 "ThrottlingException" true
        "Wait as the retry headers say, set `max_tokens` no larger than needed, or ask the limit's owner.",
    ConcurrencyLimited => "concurrency_limited" 429 "ThrottlingException" true
        "Wait until another call ends, or ask the limit's owner for more `concurrent_calls`.",
    AccountQuota => "account_quota" 429 "ThrottlingException" true
        "Wait as the retry headers say: the account's Bedrock quota is shared fairly between all tenants.",
    NeverFits => "limit_never_fits" 400 "ValidationException" false
        "Send a smaller request or a smaller `max_tokens`: this one alone is above the limit.",
    CallUnknown => "call_unknown" 404 "ResourceNotFoundException" false
        "Check the id (header `x-bedrock-meter-call-id`), and who asks: only a tenant's own calls that have ended are shown.",
    LedgerUnreadable => "ledger_unreadable" 503 "ServiceUnavailableException" true
        "Tell the operator: the ledger cannot be read at this moment. Calls are served.",
    BudgetStoreUnavailable => "budget_store_unavailable" 503 "ServiceUnavailableException" true
        "Wait, or tell the operator: replicas cannot see what the others spend, and `when.budget_store_down` refuses.",
    BodyTooLong => "body_too_long" 400 "ValidationException" false
        "Send at most `listener.body_bytes_max` bytes; Bedrock's own limit is 25,000,000.",
    BodyCut => "body_cut" 400 "ValidationException" false
        "Send the whole body: it ended early or stood still.",
    TooManyBodies => "too_many_bodies" 503 "ServiceUnavailableException" true
        "Wait: the bodies of other calls take all of `listener.gathered_bytes_max`.",
    TooManyCalls => "too_many_calls" 503 "ServiceUnavailableException" true
        "Wait: `listener.calls_in_flight_max` calls are open or waiting for the ledger.",
    LedgerUnavailable => "ledger_unavailable" 503 "ServiceUnavailableException" true
        "Tell the operator: the open-calls log cannot be written, or neither the ledger nor its spill takes entries; no call passes unrecorded.",
    NoCredentials => "no_credentials" 503 "ServiceUnavailableException" true
        "Tell the operator: the proxy has no valid AWS credentials.",
    RoleUnavailable => "role_unavailable" 503 "ServiceUnavailableException" true
        "Tell the operator: the tenant's role cannot be assumed, and no other credentials sign its calls.",
    Unreachable => "bedrock_unreachable" 503 "ServiceUnavailableException" true
        "Tell the operator: no connection to Bedrock; nothing was sent.",
    ConnectionLost => "connection_lost" 503 "ServiceUnavailableException" true
        "Try again if the call may run twice: Bedrock may have served it. It has an entry.",
    TimedOut => "bedrock_timed_out" 408 "ModelTimeoutException" false
        "Try again if the call may run twice: Bedrock may have served it. It has an entry.",
}

/// A refusal, ready to be spoken.
#[derive(Debug)]
pub struct Refusal {
    /// Its kind.
    pub kind: RefusalKind,
    /// What happened to this very call; may name limits and names, never secrets.
    pub detail: String,
    /// The tenant whose counter it goes to, when one was proven.
    pub tenant: Option<TenantId>,
    /// What the operator learns beyond the kind, and the caller does not: for log and metric.
    pub reason: Option<&'static str>,
    /// When the call would fit, for clients that wait and try again.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal of a caller whose tenant is not known.
    pub fn new(kind: RefusalKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            tenant: None,
            reason: None,
            retry_after: None,
        }
    }

    /// The same, counted for a tenant.
    #[must_use]
    pub fn of(mut self, tenant: &TenantId) -> Self {
        self.tenant = Some(tenant.clone());
        self
    }

    /// The answer in Bedrock's error shape, as every SDK raises it.
    pub fn respond(&self, call_id: CallId) -> Response<Bytes> {
        let row = self.kind.row();
        let status = StatusCode::from_u16(row.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let detail = self
            .detail
            .strip_prefix(SPEAKER)
            .unwrap_or(&self.detail)
            .trim_start();
        let message = format!("{SPEAKER} {detail} ({})", row.mend.trim_end_matches('.'));
        let id = call_id.to_string();
        let mut response = error_response(status, row.class, &message, &id);
        let headers = response.headers_mut();
        headers.insert(ERROR_KIND, HeaderValue::from_static(row.name));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(CALL_ID, id);
        }
        let retry = if row.retried { "true" } else { "false" };
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(retry));
        if let Some(wait) = self.retry_after {
            insert_hints(headers, wait);
        }
        response
    }
}

/// The same time in each header that some SDK reads (bedrock.md 7.3).
fn insert_hints(headers: &mut HeaderMap, wait: Duration) {
    let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    headers.insert(AMZ_RETRY_AFTER, ms.into());
    headers.insert(RETRY_AFTER_MS, ms.into());
    headers.insert(header::RETRY_AFTER, ms.div_ceil(1_000).into());
}

impl From<&RoutingError> for Refusal {
    fn from(error: &RoutingError) -> Self {
        let kind = match error {
            RoutingError::UnknownOperation => RefusalKind::UnknownOperation,
            RoutingError::Malformed(_) => RefusalKind::MalformedPath,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        Self::new(RefusalKind::MalformedHead, error.to_string())
    }
}

impl From<&IdentityError> for Refusal {
    fn from(error: &IdentityError) -> Self {
        let kind = match error {
            IdentityError::Untrusted { .. } => RefusalKind::Untrusted,
            IdentityError::Unproven { .. } => RefusalKind::Unproven,
            IdentityError::TenantMissing { .. } => RefusalKind::TenantMissing,
            IdentityError::Ambiguous { .. } => RefusalKind::Ambiguous,
            IdentityError::Contradiction { .. } => RefusalKind::Contradiction,
            IdentityError::InvalidName { .. } => RefusalKind::InvalidName,
            IdentityError::UnknownTenant { .. } => RefusalKind::UnknownTenant,
            IdentityError::UnlistedApplication { .. } => RefusalKind::UnlistedApplication,
            IdentityError::CredentialsMissing => RefusalKind::CredentialsMissing,
            IdentityError::ForeignKey { .. } => RefusalKind::ForeignKey,
            IdentityError::InvalidSignature { .. } => RefusalKind::InvalidSignature,
            IdentityError::ClockSkew { .. } => RefusalKind::ClockSkew,
            IdentityError::InvalidToken { .. } => RefusalKind::InvalidToken,
            IdentityError::IssuerUnavailable => RefusalKind::IssuerUnavailable,
            IdentityError::KeyExpired { .. } => RefusalKind::KeyExpired,
            IdentityError::KeyRevoked { .. } => RefusalKind::KeyRevoked,
            IdentityError::TenantInactive { .. } => RefusalKind::TenantInactive,
            IdentityError::Replayed { .. } => RefusalKind::Replayed,
            IdentityError::Forbidden { what, .. } => of_forbidden(what),
        };
        Self {
            tenant: error.tenant().cloned(),
            reason: error.reason(),
            ..Self::new(kind, error.to_string())
        }
    }
}

const fn of_forbidden(what: &Forbidden) -> RefusalKind {
    match what {
        Forbidden::Application(_) => RefusalKind::ApplicationNotAllowed,
        Forbidden::Model(_) => RefusalKind::ModelNotAllowed,
        Forbidden::Geography(_) => RefusalKind::GeographyNotAllowed,
        Forbidden::Region(_) => RefusalKind::RegionNotAllowed,
        Forbidden::Operation(_) => RefusalKind::OperationNotAllowed,
        Forbidden::Network(_) => RefusalKind::NetworkNotAllowed,
        Forbidden::Resource(_) => RefusalKind::ResourceNotAllowed,
        Forbidden::WithoutGuardrail(_) => RefusalKind::GuardrailRequired,
    }
}

impl From<&GatherError> for Refusal {
    fn from(error: &GatherError) -> Self {
        let kind = match error {
            GatherError::TooLong { .. } => RefusalKind::BodyTooLong,
            GatherError::NoRoom => RefusalKind::TooManyBodies,
            GatherError::Silent | GatherError::Broken(_) => RefusalKind::BodyCut,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<&UpstreamError> for Refusal {
    fn from(error: &UpstreamError) -> Self {
        let kind = match error {
            UpstreamError::Connect { .. }
            | UpstreamError::ConnectTimeout { .. }
            | UpstreamError::TunnelRefused { .. }
            | UpstreamError::NotSent(_) => RefusalKind::Unreachable,
            UpstreamError::Lost(_) => RefusalKind::ConnectionLost,
            UpstreamError::HeadTimeout | UpstreamError::IdleTimeout => RefusalKind::TimedOut,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<&RoleUnavailable> for Refusal {
    fn from(error: &RoleUnavailable) -> Self {
        // What STS said names the proxy's own principal: that is for the log.
        let detail = format!(
            "the tenant's role is not to be had ({})",
            error.failure.name()
        );
        Self::new(RefusalKind::RoleUnavailable, detail)
    }
}

/// The table as a page of documentation.
pub fn refusals_markdown() -> String {
    let mut page = String::from(
        "| kind | status | class | retried by SDKs | what to do |\n|---|---|---|---|---|\n",
    );
    for kind in RefusalKind::ALL {
        let Row {
            name,
            status,
            class,
            retried,
            mend,
        } = kind.row();
        let retried = if retried { "yes" } else { "no" };
        writeln!(
            page,
            "| `{name}` | {status} | `{class}` | {retried} | {mend} |"
        )
        .unwrap_or_default();
    }
    page
}

/// Every message of ours begins so: nobody takes it to AWS Support.
const SPEAKER: &str = "bedrock-meter:";
/// Overrides the retry rules of the Anthropic and OpenAI SDKs.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// Milliseconds, for the AWS SDKs.
const AMZ_RETRY_AFTER: HeaderName = HeaderName::from_static("x-amz-retry-after");
/// Milliseconds, for the Anthropic and OpenAI SDKs.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_speaks_the_shape_of_bedrock() {
        let refusal = Refusal::new(RefusalKind::RegionNotServed, "region mars-1 is not served");
        let response = refusal.respond(CallId::from_bytes([7; 16]));
        assert_eq!(response.status(), 403);
        assert_eq!(
            response.headers()["x-amzn-errortype"],
            "AccessDeniedException"
        );
        assert_eq!(
            response.headers()["x-bedrock-meter-error"],
            "region_not_served"
        );
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        let message = body["message"].as_str().unwrap();
        assert!(
            message.starts_with("bedrock-meter: region mars-1"),
            "{message}"
        );
    }

    #[test]
    fn a_refusal_says_in_three_headers_when_to_come_back() {
        let mut refusal = Refusal::new(RefusalKind::RateLimited, "limit x is used up");
        refusal.retry_after = Some(Duration::from_millis(1_001));
        let response = refusal.respond(CallId::from_bytes([7; 16]));
        assert_eq!(response.status(), 429);
        let header = |name: &str| response.headers()[name].to_str().unwrap();
        assert_eq!(header("x-amz-retry-after"), "1001");
        assert_eq!(header("retry-after-ms"), "1001");
        assert_eq!(header("retry-after"), "2");
        assert_eq!(header("x-amzn-errortype"), "ThrottlingException");
    }

    #[test]
    fn statuses_that_sdks_retry_are_marked_so() {
        // AWS SDKs retry 429, 500, 502, 503 and 504, and no other status without a retry code.
        for kind in RefusalKind::ALL {
            let row = kind.row();
            let retried = matches!(row.status, 429 | 500 | 502 | 503 | 504);
            assert_eq!(row.retried, retried, "{}", row.name);
        }
    }
}
