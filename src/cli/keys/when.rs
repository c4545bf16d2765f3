//! An instant on the command line: a while from now, or a date.

use std::str::FromStr;

use crate::domain::{InvalidTimestamp, Timestamp};

/// `30m`, `24h`, `7d` from now, or a date or RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum When {
    /// Milliseconds from now.
    In(i64),
    /// An instant.
    At(Timestamp),
}

impl When {
    /// So long ago, or the instant.
    pub(in crate::cli) const fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::In(ms) => Timestamp::from_unix_ms(now.unix_ms().saturating_sub(ms)),
            Self::At(at) => at,
        }
    }

    pub(in crate::cli) const fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::In(ms) => Timestamp::from_unix_ms(now.unix_ms().saturating_add(ms)),
            Self::At(at) => at,
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let while_of = || {
            let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let unit_ms: i64 = match unit {
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            number
                .parse::<u32>()
                .ok()
                .map(i64::from)?
                .checked_mul(unit_ms)
        };
        if let Some(ms) = while_of() {
            return Ok(Self::In(ms));
        }
        let instant: Result<Timestamp, InvalidTimestamp> = text.parse();
        instant
            .map(Self::At)
            .map_err(|_cause| "expected 30m, 24h, 7d, or a date such as 2027-01-01".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_while_or_a_date_is_an_instant() {
        let now = Timestamp::from_unix_ms(1_000);
        let check = |text: &str, expected: Option<i64>| {
            let read = text.parse::<When>().ok();
            assert_eq!(
                read.map(|when| when.from(now).unix_ms()),
                expected,
                "{text}"
            );
        };
        check("1m", Some(61_000));
        check("2h", Some(7_201_000));
        check("7d", Some(604_801_000));
        check("0d", Some(1_000));
        check("1970-01-02", Some(86_400_000));
        for wrong in ["", "d", "-1d", "1.5h", "1w", "soon", "99999999999d"] {
            check(wrong, None);
        }
    }
}
