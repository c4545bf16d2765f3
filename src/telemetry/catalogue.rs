//! One table of all metrics: name, kind, unit, labels, help. `docs/metrics.md` is its print.
//!
//! It must not know who fills a metric. A metric stands here only when the program fills it.

use std::fmt::Write as _;

/// What Prometheus calls the type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process restarts.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Observations counted in buckets.
    Histogram,
}

impl Kind {
    /// The word of the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The full name, with prefix.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// What one of it is.
    pub unit: &'static str,
    /// The label names, in the order that values are given.
    pub labels: &'static [&'static str],
    /// What it says, for an operator.
    pub help: &'static str,
}

/// Every metric, in the order of the documentation.
pub const fn catalogue() -> &'static [Definition] {
    ALL
}

/// The table as Markdown: the body of `docs/metrics.md`.
pub fn catalogue_markdown() -> String {
    let mut table =
        String::from("| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n");
    for metric in ALL {
        let labels = metric.labels.join(", ");
        let (name, kind) = (metric.name, metric.kind.name());
        let (unit, help) = (metric.unit, metric.help);
        // Writing to a String cannot fail.
        let _written = writeln!(table, "| `{name}` | {kind} | {unit} | {labels} | {help} |");
    }
    table
}

macro_rules! catalogue {
    ($($id:ident = $kind:ident $name:literal ($unit:literal) [$($label:ident),*] $help:literal;)*) => {
        $(pub(super) const $id: Definition = Definition {
            name: concat!("bedrock_meter_", $name),
            kind: Kind::$kind,
            unit: $unit,
            labels: &[$(stringify!($label)),*],
            help: $help,
        };)*
        const ALL: &[Definition] = &[$($id),*];
    };
}

