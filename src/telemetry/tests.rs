//! Tests of the room as a whole: calls in, text out, read by a parser of its own.

#![expect(
    clippy::float_cmp,
    reason = "samples are compared with the float nearest to the hand-made value"
)]
#![expect(clippy::string_slice, reason = "cut at a position that find gave")]

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::domain::{
    ApplicationId, CallId, Capacity, Charge, ChargeLine, Dimension, Entry, Geography, ModelRef,
    Operation, Outcome, Rate, Reading, Region, TenantId, Timestamp, UnpricedReason, Usage,
    UsageReason, UsageSource, Usd,
};

type Labels = BTreeMap<String, String>;

/// An independent reader of the text format 0.0.4.
struct Scrape {
    kinds: BTreeMap<String, String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Scrape {
    fn read(text: &str) -> Self {
        let mut scrape = Self {
            kinds: BTreeMap::new(),
            samples: Vec::new(),
        };
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                let before = scrape.kinds.insert(name.to_owned(), kind.to_owned());
                assert!(before.is_none(), "{name} twice");
            } else if !line.starts_with("# HELP ") {
                scrape.samples.push(sample(line));
            }
        }
        scrape
    }

    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).sum()
    }

    fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        self.matching(name, labels).count()
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = f64> {
        let name = format!("bedrock_meter_{name}");
        let fits = move |has: &Labels| {
            labels
                .iter()
                .all(|(k, v)| has.get(*k).is_some_and(|h| h == v))
        };
        let found = self
            .samples
            .iter()
            .filter(move |(n, l, _)| *n == name && fits(l));
        found.map(|(_, _, value)| *value)
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, mut rest) = series.split_once('{').unwrap_or((series, "}"));
    let mut labels = Labels::new();
    while rest != "}" {
        let (label, after) = rest.split_once("=\"").unwrap();
        let end = after
            .match_indices('"')
            .find(|(at, _)| !after[..*at].ends_with('\\'))
            .unwrap()
            .0;
        labels.insert(label.to_owned(), after[..end].to_owned());
        rest = after[end + 1..].trim_start_matches(',');
    }
    (name.to_owned(), labels, value.parse().unwrap())
}

fn model(asked: &str) -> ModelRef {
    ModelRef {
        asked: asked.into(),
        base: Some(asked.into()),
        geography: Geography::InRegion,
        capacity: Capacity::OnDemand,
    }
}

fn entry(tenant: &str, application: &str, asked: &str, charge: Charge) -> Entry {
    let usage = Usage::from_iter([
        (Dimension::InputTokens, 1000),
        (Dimension::OutputTokens, 10),
    ]);
    Entry {
        call_id: CallId::generate(Timestamp::from_unix_ms(1_800_000_000_000)),
        opened_at: Timestamp::default(),
        settled_at: Timestamp::default(),
        tenant: TenantId::new(tenant).unwrap(),
        application: ApplicationId::new(application).unwrap(),
        user: None,
        session: None,
        operation: Operation::Converse,
        model: Some(model(asked)),
        region: Region::new("us-east-1").unwrap(),
        tier_asked: None,
        outcome: Outcome::Success,
        status: Some(200),
        error_class: None,
        aws_request_id: None,
        sdk_invocation_id: None,
        sdk_attempt: None,
        request_bytes: 1,
        response_bytes: 1,
        first_byte_ms: None,
        duration_ms: 1,
        reading: Reading::reported(usage, "body"),
        charge,
        catalogue: "test".into(),
        key: None,
        reserved: None,
        downgraded_from: None,
    }
}

fn charge(amount: &str) -> Charge {
    let amount: Usd = amount.parse().unwrap();
    let rate = Rate {
        id: "rate".into(),
        per_unit: amount,
    };
    let dimension = Dimension::CacheWrite5mTokens;
    Charge::of(vec![ChargeLine {
        dimension,
        quantity: 1,
        rate,
        amount,
    }])
}

fn metrics(series_per_family_max: usize) -> Metrics {
    let settings = Settings {
        series_per_family_max,
        ..Settings::default()
    };
    Metrics::new(&settings, &KnownNames::default()).unwrap()
}

fn scrape(metrics: &Metrics) -> Scrape {
    Scrape::read(&metrics.render(&Observed::default()).unwrap())
}

