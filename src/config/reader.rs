//! Fills a form from a TOML document. It notes every problem and goes on with the default, and
//! it notes every key that is asked for: those that are left over are unknown.

use std::collections::BTreeMap;
use std::fs;
use std::mem;
use std::ops::RangeInclusive;

use toml::{Table, Value};

use super::field::{Field, printed_key, quoted};
use super::form::{Form, Named};
use super::problem::Problem;
use super::substitute::{Environment, Unreplaced, substitute};
use super::suggest::nearest;
use crate::domain::Secret;

/// Fills a form from a TOML document.
pub(super) struct Reader<'a> {
    env: Environment<'a>,
    /// What is left of the table that is being read.
    table: Table,
    /// The path of that table, with its dot; empty at the root.
    prefix: String,
    problems: Vec<Problem>,
    known: Vec<String>,
    unknown: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(document: Table, env: Environment<'a>) -> Self {
        Self {
            env,
            table: document,
            prefix: String::new(),
            problems: Vec::new(),
            known: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// The problems, with those of keys that nobody asked for.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.note_leftovers();
        for path in mem::take(&mut self.unknown) {
            let mend = match nearest(&path, &self.known) {
                Some(known) => format!("did you mean {known}?"),
                None => "remove it, or look for its name in config/bedrock-meter.toml".to_owned(),
            };
            self.problems
                .push(Problem::new(&path, "there is no such key", mend));
        }
        self.problems
    }

    fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn report(&mut self, path: &str, what: impl Into<String>, mend: impl Into<String>) {
        self.problems.push(Problem::new(path, what, mend));
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.known.push(self.path(key));
        self.table.remove(key)
    }

    fn take_value<T: Field>(&mut self, key: &str) -> Option<T> {
        let value = self.take(key)?;
        self.read(&self.path(key), &value)
    }

    fn take_table(&mut self, key: &str) -> Table {
        match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(_) => {
                let path = self.path(key);
                let mend = format!("write it as a table: [{path}]");
                self.report(&path, "it is not a table", mend);
                Table::new()
            }
        }
    }

    fn read<T: Field>(&mut self, path: &str, value: &Value) -> Option<T> {
        let replaced = self.substituted(path, value)?;
        let from_env = replaced != *value;
        let found = T::read(&replaced).or_else(|| {
            let text = replaced.as_str().filter(|_| from_env)?;
            T::read(&untyped(text))
        });
        if found.is_none() {
            let what = if from_env {
                "the value from the environment does not fit".to_owned()
            } else if T::IS_SECRET {
                "the value does not fit".to_owned()
            } else {
                format!("{} does not fit", shown(value))
            };
            self.report(path, what, format!("write {}", T::expected()));
        }
        found
    }

    /// The value with each `${NAME}` replaced; `None` after a report.
    fn substituted(&mut self, path: &str, value: &Value) -> Option<Value> {
        let Some(text) = value.as_str() else {
            return Some(value.clone());
        };
        match substitute(text, self.env) {
            Ok(text) => Some(Value::String(text)),
            Err(Unreplaced::Unset(name)) => {
                let what = format!("the environment variable {name} is not set");
                self.report(path, what, "set it, or write the value here");
                None
            }
            Err(Unreplaced::Malformed) => {
                let mend = "write ${NAME} with letters, digits and _, or $${ for a plain ${";
                self.report(path, "it holds a ${ that names no variable", mend);
                None
            }
        }
    }

    /// The items of a list; a text from the environment is a list with commas.
    fn items(&mut self, path: &str, value: Value) -> Option<Vec<Value>> {
        if let Value::Array(items) = value {
            return Some(items);
        }
        if !value.as_str().is_some_and(|text| text.contains("${")) {
            let what = format!("{} is not a list", shown(&value));
            self.report(path, what, "write a list: [\"...\", \"...\"]");
            return None;
        }
        let replaced = self.substituted(path, &value)?;
        let items = replaced.as_str().unwrap_or_default().split(',');
        let items = items.map(str::trim).filter(|item| !item.is_empty());
        Some(items.map(Value::from).collect())
    }

    fn read_secret_file(&mut self, path: &str, file: &str) -> Option<Secret> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(cause) => {
                let what = format!("the file {} cannot be read: {cause}", quoted(file));
                self.report(path, what, "create it, or let this process read it");
                return None;
            }
        };
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.is_empty() {
            self.report(path, "the file is empty", "write the secret into it");
            return None;
        }
        Some(Secret::new(secret))
    }

    /// Reads a table with fixed keys.
    fn within_table(&mut self, key: &str, table: Table, body: impl FnOnce(&mut Self)) {
        let outer = mem::replace(&mut self.table, table);
        let length = self.prefix.len();
        self.prefix = format!("{}.", self.path(key));
        body(self);
        self.note_leftovers();
        self.prefix.truncate(length);
        self.table = outer;
    }

    /// Reads tables into named items.
    fn fill_named<T: Named>(
        &mut self,
        tables: Table,
        field: &mut Vec<T>,
        body: impl Fn(&mut Self, &mut T),
    ) {
        for (name, value) in tables {
            // Back under its printed name, so that key and path agree.
            let printed = printed_key(&name);
            self.table.insert(printed.clone(), value);
            let table = self.take_table(&printed);
            let Some(mut item) = T::named(&name) else {
                let mend = format!("its name must be {}", T::EXPECTED);
                self.report(&self.path(&printed), "the name does not fit", mend);
                continue;
            };
            self.within_table(&printed, table, |form| body(form, &mut item));
            field.push(item);
        }
    }

    fn note_leftovers(&mut self) {
        let leftovers = mem::take(&mut self.table);
        let paths = leftovers.keys().map(|key| self.path(key));
        let paths: Vec<_> = paths.collect();
        self.unknown.extend(paths);
    }
}

