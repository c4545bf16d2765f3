//! Which of several texts occur in bytes that lie in pieces, found in one pass. It knows nothing of
//! what is searched.

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use bytes::Bytes;

/// Texts to search for together.
#[derive(Debug)]
pub struct Needles {
    automaton: AhoCorasick,
    longest: usize,
}

impl Needles {
    /// These texts. None may be empty, or begin with another: the other would hide it.
    ///
    /// # Errors
    /// When they are too many or too long for one automaton.
    pub fn new(needles: &[&str]) -> Result<Self, BuildError> {
        let mut builder = AhoCorasick::builder();
        // Of this kind the search looks at many bytes at once.
        builder.match_kind(MatchKind::LeftmostFirst);
        Ok(Self {
            automaton: builder.build(needles)?,
            longest: needles.iter().map(|one| one.len()).max().unwrap_or(0),
        })
    }

    /// Says the number of a text each time that it occurs in the concatenation of the pieces.
    /// Occurrences inside a piece do not overlap.
    pub fn each(&self, pieces: &[Bytes], mut found: impl FnMut(usize)) {
        for piece in pieces {
            for one in self.automaton.find_iter(piece) {
                found(one.pattern().as_usize());
            }
        }
        if pieces.len() > 1 {
            self.on_borders(pieces, found);
        }
    }

    fn on_borders(&self, pieces: &[Bytes], mut found: impl FnMut(usize)) {
        let overlap = self.longest.saturating_sub(1);
        // The end of what came so far, and the beginning of what comes.
        let mut window: Vec<u8> = Vec::new();
        for piece in pieces {
            let border = window.len();
            window.extend_from_slice(piece.get(..overlap).unwrap_or(piece));
            for one in self.automaton.find_iter(&window) {
                if one.start() < border && one.end() > border {
                    found(one.pattern().as_usize());
                }
            }
            window.truncate(border);
            let end = piece.len().saturating_sub(overlap);
            window.extend_from_slice(piece.get(end..).unwrap_or(piece));
            window.drain(..window.len().saturating_sub(overlap));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_occurrence_is_found_once_wherever_the_pieces_are_cut(
            text in "[<ab>]{0,60}", sizes in prop::collection::vec(1_usize..7, 1..9),
        ) {
            let needles = ["<a>", "<ab>", "<b"];
            let mut expected: Vec<_> = needles.iter().map(|one| text.matches(one).count()).collect();
            let (mut rest, mut sizes) = (text.as_bytes(), sizes.iter().cycle());
            let mut pieces = Vec::new();
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                pieces.push(Bytes::copy_from_slice(piece));
                rest = tail;
            }
            let search = Needles::new(&needles).unwrap();
            search.each(&pieces, |number| expected[number] = expected[number].wrapping_sub(1));
            prop_assert_eq!(expected, [0, 0, 0]);
        }
    }
}