#[test]
fn a_call_is_counted_under_its_names() {
    let metrics = metrics(1000);
    let timing = Timing {
        duration: Duration::from_secs(3),
        first_byte: Some(Duration::from_millis(500)),
        first_token: Some(Duration::from_secs(1)),
        overhead: &[(Phase::Signing, Duration::from_micros(20))],
        ..Timing::default()
    };
    let mut streamed = entry("team", "app", "m", charge("0.0035"));
    streamed.operation = Operation::ConverseStream;
    metrics.settled(&streamed, &timing);
    let seen = scrape(&metrics);
    let call = [("tenant", "team"), ("application", "app"), ("model", "m")];
    assert_eq!(seen.sum("requests_total", &call), 1.0);
    assert_eq!(seen.sum("tokens_total", &[("kind", "input")]), 1000.0);
    assert_eq!(
        seen.sum("cost_usd_total", &[("kind", "cache_write_5m")]),
        0.0035
    );
    assert_eq!(
        seen.sum("upstream_requests_total", &[("status", "200")]),
        1.0
    );
    assert_eq!(
        seen.sum("request_duration_seconds_sum", &[("model", "m")]),
        3.0
    );
    // 10 tokens in the 2 seconds after the first token
    assert_eq!(
        seen.sum(
            "output_tokens_per_second_sum",
            &[("operation", "ConverseStream")]
        ),
        5.0
    );
    assert_eq!(
        seen.sum("overhead_seconds_count", &[("phase", "signing")]),
        1.0
    );
    assert_eq!(
        seen.kinds["bedrock_meter_time_to_first_token_seconds"],
        "histogram"
    );
}

#[test]
fn answers_in_one_piece_have_no_token_times() {
    let metrics = metrics(1000);
    let timing = Timing {
        duration: Duration::from_secs(3),
        first_token: Some(Duration::from_millis(2999)),
        ..Timing::default()
    };
    let mut call = entry("team", "app", "m", charge("1"));
    metrics.settled(&call, &timing);
    assert_eq!(
        scrape(&metrics).count("time_to_first_token_seconds_count", &[]),
        0
    );
    call.operation = Operation::ConverseStream;
    metrics.settled(&call, &timing);
    let seen = scrape(&metrics);
    assert_eq!(seen.sum("time_to_first_token_seconds_count", &[]), 1.0);
    assert_eq!(
        seen.count("output_tokens_per_second_count", &[]),
        0,
        "a burst"
    );
}

#[test]
fn money_stays_exact_over_many_sums() {
    let metrics = metrics(1000);
    let call = entry("team", "app", "m", charge("0.1"));
    for _ in 0..100_000 {
        metrics.settled(&call, &Timing::default());
    }
    let floats = (0..100_000).fold(0.0, |sum, _| sum + 0.1);
    assert_ne!(floats, 10_000.0, "the sum that a float counter would show");
    assert_eq!(scrape(&metrics).sum("cost_usd_total", &[]), 10_000.0);
}

#[test]
fn junk_names_of_one_tenant_leave_another_its_series_in_every_family() {
    let metrics = metrics(100);
    for junk in 0..20_000 {
        let (application, model) = (format!("junk-{junk}"), format!("junk.{junk}"));
        let unpriced = Charge::unpriced(UnpricedReason::UnknownModel);
        let call = entry("noisy", &application, &model, unpriced);
        metrics.settled(&call, &Timing::default());
    }
    let new = entry(
        "quiet",
        "new",
        "amazon.titan",
        Charge::unpriced(UnpricedReason::UnknownModel),
    );
    metrics.settled(&new, &Timing::default());
    let seen = scrape(&metrics);
    for name in ["requests_total", "tokens_total", "unpriced_requests_total"] {
        let quiet = [("tenant", "quiet"), ("model", "amazon.titan")];
        assert!(seen.count(name, &quiet) > 0, "{name}");
        assert!(
            seen.count(name, &[]) <= 110,
            "{name}: {}",
            seen.count(name, &[])
        );
    }
    assert_eq!(seen.sum("requests_total", &[("tenant", "noisy")]), 20_000.0);
    assert_eq!(
        seen.sum("unpriced_tokens_total", &[("tenant", "noisy")]),
        20_200_000.0
    );
    assert!(seen.sum("label_overflow_total", &[("limit", "application")]) >= 19_800.0);
}

#[test]
fn models_that_bedrock_refused_cost_nothing_and_are_no_known_names() {
    let metrics = metrics(20_000);
    for junk in 0..1000 {
        let refused = entry(
            "noisy",
            "app",
            &format!("junk.{junk}"),
            Charge::of(Vec::new()),
        );
        metrics.settled(&refused, &Timing::default());
    }
    // the 200 names of the default quota, and `other`
    assert_eq!(scrape(&metrics).count("requests_total", &[]), 201);
    metrics.settled(
        &entry("noisy", "app", "real", charge("1")),
        &Timing::default(),
    );
    assert_eq!(
        scrape(&metrics).count("requests_total", &[("model", "real")]),
        1
    );
}

