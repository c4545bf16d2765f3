//! Values of the vocabulary in JSON: as the text that they print and read. Money has no other form.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

pub(super) fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(from)?;
    text.parse().map_err(D::Error::custom)
}

/// The same for values that may be absent.
pub(super) mod optional {
    use super::{Deserializer, Display, FromStr, Serializer};
    use serde::{Deserialize as _, de::Error as _};

    #[expect(clippy::ref_option, reason = "the signature that serde's derive calls")]
    pub(in crate::alerts) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub(in crate::alerts) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(from)?;
        let read = text.map(|text| text.parse().map_err(D::Error::custom));
        read.transpose()
    }
}

/// A word of a closed set.
pub(super) mod word {
    use super::{Deserializer, Serializer};
    use crate::domain::Keyword;
    use serde::{Deserialize as _, de::Error as _};

    pub(in crate::alerts) fn serialize<T: Keyword, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(value.name())
    }

    pub(in crate::alerts) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: Keyword,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(from)?;
        T::from_name(&text).ok_or_else(|| D::Error::custom("an unknown word"))
    }
}
