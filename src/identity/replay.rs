//! Signatures that were taken: an option against a listener on the way that sends a request again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use crate::domain::Timestamp;

/// The signatures taken within the time that they are valid. Sharded by signature, so that calls
/// of different tenants hardly ever wait for each other.
#[derive(Debug, Default)]
pub struct Replays {
    seen: DashMap<Box<str>, Timestamp>,
    since_cleaned: AtomicUsize,
}

impl Replays {
    /// Whether this signature is taken for the first time; from now on it is not. `valid` is how
    /// long its time may differ from ours.
    pub fn is_new(&self, signature: &str, now: Timestamp, valid: Duration) -> bool {
        // Before and after: a request of the future may be sent again for twice as long.
        let window_ms = i64::try_from(valid.as_millis()).unwrap_or(i64::MAX / 2) * 2;
        if self.since_cleaned.fetch_add(1, Ordering::Relaxed) >= CLEANED_AFTER {
            self.since_cleaned.store(0, Ordering::Relaxed);
            self.seen.retain(|_signature, until| *until > now);
        }
        let until = Timestamp::from_unix_ms(now.unix_ms().saturating_add(window_ms));
        let before = self.seen.insert(signature.into(), until);
        before.is_none_or(|until| until <= now)
    }
}

/// Calls between two looks for what has become too old: keeps the memory to what the window holds
/// and this many.
const CLEANED_AFTER: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_new_once_while_it_is_valid() {
        let replays = Replays::default();
        let valid = Duration::from_secs(1);
        let at = Timestamp::from_unix_ms;
        assert!(replays.is_new("a", at(0), valid));
        assert!(!replays.is_new("a", at(1999), valid));
        assert!(replays.is_new("b", at(1999), valid));
        assert!(
            replays.is_new("a", at(9_999), valid),
            "its time is over anyway"
        );
        for n in 0..=CLEANED_AFTER {
            replays.is_new(&n.to_string(), at(20_000), valid);
        }
        assert!(
            replays.seen.len() <= CLEANED_AFTER + 1,
            "what is too old is forgotten"
        );
    }
}
