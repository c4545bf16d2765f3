//! Names and identifiers.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use super::Timestamp;

/// A name that breaks the rule for its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {kind}: expected {rule}")]
pub struct InvalidName {
    kind: &'static str,
    rule: &'static str,
}

impl InvalidName {
    pub(super) const fn new(kind: &'static str, rule: &'static str) -> Self {
        Self { kind, rule }
    }
}

const NAME_LENGTH_MAX: usize = 64;
const NAME_RULE: &str = "1 to 64 letters, digits or . _ - : @ /, starting with a letter or digit";

fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-:@/".contains(&b);
    name.len() <= NAME_LENGTH_MAX
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
        && name.bytes().all(inner)
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The value of that name.
            ///
            /// # Errors
            /// When the name is empty, longer than 64, or has other characters than letters,
            /// digits and `. _ - : @ /`.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                if is_name(name) {
                    Ok(Self(name.into()))
                } else {
                    Err(InvalidName::new($kind, NAME_RULE))
                }
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }
    };
}

name_type!(
    /// Who pays: a team.
    TenantId,
    "tenant name"
);
name_type!(
    /// A workload of a tenant.
    ApplicationId,
    "application name"
);

name_type!(
    /// One of several processes that share a ledger.
    ReplicaId,
    "replica id"
);

/// Identifies one call for ever: a UUID of version 7, so ids sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(Uuid);

impl CallId {
    /// A new id of that instant. Ids of one millisecond are in no order; the random part comes
    /// from a generator of this thread, so making one needs no system call and no lock.
    pub fn generate(now: Timestamp) -> Self {
        let unix_ms = u64::try_from(now.unix_ms()).unwrap_or(0);
        let mut random = [0; 10];
        fastrand::fill(&mut random);
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
    }

    /// The sixteen bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id of these sixteen bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for CallId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |_| InvalidName::new("call id", "a UUID");
        Uuid::parse_str(text).map(Self).map_err(refuse)
    }
}
