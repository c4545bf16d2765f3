//! Where the members of a JSON object lie in a text that is in pieces, and the text with parts of
//! it replaced.
//!
//! It is no validator, on purpose: whatever a parser accepts it reads as that parser does, names
//! spelled with escapes and repeated ones included; of what no parser accepts it may read anything.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use memchr::memchr2;

/// A JSON object: offsets count bytes of the whole text.
#[derive(Debug, PartialEq, Eq)]
pub struct Object {
    /// Just behind its `{`.
    pub begin: usize,
    /// Whether it has no member.
    pub is_empty: bool,
    /// The members that were asked for, in their order.
    pub members: Vec<Member>,
}

/// A member of an object.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, read.
    pub name: String,
    /// From the quote of the name to the end of the value.
    pub whole: Range<usize>,
    /// The value.
    pub value: Range<usize>,
}

/// What a text is.
#[derive(Debug, PartialEq, Eq)]
pub enum Text {
    /// It begins with a whole object; what follows is not looked at.
    Object(Object),
    /// It begins with an object in which a name cannot be read: bad UTF-8 or a bad escape, of
    /// which parsers make different things.
    UnreadableName,
    /// It does not begin with an object, or that does not end.
    Other,
}

/// Finds the members whose names are asked for.
pub fn read_object(pieces: &[Bytes], is_wanted: impl Fn(&str) -> bool) -> Text {
    let mut cursor = Cursor {
        pieces,
        rest: &[],
        at: 0,
    };
    match read(&mut cursor, is_wanted) {
        Ok(object) => Text::Object(object),
        Err(Stop::UnreadableName) => Text::UnreadableName,
        Err(Stop::Broken) => Text::Other,
    }
}

/// The text with parts of it replaced: ranges in their order, which do not overlap. Pieces are
/// shared, not copied.
pub fn replaced(pieces: &[Bytes], parts: &[(Range<usize>, Bytes)]) -> Vec<Bytes> {
    let mut out = Vec::with_capacity(pieces.len().saturating_add(parts.len().saturating_mul(2)));
    let mut kept_until = 0;
    for (range, by) in parts {
        push_range(&mut out, pieces, kept_until..range.start);
        if !by.is_empty() {
            out.push(by.clone());
        }
        kept_until = range.end;
    }
    push_range(&mut out, pieces, kept_until..usize::MAX);
    out
}

/// A part of the text in one piece.
pub fn joined(pieces: &[Bytes], range: Range<usize>) -> Bytes {
    if let [one] = pieces
        && range.end <= one.len()
        && range.start <= range.end
    {
        return one.slice(range);
    }
    let mut parts = Vec::new();
    push_range(&mut parts, pieces, range);
    match parts.as_slice() {
        [one] => one.clone(),
        parts => parts.concat().into(),
    }
}

fn push_range(out: &mut Vec<Bytes>, pieces: &[Bytes], range: Range<usize>) {
    let mut offset = 0_usize;
    for piece in pieces {
        let end = offset.saturating_add(piece.len());
        let from = range.start.clamp(offset, end);
        let to = range.end.clamp(offset, end);
        if from < to {
            out.push(piece.slice(from.saturating_sub(offset)..to.saturating_sub(offset)));
        }
        offset = end;
    }
}

enum Stop {
    Broken,
    UnreadableName,
}

fn read(cursor: &mut Cursor<'_>, is_wanted: impl Fn(&str) -> bool) -> Result<Object, Stop> {
    cursor.expect(b'{')?;
    let begin = cursor.at;
    let mut members = Vec::new();
    let mut is_empty = true;
    let mut name = Vec::with_capacity(NAME_BYTES_USUAL);
    loop {
        match cursor.next_solid()? {
            b'}' => break,
            b'"' => {}
            _other => return Err(Stop::Broken),
        }
        is_empty = false;
        let start = cursor.at.saturating_sub(1);
        name.clear();
        cursor.string(Some(&mut name))?;
        cursor.expect(b':')?;
        let value = cursor.value()?;
        let name = read_name(&name)?;
        if is_wanted(&name) {
            members.push(Member {
                name: name.into_owned(),
                whole: start..value.end,
                value,
            });
        }
        match cursor.next_solid()? {
            b',' => {}
            b'}' => break,
            _other => return Err(Stop::Broken),
        }
    }
    Ok(Object {
        begin,
        is_empty,
        members,
    })
}

