//! Which models have a bill that needs more than the shape of their answer: one row per family.
//!
//! A model that is not here answers in one of the shapes of `shapes`, whichever it has, and is
//! billed by the tokens that it states.

use bytes::Bytes;

use super::asked::{self, Asked};

/// How the bill of an `InvokeModel` call is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Billing {
    /// Tokens of prompt and answer, as stated.
    Tokens,
    /// Tokens of the prompt, as stated: the answer is vectors.
    Embedding,
    /// The same, and units that stand in the request.
    EmbeddingAnd(ReadRequest),
    /// Only units that stand in the request.
    Request(ReadRequest),
    /// Images or seconds that neither request nor answer is read for: token counts alone would
    /// look like a full reading and undercharge.
    Opaque,
}

/// Reads a request body; `None` where it cannot be understood.
pub(super) type ReadRequest = fn(&[Bytes]) -> Option<Asked>;

/// Prefixes of model ids, the first that fits.
const FAMILIES: [(&str, Billing); 12] = [
    (
        "amazon.nova-2-multimodal-embeddings",
        Billing::EmbeddingAnd(asked::nova_embedding),
    ),
    ("amazon.nova-canvas", Billing::Opaque),
    ("amazon.nova-reel", Billing::Opaque),
    ("amazon.rerank", Billing::Request(asked::searches)),
    (
        "amazon.titan-embed-image",
        Billing::EmbeddingAnd(asked::titan_image),
    ),
    ("amazon.titan-embed", Billing::Embedding),
    ("amazon.titan-image", Billing::Opaque),
    ("cohere.embed", Billing::EmbeddingAnd(asked::cohere_embed)),
    ("cohere.rerank", Billing::Request(asked::searches)),
    ("luma.", Billing::Opaque),
    ("stability.", Billing::Opaque),
    ("twelvelabs.", Billing::Opaque),
];

/// The billing of a model by its base id; by its shape alone where none is known.
pub(super) fn billing(base: Option<&str>) -> Billing {
    let Some(base) = base else {
        return Billing::Tokens;
    };
    let mut families = FAMILIES.iter();
    match families.find(|(prefix, _)| base.starts_with(prefix)) {
        Some((_, billing)) => *billing,
        None if base.contains("embed") => Billing::Embedding,
        None => Billing::Tokens,
    }
}
