//! Periods: which stretch of time an instant belongs to, in a time zone, with a fiscal year.
//!
//! Stretches tile: each begins where the one before ends, at the first instant of a local day,
//! also where that day has 23 or 25 hours, or no midnight.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};

use crate::domain::Timestamp;

/// How long money lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A local day.
    Day,
    /// Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
    /// Three months, counted from the fiscal year's first.
    Quarter,
    /// Twelve months, from the fiscal year's first.
    Year,
    /// The minutes just past, that many: at least 60.
    Rolling(i64),
}

/// A text that names no period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a period: day, week, month, quarter, year, or rolling with hours or days")]
pub struct InvalidPeriod;

impl FromStr for Period {
    type Err = InvalidPeriod;

    fn from_str(text: &str) -> Result<Self, InvalidPeriod> {
        let named = [
            Self::Day,
            Self::Week,
            Self::Month,
            Self::Quarter,
            Self::Year,
        ];
        if let Some(period) = named.into_iter().find(|one| one.to_string() == text) {
            return Ok(period);
        }
        let rolling = text.strip_prefix("rolling ").ok_or(InvalidPeriod)?;
        let (number, minutes) = match (rolling.strip_suffix('h'), rolling.strip_suffix('d')) {
            (Some(hours), _) => (hours, MINUTES_PER_HOUR),
            (None, Some(days)) => (days, MINUTES_PER_DAY),
            (None, None) => return Err(InvalidPeriod),
        };
        let number: u16 = number.parse().map_err(|_cause| InvalidPeriod)?;
        let minutes = i64::from(number).checked_mul(minutes);
        let minutes = minutes.filter(|n| (MINUTES_PER_HOUR..=ROLLING_MAX).contains(n));
        minutes.map(Self::Rolling).ok_or(InvalidPeriod)
    }
}

impl Period {
    /// The most days that one may have.
    pub const fn days_max(self) -> i64 {
        match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::Month => 31,
            Self::Quarter => 92,
            Self::Year => 366,
            // Rounded up: none is long enough to overflow.
            Self::Rolling(minutes) => minutes
                .saturating_add(MINUTES_PER_DAY - 1)
                .div_euclid(MINUTES_PER_DAY),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day => f.write_str("day"),
            Self::Week => f.write_str("week"),
            Self::Month => f.write_str("month"),
            Self::Quarter => f.write_str("quarter"),
            Self::Year => f.write_str("year"),
            Self::Rolling(minutes) if minutes.rem_euclid(MINUTES_PER_DAY) == 0 => {
                write!(f, "rolling {}d", minutes.div_euclid(MINUTES_PER_DAY))
            }
            Self::Rolling(minutes) => {
                write!(f, "rolling {}h", minutes.div_euclid(MINUTES_PER_HOUR))
            }
        }
    }
}

