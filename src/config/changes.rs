//! Which keys differ between two configurations. Secrets are compared and never shown.

use std::collections::BTreeMap;
use std::mem;
use std::ops::RangeInclusive;

use super::field::{Field, printed_key};
use super::form::{Form, Named};
use super::sections;
use super::settings::Settings;
use crate::domain::Secret;

/// The paths (`listener.listen`) of all keys whose values differ, in alphabetical order.
pub fn changed_keys(before: &Settings, after: &Settings) -> Vec<String> {
    let (mut before, after) = (values(before), values(after));
    let mut keys: Vec<String> = after
        .into_iter()
        .filter_map(|(key, value)| (before.remove(&key).as_ref() != Some(&value)).then_some(key))
        .collect();
    keys.extend(before.into_keys());
    keys.sort_unstable();
    keys
}

fn values(settings: &Settings) -> BTreeMap<String, Vec<String>> {
    let mut values = Values::default();
    sections::bind(&mut values, &mut settings.clone());
    values.of_keys
}

/// Gathers what each key holds.
#[derive(Default)]
struct Values {
    of_keys: BTreeMap<String, Vec<String>>,
    /// The table that is read, with a dot at its end; empty at the root.
    path: String,
}

impl Values {
    fn put(&mut self, key: &str, value: Vec<String>) {
        let path = format!("{}{}", self.path, printed_key(key));
        self.of_keys.insert(path, value);
    }
}

impl Form for Values {
    fn value<T: Field>(&mut self, key: &str, field: &mut T) {
        self.put(key, vec![field.write()]);
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
        self.put(key, field.iter().map(Field::write).collect());
    }

    fn list<T: Field>(&mut self, key: &str, field: &mut Vec<T>) {
        self.put(key, field.iter().map(Field::write).collect());
    }

    fn secret(&mut self, key: &str, field: &mut Option<Secret>) {
        self.put(key, field.iter().map(|s| s.as_str().to_owned()).collect());
    }

    fn map<K: Field + Ord, T: Field>(&mut self, key: &str, field: &mut BTreeMap<K, T>) {
        let entries = field.iter();
        let entries = entries.map(|(name, value)| format!("{} = {}", name.write(), value.write()));
        self.put(key, entries.collect());
    }

    fn table(&mut self, key: &str, body: impl FnOnce(&mut Self)) {
        let inner = format!("{}{}.", self.path, printed_key(key));
        let outer = mem::replace(&mut self.path, inner);
        body(self);
        self.path = outer;
    }

    fn named_tables<T: Named>(
        &mut self,
        key: &str,
        field: &mut Vec<T>,
        body: impl Fn(&mut Self, &mut T),
    ) {
        // The tables alone, as one without keys counts too.
        self.put(
            key,
            field.iter().map(|item| item.name().to_owned()).collect(),
        );
        self.table(key, |values| {
            for item in field {
                let name = item.name().to_owned();
                values.table(&name, |values| body(values, item));
            }
        });
    }

    fn other_tables<T: Named>(
        &mut self,
        key: &str,
        field: &mut Vec<T>,
        body: impl Fn(&mut Self, &mut T),
    ) {
        let names = field.iter().map(|item| item.name().to_owned());
        self.of_keys.insert(key.to_owned(), names.collect());
        for item in field {
            let name = item.name().to_owned();
            self.table(&name, |values| body(values, item));
        }
    }

    fn problem(&mut self, _key: &str, _what: &str, _mend: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn keys_that_differ_are_named_and_no_other() {
        let check = |before: &str, after: &str, expected: &[&str]| {
            let [before, after] = [before, after].map(|text| parse(text, &|_| None).unwrap());
            assert_eq!(changed_keys(&before, &after), expected);
        };
        check("", "", &[]);
        check(
            "[limits.a]\nrequests_per_minute = 1",
            "[limits.a]\nrequests_per_minute = 2",
            &["limits.a.requests_per_minute"],
        );
        check("", "[log]\nlevel = \"info\"", &[]);
        check(
            "[admin]\ntoken = \"one\"\n[listener]\nworkers = 1",
            "[admin]\ntoken = \"two\"\n[prices.models]\na = \"b\"",
            &["admin.token", "listener.workers", "prices.models"],
        );
        check(
            "[identity.tenants.a]\n[identity.tenants.b]",
            "[identity.tenants.b]",
            &[
                "identity.tenants",
                "identity.tenants.a.applications",
                "identity.tenants.a.default_application",
            ],
        );
        check(
            "[upstream.credentials]\naccess_key_id = \"A\"\nsecret_access_key = \"s\"",
            "[upstream.credentials]\naccess_key_id = \"A\"\nsecret_access_key = \"t\"",
            &["upstream.credentials.secret_access_key"],
        );
    }
}