catalogue! {
    REQUESTS = Counter "requests_total" ("calls") [tenant, application, model, operation, outcome]
        "Settled calls.";
    TOKENS = Counter "tokens_total" ("tokens") [tenant, application, model, kind]
        "Tokens used, by token class; estimated ones included.";
    UNITS = Counter "units_total" ("units") [tenant, application, model, unit]
        "Other units used, such as images or search units.";
    COST = Counter "cost_usd_total" ("US dollars") [tenant, application, model, kind]
        "Contracted cost since the start of the process, for rates; money panels read period_cost_usd.";
    PERIOD_COST = Gauge "period_cost_usd" ("US dollars") [tenant, application, period]
        "Contracted cost of the current UTC day and month, as the ledger has it.";
    MODEL_COST = Gauge "period_model_cost_usd" ("US dollars") [tenant, model, kind, period]
        "The same by model and by what was counted.";
    SOURCE_COST = Gauge "period_source_cost_usd" ("US dollars") [tenant, usage_source, period]
        "The same by whether Bedrock reported the usage or it is an estimate.";
    PERIOD_CALLS = Gauge "period_calls" ("calls") [tenant, usage_source, price_status, period]
        "Settled calls of the current UTC day and month, by how sure their cost is; unpriced calls have no dollars.";
    PERIOD_TOKENS = Gauge "period_tokens" ("tokens") [tenant, usage_source, price_status, period]
        "Tokens of these calls, all classes.";
    WASTE = Gauge "period_waste_usd" ("US dollars") [tenant, model, cause, period]
        "Cost of the current UTC day and month that bought nothing; defined above. Causes overlap and do not add up.";
    COST_CHANGE = Gauge "cost_change_usd" ("US dollars") [tenant, application, since, effect]
        "Cost of today so far less that of the same hours of yesterday or a week ago, in three effects that add up; defined above.";
    MODEL_FIRST_SEEN = Gauge "model_first_seen_timestamp_seconds" ("seconds since 1970") [model]
        "The first successful call of a model, as the ledger has it: since the start, or in the 31 days before.";
    ESTIMATED_COST = Counter "estimated_cost_usd_total" ("US dollars") [tenant, model, reason]
        "The part of the cost that rests on estimated usage.";
    USAGE_ESTIMATED = Counter "usage_estimated_total" ("calls") [tenant, model, reason]
        "Calls whose usage is an estimate, and why.";
    USAGE_MISSING = Counter "usage_missing_total" ("calls") [tenant, model, reason]
        "Calls whose usage is unknown, and why.";
    UNPRICED_REQUESTS = Counter "unpriced_requests_total" ("calls") [tenant, model, reason]
        "Calls without a price, and why.";
    UNPRICED_TOKENS = Counter "unpriced_tokens_total" ("tokens") [tenant, model, reason]
        "Tokens of calls without a price, and why.";
    USAGE_DISAGREEMENT = Counter "usage_disagreement_total" ("calls") [tenant, model]
        "Answers in which two places reported different usage.";
    DURATION = Histogram "request_duration_seconds" ("seconds") [model, operation]
        "From admission of a call to its end.";
    FIRST_BYTE = Histogram "time_to_first_byte_seconds" ("seconds") [model, operation]
        "From admission of a call to the first byte of the answer's body.";
    FIRST_TOKEN = Histogram "time_to_first_token_seconds" ("seconds") [model, operation]
        "From admission of a streaming call to the first generated content.";
    OUTPUT_RATE = Histogram "output_tokens_per_second" ("tokens per second") [model, operation]
        "Output tokens of a stream over the time from its first generated content to its end, where that is 0.1 s or more.";
    OVERHEAD = Histogram "overhead_seconds" ("seconds") [operation, phase]
        "Time that the proxy itself added.";
    UPSTREAM_REQUESTS = Counter "upstream_requests_total" ("attempts") [account, region, model, status]
        "Requests sent to Bedrock by the status it answered; none when no answer came.";
    IN_FLIGHT = Gauge "in_flight_requests" ("calls") []
        "Calls admitted and not yet ended.";
    OLDEST_OPEN = Gauge "oldest_open_call_seconds" ("seconds") []
        "Age of the oldest call that is not settled.";
    OPEN_DRAINS = Gauge "open_drains" ("streams") []
        "Streams that are read to their end after their client left.";
    BUFFERED = Gauge "buffered_bytes" ("bytes") []
        "Request bodies held in memory.";
    CLIENT_RETRIES = Counter "client_retries_total" ("calls") [tenant]
        "Calls that an SDK sent again.";
    CONTRADICTIONS = Counter "contradicting_claims_total" ("calls") [tenant]
        "Calls whose base path named another tenant or application than their header, and that passed.";
    CLIENT_DISCONNECTS = Counter "client_disconnects_total" ("calls") [tenant]
        "Calls whose client left before the end of the answer.";
    DRAINED = Counter "drained_streams_total" ("streams") [tenant]
        "Streams read to their end after their client left.";
    REFUSED = Counter "refused_total" ("calls") [tenant, reason]
        "Calls that the proxy itself answered with an error; callers without proof count as tenant unproven.";
    OBSERVED = Counter "observed_refusals_total" ("calls") [tenant, reason]
        "Calls that passed and that a policy in mode observe would have refused.";
    BUDGET_LIMIT = Gauge "budget_limit_usd" ("US dollars") [budget, tenant, subject, period]
        "What a budget lets its subject spend in the current period, raises included.";
    BUDGET_SPENT = Gauge "budget_spent_usd" ("US dollars") [budget, tenant, subject, period]
        "What was spent of it: settled calls, those of unknown usage at what was held for them.";
    BUDGET_RESERVED = Gauge "budget_reserved_usd" ("US dollars") [budget, tenant, subject, period]
        "What is held of it for calls in flight.";
    BUDGET_FORECAST = Gauge "budget_forecast_usd" ("US dollars") [budget, tenant, subject, period]
        "What will be spent when the period ends, on a straight line; absent in its first twentieth and for rolling windows.";
    BUDGET_STORE_MODE = Gauge "budget_store_mode" ("0 or 1") [mode]
        "Which way budgets are kept: `memory` or `shared`; or what `when.budget_store_down` says while the shared store is away.";
    BUDGET_ALERTING = Gauge "budget_alerting_info" ("1") [budget, by]
        "Who tells of a budget's crossings: `outlet` or `prometheus`, never both.";
    ALERTING = Gauge "alerting_info" ("1") [kind, by]
        "Who tells of what is about no budget: `outlet` or `prometheus`.";
    ALERTS_SENT = Counter "alerts_sent_total" ("notices") [outlet, kind]
        "Notices that an outlet took; those that Alertmanager is told again are not counted again.";
    ALERTS_FAILED = Counter "alerts_failed_total" ("attempts") [outlet]
        "Attempts to tell an outlet that failed.";
    ALERTS_GIVEN_UP = Counter "alerts_given_up_total" ("notices") [outlet]
        "Notices that an outlet did not take for as long as they are tried; `bedrock-meter alerts log` shows them.";
    ALERTS_PENDING = Gauge "alerts_pending" ("notices") []
        "Deliveries of notices that are not done, those that wait for another attempt included.";
    LIMIT_REFUSED = Counter "limit_refused_total" ("calls") [limit, mode]
        "Calls that found no room in a limit: refused (enforce), or passed and counted (observe). Quotas of the account begin with `account.`.";
    LIMIT_USE = Gauge "limit_use_ratio" ("ratio") [limit, kind]
        "How much of a limit its fullest counter has taken: requests, tokens with reservations, open calls.";
    LIMIT_COUNTERS = Gauge "limit_counters" ("counters") [limit]
        "Counters of a limit that hold something; of a quota of the account, the tenants that share it now.";
    LEDGER_ENTRIES = Counter "ledger_entries_total" ("entries") []
        "Entries committed to the ledger by this process.";
    LEDGER_QUEUE = Gauge "ledger_queue_depth" ("entries") []
        "Settled calls that wait for their commit.";
    LEDGER_COMMIT = Histogram "ledger_commit_seconds" ("seconds") []
        "Time of one commit.";
    LEDGER_ERRORS = Counter "ledger_errors_total" ("errors") [kind]
        "Failures of the ledger by kind: append, slow, replay, sync, trim, store_died (the store); spill, spill_damaged; read; lease, fold (replicas).";
    SPILL_ENTRIES = Gauge "spill_entries" ("entries") []
        "Settled calls that wait in the spill because the store does not take entries.";
    SPILL_BYTES = Gauge "spill_bytes" ("bytes") []
        "Bytes of the spill's files.";
    CONFIG_FAILED = Gauge "config_reload_failed" ("0 or 1") []
        "Whether the last configuration was refused; the one before it is in force then.";
    CONFIG_SUCCESS = Gauge "config_last_reload_success_timestamp_seconds" ("seconds since 1970") []
        "When the configuration in force was loaded.";
    CONFIG_RELOADS = Counter "config_reloads_total" ("reloads") [outcome]
        "Configurations that were `applied` or `refused` since the start.";
    CONFIG_WAITING = Gauge "config_keys_need_restart" ("keys") []
        "Keys that changed since the start and are in force only after a restart.";
    PRICES_INFO = Gauge "price_catalogue_info" ("1") [version]
        "The price catalogue in use.";
    PRICES_AGE = Gauge "price_catalogue_age_seconds" ("seconds") []
        "Age of the price catalogue in use.";
    CREDENTIALS_EXPIRY = Gauge "credentials_expiry_seconds" ("seconds") []
        "Time until the AWS credentials expire; absent when they do not.";
    ISSUER_KEYS_READ = Gauge "issuer_keys_read_timestamp_seconds" ("seconds since 1970") [issuer]
        "When the keys of an issuer of tokens were last read.";
    ISSUER_KEYS_FAILED = Counter "issuer_keys_failed_total" ("attempts") [issuer, reason]
        "Attempts to read the keys of an issuer of tokens that failed; those of before serve on.";
    ADMIN_LOGINS = Counter "admin_logins_total" ("logins") [outcome]
        "Logins of people at the admin listener, and tokens of the login provider that were refused there: `let_in`, or why not.";
    ROLE_ASSUMPTIONS = Counter "role_assumptions_total" ("requests") [outcome]
        "Roles asked for at STS, refreshes included: `assumed`, or why not.";
    ROLE_SESSIONS = Gauge "role_sessions" ("sessions") []
        "Assumed roles in memory.";
    COST_BASIS = Gauge "cost_basis_info" ("1") [basis]
        "Which of the four amounts live metrics show.";
    LABEL_OVERFLOW = Counter "label_overflow_total" ("times") [limit]
        "Times that a limit put `other` in place of a label value: per call for tenant, application and model, once for a whole series.";
    OTLP_DROPPED = Counter "otlp_dropped_spans_total" ("spans") [reason]
        "Spans that the collector did not get: it was slow (queue_full), away (unreachable), or refused them (refused).";
    OTLP_FAILED = Counter "otlp_failed_requests_total" ("requests") [signal]
        "Requests to the collector that failed, each attempt counted.";
    ACCESS_LOG_DROPPED = Counter "access_log_dropped_lines_total" ("lines") []
        "Lines of the access log that were not written, because its file is slow or fails.";
    BUILD_INFO = Gauge "build_info" ("1") [version]
        "The version of this program.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_end_as_their_kind_asks() {
        let names: HashSet<_> = catalogue().iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), catalogue().len());
        for metric in catalogue() {
            let total = metric.name.ends_with("_total");
            assert_eq!(total, metric.kind == Kind::Counter, "{}", metric.name);
            assert!(!metric.help.contains('|'), "{}", metric.name);
        }
    }

    #[test]
    fn the_documentation_ends_with_the_printed_table() {
        let documentation = include_str!("../../docs/metrics.md");
        assert!(
            documentation.ends_with(&catalogue_markdown()),
            "print it into docs/metrics.md"
        );
    }

    #[test]
    fn the_printed_table_has_a_line_for_each_metric() {
        let table = catalogue_markdown();
        assert_eq!(table.lines().count(), catalogue().len() + 2);
        assert!(
            table.contains("| `bedrock_meter_refused_total` | counter | calls | tenant, reason |")
        );
    }
}
