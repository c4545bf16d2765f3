//! Alertmanager's API version 2: alerts that end by themselves unless they are told again.

use bytes::Bytes;
use http::{HeaderMap, Uri};
use serde_json::{Map, Value, json};

use super::{JSON, Outgoing, headers};
use crate::alerts::settings::OutletSettings;
use crate::alerts::{InvalidOutlet, Kind, Notice, Status};
use crate::domain::Timestamp;

pub(super) struct Alertmanager {
    urls: Vec<Uri>,
    headers: HeaderMap,
}

impl Alertmanager {
    pub(super) fn new(settings: &OutletSettings) -> Result<Self, InvalidOutlet> {
        let mend = "name each Alertmanager, such as [\"http://alertmanager-0:9093\"]";
        let missing = InvalidOutlet::new("urls", "an outlet of this kind needs it", mend);
        let invalid = InvalidOutlet::new("urls", "it holds no URL that can be called", mend);
        let alerts_of = |base: &Uri| {
            let base = base.to_string();
            let url = format!("{}/api/v2/alerts", base.trim_end_matches('/'));
            url.parse().map_err(|_cause| invalid)
        };
        let urls = settings.urls.iter().map(|url| alerts_of(url.uri()));
        let urls: Vec<Uri> = urls.collect::<Result<_, _>>()?;
        if urls.is_empty() {
            return Err(missing);
        }
        Ok(Self {
            urls,
            headers: headers(settings, JSON)?,
        })
    }

    /// Each Alertmanager of a cluster is told: they agree among themselves on who notifies.
    pub(super) fn requests(&self, notices: &[Notice], now: Timestamp) -> Vec<Outgoing> {
        let alerts: Vec<Value> = notices.iter().map(|notice| alert(notice, now)).collect();
        let body = Bytes::from(Value::from(alerts).to_string());
        let request = |url: &Uri| Outgoing {
            url: url.clone(),
            headers: self.headers.clone(),
            body: body.clone(),
        };
        self.urls.iter().map(request).collect()
    }
}

/// Labels say what stands and are the same on every replica; what changes are annotations.
fn alert(notice: &Notice, now: Timestamp) -> Value {
    let mut labels = Map::new();
    let mut label = |name: &str, value: &str| {
        if !value.is_empty() {
            labels.insert(name.to_owned(), value.into());
        }
    };
    label("alertname", name(notice.kind));
    label("severity", &notice.severity);
    label("budget", notice.budget.as_deref().unwrap_or_default());
    label("subject", &notice.subject);
    let tenant = notice.tenant.as_ref().map(ToString::to_string);
    label("tenant", tenant.as_deref().unwrap_or_default());
    label("period", &notice.period);
    let percent = notice.threshold_percent.map(|percent| percent.to_string());
    label("threshold", percent.as_deref().unwrap_or_default());
    let ends = match notice.status {
        Status::Resolved => now,
        Status::Firing => Timestamp::from_unix_ms(now.unix_ms().saturating_add(LASTS_MS)),
    };
    json!({
        "labels": labels,
        "annotations": {
            "summary": notice.summary,
            "notice_id": notice.id,
            "owner": notice.owner.as_deref().unwrap_or_default(),
        },
        "startsAt": notice.at.to_string(),
        "endsAt": ends.to_string(),
    })
}

const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Threshold => "BedrockMeterBudgetThreshold",
        Kind::Exhausted => "BedrockMeterBudgetExhausted",
        Kind::Forecast => "BedrockMeterBudgetForecast",
        Kind::Sudden => "BedrockMeterSpendSudden",
        Kind::Unpriced => "BedrockMeterPriceMissing",
        Kind::Store => "BedrockMeterStoreTrouble",
        Kind::Test => "BedrockMeterTest",
    }
}

/// Alerts end so long after they were last told; they are told each minute.
const LASTS_MS: i64 = 240_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::crossings;
    use crate::alerts::judge::tests::standing;

    #[test]
    fn what_stands_ends_later_and_what_does_not_ends_now_under_the_same_labels() {
        let noticed = Timestamp::from_unix_ms(1_000);
        let mut notice = crossings(&[standing("10", "5")], noticed)[0].notice.clone();
        let now = Timestamp::from_unix_ms(60_000);
        let firing = alert(&notice, now);
        notice.status = Status::Resolved;
        notice.summary = "other words".to_owned();
        let resolved = alert(&notice, now);
        assert_eq!(firing["labels"], resolved["labels"]);
        assert_eq!(firing["startsAt"], "1970-01-01T00:00:01.000Z");
        assert_eq!(firing["endsAt"], "1970-01-01T00:05:00.000Z");
        assert_eq!(resolved["endsAt"], "1970-01-01T00:01:00.000Z");
        let labels = json!({
            "alertname": "BedrockMeterBudgetThreshold", "severity": "warning",
            "budget": "search-day", "subject": "tenant=search", "period": "day",
            "threshold": "50",
        });
        assert_eq!(firing["labels"], labels);
        assert_eq!(firing["annotations"]["notice_id"], notice.id);
    }
}
