//! One call in full, for people: who, what, how it ended, what was used and where that was read,
//! and quantity x price = amount for each line of its charge. Programs take [`StoredCall`] itself.

use crate::ledger::{StoredAnswer, StoredCall, StoredCharge, StoredRequest, StoredUsage};

use super::table::{Align, Table};
use crate::pricing::{Catalogue, Listing, Selection};

/// The call as text.
pub fn explain_text(call: &StoredCall) -> String {
    let caller = &call.caller;
    let mut facts = Facts::default();
    facts.add("call", &call.call_id);
    facts.add("admitted", &call.opened_at.to_string());
    facts.add("settled", &call.settled_at.to_string());
    facts.add("tenant", &caller.tenant);
    facts.add("application", &caller.application);
    facts.add_some("user", caller.user.as_deref());
    facts.add_some("session", caller.session.as_deref());
    facts.add_some("key", caller.key.as_deref());
    request(&call.request, &mut facts);
    answer(&call.answer, &mut facts);
    usage(call, &mut facts);
    facts.add("price", &price(&call.charge));
    if let Some(held) = call.charge.reserved_usd {
        facts.add("budgets", &format!("held ${held} before the call"));
    }
    let sum = match (call.charge.cost_usd, call.charge.reason.as_deref()) {
        (Some(cost), _) => format!("cost: ${cost}"),
        (None, reason) => format!("cost: unknown ({})", reason.unwrap_or("unpriced")),
    };
    format!("{}\n{}{sum}\n", facts.0, lines(call))
}

/// Lines of a name and a value.
#[derive(Default)]
struct Facts(String);

impl Facts {
    fn add(&mut self, name: &str, value: &str) {
        self.0.extend([&format!("{name:<12} "), value, "\n"]);
    }

    fn add_some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

fn request(request: &StoredRequest, facts: &mut Facts) {
    let StoredRequest {
        operation,
        region,
        bytes,
        ..
    } = request;
    facts.add(
        "request",
        &format!("{operation} in {region}, {bytes} bytes"),
    );
    if let Some(asked) = &request.model_asked {
        facts.add("model", asked);
        let base = request.base_model.as_deref().unwrap_or("unresolved");
        let geography = request.geography.as_deref().unwrap_or("-");
        facts.add("", &format!("base model {base}, geography {geography}"));
    }
    facts.add_some("downgraded", request.downgraded_from.as_deref());
    if let Some(id) = &request.sdk_invocation_id {
        let attempt = request
            .sdk_attempt
            .map_or_else(|| "?".to_owned(), |n| n.to_string());
        facts.add("sdk call", &format!("{id}, attempt {attempt}"));
    }
}

fn answer(answer: &StoredAnswer, facts: &mut Facts) {
    let status = answer
        .status
        .map_or_else(|| "no status".to_owned(), |code| format!("HTTP {code}"));
    let class = answer.error_class.as_deref();
    let class = class.map_or(String::new(), |class| format!(" {class}"));
    let (outcome, bytes) = (&answer.outcome, answer.bytes);
    facts.add(
        "answer",
        &format!("{outcome}, {status}{class}, {bytes} bytes"),
    );
    facts.add_some("aws request", answer.aws_request_id.as_deref());
    let first = answer.first_byte_ms;
    let first = first.map_or(String::new(), |ms| format!("first byte after {ms} ms, "));
    facts.add("time", &format!("{first}{} ms in all", answer.duration_ms));
}

fn usage(call: &StoredCall, facts: &mut Facts) {
    let usage = &call.usage;
    let reason = usage.reason.as_deref();
    let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
    let place = match usage.read_from.as_str() {
        "" => String::new(),
        place => format!(", read from {place}"),
    };
    facts.add("usage", &format!("{}{reason}{place}", usage.source));
    if usage.disagreement {
        facts.add(
            "",
            "two places of the answer disagreed; the more trusted one was kept",
        );
    }
    for (dimension, quantity) in &usage.quantities {
        facts.add("", &format!("{dimension} {quantity}"));
    }
    facts.add("tier", &tier(call.request.tier_asked.as_deref(), usage));
    facts.add_some("invoked", usage.invoked_model.as_deref());
}

fn tier(asked: Option<&str>, usage: &StoredUsage) -> String {
    let asked = asked.unwrap_or("none");
    let served = usage.tier_served.as_deref().unwrap_or("not said");
    let latency = usage.latency_served.as_deref().unwrap_or("not said");
    format!("asked {asked}, served {served}, latency served {latency}")
}

fn price(charge: &StoredCharge) -> String {
    let reason = charge.reason.as_deref();
    let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
    format!(
        "{}{reason}, price catalogue {}",
        charge.status, charge.catalogue
    )
}

fn lines(call: &StoredCall) -> String {
    if call.charge.lines.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("dimension", Align::Left),
        ("quantity", Align::Right),
        ("", Align::Left),
        ("USD per unit", Align::Right),
        ("", Align::Left),
        ("amount (USD)", Align::Right),
        ("rate", Align::Left),
    ]);
    for line in &call.charge.lines {
        table.row(vec![
            line.dimension.clone(),
            line.quantity.to_string(),
            "x".to_owned(),
            line.price_usd.to_string(),
            "=".to_owned(),
            line.amount_usd.to_string(),
            line.rate_id.clone(),
        ]);
    }
    table.to_string()
}

/// Where each rate of the call stands in a catalogue: its sources with their dates, and since when
/// it is in force. A rate that this catalogue no longer lists says so.
pub fn explain_sources(call: &StoredCall, catalogue: &Catalogue) -> String {
    let mut text = String::new();
    for line in &call.charge.lines {
        let mut listings = catalogue.list(&ALL_RATES);
        let listing = listings.find(|listing| *listing.rate.id == *line.rate_id);
        let said = listing.map_or_else(
            || format!("not in the catalogue {}", catalogue.version()),
            |listing| origin(&listing),
        );
        text.extend(["source       ", &line.rate_id, ": ", &said, "\n"]);
    }
    text
}

