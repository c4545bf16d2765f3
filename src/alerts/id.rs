//! The id of a notice: a hash of what it is about, so that nobody has to agree on it.

use aws_lc_rs::digest::{Context, SHA256};

use crate::aws::hex;
use crate::domain::Timestamp;

/// The id of these parts, in this order. No two lists of parts have one text.
pub(super) fn of(parts: &[&str]) -> String {
    let mut hash = Context::new(&SHA256);
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut id = hex(hash.finish().as_ref());
    id.truncate(ID_CHARACTERS);
    id
}

/// When the period began that a notice is told once in. A window that moves with the clock has no
/// beginning of its own: time is cut into pieces of its length for it.
pub(super) fn anchor(begins: Timestamp, ends: Timestamp, is_rolling: bool) -> Timestamp {
    if !is_rolling {
        return begins;
    }
    // To the minute: the ends of a window may each be rounded.
    let length_ms = i64::try_from(ends.ms_since(begins)).unwrap_or(i64::MAX);
    let minutes = length_ms.saturating_add(MINUTE_MS / 2) / MINUTE_MS;
    let length_ms = minutes.max(1).saturating_mul(MINUTE_MS);
    let pieces = ends.unix_ms().div_euclid(length_ms);
    Timestamp::from_unix_ms(pieces.saturating_mul(length_ms))
}

const ID_CHARACTERS: usize = 32;
const MINUTE_MS: i64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_join_to_one_text_have_different_ids() {
        assert_eq!(of(&["a", "bc"]), of(&["a", "bc"]));
        assert_ne!(of(&["a", "bc"]), of(&["ab", "c"]));
        assert_ne!(of(&["a", ""]), of(&["a"]));
        // sha256 of 00000000 00000001 "a", by another program.
        assert_eq!(of(&["a"]), "3b196fd4907bedf51c3090e9835f2f7c");
    }

    #[test]
    fn a_rolling_window_keeps_its_anchor_for_as_long_as_it_is_long() {
        let at = |hours: i64, ms: i64| {
            let ends = hours * 3_600_000 + ms;
            let begins = ends - 24 * 3_600_000;
            let [begins, ends] = [begins, ends].map(Timestamp::from_unix_ms);
            anchor(begins, ends, true).unix_ms()
        };
        assert_eq!(at(240, 0), 240 * 3_600_000);
        assert_eq!(at(263, 59_999), 240 * 3_600_000);
        assert_eq!(at(264, 1), 264 * 3_600_000);
        let [begins, ends] = [7, 99].map(Timestamp::from_unix_ms);
        assert_eq!(anchor(begins, ends, false), begins);
    }
}
