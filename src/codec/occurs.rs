//! Whether a text occurs in bytes that lie in pieces. It knows nothing of what is searched.

use bytes::Bytes;
use memchr::memmem::Finder;

/// Whether a needle occurs in the concatenation of the pieces.
pub fn occurs(pieces: &[Bytes], finder: &Finder<'_>) -> bool {
    let overlap = finder.needle().len().saturating_sub(1);
    // The end of what was searched so far, in which the needle may have begun.
    let mut tail: Vec<u8> = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        if finder.find(piece).is_some() {
            return true;
        }
        if !tail.is_empty() {
            tail.extend_from_slice(piece.get(..overlap).unwrap_or(piece));
            if finder.find(&tail).is_some() {
                return true;
            }
        }
        if number.saturating_add(1) < pieces.len() {
            keep_tail(&mut tail, piece, overlap);
        }
    }
    false
}

/// Makes `tail` the last `length` bytes of all that came so far.
fn keep_tail(tail: &mut Vec<u8>, piece: &[u8], length: usize) {
    let end = piece
        .get(piece.len().saturating_sub(length)..)
        .unwrap_or(piece);
    if end.len() >= length || tail.is_empty() {
        tail.clear();
        tail.extend_from_slice(end);
    }
    let excess = tail.len().saturating_sub(length);
    tail.drain(..excess);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_needle_is_found_wherever_the_pieces_are_cut(
            text in "[ab]{0,40}", needle in "[ab]{1,6}", sizes in prop::collection::vec(0_usize..5, 1..9),
        ) {
            prop_assume!(sizes.iter().any(|size| *size > 0));
            let (mut rest, mut sizes) = (text.as_bytes(), sizes.iter().cycle());
            let mut pieces = Vec::new();
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                pieces.push(Bytes::copy_from_slice(piece));
                rest = tail;
            }
            prop_assert_eq!(occurs(&pieces, &Finder::new(&needle)), text.contains(&needle));
        }
    }
}
