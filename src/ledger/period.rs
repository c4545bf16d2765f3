//! Calendar periods in UTC, half-open, as AWS bills them.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::domain::Timestamp;

/// A kind of calendar period. The words of metric label `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// A UTC day.
    Day,
    /// A UTC calendar month.
    Month,
}

impl Period {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Day, Self::Month];

    /// `day` or `month`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The period of this kind that holds an instant. An instant outside the years -9999 to 9999
    /// has none: its span is empty.
    pub fn containing(self, at: Timestamp) -> Span {
        self.calendar(at).unwrap_or(Span { from: at, to: at })
    }

    fn calendar(self, at: Timestamp) -> Option<Span> {
        let instant = jiff::Timestamp::from_millisecond(at.unix_ms()).ok()?;
        let day = instant.to_zoned(TimeZone::UTC).date();
        let (first, last) = match self {
            Self::Day => (day, day),
            Self::Month => (day.first_of_month(), day.last_of_month()),
        };
        Some(Span {
            from: midnight(first)?,
            to: midnight(last.tomorrow().ok()?)?,
        })
    }
}

fn midnight(date: Date) -> Option<Timestamp> {
    let zoned = date.to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp::from_unix_ms(zoned.timestamp().as_millisecond()))
}

/// From an instant, that one included, up to another, that one not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first instant inside.
    pub from: Timestamp,
    /// The first instant after.
    pub to: Timestamp,
}

impl Span {
    /// Whether the instant lies inside.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(period: Period, at: &str, from: &str, to: &str) {
        let span = period.containing(at.parse().unwrap());
        let expected = Span {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        };
        assert_eq!(span, expected, "{period:?} of {at}");
    }

    #[test]
    fn days_and_months_are_those_of_the_calendar() {
        let (day, month) = (Period::Day, Period::Month);
        check(day, "2026-11-22T13:00:00Z", "2026-11-22", "2026-11-23");
        check(day, "2026-11-22T00:00:00Z", "2026-11-22", "2026-11-23");
        check(day, "2026-12-31T23:59:59.999Z", "2026-12-31", "2027-01-01");
        check(day, "2028-02-28T12:00:00Z", "2028-02-28", "2028-02-29");
        check(day, "2028-02-29T12:00:00Z", "2028-02-29", "2028-03-01");
        check(
            month,
            "2028-02-29T23:59:59.999Z",
            "2028-02-01",
            "2028-03-01",
        );
        check(month, "2026-02-28T00:00:00Z", "2026-02-01", "2026-03-01");
        check(month, "2026-12-31T23:59:59Z", "2026-12-01", "2027-01-01");
        check(month, "2100-02-10", "2100-02-01", "2100-03-01");
    }

    #[test]
    fn the_end_is_not_inside() {
        let day = Period::Day.containing(Timestamp::from_unix_ms(0));
        assert!(day.contains(Timestamp::from_unix_ms(86_399_999)));
        assert!(!day.contains(Timestamp::from_unix_ms(86_400_000)));
        assert!(!day.contains(Timestamp::from_unix_ms(-1)));
    }

    #[test]
    fn an_instant_outside_the_calendar_has_an_empty_period() {
        let at = Timestamp::from_unix_ms(i64::MAX);
        assert!(!Period::Month.containing(at).contains(at));
    }
}
