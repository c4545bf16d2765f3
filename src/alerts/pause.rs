//! How long a delivery waits after an attempt that failed.

use std::time::Duration;

/// The pause after that many attempts: twice the one before, up to ten minutes, of which a random
/// half is left out, so that many notices do not come back together. `random` is within 0 to 255.
pub fn pause(attempts: u32, random: u8) -> Duration {
    let doublings = attempts.saturating_sub(1).min(DOUBLINGS_MAX);
    let whole = (FIRST * 2_u32.pow(doublings)).min(LONGEST);
    let half = whole / 2;
    half + half * u32::from(random) / u32::from(u8::MAX)
}

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(10);
/// Two to this power are more seconds than ten minutes have.
const DOUBLINGS_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_ten_minutes_and_are_spread_over_their_second_half() {
        let check = |attempts, least: u64, most: u64| {
            let ms = |random| u64::try_from(pause(attempts, random).as_millis()).unwrap();
            assert_eq!((ms(0), ms(255)), (least, most), "{attempts}");
        };
        check(0, 500, 1_000);
        check(1, 500, 1_000);
        check(2, 1_000, 2_000);
        check(9, 128_000, 256_000);
        check(11, 300_000, 600_000);
        check(u32::MAX, 300_000, 600_000);
    }
}
