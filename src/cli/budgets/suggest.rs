//! `bedrock-meter budgets suggest`: budgets that history suggests, as TOML.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::place::LedgerPlace;
use crate::cli::keys::When;
use crate::cli::output::printing;
use crate::cli::serve;
use crate::domain::{Clock as _, Facet, SystemClock, Timestamp};
use crate::ledger::{Group, GroupBy, Period, Span};
use crate::plan::{Basis, History, Suggestion, suggest};

/// Suggests budgets from what was spent, as lines for the configuration
///
/// For each team, application or model: a limit for a day and one for a month, each what 95 of 100
/// whole days or months (UTC) stayed below, and a margin. Comments say what they come from, and
/// where history is short. They observe at first: `budgets plan` says what they would have refused.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bedrock-meter budgets suggest --since 90d --by application > suggested.toml
  bedrock-meter budgets plan --config suggested.toml --since 90d --ledger DIR")]
pub(super) struct SuggestArgs {
    /// From when: so long ago (60d), or a date or RFC 3339
    #[arg(long, default_value = "60d")]
    since: When,
    /// Whose budgets
    #[arg(long, value_enum, default_value_t)]
    by: By,
    /// How many percent more than was spent
    #[arg(long, value_name = "PERCENT", default_value_t = 20)]
    margin: u16,
    /// The configuration that names the ledger [default: built-in defaults]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    ledger: LedgerPlace,
}

/// Whose budgets are suggested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum By {
    /// Of each tenant
    #[default]
    Tenant,
    /// Of each application of a tenant
    Application,
    /// Of each model
    Model,
}

impl By {
    const fn groups(self) -> &'static [(Facet, GroupBy)] {
        match self {
            Self::Tenant => &[(Facet::Tenant, GroupBy::Tenant)],
            Self::Application => &[
                (Facet::Tenant, GroupBy::Tenant),
                (Facet::Application, GroupBy::Application),
            ],
            Self::Model => &[(Facet::Model, GroupBy::Model)],
        }
    }
}

/// Prints the suggestions.
///
/// # Errors
/// When the ledger cannot be read.
pub(super) fn run(args: &SuggestArgs) -> anyhow::Result<ExitCode> {
    let settings = match serve::settings(args.config.as_deref()) {
        Ok(settings) => settings,
        Err(bad_configuration) => return Ok(bad_configuration),
    };
    let reader = args.ledger.open(&settings)?;
    let now = SystemClock.now();
    // Whole days: the one that --since lies in, until before today.
    let span = Span {
        from: Period::Day.containing(args.since.before(now)).from,
        to: Period::Day.containing(now).from,
    };
    anyhow::ensure!(
        span.from < span.to,
        "no whole day (UTC) since then: give an earlier --since"
    );
    let groups = args.by.groups();
    let by: Vec<GroupBy> = groups
        .iter()
        .map(|(_, by)| *by)
        .chain([GroupBy::Day])
        .collect();
    let summary = reader.summary(&by, span)?;
    let last = day_before(span.to)?;
    let histories = histories(groups, summary.groups)?;
    let suggestions = histories.into_iter();
    let suggestions = suggestions.map(|history| suggest(history, last, args.margin));
    let text = toml_text(&suggestions.collect::<Vec<_>>(), span, args.margin);
    printing(|out| {
        out.write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    })
}

fn day_before(midnight: Timestamp) -> anyhow::Result<Date> {
    let before = jiff::Timestamp::from_millisecond(midnight.unix_ms().saturating_sub(1))?;
    Ok(before.to_zoned(TimeZone::UTC).date())
}

/// A history for each who spent; what has no name (calls without a model) is left out.
fn histories(groups: &[(Facet, GroupBy)], sums: Vec<Group>) -> anyhow::Result<Vec<History>> {
    let mut found: BTreeMap<Vec<String>, History> = BTreeMap::new();
    for Group { mut key, sums } in sums {
        let day = key.pop().flatten().unwrap_or_default();
        let Some(names) = key.into_iter().collect::<Option<Vec<String>>>() else {
            continue;
        };
        let facets = groups.iter().map(|(facet, _)| *facet);
        let whose = facets.zip(names.iter().cloned()).collect();
        let history = found.entry(names).or_insert_with(|| History {
            whose,
            days: BTreeMap::new(),
            unpriced: 0,
        });
        history.unpriced = history.unpriced.saturating_add(sums.unpriced);
        history.days.insert(day.parse()?, sums.cost);
    }
    Ok(found.into_values().collect())
}

