//! Money: exact US dollars, and nothing else.

use std::fmt;
use std::str::FromStr;

/// An exact amount of US dollars, counted in femtodollars (10^-15 USD).
///
/// Every published price is a whole number of picodollars per unit, and a discounted rate is
/// rounded once, when it is formed, to a femtodollar; so a charge (quantity x rate) never needs
/// rounding. 127 bits hold 1.7 x 10^23 dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(i128);

const FEMTO_DIGITS: usize = 15;
const FEMTO: i128 = 1_000_000_000_000_000;
const FEMTO_SMALL: u64 = 1_000_000_000_000_000;
/// Femtodollars in a microdollar: the split at which the ledger stores an amount.
const FEMTO_PER_MICRO: i128 = 1_000_000_000;

impl Usd {
    /// No money. Not the same as an unknown amount.
    pub const ZERO: Self = Self(0);

    /// An amount from a count of femtodollars (10^-15 USD).
    pub const fn from_femto(femto: i128) -> Self {
        Self(femto)
    }

    /// The amount in femtodollars (10^-15 USD).
    pub const fn femto(self) -> i128 {
        self.0
    }

    /// The sum, or `None` past 127 bits.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The sum, held at the largest amount instead of wrapping (1.7 x 10^23 dollars).
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// This price per unit times a quantity; `None` past 127 bits.
    #[must_use]
    pub fn checked_mul(self, quantity: u64) -> Option<Self> {
        self.0.checked_mul(i128::from(quantity)).map(Self)
    }

    /// Whole microdollars (rounded down) and the femtodollars that remain (0 to 10^9 - 1).
    ///
    /// Two 64-bit columns whose SQL sums cannot overflow: nine billion rows of rests, and nine
    /// trillion dollars of wholes. `None` for an amount whose whole part passes 63 bits.
    pub fn split_micro(self) -> Option<(i64, i64)> {
        let whole = i64::try_from(self.0.div_euclid(FEMTO_PER_MICRO)).ok()?;
        let rest = i64::try_from(self.0.rem_euclid(FEMTO_PER_MICRO)).ok()?;
        Some((whole, rest))
    }

    /// The amount, rounded up to whole microdollars: what is held must not be less than the cost.
    #[must_use]
    pub const fn ceil_micro(self) -> Self {
        let rest = self.0.rem_euclid(FEMTO_PER_MICRO);
        if rest == 0 {
            return self;
        }
        Self(self.0.saturating_add(FEMTO_PER_MICRO.saturating_sub(rest)))
    }

    /// The difference, held at the smallest amount instead of wrapping.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whole dollars and the femtodollars that remain, without the sign.
    fn magnitude(self) -> (u128, u64) {
        let magnitude = self.0.unsigned_abs();
        // Most amounts are small, and division of 128 bits is slow.
        if let Ok(small) = u64::try_from(magnitude) {
            let whole = small.div_euclid(FEMTO_SMALL);
            return (whole.into(), small.rem_euclid(FEMTO_SMALL));
        }
        let femto = u128::from(FEMTO_SMALL);
        let rest = u64::try_from(magnitude.rem_euclid(femto));
        (magnitude.div_euclid(femto), rest.unwrap_or(0))
    }

    /// The amount from two columns or two sums of columns, as [`Self::split_micro`] made them.
    pub fn from_split(whole_micro: i64, rest_femto: i64) -> Self {
        let whole = i128::from(whole_micro).saturating_mul(FEMTO_PER_MICRO);
        Self(whole.saturating_add(i128::from(rest_femto)))
    }
}

/// The amount as an exact decimal without trailing zeros: `0.0035`, `12`, `-0.5`.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, mut fraction) = self.magnitude();
        let mut digits = FEMTO_DIGITS;
        while digits > 0 && fraction.is_multiple_of(10) {
            fraction = fraction.div_euclid(10);
            digits = digits.saturating_sub(1);
        }
        if digits == 0 {
            write!(f, "{sign}{whole}")
        } else {
            write!(f, "{sign}{whole}.{fraction:0digits$}")
        }
    }
}

/// A text that is not an amount: `why` says what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an amount in US dollars: {why}")]
pub struct InvalidUsd {
    why: &'static str,
}

/// Reads a plain decimal such as `0.00033` (no exponent, at most 15 decimals).
impl FromStr for Usd {
    type Err = InvalidUsd;

    fn from_str(text: &str) -> Result<Self, InvalidUsd> {
        let refuse = |why| InvalidUsd { why };
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction = fraction.trim_end_matches('0');
        if whole.is_empty() || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit())
        {
            return Err(refuse(
                "expected digits with at most one point, such as 0.00033",
            ));
        }
        if fraction.len() > FEMTO_DIGITS {
            return Err(refuse("finer than 10^-15 US dollars"));
        }
        let padded = format!("{fraction:0<FEMTO_DIGITS$}");
        let too_large = refuse("too large");
        let whole: i128 = whole.parse().map_err(|_digits| too_large)?;
        let fraction: i128 = padded.parse().map_err(|_digits| too_large)?;
        let femto = whole
            .checked_mul(FEMTO)
            .and_then(|w| w.checked_add(fraction));
        let femto = femto.ok_or(too_large)?;
        Ok(Self(if negative {
            femto.saturating_neg()
        } else {
            femto
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, femto: i128, printed: &str) {
        let amount: Usd = text.parse().unwrap();
        assert_eq!(amount.femto(), femto, "{text}");
        assert_eq!(amount.to_string(), printed, "{text}");
    }

    #[test]
    fn amounts_read_and_print_exactly() {
        check("0", 0, "0");
        check("3.00", 3_000_000_000_000_000, "3");
        check("0.0035", 3_500_000_000_000, "0.0035");
        check("0.000000000000001", 1, "0.000000000000001");
        check("-0.5", -500_000_000_000_000, "-0.5");
        check(
            "123456789012.5",
            123_456_789_012_500_000_000_000_000,
            "123456789012.5",
        );
    }

    #[test]
    fn bad_amounts_are_refused() {
        for text in [
            "",
            ".",
            ".5",
            "1e3",
            "+1",
            "1.2.3",
            "0.0000000000000001",
            " 1",
            "NaN",
        ] {
            assert!(text.parse::<Usd>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_split_for_the_ledger_loses_nothing() {
        for femto in [0, 1, 999_999_999, 1_000_000_000, -1, i128::from(i64::MAX)] {
            let amount = Usd::from_femto(femto);
            let (whole, rest) = amount.split_micro().unwrap();
            assert!((0..1_000_000_000).contains(&rest));
            assert_eq!(Usd::from_split(whole, rest), amount);
        }
    }
}
