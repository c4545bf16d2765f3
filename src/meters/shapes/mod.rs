//! The shapes in which model families state usage, one file each.
//!
//! A body is read by the shape it has, not by the model it comes from: custom and imported models
//! answer in the shape of their architecture.

mod anthropic;
mod bedrock;
mod llama;
mod nova;
mod openai;
mod titan;

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

pub(super) use bedrock::{ConverseTrace, LatencyEcho, TierEcho};

use super::counts::TokenCounts;
use crate::codec::MemberExtractor;
use crate::domain::ServiceTier;

/// A member that should hold usage but cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// What one JSON body or event states.
#[derive(Debug, Default)]
pub(super) struct Stated {
    /// The counts of the model's own usage block.
    pub(super) counts: TokenCounts,
    /// Nothing that follows changes the counts.
    pub(super) is_final: bool,
    /// The shape is one that generates no tokens: an embedding.
    pub(super) embeds: bool,
}

/// The members that may hold usage in an `InvokeModel` body.
pub(super) const BODY_MEMBERS: &[&str] = &[
    "usage",
    "service_tier",
    "inputTextTokenCount",
    "results",
    "prompt_token_count",
    "generation_token_count",
];

/// The members that may hold usage in the chunks of an `InvokeModelWithResponseStream`.
pub(super) const CHUNK_MEMBERS: &[&str] = &[
    "usage",
    "service_tier",
    "message",
    "delta",
    "choices",
    "metadata",
    "inputTextTokenCount",
    "totalOutputTextTokenCount",
    "completionReason",
    "prompt_token_count",
    "generation_token_count",
    "stop_reason",
    INVOCATION_METRICS,
];

const INVOCATION_METRICS: &str = "amazon-bedrock-invocationMetrics";

/// What a whole `InvokeModel` body states.
pub(super) fn read_body(members: &MemberExtractor) -> Result<Option<Stated>, Unreadable> {
    if let Some(usage) = non_null(members, "usage") {
        return read_usage(usage);
    }
    Ok(titan::read_body(members)?.or(llama::read(members)?))
}

/// What a chunk of a stream states in the model's own shape.
pub(super) fn read_chunk(members: &MemberExtractor) -> Result<Option<Stated>, Unreadable> {
    if let Some(usage) = non_null(members, "usage") {
        let closing = anthropic::closes(members) || openai::closes(members);
        let block = read_usage(usage)?;
        return Ok(block.map(|block| Stated {
            is_final: closing,
            ..block
        }));
    }
    if let Some(metadata) = non_null(members, "metadata") {
        return nova::read_metadata(metadata);
    }
    Ok(titan::read_chunk(members)?.or(llama::read(members)?))
}

/// The prompt counts that a Claude stream states in its first event.
pub(super) fn read_start(members: &MemberExtractor) -> Result<Option<TokenCounts>, Unreadable> {
    let message = non_null(members, "message");
    message.map_or(Ok(None), anthropic::read_start)
}

/// What `amazon-bedrock-invocationMetrics` states.
pub(super) fn read_metrics(members: &MemberExtractor) -> Result<Option<TokenCounts>, Unreadable> {
    let metrics = non_null(members, INVOCATION_METRICS);
    metrics.map_or(Ok(None), bedrock::read_metrics)
}

/// What a Converse answer's `usage` states.
pub(super) fn read_converse_usage(
    members: &MemberExtractor,
) -> Result<Option<TokenCounts>, Unreadable> {
    non_null(members, "usage").map_or(Ok(None), nova::read)
}

/// The tier that a body says it was served with.
pub(super) fn read_tier(members: &MemberExtractor) -> Option<ServiceTier> {
    let own: Option<String> = members
        .member("service_tier")
        .and_then(|raw| parse(raw).ok());
    let in_usage = || {
        let usage = non_null(members, "usage");
        usage
            .filter(|raw| mentions(raw, &SERVICE_TIER))
            .and_then(anthropic::read_tier)
    };
    let name = own.or_else(in_usage)?;
    Some(ServiceTier::from_name(&name))
}

/// Reads a `usage` block of any shape: the names of its members tell them apart.
fn read_usage(raw: &[u8]) -> Result<Option<Stated>, Unreadable> {
    let counts = match openai::could_be(raw)
        .then(|| openai::read(raw))
        .transpose()?
    {
        Some(Some(counts)) => Some(counts),
        Some(None) | None => match anthropic::read(raw)? {
            Some(counts) => Some(counts),
            None => nova::read(raw)?,
        },
    };
    Ok(counts.map(|counts| Stated {
        counts,
        is_final: true,
        embeds: false,
    }))
}

fn parse<'a, T: Deserialize<'a>>(raw: &'a [u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(raw).map_err(|_cause| Unreadable)
}

/// Reads a member that is a number or `null`.
fn read_number(members: &MemberExtractor, name: &str) -> Result<Option<u64>, Unreadable> {
    non_null(members, name).map_or(Ok(None), parse)
}

/// A member's value, where it is there and is not `null`.
fn non_null<'a>(members: &'a MemberExtractor, name: &str) -> Option<&'a [u8]> {
    members.member(name).filter(|raw| *raw != b"null")
}

/// Whether a text has this word anywhere: a look that costs less than a parse which finds nothing,
/// as long as the searcher is made once.
fn mentions(raw: &[u8], word: &Finder<'_>) -> bool {
    word.find(raw).is_some()
}

static SERVICE_TIER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("service_tier"));

/// Whether a member is there and is not `null`.
fn is_set(members: &MemberExtractor, name: &str) -> bool {
    non_null(members, name).is_some()
}

/// Reads a body in tests.
#[cfg(test)]
fn extracted(wanted: &'static [&'static str], text: &str) -> MemberExtractor {
    let mut members = MemberExtractor::new(wanted);
    members.feed(text.as_bytes());
    members
}
