//! What can go wrong on the way to Bedrock, and whether Bedrock may have been reached.

use std::io;

/// An attempt that brought no complete answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: refused, no route, name unknown. Nothing was sent; check the network path.
    #[error("no connection to {host}: {source}")]
    Connect {
        /// Host and port that were tried.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// No connection within `upstream.connect_timeout`. Nothing was sent.
    #[error("no connection to {host} within the connect timeout")]
    ConnectTimeout {
        /// Host and port that were tried.
        host: String,
    },
    /// The HTTP proxy on the way refused the tunnel. Nothing was sent; check `upstream.proxy`.
    #[error("the proxy refused a tunnel to {host}: {answer}")]
    TunnelRefused {
        /// Host and port behind the proxy.
        host: String,
        /// The proxy's status line.
        answer: String,
    },
    /// The HTTP handshake of a fresh connection failed. Nothing was sent.
    #[error("the connection failed before the request was written: {0}")]
    NotSent(hyper::Error),
    /// The connection broke after something was written: the call may be served and billed.
    #[error("the connection broke after the request was written: {0}")]
    Lost(hyper::Error),
    /// No head within `upstream.response_timeout`: the call may be served and billed.
    #[error("no answer within the response timeout")]
    HeadTimeout,
    /// No byte within `upstream.idle_timeout` in mid-answer: the call may be billed.
    #[error("no byte within the idle timeout")]
    IdleTimeout,
}

impl UpstreamError {
    /// Whether Bedrock may have received, and so billed, the call.
    pub const fn may_have_reached_bedrock(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::TunnelRefused { .. }
            | Self::NotSent(_) => false,
            Self::Lost(_) | Self::HeadTimeout | Self::IdleTimeout => true,
        }
    }

    /// Whether a limit of time ended the call.
    pub const fn is_timeout(&self) -> bool {
        matches!(self, Self::HeadTimeout | Self::IdleTimeout)
    }
}

/// A role that cannot be assumed now. Nothing was sent to Bedrock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("role {role} cannot be assumed ({}): {why}", failure.name())]
pub struct RoleUnavailable {
    /// Its ARN, or the template of it.
    pub role: String,
    /// The kind of failure.
    pub failure: RoleFailure,
    /// What was said, for the operator: it may name the proxy's own principal.
    pub why: String,
}

/// Why a role cannot be assumed. Bedrock was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleFailure {
    /// STS denied it: look at the role's trust policy and at the proxy's own permissions.
    Denied,
    /// STS throttles; it is asked again by itself.
    Throttled,
    /// STS cannot be reached, or has a fault.
    Unreachable,
    /// STS takes the request for wrong: a role that is none, a duration beyond the role's.
    Refused,
    /// Something else than STS answered.
    Malformed,
    /// The proxy has no credentials that STS takes.
    NoCredentials,
    /// The proxy has a Bedrock API key in place of credentials.
    ApiKey,
    /// The tenant's name cannot be part of the default role's.
    UnfitName,
    /// Too many roles are asked for at once, or STS is slow.
    Busy,
}

impl RoleFailure {
    /// Its name: a closed set, for metric and log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::NoCredentials => "no_credentials",
            Self::ApiKey => "api_key",
            Self::UnfitName => "unfit_name",
            Self::Busy => "busy",
        }
    }
}
