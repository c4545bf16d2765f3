//! The catalogue against an oracle that reads the source facts (`config/prices/facts.json`) and
//! follows the rules in the plainest way, with fractions and without the catalogue's code.

use std::str::FromStr;
use std::sync::LazyLock;

use bedrock_meter::aws::parse_model_ref;
use bedrock_meter::domain::{
    Charge, Dimension, Latency, Region, ServiceTier, Timestamp, Usage, Usd,
};
use bedrock_meter::pricing::{Catalogue, Endpoint, Terms};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

static FACTS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../config/prices/facts.json")).unwrap());
static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::embedded().unwrap());

fn models() -> &'static Vec<Value> {
    FACTS.get("models").and_then(Value::as_array).unwrap()
}

/// A call, in the words of the facts.
#[derive(Clone, Debug)]
struct Call {
    model: &'static Value,
    prefix: &'static str,
    region: &'static str,
    tier: &'static str,
    endpoint: &'static str,
    day: &'static str,
    usage: Vec<(&'static str, u64)>,
}

fn call() -> impl Strategy<Value = Call> {
    let prefixes = vec!["", "", "us.", "eu.", "jp.", "us-gov.", "global.", "global."];
    let regions = vec![
        "us-east-1",
        "us-east-1",
        "us-east-2",
        "eu-west-2",
        "ap-northeast-1",
        "sa-east-1",
        "us-gov-west-1",
        "cn-north-1",
    ];
    let tiers = vec![
        "standard",
        "standard",
        "standard",
        "priority",
        "flex",
        "batch",
        "ultrafast",
        "latency-optimized",
        "extended-access",
    ];
    let days = vec![
        "2025-11-30",
        "2025-12-01",
        "2026-07-29",
        "2026-07-30",
        "2026-08-21",
    ];
    let dimensions = vec![
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_5m_tokens",
        "cache_write_30m_tokens",
        "cache_write_1h_tokens",
        "web_search_request",
        "image",
    ];
    let quantity = prop_oneof![
        Just(0),
        1_u64..1_000,
        90_000_u64..300_000,
        any::<u32>().prop_map(u64::from)
    ];
    let usage = prop::collection::vec((select(dimensions), quantity), 1..4);
    let terms = (
        select(prefixes),
        select(regions),
        select(tiers),
        select(vec!["runtime", "mantle"]),
    );
    (
        select(models().iter().collect::<Vec<_>>()),
        terms,
        select(days),
        usage,
    )
        .prop_map(
            |(model, (prefix, region, tier, endpoint), day, usage)| Call {
                model,
                prefix,
                region,
                tier,
                endpoint,
                day,
                usage,
            },
        )
}

fn usage_of(call: &Call) -> Usage {
    let pairs = call.usage.iter();
    pairs
        .map(|(name, quantity)| (Dimension::from_name(name), *quantity))
        .collect()
}

fn charge(call: &Call, usage: &Usage) -> Charge {
    let id = call.model["id"].as_str().unwrap();
    let terms = Terms {
        model: &parse_model_ref(&format!("{}{id}", call.prefix)),
        region: &Region::new(call.region).unwrap(),
        tier: &ServiceTier::from_name(call.tier),
        latency: Latency::Standard,
        endpoint: Endpoint::from_name(call.endpoint).unwrap(),
        at: call.day.parse::<Timestamp>().unwrap(),
    };
    CATALOGUE.charge(&terms, usage)
}

/// The cost by the facts, in 10^-12 USD; `None` where a dimension has no rate.
fn oracle(call: &Call, usage: &Usage) -> Option<i128> {
    let model = call.model;
    let mut prompt = 0;
    for (dimension, quantity) in usage.iter() {
        if dimension.name() == "input_tokens" || dimension.name().starts_with("cache_") {
            prompt += quantity;
        }
    }
    let mut cost = 0;
    for (dimension, quantity) in usage.iter().filter(|(_, quantity)| *quantity > 0) {
        let row = row(call, model, dimension.name(), prompt)?;
        // Six decimals of a price per million are 10^-12 USD per token.
        let price = millionths(row["price_usd"].as_str().unwrap());
        let per = if row["unit"] == "per_1M" {
            1
        } else {
            1_000_000
        };
        cost += price * per * i128::from(quantity);
    }
    Some(cost)
}

fn millionths(price: &str) -> i128 {
    let (whole, fraction) = price.split_once('.').unwrap_or((price, ""));
    i128::from_str(&format!("{whole}{fraction:0<6}")).unwrap()
}

/// The one row that prices a dimension of the call.
fn row<'f>(call: &Call, model: &'f Value, dimension: &str, prompt: u64) -> Option<&'f Value> {
    let tiers = match call.tier {
        "standard" => ["extended-access", "standard"],
        "batch" => ["extended-access-batch", "batch"],
        other => [other, other],
    };
    let current = model["rates"].as_array().unwrap();
    let rows: Vec<&Value> = match model.get("superseded_rates") {
        Some(superseded) => current
            .iter()
            .chain(superseded.as_array().unwrap())
            .collect(),
        None => current.iter().collect(),
    };
    let fits: Vec<&Value> = rows
        .into_iter()
        .filter(|row| covers(call, model, row))
        .collect();
    for tier in tiers {
        let of_tier: Vec<_> = fits
            .iter()
            .filter(|row| row["service_tier"] == tier)
            .collect();
        if tier.starts_with("extended") && !of_tier.iter().any(|row| in_force(call, model, row)) {
            continue;
        }
        let over = |row: &Value| row["prompt_tokens_over"].as_u64().unwrap_or(0);
        let steps = of_tier
            .iter()
            .map(|row| over(row))
            .filter(|over| *over < prompt);
        let step = steps.max().unwrap_or(0);
        let priced = |step| {
            let mut of_step = of_tier.iter().filter(move |row| over(row) == step);
            of_step.find(|row| row["dimension"] == dimension && in_force(call, model, row))
        };
        let plain = if dimension.ends_with("_tokens") {
            None
        } else {
            priced(0)
        };
        return priced(step).or(plain).copied().copied();
    }
    None
}

