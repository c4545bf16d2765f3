//! The most output that a request allows, found without parsing its prompt.
//!
//! Each family has its own member for it. What cannot be read counts as not said, so that whoever
//! reserves for the call takes the model's own maximum instead; where a request says it twice, the
//! larger counts, because parsers differ in which they take.

use bytes::Bytes;

use crate::codec::{Member, Object, Text, joined, read_object};
use crate::domain::{ModelRef, Operation};

/// Tokens that a request allows its answer to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskedTokens {
    /// Of all the answers that it asks for together; `None` where it does not say.
    pub output_max: Option<u64>,
}

/// What a request allows, by operation and by the model's family.
pub fn asked_tokens(operation: Operation, model: Option<&ModelRef>, body: &[Bytes]) -> AskedTokens {
    let places = match operation {
        Operation::Converse | Operation::ConverseStream => CONVERSE,
        Operation::InvokeModel | Operation::InvokeModelWithResponseStream => {
            invoke_places(model.and_then(|model| model.base.as_deref()))
        }
        Operation::InvokeModelWithBidirectionalStream
        | Operation::CountTokens
        | Operation::ApplyGuardrail
        | Operation::InvokeGuardrailChecks
        | Operation::StartAsyncInvoke
        | Operation::GetAsyncInvoke
        | Operation::ListAsyncInvokes
        | Operation::GetInferenceProfile
        | Operation::ListInferenceProfiles => return AskedTokens::default(),
    };
    AskedTokens {
        output_max: read(body, places),
    }
}

