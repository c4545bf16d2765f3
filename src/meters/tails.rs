//! What nearly all calls of a model stay below, learned from calls whose usage Bedrock reported.
//!
//! Two histograms for each model, of integers only: tokens of the answer, and tokens of the prompt
//! for each thousand bytes of a request of text. A bucket is at most an eighth wide, and a quantile
//! is the upper end of its bucket: never too low by the histogram's own grain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dashmap::DashMap;

/// The tails of all models; shared by the settling thread, which teaches, and the workers.
#[derive(Debug, Default)]
pub struct Tails {
    models: DashMap<Arc<str>, Arc<Tail>>,
}

#[derive(Debug, Default)]
struct Tail {
    output: Histogram,
    density: Histogram,
}

/// What was learned of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Tokens of the answer that 99 of 100 calls stay below.
    pub output_p99: Option<u64>,
    /// Tokens of the prompt for a thousand bytes of text, that 999 of 1,000 calls stay below, and a
    /// quarter more.
    pub density: Option<u64>,
}

impl Tails {
    /// Learns from a settled call: its prompt where that was all text.
    pub fn learn(&self, model: &str, output_tokens: u64, prompt: Option<(u64, u64)>) {
        let tail = self.models.get(model).map(|tail| Arc::clone(&tail));
        let tail = tail.unwrap_or_else(|| {
            if self.models.len() >= MODELS_MAX {
                return Arc::default();
            }
            let entry = self.models.entry(model.into());
            Arc::clone(&entry.or_default())
        });
        tail.output.add(output_tokens);
        // The fixed part of short requests says nothing of the tokens in a text.
        if let Some((tokens, bytes)) = prompt
            && bytes >= BYTES_MIN
        {
            tail.density
                .add(tokens.saturating_mul(1_000).div_ceil(bytes));
        }
    }

    /// What is known of a model; nothing where too few calls were seen.
    pub fn of(&self, model: &str) -> Learned {
        let Some(tail) = self.models.get(model) else {
            return Learned::default();
        };
        let density = tail.density.quantile(999, 1_000);
        Learned {
            output_p99: tail.output.quantile(990, 1_000),
            density: density.map(|tokens| tokens.saturating_add(tokens.div_ceil(4))),
        }
    }
}

#[derive(Debug)]
struct Histogram {
    buckets: [AtomicU32; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
        }
    }
}

impl Histogram {
    fn add(&self, value: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(value)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The upper end of the bucket at or below which that share lies.
    fn quantile(&self, part: u64, of: u64) -> Option<u64> {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|bucket| u64::from(bucket.load(Ordering::Relaxed)))
            .collect();
        let total: u64 = counts.iter().sum();
        if total < SAMPLES_MIN {
            return None;
        }
        let rank = total.saturating_mul(part).div_ceil(of);
        let mut seen = 0;
        let place = counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(upper_end(place))
    }
}

/// Values below 8 have a bucket each; above, each power of two is cut into 8.
fn bucket_of(value: u64) -> usize {
    if value < 8 {
        return usize::try_from(value).unwrap_or_default();
    }
    let power = value.ilog2();
    let eighth = (value >> (power - 3)) & 7;
    let place = (u64::from(power) - 2) * 8 + eighth;
    usize::try_from(place)
        .unwrap_or(BUCKETS - 1)
        .min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper_end(place: usize) -> u64 {
    let place = place as u64;
    if place < 8 {
        return place;
    }
    let (power, eighth) = (place / 8 + 2, place % 8);
    let width = 1_u64 << (power - 3);
    (8 + eighth + 1) * width - 1
}

/// Up to 2^32 tokens.
const BUCKETS: usize = 240;
/// Fewer calls say nothing of one in a hundred.
const SAMPLES_MIN: u64 = 200;
/// Shorter requests are mostly template.
const BYTES_MIN: u64 = 1_000;
/// Two kilobytes for each model.
const MODELS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_said_before_two_hundred_calls() {
        let tails = Tails::default();
        for call in 0..200 {
            assert_eq!(tails.of("m").output_p99, None, "{call}");
            tails.learn("m", 7, Some((500, 2_000)));
        }
        // 500 tokens in 2,000 bytes: 250 a thousand, in the bucket up to 255, and a quarter more.
        let learned = Learned {
            output_p99: Some(7),
            density: Some(255 + 64),
        };
        assert_eq!(tails.of("m"), learned);
        assert_eq!(tails.of("other"), Learned::default());
    }

    #[test]
    fn ninety_nine_of_a_hundred_stay_below() {
        let tails = Tails::default();
        for call in 0..1_000_u64 {
            tails.learn("m", if call % 100 == 0 { 90_000 } else { 100 }, None);
        }
        // 100 lies in the bucket of 96 to 103.
        assert_eq!(tails.of("m").output_p99, Some(103));
        tails.learn("m", 90_000, None);
        assert_eq!(tails.of("m").output_p99, Some(90_111));
    }

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket(value in 0_u64..4_000_000_000) {
            let place = bucket_of(value);
            prop_assert!(value <= upper_end(place));
            prop_assert!(place == 0 || upper_end(place - 1) < value);
        }
    }
}
