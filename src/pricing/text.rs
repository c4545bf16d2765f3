//! The catalogue as text: one line per rate sheet (`config/prices/README.md` has the format).
//!
//! Reads strictly: a word it does not know is an error, never skipped.

use std::collections::HashMap;
use std::str::SplitAsciiWhitespace;
use std::sync::Arc;

use super::PricingError;
use super::catalogue::{Catalogue, Model};
use super::listing::Source;
use super::sheet::{Endpoint, Place, PricedRegion, Scope, Sheet, SheetRate};
use crate::domain::{Dimension, Rate, Timestamp, Usd};

/// Reads a whole catalogue.
pub(super) fn read(text: &str) -> Result<Catalogue, PricingError> {
    let mut catalogue = Catalogue {
        version: "".into(),
        models: Vec::new(),
        names: HashMap::new(),
        regions: HashMap::new(),
        tiers: Vec::new(),
        sources: Vec::new(),
        substitutes: HashMap::new(),
    };
    for (index, line) in text.lines().enumerate() {
        read_line(&mut catalogue, line).map_err(|why| PricingError::Malformed {
            line: index.saturating_add(1),
            why,
        })?;
    }
    if catalogue.version.is_empty() || catalogue.models.is_empty() {
        return Err(PricingError::Malformed {
            line: 1,
            why: "not a price catalogue: no version or no model".to_owned(),
        });
    }
    Ok(catalogue)
}

fn read_line(catalogue: &mut Catalogue, line: &str) -> Result<(), String> {
    if line.starts_with('#') || line.is_empty() {
        return Ok(());
    }
    let mut words = line.split_ascii_whitespace();
    if line.starts_with(' ') {
        return read_sheet(catalogue, words);
    }
    match words.next() {
        Some("catalogue") => read_version(catalogue, words),
        Some("regions") => words.try_for_each(|name| add_commercial_region(catalogue, name)),
        Some("source") => read_source(catalogue, words),
        Some("model") => read_model(catalogue, words),
        Some(other) => Err(format!("unknown line {other}")),
        None => Ok(()),
    }
}

fn read_version(
    catalogue: &mut Catalogue,
    mut words: SplitAsciiWhitespace<'_>,
) -> Result<(), String> {
    if words.next() != Some("1") {
        return Err("this program reads catalogues of format 1".to_owned());
    }
    catalogue.version = words.next().ok_or("no version")?.into();
    Ok(())
}

fn add_commercial_region(catalogue: &mut Catalogue, name: &str) -> Result<(), String> {
    let region = PricedRegion {
        number: catalogue.regions.len(),
        commercial: true,
    };
    match catalogue.regions.insert(name.into(), region) {
        Some(_twice) => Err(format!("region {name} is named twice")),
        None => Ok(()),
    }
}

fn read_source(
    catalogue: &mut Catalogue,
    mut words: SplitAsciiWhitespace<'_>,
) -> Result<(), String> {
    let (Some(letter), Some(name), Some(as_of)) = (words.next(), words.next(), words.next()) else {
        return Err("a source is a letter, a name and a date".to_owned());
    };
    if source_bit(letter)? != catalogue.sources.len() {
        return Err(format!("source {letter} is out of order"));
    }
    catalogue.sources.push(Source {
        name: name.into(),
        as_of: as_of.into(),
    });
    Ok(())
}

/// The number of a source: `a` is 0.
fn source_bit(letter: &str) -> Result<usize, String> {
    let alphabet = "abcdefghijklmnopqrstuvwxyz";
    match alphabet.find(letter) {
        Some(position) if letter.len() == 1 => Ok(position),
        Some(_) | None => Err(format!("{letter} is not the letter of a source")),
    }
}

fn read_model(
    catalogue: &mut Catalogue,
    mut words: SplitAsciiWhitespace<'_>,
) -> Result<(), String> {
    let id: Arc<str> = words.next().ok_or("a model has an id")?.into();
    let number = catalogue.models.len();
    name_model(catalogue, &id, number)?;
    for word in words {
        let alias = word.strip_prefix("alias=");
        let alias = alias.ok_or_else(|| format!("unknown word {word}"))?;
        name_model(catalogue, &alias.into(), number)?;
    }
    catalogue.models.push(Model {
        id,
        sheets: Vec::new(),
    });
    Ok(())
}

