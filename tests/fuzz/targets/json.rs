//! Members of JSON objects: cutting changes nothing, and what a JSON parser accepts is found.

use bedrock_meter::codec::MemberExtractor;
use serde_json::Value;

const WANTED: &[&str] = &["usage", "a", ""];

pub(super) fn run(data: &[u8]) {
    let (mut pieces, whole) = super::pieces(data);
    let one = extracted(&mut [whole].into_iter());
    assert_eq!(extracted(&mut pieces), one);
    // A key with an escape is not found; the extractor says so.
    if whole.contains(&b'\\') {
        return;
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(whole) else {
        return;
    };
    assert!(one.0, "a whole object");
    for (name, raw) in WANTED.iter().zip(one.2) {
        let found = raw.map(|raw| serde_json::from_slice(&raw).unwrap());
        assert_eq!(found.as_ref(), members.get(*name), "{name:?}");
    }
}

/// Whether it is complete, whether broken, and the values.
fn extracted(pieces: &mut dyn Iterator<Item = &[u8]>) -> (bool, bool, Vec<Option<Vec<u8>>>) {
    let mut extractor = MemberExtractor::new(WANTED);
    for piece in pieces {
        extractor.feed(piece);
    }
    let values = WANTED
        .iter()
        .map(|name| extractor.member(name).map(<[u8]>::to_vec));
    (
        extractor.is_complete(),
        extractor.is_broken(),
        values.collect(),
    )
}
