//! The form that binds keys to fields: filled from a document by the reader, written out by the
//! printer.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::field::Field;
use crate::domain::Secret;

/// Binds keys of one table to fields. Scalar keys come before tables.
pub(super) trait Form: Sized {
    /// A key with a value.
    fn value<T: Field>(&mut self, key: &str, field: &mut T);

    /// A key whose value lies in a range.
    fn within<T: Field + PartialOrd>(&mut self, key: &str, field: &mut T, range: RangeInclusive<T>);

    /// A key that may be absent.
    fn optional<T: Field>(&mut self, key: &str, field: &mut Option<T>);

    /// A key with a list of values.
    fn list<T: Field>(&mut self, key: &str, field: &mut Vec<T>);

    /// A secret: `key` has it, or `key_file` names the file that has it.
    fn secret(&mut self, key: &str, field: &mut Option<Secret>);

    /// A table of free keys.
    fn map<K: Field + Ord, T: Field>(&mut self, key: &str, field: &mut BTreeMap<K, T>);

    /// A table of fixed keys.
    fn table(&mut self, key: &str, body: impl FnOnce(&mut Self));

    /// A table of named tables, each with fixed keys.
    fn named_tables<T: Named>(
        &mut self,
        key: &str,
        field: &mut Vec<T>,
        body: impl Fn(&mut Self, &mut T),
    );

    /// The tables of this table that have no key of their own: each is a named one. `key` is the
    /// table itself.
    fn other_tables<T: Named>(
        &mut self,
        key: &str,
        field: &mut Vec<T>,
        body: impl Fn(&mut Self, &mut T),
    );

    /// Reports what the values of this table do not agree on.
    fn problem(&mut self, key: &str, what: &str, mend: &str);
}

/// What a named table describes.
pub(super) trait Named: Sized {
    /// How its name is written.
    const EXPECTED: &'static str;

    /// One of that name, with nothing else said about it.
    fn named(name: &str) -> Option<Self>;

    /// Its name.
    fn name(&self) -> &str;
}
