//! `prices quote`: what usage costs, one call from arguments or many from standard input.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Deserialize as DeserializeMembers, Serialize};

use super::{Format, listed_price, listed_unit};
use crate::aws::parse_model_ref;
use crate::cli::output::{Table, printing};
use crate::domain::{
    Charge, ChargeLine, Clock as _, Dimension, Latency, Region, ServiceTier, SystemClock,
    Timestamp, Usage,
};
use crate::pricing::{Catalogue, Endpoint, Terms};

pub(super) const EXAMPLES: &str = r#"Examples:
  bedrock-meter prices quote us.amazon.nova-lite-v1:0 --region us-east-1 --input-tokens 1200 --output-tokens 80
  echo '{"model_id":"amazon.nova-lite-v1:0","region":"us-east-1","usage":{"input_tokens":1200}}' | bedrock-meter prices quote --stdin"#;

#[derive(Debug, Args)]
pub(super) struct QuoteArgs {
    /// JSON lines in, JSON lines out, in order; a line that cannot be read gives status "error",
    /// and the exit code is 1 at the end
    #[arg(long, conflicts_with = "model")]
    stdin: bool,
    /// A model id, profile id or ARN
    #[arg(required_unless_present = "stdin")]
    model: Option<String>,
    /// The region that the request is sent to
    #[arg(long, required_unless_present = "stdin")]
    region: Option<String>,
    /// The service tier that was served, as in the catalogue
    #[arg(long)]
    tier: Option<String>,
    /// The latency mode that was served: standard or optimized
    #[arg(long)]
    latency: Option<String>,
    /// runtime or mantle
    #[arg(long)]
    endpoint: Option<String>,
    /// The instant of the call (RFC 3339, or a date in UTC); now where it is left out
    #[arg(long, value_name = "INSTANT")]
    at: Option<String>,
    /// Tokens neither read from nor written to a cache
    #[arg(long, value_name = "N")]
    input_tokens: Option<u64>,
    /// Generated tokens
    #[arg(long, value_name = "N")]
    output_tokens: Option<u64>,
    /// Tokens read from a cache
    #[arg(long, value_name = "N")]
    cache_read_tokens: Option<u64>,
    /// Tokens written to a cache for five minutes
    #[arg(long, value_name = "N")]
    cache_write_5m_tokens: Option<u64>,
    /// Tokens written to a cache for thirty minutes
    #[arg(long, value_name = "N")]
    cache_write_30m_tokens: Option<u64>,
    /// Tokens written to a cache for one hour
    #[arg(long, value_name = "N")]
    cache_write_1h_tokens: Option<u64>,
    /// Any other dimension of the catalogue, such as `search_unit=3`; may be repeated
    #[arg(long, value_name = "DIMENSION=N", value_parser = read_quantity)]
    quantity: Vec<(String, u64)>,
    /// How to print
    #[arg(long, value_enum, default_value = "table", conflicts_with = "stdin")]
    format: Format,
}

fn read_quantity(text: &str) -> Result<(String, u64), String> {
    let (dimension, number) = text.rsplit_once('=').ok_or("expected DIMENSION=N")?;
    let number = number
        .parse()
        .map_err(|cause| format!("{number}: {cause}"))?;
    Ok((dimension.to_owned(), number))
}

pub(super) fn run(catalogue: &Catalogue, args: QuoteArgs) -> anyhow::Result<ExitCode> {
    let now = SystemClock.now();
    if args.stdin {
        return printing(|out| bulk(catalogue, now, &mut io::stdin().lock(), out));
    }
    let format = args.format;
    let quote = price(catalogue, now, &Asked::from(args))?;
    printing(|out| {
        match format {
            Format::Table => quote.print(out)?,
            Format::Json => quote.write(out)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// One line out for each line in, in order.
fn bulk(
    catalogue: &Catalogue,
    now: Timestamp,
    lines: &mut dyn BufRead,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut line = Vec::new();
    while lines
        .read_until(b'\n', &mut line)
        .context("read standard input")?
        > 0
    {
        match read_and_price(catalogue, now, &line) {
            Ok(quote) => quote.write(out)?,
            Err(cause) => {
                write_error(&cause, out)?;
                code = ExitCode::FAILURE;
            }
        }
        line.clear();
    }
    Ok(code)
}

fn read_and_price(catalogue: &Catalogue, now: Timestamp, line: &[u8]) -> anyhow::Result<Quote> {
    let asked = serde_json::from_slice(line).context("read the line")?;
    price(catalogue, now, &asked)
}

fn write_error(cause: &anyhow::Error, out: &mut dyn Write) -> anyhow::Result<()> {
    let error = serde_json::json!({ "status": "error", "error": format!("{cause:#}") });
    writeln!(out, "{error}")?;
    Ok(())
}

/// What is to be priced. Members of other names are left alone: lines may carry their own keys.
#[derive(DeserializeMembers)]
struct Asked<'a> {
    #[serde(borrow)]
    model_id: Cow<'a, str>,
    #[serde(borrow)]
    region: Cow<'a, str>,
    #[serde(borrow)]
    service_tier: Option<Cow<'a, str>>,
    #[serde(borrow)]
    served_tier: Option<Cow<'a, str>>,
    #[serde(borrow)]
    latency: Option<Cow<'a, str>>,
    #[serde(borrow)]
    endpoint: Option<Cow<'a, str>>,
    #[serde(borrow)]
    invoked_model_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    at: Option<Cow<'a, str>>,
    usage: Quantities,
}

impl From<QuoteArgs> for Asked<'_> {
    fn from(args: QuoteArgs) -> Self {
        let mut usage = Usage::none();
        usage.set_reported(Dimension::InputTokens, args.input_tokens);
        usage.set_reported(Dimension::OutputTokens, args.output_tokens);
        usage.set_reported(Dimension::CacheReadTokens, args.cache_read_tokens);
        usage.set_reported(Dimension::CacheWrite5mTokens, args.cache_write_5m_tokens);
        usage.set_reported(Dimension::CacheWrite30mTokens, args.cache_write_30m_tokens);
        usage.set_reported(Dimension::CacheWrite1hTokens, args.cache_write_1h_tokens);
        for (dimension, quantity) in &args.quantity {
            usage.set(Dimension::from_name(dimension), *quantity);
        }
        Self {
            model_id: args.model.unwrap_or_default().into(),
            region: args.region.unwrap_or_default().into(),
            service_tier: args.tier.map(Cow::Owned),
            served_tier: None,
            latency: args.latency.map(Cow::Owned),
            endpoint: args.endpoint.map(Cow::Owned),
            invoked_model_id: None,
            at: args.at.map(Cow::Owned),
            usage: Quantities(usage),
        }
    }
}

/// Usage as a JSON object: dimension to count, in the order written.
struct Quantities(Usage);

impl<'de> Deserialize<'de> for Quantities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(QuantitiesVisitor)
    }
}

