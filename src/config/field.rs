//! How each type of value is written in the configuration.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Uri};
use ipnet::IpNet;
use toml::Value;

use crate::budgets::{Period, Zone};
use crate::domain::{
    ApplicationId, Glob, Keyword, Region, ReplicaId, Secret, TenantId, Timestamp, Usd,
};
use crate::identity::{ClaimName, JwksUrl, Pattern, Template};
use crate::ledger::KeepEntries;
use crate::telemetry::CollectorUrl;

/// A type of value.
pub(super) trait Field: Sized {
    /// Whether a value may be secret, and so must not be shown.
    const IS_SECRET: bool = false;

    /// How a value is written, with an example; follows the word "write".
    fn expected() -> String;

    /// Reads a value; `None` when it is of another type or form.
    fn read(value: &Value) -> Option<Self>;

    /// The value in TOML.
    fn write(&self) -> String;
}

/// A value in TOML: what would be read as a variable of the environment is escaped.
pub(super) fn quoted(text: &str) -> String {
    quoted_plain(&text.replace("${", "$${"))
}

/// A text in TOML as it is, such as a key.
fn quoted_plain(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.extend(escaped(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A key in TOML: bare where it may be.
pub(super) fn printed_key(key: &str) -> String {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !key.is_empty() && key.bytes().all(is_bare) {
        key.to_owned()
    } else {
        quoted_plain(key)
    }
}

fn escaped(control: char) -> impl Iterator<Item = char> {
    let code = format!("\\u{:04X}", u32::from(control));
    code.chars().collect::<Vec<_>>().into_iter()
}

impl Field for bool {
    fn expected() -> String {
        "true or false, without quotes".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn expected() -> String {
                "a whole number, without quotes".to_owned()
            }

            fn read(value: &Value) -> Option<Self> {
                value.as_integer()?.try_into().ok()
            }

            fn write(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole_number!(u8, u32, u64, usize);

/// A field that is a text which its type parses.
macro_rules! text {
    ($type:ty, $expected:literal, $read:expr, $write:expr) => {
        impl Field for $type {
            fn expected() -> String {
                $expected.to_owned()
            }

            fn read(value: &Value) -> Option<Self> {
                let read: fn(&str) -> Option<Self> = $read;
                read(value.as_str()?)
            }

            fn write(&self) -> String {
                let write: fn(&Self) -> String = $write;
                quoted(&write(self))
            }
        }
    };
}

text!(
    KeepEntries,
    "\"forever\" or days such as \"400d\", at least \"62d\"",
    KeepEntries::parse,
    ToString::to_string
);

text!(
    String,
    "a text that is not empty",
    |text| (!text.is_empty()).then(|| text.to_owned()),
    Clone::clone
);
text!(
    PathBuf,
    "a path that is not empty",
    |text| (!text.is_empty()).then(|| Self::from(text)),
    |path| path.display().to_string()
);
text!(
    Duration,
    "a whole number and its unit without a space, such as \"250ms\", \"20s\", \"15m\" or \"2h\"",
    read_duration,
    |duration| write_duration(*duration)
);
text!(
    SocketAddr,
    "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"",
    |text| text.parse().ok(),
    ToString::to_string
);
text!(
    IpNet,
    "a network or an address, such as \"10.0.0.0/8\" or \"192.0.2.7\"",
    read_network,
    ToString::to_string
);
text!(
    HeaderName,
    "a header name, such as \"x-team\"",
    |text| text.parse().ok(),
    ToString::to_string
);
text!(
    Region,
    "a region name, such as \"us-east-1\"",
    |text| Self::new(text).ok(),
    ToString::to_string
);
text!(
    Glob,
    "a pattern of visible characters, such as \"s3://bucket/*\"",
    |text| Self::new(text).ok(),
    ToString::to_string
);
text!(
    TenantId,
    "a name of 1 to 64 letters, digits or . _ - : @ /, starting with a letter or digit",
    |text| Self::new(text).ok(),
    ToString::to_string
);
text!(
    ApplicationId,
    "a name of 1 to 64 letters, digits or . _ - : @ /, starting with a letter or digit",
    |text| Self::new(text).ok(),
    ToString::to_string
);
text!(
    ReplicaId,
    "1 to 64 letters, digits or . _ - : @ /, starting with a letter or digit",
    |text| text.parse().ok(),
    ToString::to_string
);
text!(
    Template,
    "a name of letters, digits or . _ - : @ /, in which {namespace} and {service_account} may stand",
    |text| text.parse().ok(),
    ToString::to_string
);
text!(
    Pattern,
    "a pattern, such as \"search-*\"; * ends at a slash, ** does not",
    |text| text.parse().ok(),
    ToString::to_string
);
text!(
    ClaimName,
    "a claim, such as \"team\", \"realm_access.team\", \"https://example.com/team\" or \"/kubernetes.io/namespace\"",
    |text| text.parse().ok(),
    ToString::to_string
);
text!(
    JwksUrl,
    "a URL such as \"https://login.example.com/.well-known/jwks.json\"",
    Self::read,
    |url| url.uri().to_string()
);
text!(
    Uri,
    "scheme, host and port without a path, such as \"http://127.0.0.1:9000\"",
    read_base_url,
    |url| url.to_string().trim_end_matches('/').to_owned()
);

text!(
    CollectorUrl,
    "a URL such as \"http://127.0.0.1:4318\" or \"https://collector.example.com/otlp\"",
    Self::read,
    |url| url.uri().to_string().trim_end_matches('/').to_owned()
);

text!(
    Arc<str>,
    "a text that is not empty",
    |text| (!text.is_empty()).then(|| Self::from(text)),
    ToString::to_string
);
text!(
    Usd,
    "US dollars as a decimal in quotes, such as \"250\" or \"0.50\"",
    |text| text.parse().ok().filter(|amount| *amount >= Self::ZERO),
    ToString::to_string
);
text!(
    Timestamp,
    "an instant such as \"2026-11-30T12:00:00Z\", or a date, which begins at midnight UTC",
    |text| text.parse().ok(),
    ToString::to_string
);
text!(
    Period,
    "\"day\", \"week\", \"month\", \"quarter\", \"year\", or a window such as \"rolling 24h\" or \"rolling 30d\"",
    |text| text.parse().ok(),
    ToString::to_string
);
text!(
    Zone,
    "a time zone of the IANA database, such as \"UTC\" or \"Europe/Berlin\"",
    |text| text.parse().ok(),
    ToString::to_string
);

/// A secret shows as stars.
impl Field for Secret {
    const IS_SECRET: bool = true;

    fn expected() -> String {
        "a text that is not empty".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        let text = value.as_str().filter(|text| !text.is_empty())?;
        Some(Self::new(text))
    }

    fn write(&self) -> String {
        quoted("***")
    }
}

impl<T: Keyword> Field for T {
    fn expected() -> String {
        let words: Vec<_> = T::ALL.iter().map(|word| quoted(word.name())).collect();
        words.join(" or ")
    }

    fn read(value: &Value) -> Option<Self> {
        T::from_name(value.as_str()?)
    }

    fn write(&self) -> String {
        quoted(self.name())
    }
}

/// Reads `250ms`, `20s`, `15m`, `2h`. No fractions, spaces, signs or bare numbers: in other
/// tools each of them means something else.
fn read_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// In the largest unit that loses nothing.
fn write_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if ms > 0 && ms.is_multiple_of(length) {
            return format!("{}{unit}", ms / length);
        }
    }
    format!("{ms}ms")
}

fn read_network(text: &str) -> Option<IpNet> {
    let network: Option<IpNet> = text.parse().ok();
    network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

pub(super) fn read_base_url(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let is_web = matches!(url.scheme_str(), Some("http" | "https"));
    let host_only = url.path_and_query().is_none_or(|path| path == "/");
    let authority = url.authority()?;
    let is_plain = !authority.as_str().contains('@') && !authority.host().is_empty();
    (is_web && host_only && is_plain).then_some(url)
}
