//! Finds wanted members at the top level of a JSON object that arrives in pieces.
//!
//! It keeps the raw text of each wanted member's value and steps over everything else: strings
//! by `memchr`, nested values by depth. It is no validator: what it captured is valid only once a
//! JSON parser has read it, and it knows nothing of what the members mean.

use memchr::memchr2;

/// The longest value that is captured; a longer one counts as absent.
pub const MEMBER_BYTES_MAX: usize = 1024 * 1024;

/// Captures the values of wanted top-level members.
#[derive(Debug)]
pub struct MemberExtractor {
    wanted: &'static [&'static str],
    captured: Vec<Captured>,
    /// Wanted members that were longer than [`MEMBER_BYTES_MAX`].
    too_long: Vec<&'static str>,
    state: State,
    /// The key being read, cut at [`KEY_BYTES_MAX`]; a wanted key is never that long.
    key: Vec<u8>,
    /// Whether the value being read is captured, as the last of `captured`.
    capturing: bool,
    /// Depth of the value being read; zero for a scalar or a string.
    depth: usize,
    in_string: bool,
    /// The byte before was a backslash within a string.
    escaped: bool,
}

#[derive(Debug)]
struct Captured {
    name: &'static str,
    raw: Vec<u8>,
    complete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before `{`.
    Start,
    /// Before a key, or the end of the object.
    BeforeKey,
    Key,
    Colon,
    BeforeValue,
    Value,
    /// Before `,` or the end of the object.
    AfterValue,
    Done,
    Broken,
}

impl MemberExtractor {
    /// Looks for members of these names. Names are matched as written in the JSON text: a key
    /// spelled with escapes is not found.
    pub const fn new(wanted: &'static [&'static str]) -> Self {
        Self {
            wanted,
            captured: Vec::new(),
            too_long: Vec::new(),
            state: State::Start,
            key: Vec::new(),
            capturing: false,
            depth: 0,
            in_string: false,
            escaped: false,
        }
    }

    /// Reads the next piece.
    pub fn feed(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() && self.state != State::Broken {
            let used = match self.state {
                State::Key => self.read_key(piece),
                State::Value => self.read_value(piece),
                State::Start
                | State::BeforeKey
                | State::Colon
                | State::BeforeValue
                | State::AfterValue
                | State::Done
                | State::Broken => self.read_structure(piece),
            };
            piece = piece.get(used..).unwrap_or_default();
        }
    }

    /// The raw text of a member's value, where it was seen whole; of equal names the last.
    pub fn member(&self, name: &str) -> Option<&[u8]> {
        let mut found = self.captured.iter().rev();
        let found = found.find(|captured| captured.name == name && captured.complete)?;
        Some(&found.raw)
    }

    /// Whether the object has a wanted member of that name that was too long to be captured.
    pub fn is_too_long(&self, name: &str) -> bool {
        self.too_long.contains(&name)
    }

    /// Whether one whole object was read, with nothing but space around it.
    pub fn is_complete(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the text turned out to be no JSON object.
    pub fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// Reads one byte between keys and values; all spaces before it too.
    fn read_structure(&mut self, piece: &[u8]) -> usize {
        let Some(spaces) = piece.iter().position(|byte| !is_space(*byte)) else {
            return piece.len();
        };
        let byte = piece.get(spaces).copied().unwrap_or_default();
        let (next, used) = match (self.state, byte) {
            (State::Start, b'{') | (State::AfterValue, b',') => (State::BeforeKey, 1),
            (State::BeforeKey, b'"') => (self.begin_key(), 1),
            (State::BeforeKey | State::AfterValue, b'}') => (State::Done, 1),
            (State::Colon, b':') => (State::BeforeValue, 1),
            (State::BeforeValue, _first) => (self.begin_value(), 0),
            _else => (State::Broken, 1),
        };
        self.state = next;
        spaces.saturating_add(used)
    }

    fn begin_key(&mut self) -> State {
        self.key.clear();
        self.escaped = false;
        State::Key
    }

    fn read_key(&mut self, piece: &[u8]) -> usize {
        if self.escaped {
            self.escaped = false;
            return 1;
        }
        let end = memchr2(b'"', b'\\', piece);
        let part = piece.get(..end.unwrap_or(piece.len())).unwrap_or(piece);
        let room = KEY_BYTES_MAX.saturating_sub(self.key.len());
        self.key.extend(part.iter().take(room));
        let Some(end) = end else {
            return piece.len();
        };
        if piece.get(end) == Some(&b'"') {
            self.state = State::Colon;
        } else {
            self.escaped = true;
            self.key.push(b'\\');
        }
        end.saturating_add(1)
    }

    fn begin_value(&mut self) -> State {
        let key = self.key.as_slice();
        let wanted = self.wanted.iter().find(|name| name.as_bytes() == key);
        self.capturing = wanted.is_some();
        if let Some(name) = wanted {
            self.captured.retain(|captured| captured.name != *name);
            self.captured.push(Captured {
                name,
                raw: Vec::new(),
                complete: false,
            });
        }
        (self.depth, self.in_string, self.escaped) = (0, false, false);
        State::Value
    }

    fn read_value(&mut self, piece: &[u8]) -> usize {
        let (used, ended) = self.step_over_value(piece);
        if self.capturing {
            self.capture(piece.get(..used).unwrap_or_default(), ended);
        }
        if ended {
            self.state = State::AfterValue;
        }
        used
    }

    fn capture(&mut self, part: &[u8], ended: bool) {
        let Some(captured) = self.captured.last_mut() else {
            return;
        };
        if captured.raw.len().saturating_add(part.len()) > MEMBER_BYTES_MAX {
            let dropped = self.captured.pop();
            self.too_long.extend(dropped.map(|captured| captured.name));
            self.capturing = false;
            return;
        }
        captured.raw.extend_from_slice(part);
        captured.complete = ended;
    }

    /// How much of the piece belongs to the value, and whether the value ends there.
    fn step_over_value(&mut self, piece: &[u8]) -> (usize, bool) {
        let mut at = 0_usize;
        while let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) {
            if self.in_string {
                at = at.saturating_add(self.step_in_string(rest));
                if !self.in_string && self.depth == 0 {
                    return (at, true);
                }
                continue;
            }
            let byte = rest.first().copied().unwrap_or_default();
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' if self.depth > 1 => self.depth = self.depth.saturating_sub(1),
                b'}' | b']' if self.depth == 1 => return (at.saturating_add(1), true),
                b'}' | b']' | b',' if self.depth == 0 => return (at, true),
                _space if self.depth == 0 && is_space(byte) => return (at, true),
                _within => {}
            }
            at = at.saturating_add(1);
        }
        (piece.len(), false)
    }

    /// How many bytes lead to the next point of decision within a string.
    fn step_in_string(&mut self, rest: &[u8]) -> usize {
        if self.escaped {
            self.escaped = false;
            return 1;
        }
        let Some(end) = memchr2(b'"', b'\\', rest) else {
            return rest.len();
        };
        if rest.get(end) == Some(&b'"') {
            self.in_string = false;
        } else {
            self.escaped = true;
        }
        end.saturating_add(1)
    }
}