impl Form for Reader<'_> {
    fn value<T: Field>(&mut self, key: &str, field: &mut T) {
        if let Some(value) = self.take_value(key) {
            *field = value;
        }
    }

    fn within<T: Field + PartialOrd>(
        &mut self,
        key: &str,
        field: &mut T,
        range: RangeInclusive<T>,
    ) {
        let Some(value) = self.take_value::<T>(key) else {
            return;
        };
        if range.contains(&value) {
            *field = value;
            return;
        }
        let [value, least, most] = [&value, range.start(), range.end()].map(Field::write);
        let mend = format!("choose a value from {least} to {most}");
        self.report(&self.path(key), format!("{value} is out of range"), mend);
    }

    fn optional<T: Field>(&mut self, key: &str, field: &mut Option<T>) {
        if let Some(value) = self.take_value(key) {
            *field = Some(value);
        }
    }

    fn list<T: Field>(&mut self, key: &str, field: &mut Vec<T>) {
        let Some(value) = self.take(key) else {
            return;
        };
        let path = self.path(key);
        let Some(items) = self.items(&path, value) else {
            return;
        };
        let read = |(at, item): (usize, Value)| self.read(&format!("{path}[{at}]"), &item);
        *field = items.into_iter().enumerate().filter_map(read).collect();
    }

    fn secret(&mut self, key: &str, field: &mut Option<Secret>) {
        let given: Option<Secret> = self.take_value(key);
        let file_key = format!("{key}_file");
        let file: Option<String> = self.take_value(&file_key);
        let path = self.path(&file_key);
        match (given, file) {
            (Some(_), Some(_)) => {
                let what = format!("{key} is set as well");
                self.report(&path, what, "keep one of the two");
            }
            (Some(secret), None) => *field = Some(secret),
            (None, Some(file)) => *field = self.read_secret_file(&path, &file),
            (None, None) => {}
        }
    }

    fn map<K: Field + Ord, T: Field>(&mut self, key: &str, field: &mut BTreeMap<K, T>) {
        let table = self.take_table(key);
        let path = self.path(key);
        self.known.push(format!("{path}.*"));
        for (name, value) in table {
            let path = format!("{path}.{}", printed_key(&name));
            let Some(name) = K::read(&Value::String(name)) else {
                let mend = format!("its name must be {}", K::expected());
                self.report(&path, "the name does not fit", mend);
                continue;
            };
            if let Some(value) = self.read(&path, &value) {
                field.insert(name, value);
            }
        }
    }

    fn table(&mut self, key: &str, body: impl FnOnce(&mut Self)) {
        let table = self.take_table(key);
        self.within_table(key, table, body);
    }

    fn named_tables<T: Named>(
        &mut self,
        key: &str,
        field: &mut Vec<T>,
        body: impl Fn(&mut Self, &mut T),
    ) {
        let tables = self.take_table(key);
        self.within_table(key, Table::new(), |form| {
            form.fill_named(tables, field, body);
        });
    }

    fn other_tables<T: Named>(
        &mut self,
        _key: &str,
        field: &mut Vec<T>,
        body: impl Fn(&mut Self, &mut T),
    ) {
        let tables = mem::take(&mut self.table);
        self.fill_named(tables, field, body);
    }

    fn problem(&mut self, key: &str, what: &str, mend: &str) {
        self.report(&self.path(key), what, mend);
    }
}

