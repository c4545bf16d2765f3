//! The charge report: cost and usage by group over a span of time.
//!
//! The structs are the JSON of `report --format json` and of the admin API; money is decimal text
//! and never rounded.

use std::collections::BTreeMap;

use serde::Serialize;

use super::table::{Align, Table};
use crate::domain::{Dimension, Usd};
use crate::ledger::{Group, GroupBy, Span, Summary, Sums};

/// A report over a span of time.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The first instant inside, RFC 3339.
    pub from: String,
    /// The first instant after, RFC 3339.
    pub to: String,
    /// The groupings, in order.
    pub by: Vec<&'static str>,
    /// The groups that had a call: by day if days are asked for, the dearest first.
    pub rows: Vec<ReportRow>,
    /// All rows together.
    pub total: Amounts,
    /// What the amounts mean.
    pub basis: Basis,
}

impl Report {
    /// The report that a summary of the ledger makes.
    pub fn new(by: &[GroupBy], span: Span, summary: Summary) -> Self {
        let mut groups = summary.groups;
        sort(&mut groups, by);
        let mut total = Sums::default();
        for group in &groups {
            total.add(&group.sums);
        }
        let row = |group: Group| ReportRow {
            key: by.iter().map(|by| by.name()).zip(group.key).collect(),
            amounts: Amounts::of(&group.sums),
        };
        Self {
            from: span.from.to_string(),
            to: span.to.to_string(),
            by: by.iter().map(|by| by.name()).collect(),
            rows: groups.into_iter().map(row).collect(),
            total: Amounts::of(&total),
            basis: Basis::of(summary.catalogues),
        }
    }
}

/// One group.
#[derive(Clone, Debug, Serialize)]
pub struct ReportRow {
    /// The value of each grouping; `null` where the calls have none.
    #[serde(flatten)]
    pub key: BTreeMap<&'static str, Option<String>>,
    /// Its sums.
    #[serde(flatten)]
    pub amounts: Amounts,
}

impl ReportRow {
    /// The value of a grouping, `-` where the calls have none.
    pub(super) fn value(&self, by: &str) -> &str {
        let value = self.key.get(by).and_then(Option::as_deref);
        value.unwrap_or("-")
    }
}

/// Sums over calls.
#[derive(Clone, Debug, Serialize)]
pub struct Amounts {
    /// Settled calls.
    pub calls: u64,
    /// Those without a price: above zero, `cost_usd` is a lower bound.
    pub unpriced_calls: u64,
    /// Those whose usage is an estimate.
    pub estimated_calls: u64,
    /// Those whose usage is unknown.
    pub missing_calls: u64,
    /// Tokens by dimension.
    pub tokens: TokenSums,
    /// The part of the cost that rests on estimates.
    pub estimated_cost_usd: String,
    /// The cost of the calls that have a price; `null` when none has.
    pub cost_usd: Option<String>,
    /// The same as a number for arithmetic.
    #[serde(skip)]
    pub cost: Usd,
}

impl Amounts {
    fn of(sums: &Sums) -> Self {
        let some_priced = sums.unpriced < sums.calls || sums.calls == 0;
        Self {
            calls: sums.calls,
            unpriced_calls: sums.unpriced,
            estimated_calls: sums.estimated,
            missing_calls: sums.missing,
            tokens: TokenSums::of(sums),
            estimated_cost_usd: sums.estimated_cost.to_string(),
            cost_usd: some_priced.then(|| sums.cost.to_string()),
            cost: sums.cost,
        }
    }
}

/// Tokens by dimension, named as in ledger and catalogue.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct TokenSums(BTreeMap<String, u64>);

impl TokenSums {
    fn of(sums: &Sums) -> Self {
        let names = Sums::TOKENS.map(|dimension| dimension.name().to_owned());
        Self(names.into_iter().zip(sums.tokens).collect())
    }

    /// The tokens of a dimension.
    pub fn of_dimension(&self, dimension: &Dimension) -> u64 {
        self.0.get(dimension.name()).copied().unwrap_or(0)
    }
}

/// What the amounts of a report mean.
#[derive(Clone, Debug, Serialize)]
pub struct Basis {
    /// Which of the four amounts is shown.
    pub cost: &'static str,
    /// What it equals, as nothing overrides it.
    pub rates: &'static str,
    /// The price catalogues that charged these calls.
    pub catalogues: Vec<String>,
    /// When the amounts were last compared with the AWS bill; `null` is never.
    pub reconciled_at: Option<String>,
}

