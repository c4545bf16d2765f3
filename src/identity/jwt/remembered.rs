//! Tokens that were verified: checking an RSA signature for each call of a client that sends the
//! same token for an hour would cost more than all else that the proxy does for it.
//!
//! A fixed number of places, each swapped whole: no lock, nothing to clean up, no growth. A token
//! has two places by its hash and takes the emptier one; when both are taken by tokens that live,
//! one is forgotten, and its next call is verified again.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::domain::Timestamp;

/// SHA-256 of a token.
pub(super) type TokenHash = [u8; 32];

/// What was verified, by the hash of its token.
pub(super) struct Remembered<T> {
    places: Box<[ArcSwapOption<Entry<T>>]>,
}

struct Entry<T> {
    hash: TokenHash,
    until: Timestamp,
    verified: T,
}

impl<T> fmt::Debug for Remembered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

impl<T: Clone> Remembered<T> {
    /// Nothing, with so many places.
    pub(super) fn new(places: usize) -> Self {
        let places = (0..places.max(1)).map(|_| ArcSwapOption::empty());
        Self {
            places: places.collect(),
        }
    }

    /// What was verified for that token, unless its time is over.
    pub(super) fn find(&self, hash: &TokenHash, now: Timestamp) -> Option<T> {
        self.places_of(hash)
            .into_iter()
            .flatten()
            .find_map(|place| {
                let entry = place.load();
                let entry = entry.as_ref()?;
                (entry.hash == *hash && now < entry.until).then(|| entry.verified.clone())
            })
    }

    /// Remembers what was verified until that instant.
    pub(super) fn remember(&self, hash: TokenHash, until: Timestamp, now: Timestamp, verified: T) {
        let places = self.places_of(&hash);
        let is_free = |place: &&ArcSwapOption<Entry<T>>| {
            let entry = place.load();
            let other_lives = |entry: &Arc<Entry<T>>| entry.hash != hash && now < entry.until;
            !entry.as_ref().is_some_and(other_lives)
        };
        let free = places.into_iter().flatten().find(is_free);
        // Neither is free: the later places of the hash decide, so that two tokens that share
        // both places do not always chase each other out of the same one.
        let [first, second] = places;
        let coin = hash.get(16).is_some_and(|byte| byte & 1 == 1);
        let place = free.or(if coin { first } else { second });
        if let Some(place) = place {
            place.store(Some(Arc::new(Entry {
                hash,
                until,
                verified,
            })));
        }
    }

    fn places_of(&self, hash: &TokenHash) -> [Option<&ArcSwapOption<Entry<T>>>; 2] {
        [0, 8].map(|at| {
            let bytes = hash.get(at..)?.first_chunk()?;
            let count = self.places.len() as u64;
            let place = u64::from_be_bytes(*bytes).checked_rem(count)?;
            self.places.get(usize::try_from(place).ok()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(first: u8, second: u8, rest: u8) -> TokenHash {
        let mut hash = [rest; 32];
        hash[..8].copy_from_slice(&u64::from(first).to_be_bytes());
        hash[8..16].copy_from_slice(&u64::from(second).to_be_bytes());
        hash
    }

    const NOW: Timestamp = Timestamp::from_unix_ms(1_000);
    const LATER: Timestamp = Timestamp::from_unix_ms(2_000);

    #[test]
    fn a_token_is_known_until_its_time_is_over() {
        let remembered = Remembered::new(8);
        let token = hash(1, 2, 0);
        assert_eq!(remembered.find(&token, NOW), None);
        remembered.remember(token, LATER, NOW, "ann");
        assert_eq!(remembered.find(&token, NOW), Some("ann"));
        assert_eq!(remembered.find(&token, LATER), None);
        assert_eq!(remembered.find(&hash(1, 2, 9), NOW), None);
    }

    #[test]
    fn a_second_token_takes_the_other_place_and_a_third_drives_one_out() {
        let remembered = Remembered::new(8);
        let tokens = [0, 2, 4].map(|rest| hash(1, 2, rest));
        for (token, name) in tokens.iter().zip(["a", "b", "c"]) {
            remembered.remember(*token, LATER, NOW, name);
        }
        let known = tokens.map(|token| remembered.find(&token, NOW));
        assert_eq!(known, [Some("a"), None, Some("c")]);
    }

    #[test]
    fn a_place_whose_time_is_over_is_free() {
        let remembered = Remembered::new(8);
        let tokens = [0, 2, 4].map(|rest| hash(1, 2, rest));
        remembered.remember(tokens[0], NOW, NOW, "a");
        remembered.remember(tokens[1], LATER, NOW, "b");
        remembered.remember(tokens[2], LATER, NOW, "c");
        let known = tokens.map(|token| remembered.find(&token, NOW));
        assert_eq!(known, [None, Some("b"), Some("c")]);
    }
}
