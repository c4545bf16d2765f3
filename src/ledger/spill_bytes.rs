//! The parts of a spill record: numbers, counts and texts as little-endian bytes, and back.
//!
//! Knows nothing of entries.

use crate::domain::Usd;

/// An optional number: whether it is there, then its eight bytes.
pub(super) fn put_number(number: Option<u64>, out: &mut Vec<u8>) {
    out.push(u8::from(number.is_some()));
    if let Some(number) = number {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// How many things follow. Entries never hold four thousand million of anything.
pub(super) fn put_count(count: usize, out: &mut Vec<u8>) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_le_bytes());
}

/// A text, or that it is absent.
pub(super) fn put_text(text: Option<&str>, out: &mut Vec<u8>) {
    let Some(text) = text else {
        out.extend_from_slice(&ABSENT.to_le_bytes());
        return;
    };
    put_count(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// The bytes of a body that are still to be read. `None` from any of it: they are no record.
#[derive(Debug)]
pub(super) struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    /// All of a body.
    pub(super) const fn of(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// Whether everything was read.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    /// Eight bytes.
    pub(super) fn integer(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Sixteen bytes of femtodollars.
    pub(super) fn money(&mut self) -> Option<Usd> {
        let femto = self.array().map(i128::from_le_bytes)?;
        Some(Usd::from_femto(femto))
    }

    /// How many things follow.
    pub(super) fn count(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// What [`put_number`] wrote; one that does not fit its type is no record.
    #[expect(
        clippy::option_option,
        reason = "the outer layer is for `?`: broken bytes; the inner one is the value"
    )]
    pub(super) fn number<T: TryFrom<u64>>(&mut self) -> Option<Option<T>> {
        match self.array::<1>()? {
            [0] => Some(None),
            [_] => Some(Some(T::try_from(self.integer()?).ok()?)),
        }
    }

    /// What [`put_text`] wrote.
    #[expect(
        clippy::option_option,
        reason = "the outer layer is for `?`: broken bytes; the inner one is the value"
    )]
    pub(super) fn text(&mut self) -> Option<Option<&'a str>> {
        let length = self.count()?;
        if length == ABSENT {
            return Some(None);
        }
        let length = usize::try_from(length).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Some(std::str::from_utf8(text).ok()?))
    }
}

const ABSENT: u32 = u32::MAX;