/// The name between its quotes; one that is too long to be asked for reads as empty.
fn read_name(raw: &[u8]) -> Result<Cow<'_, str>, Stop> {
    if raw.len() > NAME_BYTES_MAX {
        return Ok("".into());
    }
    if !raw.contains(&b'\\') {
        let name = std::str::from_utf8(raw).map_err(|_cause| Stop::UnreadableName)?;
        return Ok(name.into());
    }
    let quoted = [b"\"", raw, b"\""].concat();
    let name: Result<String, _> = serde_json::from_slice(&quoted);
    name.map(Into::into).map_err(|_cause| Stop::UnreadableName)
}

/// A place in the text.
struct Cursor<'a> {
    /// The pieces that come.
    pieces: &'a [Bytes],
    /// What is left of the present piece.
    rest: &'a [u8],
    /// The offset of the next byte.
    at: usize,
}

impl<'a> Cursor<'a> {
    /// What is left of the piece at hand; another one where that is used up.
    fn rest(&mut self) -> Result<&'a [u8], Stop> {
        while self.rest.is_empty() {
            let (piece, pieces) = self.pieces.split_first().ok_or(Stop::Broken)?;
            self.rest = piece;
            self.pieces = pieces;
        }
        Ok(self.rest)
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
        self.at = self.at.saturating_add(bytes);
    }

    /// The next byte that is no space, without taking it.
    fn peek_solid(&mut self) -> Result<u8, Stop> {
        loop {
            let rest = self.rest()?;
            let spaces = rest.iter().take_while(|byte| is_space(**byte)).count();
            self.skip(spaces);
            if let Some(byte) = rest.get(spaces) {
                return Ok(*byte);
            }
        }
    }

    fn next_solid(&mut self) -> Result<u8, Stop> {
        let byte = self.peek_solid()?;
        self.skip(1);
        Ok(byte)
    }

    fn expect(&mut self, expected: u8) -> Result<(), Stop> {
        if self.next_solid()? == expected {
            Ok(())
        } else {
            Err(Stop::Broken)
        }
    }

    /// Reads to the quote that ends a string, and keeps what is between, up to a limit.
    fn string(&mut self, mut keep: Option<&mut Vec<u8>>) -> Result<(), Stop> {
        let mut kept = |part: &[u8]| {
            if let Some(keep) = keep.as_deref_mut()
                && keep.len() <= NAME_BYTES_MAX
            {
                keep.extend_from_slice(part.get(..=NAME_BYTES_MAX).unwrap_or(part));
            }
        };
        loop {
            let rest = self.rest()?;
            let Some(end) = stop_of(rest) else {
                kept(rest);
                self.skip(rest.len());
                continue;
            };
            kept(rest.get(..end).unwrap_or_default());
            self.skip(end.saturating_add(1));
            if rest.get(end) == Some(&b'"') {
                return Ok(());
            }
            let escaped = *self.rest()?.first().ok_or(Stop::Broken)?;
            kept(&[b'\\', escaped]);
            self.skip(1);
        }
    }

    /// Steps over a value.
    fn value(&mut self) -> Result<Range<usize>, Stop> {
        self.peek_solid()?;
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            let rest = self.rest()?;
            let stops = |byte: &u8| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']' | b',');
            let ends = |byte: &u8| stops(byte) || depth == 0 && is_space(*byte);
            let Some(at) = rest.iter().position(ends) else {
                self.skip(rest.len());
                continue;
            };
            self.skip(at);
            match rest.get(at).copied().unwrap_or_default() {
                b'"' => {
                    self.skip(1);
                    self.string(None)?;
                }
                b'{' | b'[' => {
                    self.skip(1);
                    depth = depth.saturating_add(1);
                }
                b'}' | b']' if depth > 0 => {
                    self.skip(1);
                    depth = depth.saturating_sub(1);
                }
                _end if depth == 0 => break,
                _comma => self.skip(1),
            }
            if depth == 0 && matches!(rest.get(at), Some(b'"' | b'}' | b']')) {
                break;
            }
        }
        if start == self.at {
            return Err(Stop::Broken);
        }
        Ok(start..self.at)
    }
}

