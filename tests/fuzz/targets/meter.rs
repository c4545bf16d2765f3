//! Answers: whatever they hold, and however they are cut, the reading is the same.

use bedrock_meter::aws::parse_model_ref;
use bedrock_meter::domain::{Operation, UsageSource};
use bedrock_meter::meters::{End, Meter};
use http::HeaderMap;

const MODELS: [&str; 6] = [
    "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "amazon.nova-lite-v1:0",
    "amazon.titan-embed-text-v2:0",
    "meta.llama3-70b-instruct-v1:0",
    "cohere.command-r-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:prompt-router/x",
];
const OPERATIONS: [Operation; 4] = [
    Operation::Converse,
    Operation::ConverseStream,
    Operation::InvokeModel,
    Operation::InvokeModelWithResponseStream,
];
const ENDS: [End; 2] = [End::Complete, End::CutShort];

pub(super) fn run(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let choice = usize::from(*choice);
    let model = parse_model_ref(MODELS[choice % MODELS.len()]);
    let operation = OPERATIONS[choice / 8 % OPERATIONS.len()];
    let end = ENDS[choice / 64 % ENDS.len()];
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut meter = Meter::choose(operation, Some(&model));
        meter.head(200, &HeaderMap::new());
        for piece in pieces {
            meter.frame(piece);
        }
        meter.finish(end)
    };
    let (mut pieces, whole) = super::pieces(data);
    let reading = read(&mut [whole].into_iter());
    assert_eq!(format!("{:?}", read(&mut pieces)), format!("{reading:?}"));
    let reported = reading.source == UsageSource::Reported;
    assert_eq!(reading.reason.is_none(), reported, "unknown is never zero");
}