/// A text from the environment as the value it looks like.
fn untyped(text: &str) -> Value {
    let number = || text.parse().map(Value::Integer).ok();
    let flag = || text.parse().map(Value::Boolean).ok();
    let text = || Value::String(text.to_owned());
    number().or_else(flag).unwrap_or_else(text)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(_) => "a date".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::check;
    use crate::config::sections;
    use crate::config::settings::Settings;

    const EXAMPLE: &str = include_str!("../../config/bedrock-meter.toml");

    /// The example with its optional keys, which stand behind `#` without a space.
    fn example_in_full() -> String {
        let in_full = |line: &'static str| {
            let key = line.strip_prefix('#').filter(|key| !key.starts_with(' '));
            key.unwrap_or(line)
        };
        EXAMPLE.lines().map(in_full).collect::<Vec<_>>().join("\n")
    }

    /// The paths of all keys with a value.
    fn leaves(prefix: &str, table: &Table) -> Vec<String> {
        let leaf = |(key, value): (&String, &Value)| {
            let path = format!("{prefix}{}", printed_key(key));
            match value.as_table() {
                Some(table) => leaves(&format!("{path}."), table),
                None => vec![path],
            }
        };
        table.iter().flat_map(leaf).collect()
    }

    /// A free key stands for all of its table.
    fn without_free_keys(mut paths: Vec<String>) -> Vec<String> {
        for path in &mut paths {
            for table in [
                "upstream.endpoints",
                "upstream.control_endpoints",
                "upstream.sts_endpoints",
                "limits.burndown",
                "limits.output_max",
                "limits.account.opus.weights",
                "prices.models",
                "admin.login.roles",
                "telemetry.otlp.headers",
                "telemetry.otlp.resource",
            ] {
                if path.starts_with(&format!("{table}.")) {
                    *path = format!("{table}.*");
                }
            }
        }
        paths.sort();
        paths.dedup();
        paths
    }

    #[test]
    fn the_example_has_every_key_and_no_other() {
        let document: Table = example_in_full().parse().unwrap();
        let in_example = without_free_keys(leaves("", &document));
        let env = |name: &str| Some(name.to_owned());
        let mut reader = Reader::new(document, &env);
        sections::bind(&mut reader, &mut Settings::default());
        let tables: Vec<_> = reader
            .known
            .iter()
            .filter_map(|path| path.rsplit_once('.'))
            .collect();
        let tables: Vec<_> = tables
            .into_iter()
            .map(|(table, _)| table.to_owned())
            .collect();
        let is_leaf = |path: &&String| !tables.contains(path) && path.contains('.');
        let known: Vec<_> = reader.known.iter().filter(is_leaf).cloned().collect();
        assert_eq!(in_example, without_free_keys(known));
        assert_eq!(reader.unknown, Vec::<String>::new());
    }

    #[test]
    fn the_example_as_it_stands_is_the_default() {
        let parsed = crate::config::parse(EXAMPLE, &|_| None);
        assert_eq!(parsed, Ok(Settings::default()));
    }

    #[test]
    fn the_optional_keys_of_the_example_hold_valid_values() {
        let mut document: Table = example_in_full().parse().unwrap();
        // Keys that exclude each other, and files that only exist where they are used.
        let mut forget = |table: &str, key: &str| {
            let mut at = &mut document;
            for part in table.split('.') {
                at = at[part].as_table_mut().unwrap();
            }
            at.remove(key).unwrap();
        };
        for (table, key) in [
            ("admin", "token_file"),
            ("admin", "metrics_token_file"),
            ("admin.tokens.ci", "token_file"),
            ("admin.login", "client_secret_file"),
            ("identity", "pseudonym_key_file"),
            ("identity.issuers.cluster", "jwks_file"),
            ("budget_store", "redis_url_file"),
            ("budget_store", "redis_url"),
            ("keys", "master_key_file"),
            ("ledger.postgres", "url_file"),
            // Its value is judged, and the name of a variable is no key.
            ("keys", "master_key"),
            ("alerts.outlets.ops", "url_file"),
            ("alerts.outlets.ops", "secret_file"),
            ("alerts.outlets.ops", "next_secret_file"),
            ("alerts.outlets.ops", "authorization_file"),
            // What only the other kinds of outlets have.
            ("alerts.outlets.ops", "urls"),
            ("alerts.outlets.ops", "topic_arn"),
            ("alerts.outlets.ops", "endpoint"),
            ("upstream.credentials", "profile"),
            ("upstream.credentials", "secret_access_key_file"),
            ("upstream.credentials", "session_token_file"),
            ("telemetry.otlp", "authorization_file"),
            ("upstream.credentials", "bearer_key"),
            ("upstream.credentials", "bearer_key_file"),
        ] {
            forget(table, key);
        }
        let env = |name: &str| Some(name.to_owned());
        let mut reader = Reader::new(document, &env);
        let mut settings = Settings::default();
        sections::bind(&mut reader, &mut settings);
        assert_eq!(reader.finish(), Vec::new());
        let missing_files = check(&settings);
        let is_file = |problem: &Problem| problem.path.ends_with("_file");
        assert!(missing_files.iter().all(is_file), "{missing_files:?}");
    }
}