impl Basis {
    const fn of(catalogues: Vec<String>) -> Self {
        Self {
            cost: "contracted",
            rates: "list",
            catalogues,
            reconciled_at: None,
        }
    }

    fn text(&self) -> String {
        let catalogues = match self.catalogues.as_slice() {
            [] => "none".to_owned(),
            named => named.join(", "),
        };
        format!(
            "Basis: contracted cost = list prices; price catalogue {catalogues}; \
             never reconciled with the AWS bill."
        )
    }
}

/// The report as a table for people.
pub fn summary_text(report: &Report) -> String {
    let mut columns: Vec<(&str, Align)> = report.by.iter().map(|by| (*by, Align::Left)).collect();
    columns.extend(NUMBERS.map(|name| (name, Align::Right)));
    columns.push(("cost (USD)", Align::Left));
    let mut table = Table::new(&columns);
    let cost = CostColumn::over(report);
    for row in &report.rows {
        let keys = report.by.iter().map(|by| row.value(by).to_owned());
        table.row(keys.chain(cells(&row.amounts, &cost)).collect());
    }
    let label = (0..report.by.len()).map(|column| if column == 0 { "total" } else { "" });
    let label = label.map(str::to_owned);
    table.row(label.chain(cells(&report.total, &cost)).collect());
    let (from, to) = (&report.from, &report.to);
    let estimated = estimated_text(&report.total);
    let basis = report.basis.text();
    format!("{table}\nCalls admitted from {from} to before {to}.\n{estimated}\n{basis}\n")
}

/// By day where days are asked for, else the dearest first.
fn sort(groups: &mut [Group], by: &[GroupBy]) {
    groups.sort_by(|a, b| a.key.cmp(&b.key));
    if !by.contains(&GroupBy::Day) {
        groups.sort_by_key(|group| std::cmp::Reverse(group.sums.cost));
    } else if let Some(day) = by.iter().position(|by| *by == GroupBy::Day) {
        groups.sort_by(|a, b| a.key.get(day).cmp(&b.key.get(day)));
    }
}

fn cells(amounts: &Amounts, cost: &CostColumn) -> Vec<String> {
    let tokens = |dimension| amounts.tokens.of_dimension(&dimension);
    let cache_writes = tokens(Dimension::CacheWrite5mTokens)
        .saturating_add(tokens(Dimension::CacheWrite30mTokens))
        .saturating_add(tokens(Dimension::CacheWrite1hTokens));
    vec![
        amounts.calls.to_string(),
        tokens(Dimension::InputTokens).to_string(),
        tokens(Dimension::OutputTokens).to_string(),
        tokens(Dimension::CacheReadTokens).to_string(),
        cache_writes.to_string(),
        amounts.estimated_calls.to_string(),
        cost.cell(amounts),
    ]
}

/// The cost column: all amounts with as many decimals as the finest needs, so that points stand
/// under points and nothing is rounded.
struct CostColumn {
    decimals: usize,
    width: usize,
}

impl CostColumn {
    fn over(report: &Report) -> Self {
        let costs = || {
            report
                .rows
                .iter()
                .map(|row| &row.amounts)
                .chain([&report.total])
        };
        let decimals = costs().map(|amounts| decimals(amounts.cost)).max();
        let mut column = Self {
            decimals: decimals.unwrap_or(0).max(2),
            width: 0,
        };
        let widths = costs().map(|amounts| column.amount(amounts).len());
        column.width = widths.max().unwrap_or(0);
        column
    }

    fn cell(&self, amounts: &Amounts) -> String {
        let amount = self.amount(amounts);
        let unpriced = match amounts.unpriced_calls {
            0 => String::new(),
            1 => " (1 call unpriced)".to_owned(),
            calls => format!(" ({calls} calls unpriced)"),
        };
        format!("{amount:>width$}{unpriced}", width = self.width)
    }

    fn amount(&self, amounts: &Amounts) -> String {
        let bound = if amounts.unpriced_calls > 0 {
            ">= "
        } else {
            ""
        };
        format!("{bound}${}", with_decimals(amounts.cost, self.decimals))
    }
}

