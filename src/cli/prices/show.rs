//! `prices show`: rates as the catalogue lists them.

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::{Format, listed_price, listed_unit};
use crate::aws::parse_model_ref;
use crate::cli::output::{Table, printing};
use crate::domain::{Region, Timestamp};
use crate::pricing::{Catalogue, Listing, Selection};

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// A model id, profile id or ARN; all models where it is left out
    model: Option<String>,
    /// Only rates of calls sent to this region
    #[arg(long)]
    region: Option<Region>,
    /// Only rates in force at this instant (RFC 3339, or a date in UTC)
    #[arg(long, value_name = "INSTANT")]
    at: Option<Timestamp>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

pub(super) fn run(catalogue: &Catalogue, args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let model = args.model.as_deref().map(parse_model_ref);
    if let Some(model) = &model
        && catalogue.model_id(model).is_none()
    {
        bail!("{}", unknown(catalogue, &model.asked));
    }
    let selection = Selection {
        model: model.as_ref(),
        region: args.region.as_ref(),
        at: args.at,
    };
    let listings: Vec<_> = catalogue.list(&selection).collect();
    printing(|out| {
        match args.format {
            Format::Table => table(&listings).write(out)?,
            Format::Json => json(&listings, out)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn unknown(catalogue: &Catalogue, asked: &str) -> String {
    let everything = Selection::default();
    let distance = |listing: &Listing<'_>| strsim::levenshtein(asked, listing.model);
    let nearest = catalogue.list(&everything).min_by_key(distance);
    let hint = nearest.map(|nearest| format!("; the nearest name is {}", nearest.model));
    format!(
        "the catalogue {} has no model {asked}{}",
        catalogue.version(),
        hint.unwrap_or_default()
    )
}

fn table(listings: &[Listing<'_>]) -> Table {
    let mut table = Table::new(&[
        "MODEL",
        "DIMENSION",
        "USD",
        "UNIT",
        "SCOPE",
        "REGION",
        "TIER",
        "OVER",
        "ENDPOINT",
        "FROM",
        "UNTIL",
        "SOURCES",
        "RATE ID",
    ]);
    for listing in listings {
        let row = Row::of(listing);
        table.push(vec![
            row.model.to_owned(),
            row.dimension.to_owned(),
            row.price_usd,
            row.unit.to_owned(),
            row.scope.to_owned(),
            row.region.to_owned(),
            row.service_tier.to_owned(),
            row.prompt_tokens_over
                .map_or_else(dash, |over| over.to_string()),
            row.endpoint.map_or_else(dash, str::to_owned),
            row.from.unwrap_or_else(dash),
            row.until.unwrap_or_else(dash),
            format!("{}: {}", row.agreement, row.sources.join(",")),
            row.rate_id.to_owned(),
        ]);
    }
    table
}

fn dash() -> String {
    "-".to_owned()
}

fn json(listings: &[Listing<'_>], out: &mut dyn Write) -> anyhow::Result<()> {
    for listing in listings {
        serde_json::to_writer(&mut *out, &Row::of(listing))?;
        writeln!(out)?;
    }
    Ok(())
}

/// One rate as it is printed.
#[derive(Serialize)]
struct Row<'a> {
    model: &'a str,
    dimension: &'a str,
    price_usd: String,
    unit: &'static str,
    scope: &'static str,
    region: &'a str,
    service_tier: &'a str,
    prompt_tokens_over: Option<u64>,
    endpoint: Option<&'static str>,
    from: Option<String>,
    until: Option<String>,
    agreement: &'static str,
    sources: Vec<&'a str>,
    rate_id: &'a str,
}

impl<'a> Row<'a> {
    fn of(listing: &'a Listing<'a>) -> Self {
        Self {
            model: listing.model,
            dimension: listing.dimension.name(),
            price_usd: listed_price(listing.dimension, listing.rate.per_unit).to_string(),
            unit: listed_unit(listing.dimension),
            scope: listing.scope.name(),
            region: listing.region,
            service_tier: listing.tier,
            prompt_tokens_over: Some(listing.over).filter(|over| *over > 0),
            endpoint: listing.endpoint.map(crate::pricing::Endpoint::name),
            from: listing.from.map(|from| from.to_string()),
            until: listing.until.map(|until| until.to_string()),
            agreement: agreement(listing),
            sources: listing.sources.iter().map(|source| &*source.name).collect(),
            rate_id: &listing.rate.id,
        }
    }
}

fn agreement(listing: &Listing<'_>) -> &'static str {
    if listing.disputed {
        "disputed"
    } else if listing.sources.len() > 1 {
        "agreed"
    } else {
        "single_source"
    }
}