const KEY_BYTES_MAX: usize = 64;

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WANTED: &[&str] = &["usage", "tier"];

    fn extract(pieces: impl IntoIterator<Item: AsRef<[u8]>>) -> MemberExtractor {
        let mut extractor = MemberExtractor::new(WANTED);
        for piece in pieces {
            extractor.feed(piece.as_ref());
        }
        extractor
    }

    fn found(text: &[u8], size: usize, name: &str) -> Option<String> {
        let extractor = extract(text.chunks(size.max(1)));
        let raw = extractor.member(name)?;
        Some(String::from_utf8_lossy(raw).into_owned())
    }

    fn check(text: &str, usage: Option<&str>, tier: Option<&str>) {
        for size in 1..=text.len() {
            let get = |name| found(text.as_bytes(), size, name);
            assert_eq!(get("usage").as_deref(), usage, "{text} by {size}");
            assert_eq!(get("tier").as_deref(), tier, "{text} by {size}");
        }
    }

    #[test]
    fn wanted_members_are_found_at_the_top_only() {
        check(r#"{"usage":{"a":1}}"#, Some(r#"{"a":1}"#), None);
        check(
            r#" { "x" : [1,{"usage":2}] , "usage" : 3 } "#,
            Some("3"),
            None,
        );
        check(
            r#"{"x":{"usage":{"a":1}},"tier":"flex"}"#,
            None,
            Some(r#""flex""#),
        );
        check(
            r#"{"tier":null,"usage":[[],{}]}"#,
            Some("[[],{}]"),
            Some("null"),
        );
        check(r#"{"usage":1,"usage":2}"#, Some("2"), None);
        check("{}", None, None);
    }

    #[test]
    fn text_inside_strings_is_never_structure() {
        check(r#"{"t":"\"usage\":{\"a\":1}","tier":1}"#, None, Some("1"));
        check(r#"{"t":"\\","usage":"}\\\"{"}"#, Some(r#""}\\\"{""#), None);
        check(
            r#"{"t":["}","]","\\"],"usage":{"]":"}"}}"#,
            Some(r#"{"]":"}"}"#),
            None,
        );
        check(r#"{"x\"usage":1,"usage\\":2,"tier":3}"#, None, Some("3"));
    }

    #[test]
    fn what_is_no_object_is_broken_and_holds_nothing() {
        for text in [
            "[]",
            "x",
            "\"usage\":1",
            "{usage:1}",
            r#"{"usage" 1}"#,
            "<html>",
        ] {
            let extractor = extract([text.as_bytes()]);
            assert!(extractor.is_broken(), "{text}");
            assert!(extractor.member("usage").is_none(), "{text}");
        }
        assert!(extract([&b"{} {}"[..]]).is_broken());
    }

    #[test]
    fn a_member_cut_short_is_absent() {
        let extractor = extract([&br#"{"tier":"a","usage":{"a":1"#[..]]);
        assert!(extractor.member("usage").is_none() && !extractor.is_complete());
        assert_eq!(extractor.member("tier"), Some(&br#""a""#[..]));
    }

    #[test]
    fn a_member_beyond_the_limit_is_absent_and_the_next_is_found() {
        let long = "x".repeat(MEMBER_BYTES_MAX);
        let text = format!(r#"{{"usage":"{long}","tier":1}}"#);
        let extractor = extract(text.as_bytes().chunks(10_000));
        assert!(extractor.is_complete() && extractor.member("usage").is_none());
        assert_eq!(extractor.member("tier"), Some(&b"1"[..]));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<u64>().prop_map(Into::into),
            r#"["\\{}\[\]:,a-z usge]{0,12}"#.prop_map(serde_json::Value::String),
        ];
        let key = prop_oneof![Just("usage".to_owned()), r#"["\\{}:,a-z]{0,6}"#];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map(key.clone(), inner, 0..5)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_json_parser(value in json(), size in 1_usize..40) {
            let text = value.to_string();
            let expected = value.as_object().and_then(|map| map.get("usage")).cloned();
            let raw = found(text.as_bytes(), size, "usage");
            let read = raw.map(|raw| serde_json::from_str(&raw).unwrap());
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn garbage_never_panics(text in r#"[{}\[\]",:\\a-z ]{0,80}"#, size in 1_usize..9) {
            let _extractor = extract(text.as_bytes().chunks(size));
        }
    }
}