fn decimals(amount: Usd) -> usize {
    let text = amount.to_string();
    text.split_once('.')
        .map_or(0, |(_, fraction)| fraction.len())
}

fn with_decimals(amount: Usd, decimals: usize) -> String {
    let text = amount.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}.{fraction:0<decimals$}")
}

fn estimated_text(total: &Amounts) -> String {
    format!(
        "Of {} calls, {} rest on estimated usage (${} of the cost) and {} on unknown usage.",
        total.calls, total.estimated_calls, total.estimated_cost_usd, total.missing_calls
    )
}

const NUMBERS: [&str; 6] = [
    "calls",
    "input",
    "output",
    "cache read",
    "cache write",
    "estimated",
];

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn group(tenant: &str, model: Option<&str>, femto: i128, unpriced: u64) -> Group {
        Group {
            key: vec![Some(tenant.to_owned()), model.map(str::to_owned)],
            sums: Sums {
                calls: 3,
                unpriced,
                estimated: 1,
                missing: 0,
                cost: Usd::from_femto(femto),
                estimated_cost: Usd::from_femto(500_000_000_000_000),
                tokens: [100, 20, 3, 4, 5, 6],
            },
        }
    }

    pub(in crate::report) fn report() -> Report {
        let groups = vec![
            group("chat", Some("nova"), 1_500_000_000_000_000, 0),
            group("search", None, 12_000_300_000_000_000, 2),
        ];
        let span = Span {
            from: "2026-11-01".parse().unwrap(),
            to: "2026-12-01".parse().unwrap(),
        };
        let catalogues = vec!["2026-10-30".to_owned()];
        let summary = Summary { groups, catalogues };
        Report::new(&[GroupBy::Tenant, GroupBy::Model], span, summary)
    }

    #[test]
    fn the_table_shows_bounds_totals_and_basis() {
        let expected = "\
tenant  model  calls  input  output  cache read  cache write  estimated  cost (USD)
search  -          3    100      20           3           15          1  >= $12.0003 (2 calls unpriced)
chat    nova       3    100      20           3           15          1      $1.5000
total              6    200      40           6           30          2  >= $13.5003 (2 calls unpriced)

Calls admitted from 2026-11-01T00:00:00.000Z to before 2026-12-01T00:00:00.000Z.
Of 6 calls, 2 rest on estimated usage ($1 of the cost) and 0 on unknown usage.
Basis: contracted cost = list prices; price catalogue 2026-10-30; never reconciled with the AWS bill.
";
        assert_eq!(summary_text(&report()), expected);
    }

    #[test]
    fn json_rows_hold_groups_and_exact_decimals() {
        let json = serde_json::to_value(report()).unwrap();
        let row = &json["rows"][0];
        assert_eq!(row["tenant"], "search");
        assert_eq!(row["model"], serde_json::Value::Null);
        assert_eq!(row["cost_usd"], "12.0003");
        assert_eq!(row["unpriced_calls"], 2);
        assert_eq!(row["tokens"]["cache_write_1h_tokens"], 6);
        assert_eq!(json["total"]["cost_usd"], "13.5003");
        assert_eq!(json["basis"]["reconciled_at"], serde_json::Value::Null);
    }

    #[test]
    fn a_group_without_any_price_has_no_cost_rather_than_zero() {
        let amounts = Amounts::of(&group("a", None, 0, 3).sums);
        assert_eq!(amounts.cost_usd, None);
        assert_eq!(Amounts::of(&Sums::default()).cost_usd.as_deref(), Some("0"));
    }

    #[test]
    fn days_come_in_order_and_other_groups_by_cost() {
        let day = |day: &str, femto| {
            let mut group = group("t", None, femto, 0);
            group.key = vec![Some(day.to_owned())];
            group
        };
        let mut groups = vec![
            day("2026-11-02", 1),
            day("2026-11-01", 2),
            day("2026-11-03", 3),
        ];
        let keys = |groups: &[Group]| -> Vec<String> {
            let keys = groups.iter().map(|group| group.key[0].clone().unwrap());
            keys.collect()
        };
        sort(&mut groups, &[GroupBy::Day]);
        assert_eq!(keys(&groups), ["2026-11-01", "2026-11-02", "2026-11-03"]);
        sort(&mut groups, &[GroupBy::Tenant]);
        assert_eq!(keys(&groups), ["2026-11-03", "2026-11-01", "2026-11-02"]);
    }
}