fn covers(call: &Call, model: &Value, row: &Value) -> bool {
    let gov = call.region.starts_with("us-gov-");
    let global = call.prefix == "global.";
    let geography = match row["geography"].as_str().unwrap() {
        "global_profile" | "govcloud_global_profile" => global,
        "any_invocation_kind" => global || call.prefix != "us-gov." || gov,
        _ => !global && (call.prefix != "us-gov." || gov),
    };
    let region = row["regions"].as_array().unwrap().iter().any(|region| {
        region == call.region
            || (region == "us-gov" && gov)
            || (region == "*" && !gov && !call.region.starts_with("cn-"))
    });
    let mantle_only = model.get("endpoints").is_some();
    let endpoint = match row.get("endpoint") {
        Some(endpoint) => endpoint == call.endpoint,
        None => !mantle_only || call.endpoint == "mantle",
    };
    geography && region && endpoint
}

/// Days compare as texts. Batch rows of extended access begin with extended access itself.
fn in_force(call: &Call, model: &Value, row: &Value) -> bool {
    let mut from = row["effective_from"].as_str();
    if row["service_tier"] == "extended-access-batch" {
        let rates = model["rates"].as_array().unwrap();
        let extended = rates
            .iter()
            .find(|row| row["service_tier"] == "extended-access");
        from = extended.unwrap()["effective_from"].as_str();
    }
    let until = row["effective_to"].as_str();
    from.is_none_or(|from| from <= call.day) && until.is_none_or(|until| call.day < until)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_charge_is_what_the_facts_say(call in call()) {
        let usage = usage_of(&call);
        let expected = oracle(&call, &usage).map(|pico| Usd::from_femto(pico * 1_000));
        prop_assert_eq!(charge(&call, &usage).total, expected);
    }

    #[test]
    fn a_charge_never_falls_as_usage_grows(call in call(), more in 0_u64..400_000) {
        let usage = usage_of(&call);
        let (grown, quantity) = *call.usage.first().unwrap();
        let mut larger = usage.clone();
        larger.set(Dimension::from_name(grown), quantity.saturating_add(more));
        if quantity == usage.get(&Dimension::from_name(grown)).unwrap()
            && let (Some(before), Some(after)) =
                (charge(&call, &usage).total, charge(&call, &larger).total)
        {
            prop_assert!(before <= after);
        }
    }
}

/// The random calls above may miss rates: here each is charged, under its own terms.
#[test]
fn every_rate_of_the_facts_is_charged_at_its_price() {
    let mut rates = 0;
    for model in models() {
        for row in model["rates"].as_array().unwrap() {
            for region in row["regions"].as_array().unwrap() {
                check_row(model, row, region.as_str().unwrap());
                rates += 1;
            }
        }
    }
    assert!(rates > 3_000);
}

fn check_row(model: &'static Value, row: &'static Value, region: &'static str) {
    let dimension = row["dimension"].as_str().unwrap();
    let mut usage = vec![("input_tokens", 0), (dimension, 3)];
    if let Some(step) = row["prompt_tokens_over"].as_u64() {
        usage.push(("cache_read_tokens", 1));
        usage.push(("input_tokens", step));
        usage.push((dimension, step));
    }
    let geography = row["geography"].as_str().unwrap();
    let call = Call {
        model,
        prefix: if geography.contains("global") {
            "global."
        } else {
            ""
        },
        region: match region {
            "*" => "eu-central-1",
            "us-gov" => "us-gov-east-1",
            named => named,
        },
        tier: row["service_tier"].as_str().unwrap(),
        endpoint: row["endpoint"].as_str().unwrap_or("mantle"),
        day: day_of(model, row),
        usage,
    };
    let charge = charge(&call, &usage_of(&call));
    let mut lines = charge.lines.iter();
    let line = lines.find(|line| line.dimension.name() == dimension);
    let found = line.map(|line| line.rate.per_unit.femto());
    let per = if row["unit"] == "per_1M" {
        1
    } else {
        1_000_000
    };
    let expected = millionths(row["price_usd"].as_str().unwrap()) * per * 1_000;
    assert_eq!(found, Some(expected), "{row} {call:?} {charge:?}");
}

/// A day on which the row prices calls of its tier: before extended access, which would take its
/// place, where the model has it.
fn day_of(model: &Value, row: &'static Value) -> &'static str {
    if let Some(from) = row["effective_from"].as_str() {
        return from;
    }
    let has_extended = model["id"].as_str().unwrap().contains("claude-3-5-sonnet");
    match row["service_tier"].as_str().unwrap() {
        "extended-access-batch" => "2025-12-01",
        _ if has_extended => "2025-11-30",
        _ => "2026-11-01",
    }
}
