//! A rate sheet: the rates of one model under one set of conditions, as the catalogue lists them.

use crate::domain::{Dimension, Rate, Region, Timestamp};

/// The endpoint family that served the call; a few models cost differently on each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `bedrock-runtime`.
    #[default]
    Runtime,
    /// `bedrock-mantle`, the OpenAI-compatible one.
    Mantle,
}

impl Endpoint {
    /// The endpoint of that name: `runtime` or `mantle`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "runtime" => Some(Self::Runtime),
            "mantle" => Some(Self::Mantle),
            _ => None,
        }
    }

    /// `runtime` or `mantle`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Mantle => "mantle",
        }
    }
}

/// Which ways of asking for a model a sheet covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The global profile.
    Global,
    /// A bare id or a geographic profile, one rate in all commercial regions.
    Regional,
    /// A bare id or a geographic profile, by the region that the request is sent to.
    Source,
    /// Any way of asking.
    Any,
    /// A bare id or geographic profile in GovCloud.
    Gov,
    /// The global profile in GovCloud.
    GovGlobal,
}

impl Scope {
    /// Every scope.
    pub(super) const ALL: [Self; 6] = [
        Self::Global,
        Self::Regional,
        Self::Source,
        Self::Any,
        Self::Gov,
        Self::GovGlobal,
    ];

    /// The word in the catalogue.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Regional => "regional",
            Self::Source => "source",
            Self::Any => "any",
            Self::Gov => "gov",
            Self::GovGlobal => "gov-global",
        }
    }

    /// Whether the sheet covers calls of the global profile.
    pub(super) const fn covers_global(self) -> bool {
        matches!(self, Self::Global | Self::GovGlobal | Self::Any)
    }

    /// Whether the sheet covers calls of bare ids and geographic profiles.
    pub(super) const fn covers_regional(self) -> bool {
        matches!(self, Self::Regional | Self::Source | Self::Any | Self::Gov)
    }
}

/// Which source regions a sheet covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `*`: every commercial region that the catalogue names.
    Commercial,
    /// `us-gov`: every GovCloud region.
    GovCloud,
    /// One region, by its number in the catalogue.
    Region(usize),
}

/// A region of the catalogue.
#[derive(Clone, Copy, Debug)]
pub(super) struct PricedRegion {
    pub(super) number: usize,
    /// Whether a rate for every commercial region covers it.
    pub(super) commercial: bool,
}

impl Place {
    /// Whether a call sent to that region is covered; `priced` is what the catalogue knows of it.
    pub(super) fn covers(self, region: &Region, priced: Option<PricedRegion>) -> bool {
        match self {
            Self::Commercial => priced.is_some_and(|priced| priced.commercial),
            Self::GovCloud => region.is_govcloud(),
            Self::Region(number) => priced.is_some_and(|priced| priced.number == number),
        }
    }
}

/// The rates of one model under one set of conditions.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) scope: Scope,
    pub(super) place: Place,
    /// The tier, by its number in the catalogue.
    pub(super) tier: usize,
    /// Covers prompts of more tokens than this, in place of the sheet with a lower number.
    pub(super) over: u64,
    /// `None` covers both.
    pub(super) endpoint: Option<Endpoint>,
    /// First instant in force; `None` is since ever.
    pub(super) from: Option<Timestamp>,
    /// First instant no longer in force; `None` is open.
    pub(super) until: Option<Timestamp>,
    pub(super) rates: Box<[SheetRate]>,
}

/// One rate of a sheet, with where its figure was read.
#[derive(Debug)]
pub(super) struct SheetRate {
    pub(super) dimension: Dimension,
    pub(super) rate: Rate,
    /// One bit per source of the catalogue.
    pub(super) sources: u32,
    /// The sources disagree; the figure is the one with most support.
    pub(super) disputed: bool,
}

impl Sheet {
    /// Whether the sheet is in force at that instant: from its first day until before its last.
    pub(super) fn in_force(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }

    /// The rate of a dimension.
    pub(super) fn rate(&self, dimension: &Dimension) -> Option<&Rate> {
        let found = self.rates.iter().find(|rate| rate.dimension == *dimension);
        found.map(|found| &found.rate)
    }
}