/// Where a string ends or has an escape. Names are short: few bytes are looked at one by one
/// sooner than a search of many begins.
fn stop_of(text: &[u8]) -> Option<usize> {
    let is_stop = |byte: &u8| matches!(byte, b'"' | b'\\');
    let (few, rest) = text.split_at_checked(NEAR).unwrap_or((text, &[]));
    let near = few.iter().position(is_stop);
    near.or_else(|| memchr2(b'"', b'\\', rest).map(|at| at.saturating_add(NEAR)))
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

const NEAR: usize = 16;
/// A name longer than this, as it is written, is not asked for: 256 characters, each an escape.
const NAME_BYTES_MAX: usize = 6 * 256;
/// What most names fit in.
const NAME_BYTES_USUAL: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn pieces(text: &[u8], size: usize) -> Vec<Bytes> {
        let chunks = text.chunks(size.max(1));
        chunks.map(Bytes::copy_from_slice).collect()
    }

    fn found(text: &str, name: &str) -> Option<Vec<String>> {
        let whole = read_object(&pieces(text.as_bytes(), text.len()), |n| n == name);
        for size in 1..text.len() {
            let cut = read_object(&pieces(text.as_bytes(), size), |n| n == name);
            assert_eq!(cut, whole, "{text} by {size}");
        }
        let Text::Object(object) = whole else {
            return None;
        };
        let members = object.members.into_iter();
        Some(
            members
                .map(|member| text.get(member.value).unwrap().to_owned())
                .collect(),
        )
    }

    #[test]
    fn members_are_found_however_they_are_spelled_and_at_the_top_only() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(found(text, "ab").unwrap(), expected, "{text}");
        };
        check(r#"{"ab":{"c":1}}"#, &[r#"{"c":1}"#]);
        check(r#" {"x":{"ab":1}, "\u0061b" : "}" } "#, &[r#""}""#]);
        check(r#"{"ab":1,"a\u0062":[{}],"b":"ab"}"#, &["1", "[{}]"]);
        check(r#"{"x":"\"ab\":1","ab":null}tail{"ab":2}"#, &["null"]);
        check("{}", &[]);
        check(r#"{"a\"b":1,"a\\b":2}"#, &[]);
    }

    #[test]
    fn what_is_no_whole_object_is_something_else() {
        for text in [
            "",
            " ",
            "[]",
            "x",
            r#"{"ab""#,
            r#"{"ab":"#,
            r#"{"ab":1"#,
            "{ab:1}",
            r#"{"a" 1}"#,
        ] {
            assert_eq!(
                read_object(&pieces(text.as_bytes(), 2), |_| true),
                Text::Other,
                "{text}"
            );
        }
    }

    #[test]
    fn a_name_that_parsers_read_differently_is_told() {
        for text in [
            &br#"{"\ud800ab":1}"#[..],
            b"{\"\xc1\xa1b\":1}",
            br#"{"\xab":1}"#,
        ] {
            assert_eq!(
                read_object(&pieces(text, 3), |_| true),
                Text::UnreadableName
            );
        }
    }

    #[test]
    fn parts_are_replaced_across_pieces() {
        for size in 1..9 {
            let text = pieces(b"0123456789", size);
            let by = |text: &'static str| Bytes::from_static(text.as_bytes());
            let out = replaced(&text, &[(1..1, by("a")), (3..6, by("b")), (9..10, by(""))]);
            assert_eq!(out.concat(), b"0a12b678");
            assert_eq!(joined(&text, 2..7), "23456");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_json_parser(
            keys in prop::collection::vec("[ab\\\\\"u0061{}]{0,3}", 0..5),
            value in "[a\"\\\\{}\\[\\]:,]{0,6}",
            size in 1_usize..20,
        ) {
            let mut map = serde_json::Map::new();
            for key in &keys {
                map.insert(key.clone(), serde_json::json!({ key.clone(): [value.clone(), 1, null] }));
            }
            let text = Value::Object(map.clone()).to_string();
            let Text::Object(object) = read_object(&pieces(text.as_bytes(), size), |_| true) else {
                panic!("{text}");
            };
            let read: serde_json::Map<String, Value> = object
                .members
                .into_iter()
                .map(|member| (member.name, serde_json::from_str(text.get(member.value).unwrap()).unwrap()))
                .collect();
            prop_assert_eq!(read, map);
        }

        #[test]
        fn garbage_never_panics(text in r#"[{}\[\]",:\\a-z ]{0,80}"#, size in 1_usize..9) {
            read_object(&pieces(text.as_bytes(), size), |_| true);
        }
    }
}
