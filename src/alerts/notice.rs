//! One thing that people are told, as it stands in the delivery log and in a webhook's payload
//! (`docs/alerts-payload.schema.json`).

use serde::{Deserialize, Serialize};

use super::{AlertError, text};
use crate::domain::{Keyword as _, TenantId, Timestamp, Usd, keywords};

keywords!(
    /// What a notice is about.
    Kind {
        /// A share of a budget is spent.
        Threshold = "threshold",
        /// All of a budget is spent.
        Exhausted = "exhausted",
        /// A budget would be spent before its period ends.
        Forecast = "forecast",
        /// A tenant spends much more today than in the same hours of the days before.
        Sudden = "sudden_spend",
        /// Calls had no price, so that nothing is known of their dollars.
        Unpriced = "unpriced_spend",
        /// A store cannot take what it must.
        Store = "store_trouble",
        /// A person wants to know whether notices arrive.
        Test = "test",
    }
);

impl Kind {
    /// How loud it is, in the words of Alertmanager's routes.
    pub const fn severity(self) -> &'static str {
        match self {
            Self::Exhausted | Self::Store => "critical",
            Self::Threshold | Self::Forecast | Self::Sudden | Self::Unpriced => "warning",
            Self::Test => "info",
        }
    }
}

keywords!(
    /// Whether what a notice tells of still stands.
    Status {
        /// It does.
        Firing = "firing",
        /// The period ended, or a raise cleared it. Only Alertmanager hears of it.
        Resolved = "resolved",
    }
);

/// One notice. Amounts are decimal text, instants RFC 3339 in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The version of this shape.
    pub version: u32,
    /// The same for restarts, replicas and redeliveries.
    pub id: String,
    /// What it is about.
    #[serde(with = "text::word")]
    pub kind: Kind,
    /// Whether it still stands.
    #[serde(with = "text::word")]
    pub status: Status,
    /// How loud it is: `critical`, `warning` or `info`.
    pub severity: String,
    /// One sentence for people.
    pub summary: String,
    /// The budget's name, where it is about one.
    pub budget: Option<String>,
    /// Whom it is about, such as `tenant=search`; empty for everything.
    pub subject: String,
    /// The tenant, where it is about one.
    #[serde(with = "text::optional")]
    pub tenant: Option<TenantId>,
    /// The kind of period, such as `day`.
    pub period: String,
    /// When the period began.
    #[serde(with = "text")]
    pub begins: Timestamp,
    /// When it ends.
    #[serde(with = "text")]
    pub ends: Timestamp,
    /// The share of the limit that was reached, in percent.
    pub threshold_percent: Option<u32>,
    /// What may be spent.
    #[serde(with = "text::optional")]
    pub limit_usd: Option<Usd>,
    /// What was spent.
    #[serde(with = "text::optional")]
    pub spent_usd: Option<Usd>,
    /// What is held for calls in flight.
    #[serde(with = "text::optional")]
    pub held_usd: Option<Usd>,
    /// What would be spent by the end of the period.
    #[serde(with = "text::optional")]
    pub forecast_usd: Option<Usd>,
    /// Whom to ask about it.
    pub owner: Option<String>,
    /// When it was noticed.
    #[serde(with = "text")]
    pub at: Timestamp,
}

impl Notice {
    /// The version that this program writes.
    pub const VERSION: u32 = 1;

    /// The payload of a webhook.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // never fails: plain fields
    }

    /// Reads what [`Notice::json`] wrote.
    ///
    /// # Errors
    /// When it is no notice, or one of a newer program that this one does not know.
    pub fn of_json(json: &str) -> Result<Self, AlertError> {
        serde_json::from_str(json).map_err(AlertError::Stored)
    }

    /// A notice that nobody needs to act upon.
    pub fn test(budget: Option<&str>, now: Timestamp) -> Self {
        let summary = match budget {
            Some(budget) => format!("Test: notices about budget {budget} arrive here"),
            None => "Test: notices arrive here".to_owned(),
        };
        let random = fastrand::u64(..).to_string();
        Self {
            budget: budget.map(ToOwned::to_owned),
            ..Self::plain(
                Kind::Test,
                super::id::of(&[Kind::Test.name(), &now.to_string(), &random]),
                summary,
                now,
            )
        }
    }

    /// A notice without a budget, of no length.
    pub(super) fn plain(kind: Kind, id: String, summary: String, now: Timestamp) -> Self {
        Self {
            version: Self::VERSION,
            id,
            kind,
            status: Status::Firing,
            severity: kind.severity().to_owned(),
            summary,
            budget: None,
            subject: String::new(),
            tenant: None,
            period: String::new(),
            begins: now,
            ends: now,
            threshold_percent: None,
            limit_usd: None,
            spent_usd: None,
            held_usd: None,
            forecast_usd: None,
            owner: None,
            at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_reads_back_as_it_was_written() {
        let now = Timestamp::from_unix_ms(1_790_000_000_123);
        let mut notice = Notice::test(Some("search-month"), now);
        notice.spent_usd = Some("0.000000000000001".parse().unwrap());
        notice.tenant = Some(TenantId::new("search").unwrap());
        let json = notice.json();
        assert_eq!(serde_json::from_str::<Notice>(&json).unwrap(), notice);
        assert!(
            json.contains(r#""spent_usd":"0.000000000000001""#),
            "{json}"
        );
        assert!(json.contains(r#""limit_usd":null"#), "{json}");
        assert!(
            json.contains(r#""at":"2026-09-21T14:13:20.123Z""#),
            "{json}"
        );
    }

    #[test]
    fn the_schema_has_the_keys_and_the_words_of_a_notice() {
        use std::collections::BTreeSet;
        let schema = include_str!("../../docs/alerts-payload.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        let json = Notice::test(None, Timestamp::default()).json();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let keys = |value: &serde_json::Value| -> BTreeSet<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(keys(&schema["properties"]), keys(&json));
        let words = Kind::ALL.iter().map(|kind| kind.name());
        let words: serde_json::Value = words.collect();
        assert_eq!(schema["properties"]["kind"]["enum"], words);
    }

    #[test]
    fn two_tests_have_two_ids() {
        let now = Timestamp::from_unix_ms(0);
        assert_ne!(Notice::test(None, now).id, Notice::test(None, now).id);
    }
}
