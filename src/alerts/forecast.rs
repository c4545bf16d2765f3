//! What a budget will have spent when its period ends.
//!
//! The method is a straight line: what was spent so far, over the time that has passed, carried on
//! to the end. It knows nothing of weekends. It says nothing before a twentieth of the period has
//! passed, when one call would decide it, and nothing of a window that moves.

use crate::domain::{BudgetStanding, Timestamp, Usd};

/// What would be spent by the end; `None` where the line says nothing.
pub fn forecast(standing: &BudgetStanding, now: Timestamp) -> Option<Usd> {
    if is_rolling(standing) {
        return None;
    }
    let length = i128::from(standing.ends.ms_since(standing.begins));
    let passed = i128::from(now.min(standing.ends).ms_since(standing.begins));
    if passed == 0 || passed.saturating_mul(LEAST_PARTS) < length {
        return None;
    }
    let spent = standing.spent.femto();
    let whole = spent.checked_mul(length)?;
    Some(Usd::from_femto(whole.div_euclid(passed).max(spent)))
}

/// Whether the standing is of a window that moves with the clock.
pub(super) fn is_rolling(standing: &BudgetStanding) -> bool {
    standing.period.starts_with("rolling")
}

const LEAST_PARTS: i128 = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::judge::tests::standing;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_unix_ms(hour * 3_600_000)
    }

    #[test]
    fn a_line_through_what_was_spent_ends_where_the_period_does() {
        let check = |spent: &str, hour, expected: Option<&str>| {
            let standing = standing("10", spent);
            let found = forecast(&standing, at(hour)).map(|usd| usd.to_string());
            assert_eq!(found.as_deref(), expected, "{spent} at {hour}");
        };
        check("3", 6, Some("12"));
        check("3", 12, Some("6"));
        check("3", 24, Some("3"));
        // The clock of another replica may be ahead.
        check("3", 30, Some("3"));
        check("0", 12, Some("0"));
        // Within the first 72 minutes nothing is said.
        check("3", 1, None);
        check("3", 0, None);
    }

    #[test]
    fn a_window_that_moves_has_no_forecast() {
        let mut standing = standing("10", "3");
        standing.period = "rolling 24h".into();
        assert_eq!(forecast(&standing, at(12)), None);
    }
}