/// Where the number stands: in an object at the top (empty: at the top itself), under any of some
/// names.
type Place = (&'static str, &'static [&'static str]);

fn read(body: &[Bytes], places: &[Place]) -> Option<u64> {
    let is_wanted = |name: &str| {
        let at_top = |(object, names): &Place| match *object {
            "" => names.contains(&name),
            object => object == name,
        };
        places.iter().any(at_top) || ANSWERS.contains(&name)
    };
    let top = object(body, is_wanted)?;
    let mut numbers = Numbers::default();
    for (inner, names) in places {
        if inner.is_empty() {
            numbers.take(body, &top, names);
            continue;
        }
        for member in top.members.iter().filter(|member| member.name == *inner) {
            let text = [joined(body, member.value.clone())];
            match object(&text, |name| names.contains(&name)) {
                Some(inner) => numbers.take(&text, &inner, names),
                // `null`, and what Bedrock will refuse.
                None => numbers.unreadable |= *text[0] != *b"null",
            }
        }
    }
    let mut answers = Numbers::default();
    answers.take(body, &top, ANSWERS);
    let (most, answers) = (numbers.most()?, answers.largest.unwrap_or(1));
    Some(most.saturating_mul(answers.max(1)))
}

/// The largest of the numbers that were seen.
#[derive(Default)]
struct Numbers {
    largest: Option<u64>,
    unreadable: bool,
}

impl Numbers {
    fn take(&mut self, text: &[Bytes], object: &Object, names: &[&str]) {
        let is_it = |member: &&Member| names.contains(&member.name.as_str());
        for member in object.members.iter().filter(is_it) {
            let value = joined(text, member.value.clone());
            match serde_json::from_slice::<Option<u64>>(&value) {
                Ok(number) => self.largest = self.largest.max(number),
                Err(_cause) => self.unreadable = true,
            }
        }
    }

    fn most(&self) -> Option<u64> {
        self.largest.filter(|_| !self.unreadable)
    }
}

fn object(text: &[Bytes], is_wanted: impl Fn(&str) -> bool) -> Option<Object> {
    match read_object(text, is_wanted) {
        Text::Object(object) => Some(object),
        Text::UnreadableName | Text::Other => None,
    }
}

fn invoke_places(base: Option<&str>) -> &'static [Place] {
    let mut families = FAMILIES.iter();
    let family = base.and_then(|base| families.find(|(prefix, _)| base.starts_with(prefix)));
    family.map_or(ANY, |(_, places)| places)
}

/// The Converse shape, and what goes to the model past it.
const CONVERSE: &[Place] = &[
    ("inferenceConfig", &["maxTokens"]),
    (
        "additionalModelRequestFields",
        &["max_tokens", "max_completion_tokens", "max_gen_len"],
    ),
];

/// Of a family whose member is not known, or of a model behind an opaque ARN.
const ANY: &[Place] = &[
    (
        "",
        &[
            "max_tokens",
            "max_completion_tokens",
            "max_gen_len",
            "max_tokens_to_sample",
            "maxTokens",
        ],
    ),
    ("inferenceConfig", &["maxTokens", "max_new_tokens"]),
    ("textGenerationConfig", &["maxTokenCount"]),
];

/// Prefixes of base ids, the first that fits (bedrock.md 3).
const FAMILIES: [(&str, &[Place]); 5] = [
    (
        "anthropic.",
        &[("", &["max_tokens", "max_tokens_to_sample"])],
    ),
    (
        "amazon.nova",
        &[("inferenceConfig", &["maxTokens", "max_new_tokens"])],
    ),
    (
        "amazon.titan",
        &[("textGenerationConfig", &["maxTokenCount"])],
    ),
    ("meta.", &[("", &["max_gen_len"])]),
    ("ai21.j2", &[("", &["maxTokens"])]),
];

/// How many answers a request asks for.
const ANSWERS: &[&str] = &["n", "num_generations", "numResults"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Capacity, Geography};

    fn asked(operation: Operation, base: &str, body: &str, size: usize) -> Option<u64> {
        let model = ModelRef {
            asked: base.into(),
            base: (!base.is_empty()).then(|| base.into()),
            geography: Geography::InRegion,
            capacity: Capacity::OnDemand,
        };
        let pieces = body.as_bytes().chunks(size).map(Bytes::copy_from_slice);
        let pieces: Vec<_> = pieces.collect();
        asked_tokens(operation, Some(&model), &pieces).output_max
    }

    fn check(operation: Operation, base: &str, body: &str, expected: Option<u64>) {
        for size in [1, 3, body.len()] {
            assert_eq!(
                asked(operation, base, body, size),
                expected,
                "{base} {body}"
            );
        }
    }

    #[test]
    fn each_family_says_it_in_its_own_member() {
        let invoke = Operation::InvokeModel;
        check(
            invoke,
            "anthropic.claude-opus-5",
            r#"{"messages":[{"max_tokens":9}],"max_tokens":300}"#,
            Some(300),
        );
        check(
            invoke,
            "amazon.nova-lite-v1:0",
            r#"{"inferenceConfig":{"max_new_tokens":40}}"#,
            Some(40),
        );
        check(
            invoke,
            "amazon.titan-text-express-v1",
            r#"{"inputText":"a","textGenerationConfig":{"maxTokenCount":50}}"#,
            Some(50),
        );
        check(
            invoke,
            "meta.llama3-1-8b-instruct-v1:0",
            r#"{"max_tokens":1,"max_gen_len":512}"#,
            Some(512),
        );
        check(
            invoke,
            "openai.gpt-oss-120b-1:0",
            r#"{"max_completion_tokens":70}"#,
            Some(70),
        );
        check(invoke, "", r#"{"max_gen_len":8,"max_tokens":7}"#, Some(8));
    }

    #[test]
    fn a_converse_request_says_it_in_its_configuration() {
        let converse = Operation::ConverseStream;
        let base = "anthropic.claude-opus-5";
        check(
            converse,
            base,
            r#"{"max_tokens":1,"inferenceConfig":{"temperature":1,"maxTokens":64}}"#,
            Some(64),
        );
        check(
            converse,
            base,
            r#"{"inferenceConfig":{"maxTokens":64},"additionalModelRequestFields":{"max_tokens":900}}"#,
            Some(900),
        );
        check(converse, base, r#"{"inferenceConfig":{}}"#, None);
        check(Operation::CountTokens, base, r#"{"max_tokens":1}"#, None);
    }

    #[test]
    fn what_cannot_be_read_is_not_said_and_the_larger_of_two_counts() {
        let check = |body: &str, expected| {
            check(Operation::InvokeModel, "anthropic.claude-3", body, expected);
        };
        check(r#"{"max_tokens":5,"max\u005ftokens":900}"#, Some(900));
        check(r#"{"max_tokens":900,"max_tokens":5}"#, Some(900));
        check(r#"{"max_tokens":5,"max_tokens":"x"}"#, None);
        check(r#"{"max_tokens":-5}"#, None);
        check(r#"{"max_tokens":null}"#, None);
        check(r#"{"max_tokens":5"#, None);
        check("[]", None);
        check(r#"{"max_tokens":5,"n":3}"#, Some(15));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_json_parser(
            most in any::<u32>(),
            prompt in "[\"\\\\{}:,a-z]{0,20}",
            size in 1_usize..40,
        ) {
            let body = serde_json::json!({
                "messages": [{"content": prompt, "max_tokens": 1}],
                "max_tokens": most,
                "system": prompt,
            });
            let read = asked(Operation::InvokeModel, "anthropic.claude-3", &body.to_string(), size);
            prop_assert_eq!(read, Some(u64::from(most)));
        }
    }
}