fn name_model(catalogue: &mut Catalogue, name: &Arc<str>, number: usize) -> Result<(), String> {
    match catalogue.names.insert(Arc::clone(name), number) {
        Some(_other) => Err(format!("two models are called {name}")),
        None => Ok(()),
    }
}

fn read_sheet(
    catalogue: &mut Catalogue,
    mut words: SplitAsciiWhitespace<'_>,
) -> Result<(), String> {
    let (Some(scope), Some(region), Some(tier)) = (words.next(), words.next(), words.next()) else {
        return Err("a sheet begins with scope, region and tier".to_owned());
    };
    let model = catalogue.models.last().ok_or("a sheet before any model")?;
    let mut draft = Draft::new(format!("{}/{scope}/{region}/{tier}", model.id));
    for word in words {
        draft.read_word(word, catalogue.sources.len())?;
    }
    let sheet = Sheet {
        scope: read_scope(scope)?,
        place: place_of(catalogue, region),
        tier: tier_number(catalogue, tier),
        over: draft.over,
        endpoint: draft.endpoint,
        from: draft.from,
        until: draft.until,
        rates: draft.rates.into_boxed_slice(),
    };
    let model = catalogue
        .models
        .last_mut()
        .ok_or("a sheet before any model")?;
    model.sheets.push(sheet);
    Ok(())
}

fn read_scope(name: &str) -> Result<Scope, String> {
    let mut scopes = Scope::ALL.into_iter();
    let found = scopes.find(|scope| scope.name() == name);
    found.ok_or_else(|| format!("unknown scope {name}"))
}

fn place_of(catalogue: &mut Catalogue, region: &str) -> Place {
    match region {
        "*" => Place::Commercial,
        "us-gov" => Place::GovCloud,
        name => Place::Region(region_number(catalogue, name)),
    }
}

fn region_number(catalogue: &mut Catalogue, name: &str) -> usize {
    let number = catalogue.regions.len();
    let region = catalogue.regions.entry(name.into());
    let elsewhere = PricedRegion {
        number,
        commercial: false,
    };
    region.or_insert(elsewhere).number
}

fn tier_number(catalogue: &mut Catalogue, name: &str) -> usize {
    if let Some(number) = catalogue.tier(name) {
        return number;
    }
    catalogue.tiers.push(name.into());
    catalogue.tiers.len().saturating_sub(1)
}

/// A sheet while its line is being read. Conditions come before rates, so that each rate's id
/// can name them.
struct Draft {
    id: String,
    over: u64,
    endpoint: Option<Endpoint>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    rates: Vec<SheetRate>,
}

impl Draft {
    const fn new(id: String) -> Self {
        Self {
            id,
            over: 0,
            endpoint: None,
            from: None,
            until: None,
            rates: Vec::new(),
        }
    }

    fn read_word(&mut self, word: &str, sources: usize) -> Result<(), String> {
        let bad = || format!("cannot read {word}");
        // A dimension's name may itself hold `=` and `/` (`image:<=1024x1024/standard`).
        let (name, value) = word.rsplit_once('=').ok_or_else(bad)?;
        match name {
            "over" => self.over = value.parse().map_err(|_cause| bad())?,
            "endpoint" => self.endpoint = Some(Endpoint::from_name(value).ok_or_else(bad)?),
            "from" => self.from = Some(value.parse().map_err(|_cause| bad())?),
            "until" => self.until = Some(value.parse().map_err(|_cause| bad())?),
            dimension => return self.read_rate(dimension, value, sources),
        }
        // The last day is no part of a rate's identity: it is learnt later.
        if name != "until" {
            self.id.push('/');
            self.id.push_str(word);
        }
        Ok(())
    }

