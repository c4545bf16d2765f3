//! What a request names besides what it calls: buckets, guardrails, jobs, profiles, models in its
//! body. Whose they are is judged elsewhere.

use std::fmt;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use memchr::memmem::Finder;
use percent_encoding::percent_decode_str;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::de::IoRead;

use super::route::Route;
use crate::codec::occurs;
use crate::domain::Operation;

/// What a request names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The model of `StartAsyncInvoke`, which stands in the body; [`NO_MODEL`] where it does not.
    pub model: Option<String>,
    /// The guardrail that Bedrock will apply, by id or ARN.
    pub guardrail: Option<String>,
    /// Every guardrail that is named anywhere.
    pub guardrails: Vec<String>,
    /// The job that is asked for.
    pub job: Option<String>,
    /// The inference profile that is asked for.
    pub profile: Option<String>,
    /// `s3://` URIs in places where Bedrock would follow them.
    pub buckets: Vec<String>,
    /// The body may name something, and cannot be read.
    pub unreadable: bool,
}

/// What stands for a model that a body should name and does not.
const NO_MODEL: &str = "(none)";

/// Reads what a request names. A prompt may speak of an `s3://` URI; only one that is the whole of a
/// value which is no text is followed by Bedrock. What is said twice is said by nobody: two readers
/// might take different ones.
pub fn named(route: &Route<'_>, headers: &HeaderMap, body: &[Bytes]) -> Named {
    let mut named = Named::default();
    let under = |prefix: &str| route.upstream_path.strip_prefix(prefix).map(decoded);
    named.job = under("/async-invoke/");
    named.profile = under("/inference-profiles/");
    if let Some((guardrail, _version)) = under("/guardrail/")
        .as_deref()
        .and_then(|rest| rest.rsplit_once("/version/"))
    {
        named.apply(guardrail);
    }
    for value in headers.get_all(GUARDRAIL) {
        match value.to_str() {
            Ok("") => {}
            Ok(guardrail) => named.apply(guardrail),
            Err(_) => named.unreadable = true,
        }
    }
    if may_name(route.operation, body) && read_body(body, &mut named).is_none() {
        named.unreadable = true;
    }
    if named.unreadable {
        named.guardrail = None;
    }
    named.model = (route.operation == Operation::StartAsyncInvoke)
        .then(|| named.model.filter(|_| !named.unreadable))
        .map(|model| model.unwrap_or_else(|| NO_MODEL.to_owned()));
    named
}

impl Named {
    /// Notes a guardrail that Bedrock will apply, unless another is named as well.
    fn apply(&mut self, guardrail: &str) {
        self.guardrails.push(guardrail.to_owned());
        self.unreadable |= self.guardrail.replace(guardrail.to_owned()).is_some();
    }
}

fn decoded(raw: &str) -> String {
    percent_decode_str(raw).decode_utf8_lossy().into_owned()
}

/// Whether the body has anything to look at: most have not, and a prompt of megabytes need not be
/// parsed for that. Names may be spelled with escapes, so a `\u` is enough to look.
fn may_name(operation: Operation, body: &[Bytes]) -> bool {
    static NEEDLES: LazyLock<[Finder<'static>; 4]> =
        LazyLock::new(|| ["s3:", "S3:", "\\u", "guardrailIdentifier"].map(Finder::new));
    operation == Operation::StartAsyncInvoke || NEEDLES.iter().any(|needle| occurs(body, needle))
}

/// `None` for a body that is no JSON of at most the depth that the parser follows.
fn read_body(body: &[Bytes], named: &mut Named) -> Option<()> {
    use std::io::Read as _;
    let empty: Box<dyn std::io::Read> = Box::new(std::io::empty());
    let reader = body
        .iter()
        .fold(empty, |reader, piece| Box::new(reader.chain(&**piece)));
    let mut json = serde_json::Deserializer::new(IoRead::new(std::io::BufReader::new(reader)));
    let walk = Walk {
        key: Key::Other,
        place: Place::Root,
        within: Place::Elsewhere,
        named,
    };
    walk.deserialize(&mut json).ok()?;
    json.end().ok()
}

/// What the value that is walked is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// A text of the conversation: whatever stands in it, Bedrock does not follow it.
    Text,
    Guardrail,
    Model,
    Other,
}