fn toml_text(suggestions: &[Suggestion], span: Span, margin: u16) -> String {
    let mut text = format!(
        "# Suggested by bedrock-meter budgets suggest from the calls admitted from {} to before {}:\n\
         # what 95 of 100 whole days or months (UTC) stayed below, and {margin} % more. They only observe:\n\
         # remove `mode` to hold them. `bedrock-meter budgets plan` says what they would have refused.\n",
        span.from, span.to
    );
    if suggestions.is_empty() {
        text.push_str("# No call was admitted in that time: nothing to suggest from.\n");
    }
    let mut names = BTreeSet::new();
    for one in suggestions {
        let whose: Vec<String> = one.whose.iter().map(|(_, name)| name.clone()).collect();
        let whose = one_line(&whose.join(" "));
        if one.unpriced > 0 {
            // Writing to a string cannot fail.
            let _ok = writeln!(
                text,
                "\n# {whose}: {} calls had no price; what they cost is not in these limits.",
                one.unpriced
            );
        }
        for (period, basis) in [("day", &one.day), ("month", &one.month)] {
            text.push('\n');
            match basis {
                Some(basis) => {
                    let name = plain_name(&whose, period, &mut names);
                    budget(&mut text, &name, &whose, &one.whose, period, basis);
                }
                None => {
                    // Writing to a string cannot fail.
                    let _ok = writeln!(
                        text,
                        "# {whose}: no whole {period} yet, so no limit for one."
                    );
                }
            }
        }
    }
    text
}

fn budget(
    text: &mut String,
    name: &str,
    whose: &str,
    facets: &[(Facet, String)],
    period: &str,
    basis: &Basis,
) {
    let Basis {
        count,
        first,
        last,
        nearly_all,
        most,
        most_on,
        limit,
        is_short,
    } = basis;
    let _ok = writeln!(
        text,
        "# {whose}: {count} whole {period}s, {first} to {last}; 95 of 100 not above ${nearly_all}, \
         the most ${most} (from {most_on})."
    );
    if *is_short {
        let _ok = writeln!(text, "# Too few {period}s to go by: suggest again later.");
    }
    let _ok = writeln!(text, "[budgets.{name}]");
    for (facet, value) in facets {
        let value = serde_json::Value::from(value.as_str());
        let _ok = writeln!(text, "{} = {value}", facet.word());
    }
    let _ok = writeln!(
        text,
        "period = \"{period}\"\nlimit_usd = \"{limit}\"\naction = \"block\"\nmode = \"observe\""
    );
}

/// A name of its own that a table can have.
fn plain_name(whose: &str, period: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let stem: String = whose.chars().map(plain).take(NAME_CHARS).collect();
    let mut name = format!("{stem}-{period}");
    let mut number = 2_u32;
    while !taken.insert(name.clone()) {
        name = format!("{stem}-{number}-{period}");
        number = number.saturating_add(1);
    }
    name
}

/// A comment ends with its line, whatever a name holds.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// With the number and the period, below the 64 of a name.
const NAME_CHARS: usize = 44;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_a_configuration_that_holds() {
        let basis = Basis {
            count: 3,
            first: "2026-11-01".parse().unwrap(),
            last: "2026-11-03".parse().unwrap(),
            nearly_all: "1.5".parse().unwrap(),
            most: "2".parse().unwrap(),
            most_on: "2026-11-02".parse().unwrap(),
            limit: "1.8".parse().unwrap(),
            is_short: true,
        };
        let of = |tenant: &str, day| Suggestion {
            whose: vec![(Facet::Tenant, tenant.to_owned())],
            day,
            month: None,
            unpriced: 2,
        };
        let suggestions = [
            of("a.b", Some(basis)),
            of("a-b", Some(basis)),
            of("c", None),
        ];
        let span = Period::Month.containing("2026-11-02".parse().unwrap());
        let text = toml_text(&suggestions, span, 20);
        let budgets = crate::config::parse(&text, &|_| None).unwrap().budgets;
        let read: Vec<_> = budgets
            .iter()
            .map(|one| (&*one.name, one.limit.to_string(), one.blocks()))
            .collect();
        let expected = [("a-b-2-day", "1.8", false), ("a-b-day", "1.8", false)];
        let expected = expected.map(|(name, limit, blocks)| (name, limit.to_owned(), blocks));
        assert_eq!(read, expected);
        assert!(text.contains("# c: no whole day yet"), "{text}");
        assert!(text.contains("Too few days"), "{text}");
        assert!(text.contains("# c: 2 calls had no price"), "{text}");
    }
}
