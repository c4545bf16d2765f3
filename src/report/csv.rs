//! A report as CSV (RFC 4180): one line per group, and no line for the total, so that a
//! spreadsheet which sums the column counts nothing twice.

use super::summary::Report;
use crate::ledger::Sums;

/// The report as CSV, a header first.
pub fn summary_csv(report: &Report) -> String {
    let mut out = String::new();
    let tokens = Sums::TOKENS;
    let tokens = tokens.iter().map(crate::domain::Dimension::name);
    line(
        report
            .by
            .iter()
            .copied()
            .chain(COUNTS)
            .chain(tokens)
            .chain(MONEY),
        &mut out,
    );
    for row in &report.rows {
        let keys = report.by.iter().map(|by| {
            let value = row.key.get(by).and_then(Option::as_deref);
            value.unwrap_or_default().to_owned()
        });
        let amounts = &row.amounts;
        let counts = [
            amounts.calls,
            amounts.unpriced_calls,
            amounts.estimated_calls,
            amounts.missing_calls,
        ];
        let tokens = Sums::TOKENS.map(|dimension| amounts.tokens.of_dimension(&dimension));
        let numbers = counts.into_iter().chain(tokens).map(|n| n.to_string());
        let money = [
            amounts.estimated_cost_usd.clone(),
            amounts.cost_usd.clone().unwrap_or_default(),
        ];
        line(keys.chain(numbers).chain(money), &mut out);
    }
    out
}

/// One line of CSV, with its end.
pub fn csv_line(cells: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut out = String::new();
    line(cells.into_iter(), &mut out);
    out
}

fn line(cells: impl Iterator<Item = impl AsRef<str>>, out: &mut String) {
    let cells: Vec<String> = cells.map(|cell| quoted(cell.as_ref())).collect();
    out.push_str(&cells.join(","));
    out.push_str("\r\n");
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

const COUNTS: [&str; 4] = [
    "calls",
    "unpriced_calls",
    "estimated_calls",
    "missing_calls",
];
const MONEY: [&str; 2] = ["estimated_cost_usd", "cost_usd"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::summary::tests::report;

    #[test]
    fn each_group_is_a_line_and_the_total_is_none() {
        let expected = "tenant,model,calls,unpriced_calls,estimated_calls,missing_calls,\
            input_tokens,output_tokens,cache_read_tokens,cache_write_5m_tokens,\
            cache_write_30m_tokens,cache_write_1h_tokens,estimated_cost_usd,cost_usd\r\n\
            search,,3,2,1,0,100,20,3,4,5,6,0.5,12.0003\r\n\
            chat,nova,3,0,1,0,100,20,3,4,5,6,0.5,1.5\r\n";
        assert_eq!(summary_csv(&report()), expected);
    }

    #[test]
    fn cells_with_commas_and_quotes_are_quoted() {
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("plain"), "plain");
    }
}