fn origin(listing: &Listing<'_>) -> String {
    let sources = listing.sources.iter();
    let sources: Vec<String> = sources
        .map(|source| format!("{} ({})", source.name, source.as_of))
        .collect();
    let from = listing
        .from
        .map_or_else(String::new, |from| format!(", in force from {from}"));
    let disputed = if listing.disputed {
        ", sources disagree"
    } else {
        ""
    };
    format!("{}{from}{disputed}", sources.join(", "))
}

const ALL_RATES: Selection<'static> = Selection {
    model: None,
    region: None,
    at: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Usd;
    use crate::ledger::{StoredCaller, StoredChargeLine};

    #[test]
    fn a_rate_is_traced_to_its_dated_sources() {
        let catalogue = Catalogue::embedded().unwrap();
        let all = Selection::default();
        let known = catalogue
            .list(&all)
            .find(|rate| !rate.sources.is_empty())
            .unwrap();
        let mut call = call();
        call.charge.lines[0].rate_id = known.rate.id.to_string();
        let text = explain_sources(&call, &catalogue);
        let source = known.sources[0];
        assert!(
            text.contains(&format!("{} ({})", source.name, source.as_of)),
            "{text}"
        );
        assert!(text.contains("opus.us: not in the catalogue"), "{text}");
    }

    fn call() -> StoredCall {
        let line = |dimension: &str, quantity, price: &str, amount: &str| StoredChargeLine {
            dimension: dimension.into(),
            quantity,
            price_usd: price.parse().unwrap(),
            rate_id: "opus.us".into(),
            amount_usd: amount.parse().unwrap(),
        };
        StoredCall {
            call_id: "019a".into(),
            opened_at: "2026-11-21T22:26:40.123Z".parse().unwrap(),
            settled_at: "2026-11-21T22:26:41.456Z".parse().unwrap(),
            caller: StoredCaller {
                tenant: "search".into(),
                application: "indexer".into(),
                user: None,
                session: Some("run-7".into()),
                key: Some("BMAK0123456789ABCDEF".into()),
            },
            request: StoredRequest {
                operation: "Converse".into(),
                model_asked: Some("us.anthropic.claude-opus-5-5".into()),
                model: Some("us.anthropic.claude-opus-5-5".into()),
                base_model: Some("anthropic.claude-opus-5-5".into()),
                geography: Some("us".into()),
                region: "us-east-1".into(),
                tier_asked: Some("priority".into()),
                bytes: 800,
                sdk_invocation_id: Some("0f1e".into()),
                sdk_attempt: Some(2),
                downgraded_from: None,
            },
            answer: StoredAnswer {
                outcome: "success".into(),
                status: Some(200),
                error_class: None,
                aws_request_id: Some("aws-1".into()),
                bytes: 900,
                first_byte_ms: Some(40),
                duration_ms: 1333,
            },
            usage: StoredUsage {
                source: "reported".into(),
                reason: None,
                read_from: "body".into(),
                disagreement: false,
                tier_served: Some("standard".into()),
                latency_served: None,
                invoked_model: None,
                quantities: [("input_tokens".into(), 1200), ("output_tokens".into(), 34)].into(),
            },
            charge: StoredCharge {
                status: "priced".into(),
                reason: None,
                catalogue: "2026-10-30".into(),
                lines: vec![
                    line("input_tokens", 1200, "0.000003", "0.0036"),
                    line("output_tokens", 34, "0.000015", "0.00051"),
                ],
                cost_usd: Some("0.00411".parse::<Usd>().unwrap()),
                reserved_usd: Some("0.0125".parse::<Usd>().unwrap()),
            },
        }
    }

    #[test]
    fn a_priced_call_shows_the_whole_sum() {
        let expected = "\
call         019a
admitted     2026-11-21T22:26:40.123Z
settled      2026-11-21T22:26:41.456Z
tenant       search
application  indexer
session      run-7
key          BMAK0123456789ABCDEF
request      Converse in us-east-1, 800 bytes
model        us.anthropic.claude-opus-5-5
             base model anthropic.claude-opus-5-5, geography us
sdk call     0f1e, attempt 2
answer       success, HTTP 200, 900 bytes
aws request  aws-1
time         first byte after 40 ms, 1333 ms in all
usage        reported, read from body
             input_tokens 1200
             output_tokens 34
tier         asked priority, served standard, latency served not said
price        priced, price catalogue 2026-10-30
budgets      held $0.0125 before the call

dimension      quantity     USD per unit     amount (USD)  rate
input_tokens       1200  x      0.000003  =        0.0036  opus.us
output_tokens        34  x      0.000015  =       0.00051  opus.us
cost: $0.00411
";
        assert_eq!(explain_text(&call()), expected);
    }

    #[test]
    fn an_unpriced_call_says_why_instead_of_zero() {
        let mut call = call();
        call.usage.source = "estimated".into();
        call.usage.reason = Some("cut_short".into());
        call.usage.read_from = String::new();
        call.charge.status = "unpriced".into();
        call.charge.reason = Some("unknown_model".into());
        call.charge.lines.clear();
        call.charge.cost_usd = None;
        let text = explain_text(&call);
        let check = |line: &str| assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        check("usage        estimated (cut_short)");
        check("price        unpriced (unknown_model), price catalogue 2026-10-30");
        check("cost: unknown (unknown_model)");
    }
}