    fn read_rate(&mut self, dimension: &str, value: &str, sources: usize) -> Result<(), String> {
        let dimension = Dimension::from_name(dimension);
        if self.rates.iter().any(|rate| rate.dimension == dimension) {
            return Err(format!("two rates for {dimension}"));
        }
        let (price, marks) = value.split_once('/').unwrap_or((value, ""));
        let letters = marks.strip_suffix('!').unwrap_or(marks);
        self.rates.push(SheetRate {
            rate: Rate {
                id: format!("{}/{dimension}", self.id).into(),
                per_unit: per_unit(&dimension, price)?,
            },
            sources: read_sources(letters, sources)?,
            disputed: letters.len() < marks.len(),
            dimension,
        });
        Ok(())
    }
}

/// The price of ONE unit. Tokens are listed per million, anything else per one.
fn per_unit(dimension: &Dimension, price: &str) -> Result<Usd, String> {
    let listed: Usd = price.parse().map_err(|cause| format!("{price}: {cause}"))?;
    let units = if dimension.is_tokens() { 1_000_000 } else { 1 };
    let femto = listed.femto();
    if femto < 0 || femto.checked_rem(units) != Some(0) {
        return Err(format!(
            "{price} is negative or finer than 10^-15 USD per unit"
        ));
    }
    Ok(Usd::from_femto(femto.checked_div(units).unwrap_or(0)))
}

fn read_sources(letters: &str, known: usize) -> Result<u32, String> {
    let mut bits = 0_u32;
    for letter in letters.split("").filter(|letter| !letter.is_empty()) {
        let bit = source_bit(letter)?;
        if bit >= known {
            return Err(format!("source {letter} is not listed"));
        }
        let shift = u32::try_from(bit).unwrap_or(u32::MAX);
        bits |= 1_u32.checked_shl(shift).unwrap_or(0);
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "catalogue 1 v\nregions eu-west-1\nsource a one 2026\nmodel a.b alias=a.c\n";

    fn refused(line: &str) -> String {
        match read(&format!("{HEAD}{line}\n")) {
            Err(PricingError::Malformed { line: 5, why }) => why,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_line_that_is_not_understood_is_refused_and_never_skipped() {
        for (line, why) in [
            ("price a.b 3", "unknown line price"),
            ("catalogue 2 v", "this program reads catalogues of format 1"),
            ("model a.c", "two models are called a.c"),
            ("model a.d color=red", "unknown word color=red"),
            ("regions eu-west-1", "region eu-west-1 is named twice"),
            ("source c two 2026", "source c is out of order"),
            (" moon * standard input_tokens=3/a", "unknown scope moon"),
            (" any *", "a sheet begins with scope, region and tier"),
            (" any * standard over=x", "cannot read over=x"),
            (" any * standard from=soon", "cannot read from=soon"),
            (" any * standard endpoint=moon", "cannot read endpoint=moon"),
            (" any * standard input_tokens", "cannot read input_tokens"),
            (" any * standard input_tokens=3/b", "source b is not listed"),
            (
                " any * standard input_tokens=3/?",
                "? is not the letter of a source",
            ),
            (
                " any * standard input_tokens=3 input_tokens=4",
                "two rates for input_tokens",
            ),
            (
                " any * standard input_tokens=-3",
                "-3 is negative or finer than 10^-15 USD per unit",
            ),
            (
                " any * standard input_tokens=0.0000000001",
                "0.0000000001 is negative or finer than 10^-15 USD per unit",
            ),
        ] {
            assert_eq!(refused(line), why);
        }
        assert!(read("").is_err());
    }

    #[test]
    fn a_sheet_reads_with_all_its_conditions() {
        let line = " source eu-west-1 flex over=9 endpoint=mantle from=2026-01-01 \
                    until=2026-02-01 image:<=8x8/x=0.5/a!";
        let catalogue = read(&format!("{HEAD}{line}\n")).unwrap();
        let (model, sheet, rate) = catalogue.rates().next().unwrap();
        assert_eq!((&*model.id, sheet.over, rate.disputed), ("a.b", 9, true));
        assert_eq!(rate.dimension.name(), "image:<=8x8/x");
        let id = "a.b/source/eu-west-1/flex/over=9/endpoint=mantle/from=2026-01-01/image:<=8x8/x";
        assert_eq!(&*rate.rate.id, id);
        assert_eq!(rate.rate.per_unit.to_string(), "0.5");
    }
}