struct QuantitiesVisitor;

impl<'de> Visitor<'de> for QuantitiesVisitor {
    type Value = Quantities;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of dimensions and whole numbers, such as {\"input_tokens\": 12}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Quantities, A::Error> {
        let mut usage = Usage::none();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            usage.set_reported(Dimension::from_name(&name), map.next_value()?);
        }
        Ok(Quantities(usage))
    }
}

fn price(catalogue: &Catalogue, now: Timestamp, asked: &Asked<'_>) -> anyhow::Result<Quote> {
    let invoked = asked.invoked_model_id.as_ref();
    let model = parse_model_ref(invoked.unwrap_or(&asked.model_id));
    let region: Region = asked.region.parse().context("region")?;
    let tier = asked.served_tier.as_ref().or(asked.service_tier.as_ref());
    let tier = tier.map_or(ServiceTier::Standard, |name| ServiceTier::from_name(name));
    let terms = Terms {
        model: &model,
        region: &region,
        tier: &tier,
        latency: latency(asked.latency.as_deref())?,
        endpoint: endpoint(asked.endpoint.as_deref())?,
        at: instant(asked.at.as_deref(), now)?,
    };
    let resolved = catalogue.model_id(&model).or(model.base.as_ref());
    Ok(Quote {
        resolved_model: resolved.map(ToString::to_string),
        charge: catalogue.charge(&terms, &asked.usage.0),
    })
}

fn latency(name: Option<&str>) -> anyhow::Result<Latency> {
    match name {
        None | Some("standard") => Ok(Latency::Standard),
        Some("optimized") => Ok(Latency::Optimized),
        Some(other) => Err(anyhow!("latency {other}: expected standard or optimized")),
    }
}

fn endpoint(name: Option<&str>) -> anyhow::Result<Endpoint> {
    let Some(name) = name else {
        return Ok(Endpoint::Runtime);
    };
    let plain = name.strip_prefix("bedrock-").unwrap_or(name);
    Endpoint::from_name(plain).ok_or_else(|| anyhow!("endpoint {name}: expected runtime or mantle"))
}

fn instant(text: Option<&str>, now: Timestamp) -> anyhow::Result<Timestamp> {
    match text {
        Some(text) => text.parse().with_context(|| format!("at {text}")),
        None => Ok(now),
    }
}

/// The answer for one call.
struct Quote {
    resolved_model: Option<String>,
    charge: Charge,
}

#[derive(Serialize)]
struct QuoteJson<'a> {
    status: &'static str,
    cost_usd: Option<String>,
    resolved_model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    lines: Vec<LineJson<'a>>,
}

#[derive(Serialize)]
struct LineJson<'a> {
    dimension: &'a str,
    quantity: u64,
    price_usd: String,
    unit: &'static str,
    rate_id: &'a str,
}

impl<'a> LineJson<'a> {
    fn of(line: &'a ChargeLine) -> Self {
        Self {
            dimension: line.dimension.name(),
            quantity: line.quantity,
            price_usd: listed_price(&line.dimension, line.rate.per_unit).to_string(),
            unit: listed_unit(&line.dimension),
            rate_id: &line.rate.id,
        }
    }
}

impl Quote {
    fn write(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let status = &self.charge.status;
        let json = QuoteJson {
            status: status.name(),
            cost_usd: self.charge.total.map(|total| total.to_string()),
            resolved_model: self.resolved_model.as_deref(),
            reason: status.reason().map(crate::domain::UnpricedReason::name),
            lines: self.charge.lines.iter().map(LineJson::of).collect(),
        };
        serde_json::to_writer(&mut *out, &json)?;
        writeln!(out)?;
        Ok(())
    }

    fn print(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut table = Table::new(&["DIMENSION", "QUANTITY", "USD", "UNIT", "AMOUNT", "RATE ID"]);
        for line in &self.charge.lines {
            let listed = LineJson::of(line);
            table.push(vec![
                listed.dimension.to_owned(),
                listed.quantity.to_string(),
                listed.price_usd,
                listed.unit.to_owned(),
                line.amount.to_string(),
                listed.rate_id.to_owned(),
            ]);
        }
        table.write(out)?;
        let reason = self.charge.status.reason();
        let reason = reason
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        let total = self
            .charge
            .total
            .map(|total| format!(", USD {total}"))
            .unwrap_or_default();
        writeln!(out, "{}{reason}{total}", self.charge.status.name())?;
        Ok(())
    }
}
