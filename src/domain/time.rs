//! Instants: milliseconds since 1970 in UTC, printed as RFC 3339.

use std::fmt;
use std::str::FromStr;

/// An instant in UTC, to the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant that many milliseconds after 1970-01-01T00:00:00Z.
    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// Milliseconds from an earlier instant to this one; zero when the clock stepped back.
    pub fn ms_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// A text that is no instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an instant: expected RFC 3339 such as 2026-11-01T00:00:00Z, or a date")]
pub struct InvalidTimestamp;

/// Reads RFC 3339 (`2026-11-01T00:00:00Z`) or a date (`2026-11-01`, midnight UTC).
impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            return Ok(Self(instant.as_millisecond()));
        }
        let date: jiff::civil::Date = text.parse().map_err(|_cause| InvalidTimestamp)?;
        let midnight = date
            .to_zoned(jiff::tz::TimeZone::UTC)
            .map_err(|_cause| InvalidTimestamp)?;
        Ok(Self(midnight.timestamp().as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_dates_read_as_utc() {
        let ms = |text: &str| text.parse::<Timestamp>().unwrap().unix_ms();
        assert_eq!(ms("1970-01-01"), 0);
        assert_eq!(ms("1970-01-02T00:00:00Z"), 86_400_000);
        assert_eq!(ms("1970-01-01T01:00:00+01:00"), 0);
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert_eq!(
            Timestamp::from_unix_ms(1).to_string(),
            "1970-01-01T00:00:00.001Z"
        );
    }
}
