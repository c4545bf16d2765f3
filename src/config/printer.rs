//! Prints settings as TOML, secrets masked.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::field::{Field, printed_key};
use super::form::{Form, Named};
use super::sections;
use super::settings::Settings;
use crate::domain::Secret;

/// The effective settings as TOML. Secrets print as `***`; what is not set is a comment.
pub fn explain(settings: &Settings) -> String {
    let mut printer = Printer::default();
    sections::bind(&mut printer, &mut settings.clone());
    printer.text
}

/// Writes a form out.
#[derive(Default)]
struct Printer {
    text: String,
    /// The path of the table that is being written; empty at the root.
    path: String,
}

impl Printer {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn key(&mut self, key: &str, value: &str) {
        self.line(&format!("{} = {value}", printed_key(key)));
    }

    fn optional_key(&mut self, key: &str, value: Option<String>) {
        match value {
            Some(value) => self.key(key, &value),
            None => self.line(&format!("# {key} is not set")),
        }
    }
}

impl Form for Printer {
    fn value<T: Field>(&mut self, key: &str, field: &mut T) {
        self.key(key, &field.write());
    }

    fn within<T: Field + PartialOrd>(
        &mut self,
        key: &str,
        field: &mut T,
        _range: RangeInclusive<T>,
    ) {
        self.value(key, field);
    }

    fn optional<T: Field>(&mut self, key: &str, field: &mut Option<T>) {
        self.optional_key(key, field.as_ref().map(Field::write));
    }

    fn list<T: Field>(&mut self, key: &str, field: &mut Vec<T>) {
        let items: Vec<_> = field.iter().map(Field::write).collect();
        self.key(key, &format!("[{}]", items.join(", ")));
    }

    fn secret(&mut self, key: &str, field: &mut Option<Secret>) {
        self.optional(key, field);
    }

    fn map<K: Field + Ord, T: Field>(&mut self, key: &str, field: &mut BTreeMap<K, T>) {
        self.table(key, |printer| {
            for (name, value) in field {
                printer.line(&format!("{} = {}", name.write(), value.write()));
            }
        });
    }

    fn table(&mut self, key: &str, body: impl FnOnce(&mut Self)) {
        let outer = self.path.clone();
        let dot = if outer.is_empty() { "" } else { "." };
        self.path = format!("{outer}{dot}{}", printed_key(key));
        let blank = if self.text.is_empty() { "" } else { "\n" };
        self.line(&format!("{blank}[{}]", self.path));
        body(self);
        self.path = outer;
    }

    fn named_tables<T: Named>(
        &mut self,
        key: &str,
        field: &mut Vec<T>,
        body: impl Fn(&mut Self, &mut T),
    ) {
        self.table(key, |printer| {
            for item in field {
                let name = item.name().to_owned();
                printer.table(&name, |printer| body(printer, item));
            }
        });
    }

    fn other_tables<T: Named>(
        &mut self,
        _key: &str,
        field: &mut Vec<T>,
        body: impl Fn(&mut Self, &mut T),
    ) {
        for item in field {
            let name = item.name().to_owned();
            self.table(&name, |printer| body(printer, item));
        }
    }

    fn problem(&mut self, _key: &str, _what: &str, _mend: &str) {}
}