impl Key {
    fn of(name: &str) -> Self {
        match name {
            "guardrailIdentifier" => Self::Guardrail,
            "modelId" => Self::Model,
            _ if TEXTS.contains(&name) => Self::Text,
            _ => Self::Other,
        }
    }
}

/// Which object the members that are walked belong to, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The body itself.
    Root,
    /// The body's `guardrailConfig`.
    GuardrailConfig,
    Elsewhere,
}

/// Walks a JSON text without building it, and notes what is named.
struct Walk<'a> {
    /// What the value is called.
    key: Key,
    /// Where its own members would stand.
    place: Place,
    /// Where it stands itself.
    within: Place,
    named: &'a mut Named,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let Self { named, within, .. } = self;
        match (self.key, within) {
            (Key::Guardrail, Place::GuardrailConfig) => named.apply(text),
            (Key::Guardrail, _) => named.guardrails.push(text.to_owned()),
            (Key::Model, Place::Root) => {
                named.unreadable |= named.model.replace(text.to_owned()).is_some();
            }
            (Key::Other | Key::Model, _) if is_bucket(text) => named.buckets.push(text.to_owned()),
            (Key::Text | Key::Other | Key::Model, _) => {}
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let is_config = self.place == Place::Root && name == "guardrailConfig";
            map.next_value_seed(Walk {
                key: Key::of(&name),
                place: if is_config {
                    Place::GuardrailConfig
                } else {
                    Place::Elsewhere
                },
                within: self.place,
                named: &mut *self.named,
            })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        loop {
            let item = Walk {
                key: self.key,
                place: Place::Elsewhere,
                within: Place::Elsewhere,
                named: &mut *self.named,
            };
            if list.next_element_seed(item)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_bool<E>(self, _value: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _value: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _value: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _value: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

fn is_bucket(text: &str) -> bool {
    let scheme = text.trim_start().get(..5);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("s3://"))
}

/// Members whose value is a text of the conversation, in the bodies of bedrock.md 3 and 4.
const TEXTS: [&str; 15] = [
    "text",
    "content",
    "prompt",
    "system",
    "inputText",
    "inputPrompt",
    "query",
    "documents",
    "texts",
    "stop",
    "stop_sequences",
    "stopSequences",
    "negativeText",
    "arguments",
    "description",
];
const GUARDRAIL: HeaderName = HeaderName::from_static("x-amzn-bedrock-guardrailidentifier");

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::routing::route;

    fn read(path: &str, body: &str, size: usize) -> Named {
        let method = if body.is_empty() {
            Method::GET
        } else {
            Method::POST
        };
        let route = route(&method, path).unwrap();
        let pieces = body
            .as_bytes()
            .chunks(size.max(1))
            .map(Bytes::copy_from_slice);
        named(&route, &HeaderMap::new(), &pieces.collect::<Vec<_>>())
    }

    const CONVERSE: &str = "/model/amazon.nova-pro-v1%3A0/converse";

    fn buckets(body: &str) -> Vec<String> {
        let whole = read(CONVERSE, body, body.len());
        for size in 1..body.len() {
            assert_eq!(
                read(CONVERSE, body, size),
                whole,
                "pieces of {size}: {body}"
            );
        }
        assert!(!whole.unreadable, "{body}");
        whole.buckets
    }

    #[test]
    fn a_bucket_is_named_where_bedrock_would_follow_it() {
        let check = |body: &str, expected: &[&str]| assert_eq!(buckets(body), expected, "{body}");
        check(
            r#"{"messages":[{"content":[{"text":"read s3://a/b"}]}]}"#,
            &[],
        );
        check(r#"{"messages":[{"content":[{"text":"s3://a/b"}]}]}"#, &[]);
        check(
            r#"{"messages":[{"content":"s3://a/b"}],"stop":["s3://x"]}"#,
            &[],
        );
        let video = r#"{"messages":[{"content":[{"video":{"source":{"s3Location":{"uri":"s3://a/b"}}}}]}]}"#;
        check(video, &["s3://a/b"]);
        check(&video.replace("uri", "\\u0075ri"), &["s3://a/b"]);
        check(
            &video.replace("s3:", "\\u0073\\u0033\\u003a"),
            &["s3://a/b"],
        );
        check(&video.replace("s3:", "S3:"), &["S3://a/b"]);
        check(&video.replace("s3://", "s3:\\/\\/"), &["s3://a/b"]);
        check(
            r#"{"a":[{"newer":" s3://a"},["s3://b"]],"n":[1,-2,3.5,true,null]}"#,
            &[" s3://a", "s3://b"],
        );
    }

    #[test]
    fn guardrails_jobs_profiles_and_models_are_named_where_they_stand() {
        let guardrail =
            r#"{"guardrailConfig":{"guardrailIdentifier":"g1","guardrailVersion":"1"}}"#;
        assert_eq!(
            read(CONVERSE, guardrail, 7).guardrail.as_deref(),
            Some("g1")
        );
        let apply =
            "/guardrail/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aguardrail%2Fg1/version/2/apply";
        let arn = "arn:aws:bedrock:us-east-1:1:guardrail/g1";
        assert_eq!(read(apply, "{}", 2).guardrail.as_deref(), Some(arn));
        let start = r#"{"modelId":"amazon.nova-reel-v1:0","outputDataConfig":{"s3OutputDataConfig":{"s3Uri":"s3://a"}}}"#;
        let started = read("/async-invoke", start, 9);
        assert_eq!(started.model.as_deref(), Some("amazon.nova-reel-v1:0"));
        assert_eq!(started.buckets, ["s3://a"]);
        assert_eq!(
            read(CONVERSE, start, 9).model,
            None,
            "there the path has it"
        );
        let job = read("/async-invoke/arn%3Aaws%3Ax", "", 1).job;
        assert_eq!(job.as_deref(), Some("arn:aws:x"));
        let profile = read("/inference-profiles/abc", "", 1).profile;
        assert_eq!(profile.as_deref(), Some("abc"));
        let mut headers = HeaderMap::new();
        headers.insert(GUARDRAIL, "g2".parse().unwrap());
        let invoke = route(&Method::POST, "/model/a/invoke").unwrap();
        assert_eq!(
            named(&invoke, &headers, &[]).guardrail.as_deref(),
            Some("g2")
        );
    }

    #[test]
    fn what_stands_elsewhere_or_twice_does_not_take_the_place() {
        let guardrail = |body: &str| {
            let named = read(CONVERSE, body, body.len());
            (named.guardrail, named.guardrails, named.unreadable)
        };
        let both = |one: Option<&str>, all: &[&str], unreadable| {
            let all = all.iter().map(|&g| g.to_owned()).collect();
            (one.map(str::to_owned), all, unreadable)
        };
        let nested = r#"{"x":{"guardrailConfig":{"guardrailIdentifier":"g"}}}"#;
        assert_eq!(guardrail(nested), both(None, &["g"], false));
        let deeper = r#"{"guardrailConfig":{"x":{"guardrailIdentifier":"g"}}}"#;
        assert_eq!(guardrail(deeper), both(None, &["g"], false));
        let twice = r#"{"guardrailConfig":{"guardrailIdentifier":"a","guardrailIdentifier":"b"}}"#;
        assert_eq!(guardrail(twice), both(None, &["a", "b"], true));
        let model = |body: &str| read("/async-invoke", body, body.len()).model;
        let inner = r#"{"modelId":"a","modelInput":{"modelId":"b"}}"#;
        assert_eq!(model(inner).as_deref(), Some("a"));
        let twice = r#"{"modelId":"a","modelId":"b"}"#;
        assert_eq!(model(twice).as_deref(), Some(NO_MODEL));
        assert_eq!(model("{}").as_deref(), Some(NO_MODEL));
    }

    #[test]
    fn a_body_that_may_name_something_and_cannot_be_read_says_so() {
        for body in [r#"{"uri":"s3://a""#, r#"{"uri":"s3://a"} x"#, "s3://"] {
            assert!(read(CONVERSE, body, 100).unreadable, "{body}");
        }
        assert!(!read(CONVERSE, "no JSON, and nothing named", 100).unreadable);
        assert!(read("/async-invoke", "no JSON", 100).unreadable);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not_without_panic(body in prop::collection::vec(any::<u8>(), 1..60)) {
            let route = route(&Method::POST, CONVERSE).unwrap();
            let _named = named(&route, &HeaderMap::new(), &[Bytes::from(body)]);
        }
    }
}
