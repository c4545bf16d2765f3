//! Patterns over names that a caller proved: what `*` stands for in the rules of issuers and
//! certificates. One rule for all of them, so that a pattern means the same everywhere.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A pattern. `*` stands for any characters but `/`, `**` for any at all; everything else for
/// itself. It matches whole names, and case counts.
///
/// Unlike in a `domain::Glob` over models and ARNs, `*` ends at `/`, because what stands between
/// slashes is one thing: `spiffe://corp/ns/*/sa/api` must not match a name with more parts, nor
/// `repo:acme/*` the branches below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Arc<str>);

/// A text that is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a pattern: expected 1 to 256 printable characters")]
pub struct InvalidPattern;

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let fits = (1..=LENGTH_MAX).contains(&text.len()) && !text.contains(char::is_control);
        fits.then(|| Self(text.into())).ok_or(InvalidPattern)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where to go on when what follows a star does not fit: the rest of the pattern after the star,
/// and the text that the star has not taken yet.
type Retry<'a> = Option<(&'a [u8], &'a [u8])>;

impl Pattern {
    /// The pattern as it is written.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern matches the whole of a name.
    ///
    /// Each star takes as little as it can, and more when what follows does not fit. Only the
    /// last star of each kind need ever take more: whatever an earlier one could gain, the later
    /// one reaches as well. So the time is bounded by the product of the lengths.
    pub fn matches(&self, name: &str) -> bool {
        let (mut pattern, mut text) = (self.0.as_bytes(), name.as_bytes());
        let (mut within_part, mut across): (Retry<'_>, Retry<'_>) = (None, None);
        loop {
            match (pattern, text) {
                ([b'*', b'*', rest @ ..], _) => {
                    (pattern, within_part, across) = (rest, None, Some((rest, text)));
                }
                ([b'*', rest @ ..], _) => (pattern, within_part) = (rest, Some((rest, text))),
                ([p, rest @ ..], [t, left @ ..]) if p == t => (pattern, text) = (rest, left),
                ([], []) => return true,
                _ => {
                    if let Some((rest, [taken, left @ ..])) = within_part
                        && *taken != b'/'
                    {
                        (pattern, text, within_part) = (rest, left, Some((rest, left)));
                    } else if let Some((rest, [_, left @ ..])) = across {
                        (pattern, text, within_part) = (rest, left, None);
                        across = Some((rest, left));
                    } else {
                        return false;
                    }
                }
            }
        }
    }
}

const LENGTH_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(name)
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        let check = |pattern: &str, fitting: &[&str], others: &[&str]| {
            for name in fitting {
                assert!(matches(pattern, name), "{pattern} {name}");
            }
            for name in others {
                assert!(!matches(pattern, name), "{pattern} {name}");
            }
        };
        check("search", &["search"], &["", "Search", "searcha", "asearch"]);
        check(
            "search-*",
            &["search-", "search-prod"],
            &["search", "xsearch-a"],
        );
        check("*", &["", "a", "é"], &["a/b", "/"]);
        check("**", &["", "a", "a/b/", "/"], &[]);
        check("*-*-x", &["a-b-x", "a-b-c-x", "--x"], &["a-x", "a-b-xy"]);
        check(
            "spiffe://corp/ns/*/sa/api",
            &["spiffe://corp/ns/search/sa/api"],
            &[
                "spiffe://corp/ns/a/sa/b/sa/api",
                "spiffe://other/ns/search/sa/api",
                "spiffe://corp/ns/search/sa/api/x",
            ],
        );
        check(
            "repo:acme/*:ref:refs/heads/main",
            &["repo:acme/search:ref:refs/heads/main"],
            &["repo:acme/x/y:ref:refs/heads/main"],
        );
        check("a/**/z", &["a//z", "a/b/c/z"], &["a/z", "a/b/zz"]);
    }

    #[test]
    fn texts_that_are_no_pattern_are_refused() {
        for text in ["", "a\nb", &"a".repeat(257)] {
            assert_eq!(text.parse::<Pattern>(), Err(InvalidPattern), "{text:?}");
        }
    }

    /// The meaning, written down without a thought for time.
    fn oracle(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([b'*', b'*', rest @ ..], _) => {
                oracle(rest, text) || !text.is_empty() && oracle(pattern, &text[1..])
            }
            ([b'*', rest @ ..], _) => {
                let may_take = text.first().is_some_and(|taken| *taken != b'/');
                oracle(rest, text) || may_take && oracle(pattern, &text[1..])
            }
            ([p, rest @ ..], [t, left @ ..]) => p == t && oracle(rest, left),
            ([], []) => true,
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn a_match_is_what_its_definition_says(pattern in "[ab/*]{1,9}", name in "[ab/]{0,10}") {
            let expected = oracle(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(matches(&pattern, &name), expected);
        }
    }
}
