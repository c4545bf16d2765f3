//! Which of several texts occur in bytes that lie in pieces, found in one pass. It knows nothing of
//! what is searched.

use std::ops::Range;

use aho_corasick::{AhoCorasick, BuildError, Match, MatchKind, packed};
use bytes::Bytes;

/// Texts to search for together.
#[derive(Debug)]
pub struct Needles {
    /// Looks at many bytes at once; not every machine can.
    packed: Option<packed::Searcher>,
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
        builder.match_kind(MatchKind::LeftmostFirst);
        Ok(Self {
            packed: packed::Searcher::new(needles),
            automaton: builder.build(needles)?,
            longest: needles.iter().map(|one| one.len()).max().unwrap_or(0),
        })
    }

    fn each_in(&self, text: &[u8], mut found: impl FnMut(usize, Range<usize>)) {
        let mut found = |one: Match| found(one.pattern().as_usize(), one.range());
        match &self.packed {
            Some(packed) => packed.find_iter(text).for_each(&mut found),
            None => self.automaton.find_iter(text).for_each(&mut found),
        }
    }

    /// Says the number of a text each time that it occurs in the concatenation of the pieces.
    /// Occurrences inside a piece do not overlap.
    pub fn each(&self, pieces: &[Bytes], mut found: impl FnMut(usize)) {
        for piece in pieces {
            self.each_in(piece, |number, _range| found(number));
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
            self.each_in(&window, |number, range| {
                if range.start < border && range.end > border {
                    found(number);
                }
            });
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
            let expected: Vec<_> = needles.iter().map(|one| text.matches(one).count()).collect();
            let (mut rest, mut sizes) = (text.as_bytes(), sizes.iter().cycle());
            let mut pieces = Vec::new();
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                pieces.push(Bytes::copy_from_slice(piece));
                rest = tail;
            }
            let mut search = Needles::new(&needles).unwrap();
            for _each_way in 0..2 {
                let mut left = expected.clone();
                search.each(&pieces, |number| left[number] = left[number].wrapping_sub(1));
                prop_assert_eq!(left, [0, 0, 0]);
                search.packed = None;
            }
        }
    }
}
