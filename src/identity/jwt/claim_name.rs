//! How the configuration names a claim, and how it is found in a token.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value;

/// The name of a claim.
///
/// What begins with `/` is a JSON Pointer (RFC 6901): `/kubernetes.io/namespace`. What holds a `/`
/// elsewhere is one whole name, as in `https://example.com/team`. In anything else dots lead into
/// objects: `realm_access.team`. The form alone decides, never what a token holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName {
    written: Arc<str>,
    path: Arc<[String]>,
}

/// A text that names no claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a claim name: expected a name, a dotted path or a JSON Pointer")]
pub struct InvalidClaimName;

impl FromStr for ClaimName {
    type Err = InvalidClaimName;

    fn from_str(text: &str) -> Result<Self, InvalidClaimName> {
        let path: Option<Vec<String>> = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(unescaped).collect(),
            None if text.contains('/') => Some(vec![text.to_owned()]),
            None => Some(text.split('.').map(str::to_owned).collect()),
        };
        let path = path.ok_or(InvalidClaimName)?;
        let fits = text.len() <= LENGTH_MAX && path.iter().all(|part| !part.is_empty());
        fits.then(|| Self {
            written: text.into(),
            path: path.into(),
        })
        .ok_or(InvalidClaimName)
    }
}

impl fmt::Display for ClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl ClaimName {
    /// A member of the token itself, by its whole name.
    pub fn member(name: &str) -> Self {
        Self {
            written: name.into(),
            path: [name.to_owned()].into(),
        }
    }

    /// The claim's value in a token.
    pub(super) fn find<'a>(&self, claims: &'a Value) -> Option<&'a Value> {
        // Only objects have members by name; a list is no part of a way.
        let step = |value: &'a Value, part: &String| value.as_object()?.get(part);
        self.path.iter().try_fold(claims, step)
    }

    /// The claim's value as one text: a text, a list of exactly one, a number or a switch.
    pub(super) fn text(&self, claims: &Value) -> Option<String> {
        let value = self.find(claims)?;
        match value.as_array().map(Vec::as_slice) {
            None => scalar(value),
            Some([only]) => scalar(only),
            Some(_none_or_several) => None,
        }
    }

    /// Whether the claim, or an item of a list, satisfies the condition.
    pub(super) fn any(&self, claims: &Value, fits: impl Fn(&str) -> bool) -> bool {
        let fits = |value: &Value| scalar(value).is_some_and(|text| fits(&text));
        self.find(claims)
            .is_some_and(|value| match value.as_array() {
                Some(items) => items.iter().any(fits),
                None => fits(value),
            })
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A part of a JSON Pointer without its escapes; `None` where `~` escapes nothing.
fn unescaped(part: &str) -> Option<String> {
    let mut plain = String::with_capacity(part.len());
    let mut rest = part;
    while let Some((before, after)) = rest.split_once('~') {
        plain.push_str(before);
        let (escaped, left) = match after.split_at_checked(1)? {
            ("0", left) => ('~', left),
            ("1", left) => ('/', left),
            _ => return None,
        };
        plain.push(escaped);
        rest = left;
    }
    plain.push_str(rest);
    Some(plain)
}

const LENGTH_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_form_of_a_name_decides_how_it_is_read() {
        let claims = json!({
            "sub": "ann",
            "a.b": "whole",
            "a": {"b": "inner", "n": 7, "yes": true, "list": ["x", "y"], "one": ["x"]},
            "https://example.com/team": "search",
            "kubernetes.io": {"serviceaccount": {"name": "api"}},
            "m~n": {"/": "odd"},
        });
        let check = |name: &str, expected: Option<&str>| {
            let text = name.parse::<ClaimName>().unwrap().text(&claims);
            assert_eq!(text.as_deref(), expected, "{name}");
        };
        check("sub", Some("ann"));
        check("a.b", Some("inner"));
        check("/a.b", Some("whole"));
        check("/a/b", Some("inner"));
        check("a.n", Some("7"));
        check("a.yes", Some("true"));
        check("a.one", Some("x"));
        check("a.list", None);
        check("a.list.0", None);
        check("a", None);
        check("absent.b", None);
        check("https://example.com/team", Some("search"));
        check("/https:~1~1example.com~1team", Some("search"));
        check("/kubernetes.io/serviceaccount/name", Some("api"));
        check("/m~0n/~1", Some("odd"));
    }

    #[test]
    fn a_condition_holds_for_any_item_of_a_list() {
        let claims = json!({"groups": ["a", "b"], "team": "c", "none": []});
        let holds = |name: &str, wanted: &str| {
            let name: ClaimName = name.parse().unwrap();
            name.any(&claims, |text| text == wanted)
        };
        assert!(holds("groups", "b"));
        assert!(holds("team", "c"));
        assert!(!holds("groups", "c"));
        assert!(!holds("none", ""));
        assert!(!holds("absent", ""));
    }

    #[test]
    fn texts_that_name_no_claim_are_refused() {
        for text in ["", ".", "a..b", "/", "/a//b", "/a~", "/a~2", "/a~é"] {
            assert_eq!(text.parse::<ClaimName>(), Err(InvalidClaimName), "{text}");
        }
    }
}