#[test]
fn spellings_of_one_model_share_its_series() {
    let metrics = metrics(1000);
    let mut call = entry("team", "app", "m", charge("1"));
    for asked in ["m", "arn:aws:bedrock:us-east-1::foundation-model/m", "m"] {
        call.model = Some(ModelRef {
            asked: asked.into(),
            ..model("m")
        });
        metrics.settled(&call, &Timing::default());
    }
    call.model = Some(ModelRef {
        geography: Geography::Global,
        ..model("m")
    });
    metrics.settled(&call, &Timing::default());
    call.model = None;
    metrics.settled(&call, &Timing::default());
    let seen = scrape(&metrics);
    for (label, calls) in [("m", 3.0), ("global.m", 1.0), ("none", 1.0)] {
        assert_eq!(
            seen.sum("requests_total", &[("model", label)]),
            calls,
            "{label}"
        );
    }
}

#[test]
fn the_ledgers_costs_are_shown_and_junk_rows_add_up_in_other() {
    let metrics = metrics(1000);
    let row = |tenant: &str, application: &str, amount: &str| PeriodCost {
        tenant: TenantId::new(tenant).unwrap(),
        application: ApplicationId::new(application).unwrap(),
        period: PeriodKind::Month,
        amount: amount.parse().unwrap(),
    };
    let mut observed = Observed::default();
    let junk = (0..5000).map(|junk| row("noisy", &format!("junk-{junk}"), "0.25"));
    observed.period_costs.extend(junk);
    observed
        .period_costs
        .push(row("quiet", "single-call", "0.0035"));
    let once = metrics.render(&observed).unwrap();
    assert_eq!(
        metrics.render(&observed).unwrap(),
        once,
        "a second scrape is the same"
    );
    let seen = Scrape::read(&once);
    assert_eq!(
        seen.sum("period_cost_usd", &[("application", "single-call")]),
        0.0035
    );
    assert_eq!(
        seen.sum(
            "period_cost_usd",
            &[("tenant", "noisy"), ("period", "month")]
        ),
        1250.0
    );
    assert_eq!(seen.count("period_cost_usd", &[("tenant", "noisy")]), 201);
}

#[test]
fn sums_of_the_ledger_keep_to_the_limit_of_series_and_lose_nothing() {
    let metrics = metrics(120);
    let sum = |family, tenant: &str, labels: [&str; 3], amount| LedgerSum {
        family,
        tenant: TenantId::new(tenant).unwrap(),
        labels: labels.map(Box::from).into(),
        amount,
    };
    let femto = 250_000_000_000_000;
    let junk = (0..1000).flat_map(|junk| {
        let name = format!("junk-{junk}");
        let effect = [&*name, "yesterday", "mix"];
        let kind = [&*name, "input", "month"];
        [
            sum(LedgerFamily::CostChange, "noisy", effect, -femto),
            sum(LedgerFamily::ModelCost, "noisy", kind, femto),
        ]
    });
    let quiet = sum(
        LedgerFamily::ModelCost,
        "quiet",
        ["m", "input", "month"],
        femto,
    );
    let calls = ["reported", "unpriced", "day"];
    let calls = sum(LedgerFamily::Calls, "quiet", calls, 3);
    let observed = Observed {
        ledger_sums: junk.chain([quiet, calls]).collect(),
        ..Observed::default()
    };
    let once = metrics.render(&observed).unwrap();
    assert_eq!(metrics.render(&observed).unwrap(), once, "a second scrape");
    let seen = Scrape::read(&once);
    let noisy = [("tenant", "noisy")];
    // Half of 120 / 6 and of 120 / 12 names, and `other`.
    assert_eq!(seen.count("cost_change_usd", &noisy), 11);
    assert_eq!(seen.sum("cost_change_usd", &noisy), -250.0);
    assert_eq!(seen.count("period_model_cost_usd", &noisy), 6);
    assert_eq!(seen.sum("period_model_cost_usd", &noisy), 250.0);
    assert_eq!(seen.sum("period_model_cost_usd", &[("model", "m")]), 0.25);
    assert_eq!(
        seen.sum("period_calls", &[("price_status", "unpriced")]),
        3.0
    );
}

