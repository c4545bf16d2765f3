//! Patterns over names: `*` stands for any run of characters. It knows no kind of name.

use std::fmt;
use std::sync::Arc;

use super::ids::InvalidName;

/// A pattern such as `us.anthropic.*`; everything but `*` stands for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob(Arc<str>);

impl Glob {
    /// The pattern of that text.
    ///
    /// # Errors
    /// When it is empty, longer than 2,048 bytes (the longest model id), or holds spaces or
    /// control characters.
    pub fn new(pattern: &str) -> Result<Self, InvalidName> {
        let visible = |b: u8| b.is_ascii_graphic();
        if (1..=2048).contains(&pattern.len()) && pattern.bytes().all(visible) {
            Ok(Self(pattern.into()))
        } else {
            Err(InvalidName::new(
                "pattern",
                "1 to 2048 visible characters, * for any run of them",
            ))
        }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name fits.
    pub fn matches(&self, name: &str) -> bool {
        // By far the most patterns are this one.
        if &*self.0 == "*" {
            return true;
        }
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        // The leftmost place for each part leaves the most room for those that follow.
        for part in parts {
            let Some((_, after)) = rest.split_once(part) else {
                return false;
            };
            rest = after;
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        let check = |pattern: &str, name: &str, expected: bool| {
            let glob = Glob::new(pattern).unwrap();
            assert_eq!(glob.matches(name), expected, "{pattern} {name}");
        };
        check("a", "a", true);
        check("a", "ab", false);
        check("*", "", true);
        check("*", "anything/at:all", true);
        check("us.anthropic.*", "us.anthropic.claude-opus-5", true);
        check("us.anthropic.*", "eu.anthropic.claude-opus-5", false);
        check("*haiku*", "anthropic.claude-haiku-4-5", true);
        check("a*a", "a", false);
        check("a*a", "aa", true);
        check("a*b*c", "a-b-b-c", true);
        check("a*b*c", "a-c-b", false);
        check("ab*ba", "aba", false);
    }

    #[test]
    fn patterns_hold_visible_characters() {
        for pattern in ["", "a b", "a\nb", "\u{e9}"] {
            assert!(Glob::new(pattern).is_err(), "{pattern:?}");
        }
    }

    /// Another way to match: try every length for each star.
    fn by_trying(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|n| by_trying(rest, &name[n..])),
            Some((byte, rest)) => name.first() == Some(byte) && by_trying(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_trying_everything(pattern in "[ab*]{1,7}", name in "[ab]{0,8}") {
            let glob = Glob::new(&pattern).unwrap();
            prop_assert_eq!(glob.matches(&name), by_trying(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
