//! Makes the calls it reads as a JSON array on its input with the AWS SDK for Rust, in order, and
//! prints one line of JSON for each: the tokens the client reports, or the name of its error.
//!
//! A case: `{client, operation, url, model, key, token}`; without a key the client signs with one
//! that nobody knows, and a token takes the place of a key.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a driver of the SDK tests: printing is its job, and it may stop loudly"
)]

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::{BehaviorVersion, Config, Credentials, Region, Token};
use aws_sdk_bedrockruntime::error::ProvideErrorMetadata;
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ConversationRole, ConverseStreamOutput, Message, ResponseStream, TokenUsage,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Case {
    operation: String,
    url: String,
    model: String,
    key: Option<[String; 2]>,
    token: Option<String>,
}

type Failure = Box<dyn std::error::Error>;

fn main() {
    let cases: Vec<Case> = serde_json::from_reader(std::io::stdin()).expect("cases");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for case in cases {
        let answer = runtime.block_on(call(&case));
        println!(
            "{}",
            answer.unwrap_or_else(|error| json!({"error": error.to_string()}))
        );
    }
}

async fn call(case: &Case) -> Result<Value, Failure> {
    let client = client(case);
    let named = |error: &dyn ProvideErrorMetadata| error.code().unwrap_or("unknown").to_owned();
    match case.operation.as_str() {
        "Converse" => {
            let call = client.converse().model_id(&case.model).messages(message());
            let answer = call.send().await.map_err(|error| named(&error))?;
            Ok(tokens(answer.usage()))
        }
        "ConverseStream" => {
            let call = client.converse_stream().model_id(&case.model);
            let mut answer = call
                .messages(message())
                .send()
                .await
                .map_err(|e| named(&e))?;
            let mut read = Value::Null;
            while let Some(event) = answer.stream.recv().await? {
                if let ConverseStreamOutput::Metadata(metadata) = event {
                    read = tokens(metadata.usage());
                }
            }
            Ok(read)
        }
        "InvokeModel" => {
            let call = client.invoke_model().model_id(&case.model).body(claude());
            let answer = call.send().await.map_err(|error| named(&error))?;
            let body: Value = serde_json::from_slice(answer.body().as_ref())?;
            Ok(counts(&body["usage"]))
        }
        _ => {
            let call = client.invoke_model_with_response_stream();
            let call = call.model_id(&case.model).body(claude());
            let mut answer = call.send().await.map_err(|error| named(&error))?;
            let mut read = json!({});
            while let Some(event) = answer.body.recv().await? {
                let ResponseStream::Chunk(part) = event else {
                    continue;
                };
                let bytes = part.bytes().map(Blob::as_ref).unwrap_or_default();
                let event: Value = serde_json::from_slice(bytes)?;
                let started = counts(&event["message"]["usage"]);
                for usage in [started, counts(&event["usage"])] {
                    merge(&mut read, &usage);
                }
            }
            Ok(read)
        }
    }
}

fn client(case: &Case) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&case.url);
    let config = match (&case.token, &case.key) {
        (Some(token), _) => config.bearer_token(Token::new(token, None)),
        (None, Some([id, secret])) => {
            config.credentials_provider(Credentials::new(id, secret, None, None, "test"))
        }
        (None, None) => config.credentials_provider(Credentials::new(
            "AKIACLIENT",
            "client-secret",
            None,
            None,
            "test",
        )),
    };
    Client::from_conf(config.build())
}

fn message() -> Message {
    let message = Message::builder().role(ConversationRole::User);
    let message = message.content(ContentBlock::Text("Say hello.".to_owned()));
    message.build().expect("a whole message")
}

fn claude() -> Blob {
    let body = json!({
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "Say hello."}],
    });
    Blob::new(body.to_string())
}

fn tokens(usage: Option<&TokenUsage>) -> Value {
    usage.map_or(Value::Null, |usage| {
        json!({"input_tokens": usage.input_tokens(), "output_tokens": usage.output_tokens()})
    })
}

/// The two counts of a Claude `usage` block, as far as they are there.
fn counts(usage: &Value) -> Value {
    let mut read = json!({});
    for name in ["input_tokens", "output_tokens"] {
        if let Some(count) = usage.get(name) {
            read[name] = count.clone();
        }
    }
    read
}

fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.clone());
    }
}
