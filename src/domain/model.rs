//! Models, regions, geographies, tiers: what a price depends on.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::ids::InvalidName;

/// An AWS region name such as `us-east-1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(Arc<str>);

impl Region {
    /// The region of that name.
    ///
    /// # Errors
    /// When the name is not lower-case letters, digits and hyphens (2 to 32): such a name could
    /// otherwise change a host.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let fits = (2..=32).contains(&name.len());
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if fits && name.bytes().all(plain) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidName::new(
                "region",
                "lower-case letters, digits and hyphens, 2 to 32",
            ))
        }
    }

    /// The name, such as `us-east-1`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it lies in the GovCloud partition.
    pub fn is_govcloud(&self) -> bool {
        self.0.starts_with("us-gov-")
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Region {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

/// Where inference may happen, as the model id asks for it. Part of the price.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Geography {
    /// A bare model id: the region that was called.
    InRegion,
    /// A geographic profile: the prefix without its dot (`us`, `eu`, `apac`, `us-gov`, ...).
    Profile(Arc<str>),
    /// The global profile.
    Global,
}

impl Geography {
    /// `in-region`, `global`, or the profile prefix.
    pub fn name(&self) -> &str {
        match self {
            Self::InRegion => "in-region",
            Self::Profile(prefix) => prefix,
            Self::Global => "global",
        }
    }
}

/// How the model's work is paid for, as far as its identifier tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capacity {
    /// By use.
    OnDemand,
    /// By the hour of a provisioned model: no charge per call.
    Provisioned,
    /// By use, at the rate of a custom model that the identifier does not name.
    CustomOnDemand,
    /// By minutes of an imported model's copies: no charge per call.
    Imported,
    /// By hours of a marketplace endpoint: no charge per call.
    Marketplace,
}

/// What a model identifier says, in any spelling that Bedrock accepts (bedrock.md 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    /// The identifier as asked for, percent-decoded: id or ARN.
    pub asked: Arc<str>,
    /// The base model id without prefix and context suffix (`anthropic.claude-opus-5-5`);
    /// `None` for an opaque ARN (application profile, prompt, router, custom model, ...).
    pub base: Option<Arc<str>>,
    /// The geography it asks for.
    pub geography: Geography,
    /// How it is paid for.
    pub capacity: Capacity,
}

impl ModelRef {
    /// The label for metrics and reports: geography prefix and base id, or the name as asked.
    pub fn label(&self) -> Cow<'_, str> {
        match (&self.base, &self.geography) {
            (None, _) => Cow::Borrowed(&self.asked),
            (Some(base), Geography::InRegion) => Cow::Borrowed(base),
            (Some(base), geography) => Cow::Owned([geography.name(), ".", base].concat()),
        }
    }
}

/// A service tier, as requests and answers name it (bedrock.md 1.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServiceTier {
    /// `default` on the wire, `standard` in the price catalogue.
    Standard,
    /// `priority`.
    Priority,
    /// `flex`.
    Flex,
    /// `reserved`: paid by the hour, no charge per call.
    Reserved,
    /// Another tier, by name (`batch`, `ultrafast`, or one newer than this program).
    Other(Arc<str>),
}

impl ServiceTier {
    /// The tier of that name; `default`, `standard` and `auto` are one.
    pub fn from_name(name: &str) -> Self {
        match name {
            "default" | "standard" | "auto" => Self::Standard,
            "priority" => Self::Priority,
            "flex" => Self::Flex,
            "reserved" => Self::Reserved,
            other => Self::Other(other.into()),
        }
    }

    /// The name as in the price catalogue.
    pub fn name(&self) -> &str {
        match self {
            Self::Standard => "standard",
            Self::Priority => "priority",
            Self::Flex => "flex",
            Self::Reserved => "reserved",
            Self::Other(name) => name,
        }
    }
}

/// The latency mode (`performanceConfig.latency`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Latency {
    /// `standard`.
    #[default]
    Standard,
    /// `optimized`: priced apart on the few models that have it.
    Optimized,
}

impl Latency {
    /// The mode of that name on the wire; anything but `optimized` is standard.
    pub fn from_name(name: &str) -> Self {
        if name == "optimized" {
            Self::Optimized
        } else {
            Self::Standard
        }
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Optimized => "optimized",
        }
    }
}
