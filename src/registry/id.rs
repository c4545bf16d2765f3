//! Ids of issued keys: they look like AWS access key ids, and say what they belong to.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

/// What an id belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// A key pair that signs requests: `BMAK...`.
    Pair,
    /// A bearer token: `BMAT...`.
    Token,
    /// A pair of one hour that a workload was given for another proof: `BMAS...`.
    Session,
}

impl KeyKind {
    const ALL: [Self; 3] = [Self::Pair, Self::Token, Self::Session];

    /// `pair`, `token` or `session`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Token => "token",
            Self::Session => "session",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    const fn prefix(self) -> &'static [u8; 4] {
        match self {
            Self::Pair => b"BMAK",
            Self::Token => b"BMAT",
            Self::Session => b"BMAS",
        }
    }
}

/// The public id of an issued key: four letters for its kind and sixteen random ones (80 bits),
/// as long as an AWS access key id and in its alphabet, under a prefix that AWS does not use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 20]);

impl KeyId {
    /// A new random id. `None` when the system has no randomness to give.
    pub fn generate(kind: KeyKind) -> Option<Self> {
        let mut random = [0; 16];
        SystemRandom::new().fill(&mut random).ok()?;
        let mut id = [0; 20];
        let (prefix, rest) = id.split_at_mut(4);
        prefix.copy_from_slice(kind.prefix());
        for (letter, byte) in rest.iter_mut().zip(random) {
            // 256 is a multiple of 32: every letter is as likely.
            *letter = ALPHABET
                .get(usize::from(byte % 32))
                .copied()
                .unwrap_or(b'A');
        }
        Some(Self(id))
    }

    /// The id of that text; `None` for anything that we never issue, such as an AWS key's id.
    pub fn parse(text: &str) -> Option<Self> {
        let id: [u8; 20] = text.as_bytes().try_into().ok()?;
        let (prefix, rest) = id.split_at(4);
        let ours = KeyKind::ALL.iter().any(|kind| kind.prefix() == prefix);
        (ours && rest.iter().all(|letter| ALPHABET.contains(letter))).then_some(Self(id))
    }

    /// What it belongs to.
    pub fn kind(self) -> KeyKind {
        let of = |kind: &KeyKind| self.0.starts_with(kind.prefix());
        KeyKind::ALL.into_iter().find(of).unwrap_or(KeyKind::Pair)
    }

    /// The twenty letters.
    pub fn as_str(&self) -> &str {
        // Letters of the alphabet are ASCII.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no id of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key id of this proxy: expected BMAK or BMAT and sixteen letters or digits 2 to 7")]
pub struct InvalidKeyId;

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        Self::parse(text).ok_or(InvalidKeyId)
    }
}

/// Base32 of RFC 4648, as in the ids of AWS.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_with_its_kind_and_no_other_text_does() {
        for kind in KeyKind::ALL {
            let id = KeyId::generate(kind).unwrap();
            assert_eq!(KeyId::parse(id.as_str()), Some(id));
            assert_eq!(id.kind(), kind);
            assert_ne!(KeyId::generate(kind).unwrap(), id);
        }
        for text in [
            "",
            "AKIAIOSFODNN7EXAMPLE",
            "ASIAIOSFODNN7EXAMPLE",
            "BMAK",
            "BMAKABCDEFGHIJKLMNO",
            "BMAKABCDEFGHIJKLMNOPQ",
            "BMAKABCDEFGHIJKLMNO0",
            "BMAKabcdefghijklmnop",
            "BMAKABCDEFGHIJKLMNO\u{e9}",
        ] {
            assert_eq!(KeyId::parse(text), None, "{text}");
        }
    }
}
