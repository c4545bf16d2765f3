//! Rerank: search units, counted from the request because no answer states them.
//!
//! One query with up to a hundred documents is a unit. Documents of more than some 500 tokens
//! count as several, which bytes cannot tell: the count is an estimate and says so.

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::codec::MemberExtractor;

/// Documents of one search unit (Bedrock pricing page, footnote to Rerank).
const DOCUMENTS_PER_UNIT: usize = 100;

/// The search units of a request; `None` where its documents cannot be counted.
pub(super) fn search_units(body: &[Bytes]) -> Option<u64> {
    let mut members = MemberExtractor::new(&["documents"]);
    for piece in body {
        members.feed(piece);
    }
    let documents: Vec<IgnoredAny> = serde_json::from_slice(members.member("documents")?).ok()?;
    u64::try_from(documents.len().div_ceil(DOCUMENTS_PER_UNIT).max(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_documents_are_one_unit_and_unknown_ones_are_none() {
        let check = |documents: usize, units| {
            let documents = vec![r#""a,b]""#; documents].join(",");
            let body = format!(r#"{{"query":"q","documents":[{documents}],"top_n":1}}"#);
            let pieces: Vec<Bytes> = body
                .as_bytes()
                .chunks(7)
                .map(Bytes::copy_from_slice)
                .collect();
            assert_eq!(search_units(&pieces), Some(units));
        };
        check(1, 1);
        check(100, 1);
        check(101, 2);
        assert_eq!(search_units(&[Bytes::from_static(b"{}")]), None);
    }
}
