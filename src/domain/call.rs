//! What a call is and how it ends.

/// The operations of bedrock-runtime (bedrock.md 1.1) and the two control-plane reads we pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `POST /model/{modelId}/invoke`
    InvokeModel,
    /// `POST /model/{modelId}/invoke-with-response-stream`
    InvokeModelWithResponseStream,
    /// `POST /model/{modelId}/invoke-with-bidirectional-stream`
    InvokeModelWithBidirectionalStream,
    /// `POST /model/{modelId}/converse`
    Converse,
    /// `POST /model/{modelId}/converse-stream`
    ConverseStream,
    /// `POST /model/{modelId}/count-tokens`
    CountTokens,
    /// `POST /guardrail/{id}/version/{version}/apply`
    ApplyGuardrail,
    /// `POST /guardrail-checks/invoke`
    InvokeGuardrailChecks,
    /// `POST /async-invoke`
    StartAsyncInvoke,
    /// `GET /async-invoke/{invocationArn}`
    GetAsyncInvoke,
    /// `GET /async-invoke`
    ListAsyncInvokes,
    /// Control plane: `GET /inference-profiles/{id}`
    GetInferenceProfile,
    /// Control plane: `GET /inference-profiles`
    ListInferenceProfiles,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 13] = [
        Self::InvokeModel,
        Self::InvokeModelWithResponseStream,
        Self::InvokeModelWithBidirectionalStream,
        Self::Converse,
        Self::ConverseStream,
        Self::CountTokens,
        Self::ApplyGuardrail,
        Self::InvokeGuardrailChecks,
        Self::StartAsyncInvoke,
        Self::GetAsyncInvoke,
        Self::ListAsyncInvokes,
        Self::GetInferenceProfile,
        Self::ListInferenceProfiles,
    ];

    /// The name in the AWS service model; a metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvokeModel => "InvokeModel",
            Self::InvokeModelWithResponseStream => "InvokeModelWithResponseStream",
            Self::InvokeModelWithBidirectionalStream => "InvokeModelWithBidirectionalStream",
            Self::Converse => "Converse",
            Self::ConverseStream => "ConverseStream",
            Self::CountTokens => "CountTokens",
            Self::ApplyGuardrail => "ApplyGuardrail",
            Self::InvokeGuardrailChecks => "InvokeGuardrailChecks",
            Self::StartAsyncInvoke => "StartAsyncInvoke",
            Self::GetAsyncInvoke => "GetAsyncInvoke",
            Self::ListAsyncInvokes => "ListAsyncInvokes",
            Self::GetInferenceProfile => "GetInferenceProfile",
            Self::ListInferenceProfiles => "ListInferenceProfiles",
        }
    }

    /// Whether a model generates its answer.
    pub const fn generates(self) -> bool {
        matches!(
            self,
            Self::InvokeModel
                | Self::InvokeModelWithResponseStream
                | Self::InvokeModelWithBidirectionalStream
                | Self::Converse
                | Self::ConverseStream
                | Self::StartAsyncInvoke
        )
    }

    /// The operation of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.name() == name)
    }

    /// Whether AWS charges nothing for it (bedrock.md 2.5).
    pub const fn is_free(self) -> bool {
        matches!(
            self,
            Self::CountTokens
                | Self::GetAsyncInvoke
                | Self::ListAsyncInvokes
                | Self::GetInferenceProfile
                | Self::ListInferenceProfiles
        )
    }

    /// Whether it is served by the control-plane host instead of the runtime host.
    pub const fn is_control_plane(self) -> bool {
        matches!(
            self,
            Self::GetInferenceProfile | Self::ListInferenceProfiles
        )
    }

    /// Whether its answer is an AWS event stream.
    pub const fn is_stream(self) -> bool {
        matches!(
            self,
            Self::InvokeModelWithResponseStream
                | Self::InvokeModelWithBidirectionalStream
                | Self::ConverseStream
        )
    }
}

/// How a call ended. A closed set: metric label `outcome` and ledger column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A complete 2xx answer reached the client.
    Success,
    /// Bedrock answered 429.
    Throttled,
    /// Bedrock answered another 4xx.
    ClientError,
    /// Bedrock answered 5xx.
    ServerError,
    /// A 2xx stream carried an exception, or ended before its end.
    StreamFailed,
    /// The client left before the end of the answer.
    ClientLeft,
    /// Bedrock could not be reached; nothing was sent.
    Unreachable,
    /// The connection failed after something was sent.
    ConnectionLost,
    /// No head or no byte within the limits.
    TimedOut,
    /// The process stopped or died while the call was open.
    Interrupted,
    /// A budget had no room for it; nothing was sent.
    BudgetRefused,
    /// A rate limit had no room for it; nothing was sent.
    LimitRefused,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 12] = [
        Self::Success,
        Self::Throttled,
        Self::ClientError,
        Self::ServerError,
        Self::StreamFailed,
        Self::ClientLeft,
        Self::Unreachable,
        Self::ConnectionLost,
        Self::TimedOut,
        Self::Interrupted,
        Self::BudgetRefused,
        Self::LimitRefused,
    ];

    /// The word in entry and metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Throttled => "throttled",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::StreamFailed => "stream_failed",
            Self::ClientLeft => "client_left",
            Self::Unreachable => "unreachable",
            Self::ConnectionLost => "connection_lost",
            Self::TimedOut => "timed_out",
            Self::Interrupted => "interrupted",
            Self::BudgetRefused => "budget_refused",
            Self::LimitRefused => "limit_refused",
        }
    }

    /// The outcome of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}
