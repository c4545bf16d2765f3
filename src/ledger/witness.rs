//! Who else counts what a process that died left open.

use crate::domain::Entry;

/// Who is told of entries that are made for a process that died.
pub trait Witness {
    /// These are added, and about to be committed.
    fn about_to_commit(&mut self, added: &[Entry]);

    /// They are; or it failed, and they will be made again where they are not there.
    fn ended(&mut self);
}

/// Nobody.
impl Witness for () {
    fn about_to_commit(&mut self, _added: &[Entry]) {}

    fn ended(&mut self) {}
}