/// A time zone of the IANA database, which is part of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Default for Zone {
    /// UTC, as AWS's statements.
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl FromStr for Zone {
    type Err = InvalidPeriod;

    fn from_str(name: &str) -> Result<Self, InvalidPeriod> {
        if name == "UTC" {
            return Ok(Self::default());
        }
        let zone = TimeZone::get(name).map_err(|_cause| InvalidPeriod)?;
        Ok(Self(zone))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

/// A period where people live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// How long.
    pub period: Period,
    /// Whose days.
    pub zone: Zone,
    /// The month in which the fiscal year begins: 1 to 12.
    pub fiscal_month: u8,
}

impl Calendar {
    /// The stretch that holds this instant: from its first until before its last. A rolling
    /// window ends at the instant.
    pub fn stretch(&self, at: Timestamp) -> (Timestamp, Timestamp) {
        if let Period::Rolling(minutes) = self.period {
            let begins = minutes.saturating_mul(MS_PER_MINUTE);
            let begins = at.unix_ms().saturating_sub(begins);
            return (Timestamp::from_unix_ms(begins), at);
        }
        // Instants beyond the calendar (year 9999) belong to one stretch without an end.
        self.dates(at).unwrap_or((at, at))
    }

    /// Whether what was spent in the minute that begins then counts now.
    pub(super) fn reaches(&self, then: Timestamp, now: Timestamp) -> bool {
        let begins = self.stretch(now).0.unix_ms();
        match self.period {
            Period::Rolling(_) => then.unix_ms().saturating_add(MS_PER_MINUTE) > begins,
            Period::Day | Period::Week | Period::Month | Period::Quarter | Period::Year => {
                then.unix_ms() >= begins
            }
        }
    }

    /// The local day of an instant, such as `2026-11-14`.
    pub fn day(&self, at: Timestamp) -> String {
        let instant = jiff::Timestamp::from_millisecond(at.unix_ms());
        let day = instant.map(|instant| instant.to_zoned(self.zone.0.clone()).date().to_string());
        day.unwrap_or_else(|_beyond| at.to_string())
    }

    fn dates(&self, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let instant = jiff::Timestamp::from_millisecond(at.unix_ms()).ok()?;
        let today = instant.to_zoned(self.zone.0.clone()).date();
        let (first, length) = self.first_day(today)?;
        let next = first.checked_add(length).ok()?;
        Some((self.midnight(first)?, self.midnight(next)?))
    }

    /// The first day of the stretch that holds this one, and how long it is.
    fn first_day(&self, today: Date) -> Option<(Date, Span)> {
        let months_back = |cycle: i16| {
            let fiscal = i16::from(self.fiscal_month);
            let since = i16::from(today.month()).checked_sub(fiscal)?;
            let back = i64::from(since.rem_euclid(cycle));
            today.first_of_month().checked_sub(back.months()).ok()
        };
        let stretch = match self.period {
            Period::Day | Period::Rolling(_) => (today, 1.day()),
            Period::Week => {
                let since = today.weekday().since(Weekday::Monday);
                (today.checked_sub(i64::from(since).days()).ok()?, 1.week())
            }
            Period::Month => (today.first_of_month(), 1.month()),
            Period::Quarter => (months_back(3)?, 3.months()),
            Period::Year => (months_back(12)?, 12.months()),
        };
        Some(stretch)
    }

    /// The first instant of a local day.
    fn midnight(&self, day: Date) -> Option<Timestamp> {
        let zoned = day.to_zoned(self.zone.0.clone()).ok()?;
        Some(Timestamp::from_unix_ms(zoned.timestamp().as_millisecond()))
    }
}

pub(super) const MS_PER_MINUTE: i64 = 60_000;
const MINUTES_PER_HOUR: i64 = 60;
const MINUTES_PER_DAY: i64 = 24 * 60;
/// A rolling window of 400 days: longer than any year.
const ROLLING_MAX: i64 = 400 * MINUTES_PER_DAY;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn calendar(period: &str, zone: &str, fiscal_month: u8) -> Calendar {
        Calendar {
            period: period.parse().unwrap(),
            zone: zone.parse().unwrap(),
            fiscal_month,
        }
    }

    /// The stretch of an instant, as RFC 3339 without milliseconds.
    fn check(of: &Calendar, at: &str, begins: &str, ends: &str) {
        let (from, until) = of.stretch(at.parse().unwrap());
        let expected = (begins.parse().unwrap(), ends.parse().unwrap());
        assert_eq!((from, until), expected, "{of:?} {at}: {from} {until}");
    }

    #[test]
    fn calendar_periods_in_utc() {
        let at = "2026-11-26T15:00:00Z";
        let check = |period, begins, ends| check(&calendar(period, "UTC", 1), at, begins, ends);
        check("day", "2026-11-26", "2026-11-27");
        check("week", "2026-11-23", "2026-11-30");
        check("month", "2026-11-01", "2026-12-01");
        check("quarter", "2026-10-01", "2027-01-01");
        check("year", "2026-01-01", "2027-01-01");
        check("rolling 24h", "2026-11-25T15:00:00Z", at);
    }

    #[test]
    fn no_stretch_has_more_days_than_its_period_may_have() {
        let zones = ["UTC", "Europe/Berlin", "America/New_York"];
        let periods = [
            "day",
            "week",
            "month",
            "quarter",
            "year",
            "rolling 25h",
            "rolling 90d",
        ];
        for (zone, period) in zones.iter().flat_map(|z| periods.map(|p| (z, p))) {
            let calendar = calendar(period, zone, 1);
            let days = |day: i64| {
                let at = Timestamp::from_unix_ms(1_700_000_000_000 + day * 24 * 3_600_000);
                let (begins, ends) = calendar.stretch(at);
                // The clocks' change is an hour.
                let hours = (ends.unix_ms() - begins.unix_ms()).div_euclid(3_600_000);
                (hours - 1).div_euclid(24) + 1
            };
            let longest = (0..800).map(days).max().unwrap();
            let most = calendar.period.days_max();
            assert!(
                (most..=most + 1).contains(&longest),
                "{zone} {period}: {longest} of {most}"
            );
        }
    }

    #[test]
    fn a_fiscal_year_shifts_quarters_and_years() {
        let year = calendar("year", "UTC", 2);
        check(&year, "2026-01-31T23:59:59Z", "2025-02-01", "2026-02-01");
        check(&year, "2026-02-01", "2026-02-01", "2027-02-01");
        let quarter = calendar("quarter", "UTC", 2);
        check(&quarter, "2026-01-31", "2025-11-01", "2026-02-01");
        check(&quarter, "2026-04-30", "2026-02-01", "2026-05-01");
    }

    #[test]
    fn a_leap_day_belongs_to_its_month() {
        let month = calendar("month", "UTC", 1);
        check(&month, "2028-02-29T23:59:59Z", "2028-02-01", "2028-03-01");
        let day = calendar("day", "UTC", 1);
        check(&day, "2028-02-29T12:00:00Z", "2028-02-29", "2028-03-01");
    }

    /// Berlin changes on the last Sundays of March (23 hours) and of October (25 hours).
    #[test]
    fn days_follow_the_clocks_of_their_zone() {
        let day = calendar("day", "Europe/Berlin", 1);
        let spring = ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
        check(&day, "2026-03-29T01:30:00Z", spring.0, spring.1);
        let autumn = ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        check(&day, "2026-10-25T00:30:00Z", autumn.0, autumn.1);
        check(&day, "2026-10-25T01:30:00Z", autumn.0, autumn.1);
        let month = calendar("month", "America/New_York", 1);
        // Winter time ends in March: 5 hours behind at its start, 4 at its end.
        let march = ("2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z");
        check(&month, "2026-04-01T03:59:59Z", march.0, march.1);
    }

    #[test]
    fn what_names_no_period_or_zone_is_refused() {
        for text in [
            "",
            "hour",
            "rolling",
            "rolling 0h",
            "rolling 5m",
            "rolling 401d",
            "rolling -1d",
        ] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
        for text in ["rolling 1h", "rolling 36h", "rolling 7d", "quarter"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        assert!("Mars/Olympus".parse::<Zone>().is_err());
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        assert_eq!(berlin.to_string(), "Europe/Berlin");
    }

    proptest! {
        /// Whatever the zone: an instant lies in its stretch, every instant of a stretch has the
        /// same one, and the next begins where it ends.
        #[test]
        fn stretches_tile(
            at in 0_i64..4_000_000_000_000,
            part in 0_i64..40_000_000_000,
            period in prop::sample::select(vec!["day", "week", "month", "quarter", "year"]),
            zone in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe",
                "America/Sao_Paulo", "Pacific/Apia",
            ]),
            fiscal in 1_u8..=12,
        ) {
            let calendar = calendar(period, zone, fiscal);
            let at = Timestamp::from_unix_ms(at);
            let (begins, ends) = calendar.stretch(at);
            prop_assert!(begins <= at && at < ends);
            let last = ends.unix_ms().saturating_sub(1);
            let inner = begins.unix_ms().saturating_add(part).min(last);
            for inner in [begins.unix_ms(), inner, last] {
                prop_assert_eq!(calendar.stretch(Timestamp::from_unix_ms(inner)), (begins, ends));
            }
            prop_assert_eq!(calendar.stretch(ends).0, ends);
        }
    }
}
