//! Reproducible draws: `SplitMix64` over the seed and the number of the request.

/// A stream of numbers that depends on nothing but where it starts.
pub(super) struct Draws(u64);

impl Draws {
    /// The draws of one request.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        Self(seed ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    /// The next number (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` up to and including `high`.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// Like `between`, for lengths.
    pub(super) fn length(&mut self, low: u32, high: u32) -> usize {
        let drawn = self.between(u64::from(low), u64::from(high));
        usize::try_from(drawn).unwrap_or(usize::MAX)
    }

    /// True in `percent` of 100 draws.
    pub(super) fn chance(&mut self, percent: u8) -> bool {
        self.between(1, 100) <= u64::from(percent)
    }

    /// One of a table that is not empty.
    #[expect(clippy::expect_used, reason = "the index is below the length")]
    pub(super) fn pick<'a, T>(&mut self, table: &'a [T]) -> &'a T {
        let last = u32::try_from(table.len().saturating_sub(1)).unwrap_or(u32::MAX);
        table
            .get(self.length(0, last))
            .expect("a table of the code")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The first outputs for seed 1234567, as published with the reference implementation.
        let mut draws = Draws(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(expected.map(|_| draws.next()), expected);
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        let mut draws = Draws::new(7, 3);
        assert!((0..1000).all(|_| (3..=5).contains(&draws.between(3, 5))));
        assert!(!draws.chance(0));
        assert!(draws.chance(100));
    }
}