#[test]
fn what_was_not_read_has_no_series() {
    let metrics = metrics(1000);
    let seen = scrape(&metrics);
    let names: Vec<_> = seen
        .samples
        .iter()
        .map(|(name, _, _)| name.as_str())
        .collect();
    let certain = [
        "build_info",
        "in_flight_requests",
        "ledger_entries_total",
        "open_drains",
    ];
    assert_eq!(names, certain.map(|name| format!("bedrock_meter_{name}")));
    let observed = Observed {
        oldest_open_call: Some(Duration::ZERO),
        cost_basis: Some("contracted"),
        ..Observed::default()
    };
    let seen = Scrape::read(&metrics.render(&observed).unwrap());
    assert_eq!(seen.count("oldest_open_call_seconds", &[]), 1);
    assert_eq!(seen.sum("cost_basis_info", &[("basis", "contracted")]), 1.0);
    assert_eq!(seen.count("ledger_queue_depth", &[]), 0);
}

#[test]
fn refused_callers_without_proof_are_one_tenant() {
    let metrics = metrics(1000);
    metrics.refused(None, "identity_unknown");
    metrics.refused(None, "identity_unknown");
    metrics.refused(Some(&TenantId::new("team").unwrap()), "body_too_large");
    let seen = scrape(&metrics);
    assert_eq!(seen.sum("refused_total", &[("tenant", "unproven")]), 2.0);
    assert_eq!(
        seen.sum(
            "refused_total",
            &[("tenant", "team"), ("reason", "body_too_large")]
        ),
        1.0
    );
}

#[test]
fn estimates_and_missing_usage_are_counted_with_their_reason() {
    let metrics = metrics(1000);
    let mut estimated = entry("team", "app", "m", charge("2"));
    estimated.reading.source = UsageSource::Estimated;
    estimated.reading.reason = Some(UsageReason::NotDrained);
    estimated.outcome = Outcome::ClientLeft;
    metrics.settled(&estimated, &Timing::default());
    let mut missing = entry(
        "team",
        "app",
        "m",
        Charge::unpriced(UnpricedReason::UsageMissing),
    );
    missing.reading = Reading::missing(UsageReason::Unreadable);
    metrics.settled(
        &missing,
        &Timing {
            drained: true,
            ..Timing::default()
        },
    );
    let seen = scrape(&metrics);
    assert_eq!(
        seen.sum("estimated_cost_usd_total", &[("reason", "not_drained")]),
        2.0
    );
    assert_eq!(
        seen.sum("usage_estimated_total", &[("reason", "not_drained")]),
        1.0
    );
    assert_eq!(
        seen.sum("usage_missing_total", &[("reason", "unreadable")]),
        1.0
    );
    assert_eq!(
        seen.sum("unpriced_requests_total", &[("reason", "usage_missing")]),
        1.0
    );
    assert_eq!(
        seen.sum("client_disconnects_total", &[("tenant", "team")]),
        1.0
    );
    assert_eq!(seen.sum("drained_streams_total", &[]), 1.0);
}

#[test]
fn gauges_go_back_when_what_they_count_is_dropped() {
    let metrics = metrics(1000);
    let held = (
        metrics.in_flight(),
        metrics.in_flight(),
        metrics.buffered(512),
    );
    let seen = scrape(&metrics);
    assert_eq!(seen.sum("in_flight_requests", &[]), 2.0);
    assert_eq!(seen.sum("buffered_bytes", &[]), 512.0);
    drop(held);
    assert_eq!(scrape(&metrics).sum("in_flight_requests", &[]), 0.0);
}

#[test]
fn every_printed_family_is_in_the_catalogue_with_its_type() {
    let metrics = metrics(1000);
    metrics.settled(&entry("team", "app", "m", charge("1")), &Timing::default());
    metrics.ledger_committed(1, Duration::from_millis(3));
    metrics.ledger_failed("busy");
    for (name, kind) in scrape(&metrics).kinds {
        let defined = catalogue().iter().find(|metric| metric.name == name);
        assert_eq!(
            defined.map(|metric| metric.kind.name()),
            Some(kind.as_str()),
            "{name}"
        );
    }
}

#[test]
fn contradictions_that_pass_are_counted_for_the_tenant_that_was_believed() {
    let metrics = metrics(1000);
    metrics.contradicted(&TenantId::new("team").unwrap());
    let seen = scrape(&metrics);
    let of_team = seen.sum("contradicting_claims_total", &[("tenant", "team")]);
    assert_eq!(of_team, 1.0);
}
