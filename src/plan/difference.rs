//! What changes from one configuration of budgets to another.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::budgets::BudgetDocument;

/// One thing that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum Change {
    /// A budget that is new.
    Added {
        /// Its name.
        budget: String,
        /// What it says.
        says: BTreeMap<String, String>,
    },
    /// A budget that is gone.
    Removed {
        /// Its name.
        budget: String,
    },
    /// A key of a budget that says something else.
    Changed {
        /// The budget.
        budget: String,
        /// The key, such as `limit_usd` or `raises.launch.until`.
        key: String,
        /// What it said; `None`: nothing.
        from: Option<String>,
        /// What it says now.
        to: Option<String>,
    },
}

/// All that changes, by budget and key.
pub fn differences(old: &[BudgetDocument], new: &[BudgetDocument]) -> Vec<Change> {
    let by_name = |table: &[BudgetDocument]| -> BTreeMap<String, BTreeMap<String, String>> {
        let says = |budget: &BudgetDocument| (budget.name.clone(), says(budget));
        table.iter().map(says).collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changes = Vec::new();
    for budget in names {
        match (old.get(budget), new.get(budget)) {
            (Some(old), Some(new)) => changed(budget, old, new, &mut changes),
            (None, Some(new)) => changes.push(Change::Added {
                budget: budget.clone(),
                says: new.clone(),
            }),
            (Some(_), None) => changes.push(Change::Removed {
                budget: budget.clone(),
            }),
            (None, None) => {}
        }
    }
    changes
}

fn changed(
    budget: &str,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
    changes: &mut Vec<Change>,
) {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let (from, to) = (old.get(key).cloned(), new.get(key).cloned());
        if from != to {
            changes.push(Change::Changed {
                budget: budget.to_owned(),
                key: key.clone(),
                from,
                to,
            });
        }
    }
}

/// What a budget says, key by key as in the configuration.
fn says(budget: &BudgetDocument) -> BTreeMap<String, String> {
    let mut said = BTreeMap::new();
    let value = serde_json::to_value(budget).unwrap_or_default();
    say("", &value, &mut said);
    said.remove("name");
    let plain = said.into_iter();
    let plain = plain.map(|(key, text)| match key.strip_prefix("scope.") {
        Some(facet) => (facet.to_owned(), text),
        None => (key, text),
    });
    plain.collect()
}

fn say(key: &str, value: &Value, said: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                let dot = if key.is_empty() { "" } else { "." };
                say(&format!("{key}{dot}{name}"), inner, said);
            }
        }
        Value::Null => {}
        Value::Array(list) if list.is_empty() => {}
        Value::String(text) => {
            said.insert(key.to_owned(), text.clone());
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            said.insert(key.to_owned(), value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Vec<BudgetDocument> {
        let budgets = crate::config::parse(text, &|_| None).unwrap().budgets;
        budgets.iter().map(BudgetDocument::from).collect()
    }

    #[test]
    fn what_is_added_removed_and_changed_is_told_key_by_key() {
        let old = table("[budgets.a]\nlimit_usd = \"5\"\n[budgets.b]\nlimit_usd = \"1\"");
        let new = table(
            "[budgets.a]\nlimit_usd = \"7.50\"\ntenant = \"search\"\n[budgets.a.raises.launch]\n\
             add_usd = \"2\"\nuntil = \"2026-12-01\"\napprover = \"cfo\"\nreason = \"launch\"\n\
             [budgets.c]\nlimit_usd = \"3\"",
        );
        let found = differences(&old, &new);
        let changed = |key: &str, from: Option<&str>, to: Option<&str>| Change::Changed {
            budget: "a".to_owned(),
            key: key.to_owned(),
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
        };
        let expected = [
            changed("limit_usd", Some("5"), Some("7.5")),
            changed("raises.launch.add_usd", None, Some("2")),
            changed("raises.launch.approver", None, Some("cfo")),
            changed("raises.launch.reason", None, Some("launch")),
            changed(
                "raises.launch.until",
                None,
                Some("2026-12-01T00:00:00.000Z"),
            ),
            changed("tenant", None, Some("search")),
        ];
        assert_eq!(found[..6], expected);
        assert_eq!(
            found[6],
            Change::Removed {
                budget: "b".to_owned()
            }
        );
        assert!(matches!(&found[7], Change::Added { budget, says }
            if budget == "c" && says["limit_usd"] == "3" && says["action"] == "alert"));
        assert_eq!(found.len(), 8);
        assert!(differences(&new, &new).is_empty());
    }
}
