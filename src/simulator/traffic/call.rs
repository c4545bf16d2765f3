//! Makes one planned call through the AWS SDK and says how it ended.

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::{AppName, Builder, Config, Region};
use aws_sdk_bedrockruntime::error::SdkError;
use aws_sdk_bedrockruntime::primitives::{Blob, event_stream::EventReceiver};
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ConversationRole, Message, ServiceTier, ServiceTierType,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde_json::json;

use super::Settings;
use super::plan::{Course, Plan, Shape};

/// Events that a client reads before it leaves.
const EVENTS_BEFORE_ABORT: usize = 5;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Completed,
    Aborted,
    /// It failed as its script said.
    Fault,
    /// It failed, and how.
    Failed(&'static str),
}

/// How far an answer was read, or what went wrong.
type Ending = Result<(), &'static str>;

/// Makes the call.
pub(super) async fn make(client: &Client, settings: &Settings, plan: &Plan) -> Outcome {
    let config = overrides(settings, plan);
    let ending = match plan.shape {
        Shape::Invoke => invoke(client, config, plan).await,
        Shape::InvokeStream => invoke_stream(client, config, plan).await,
        Shape::Converse => converse(client, config, plan).await,
        Shape::ConverseStream => converse_stream(client, config, plan).await,
    };
    match (plan.course, ending) {
        (Course::Complete, Ok(())) => Outcome::Completed,
        (Course::Abort, Ok(())) => Outcome::Aborted,
        (Course::Fault, Err(_)) => Outcome::Fault,
        (Course::Fault, Ok(())) => Outcome::Failed("a scripted fault did not arrive"),
        (Course::Complete | Course::Abort, Err(what)) => Outcome::Failed(what),
    }
}

/// Who calls from where: the base path, the region and the SDK's application id.
fn overrides(settings: &Settings, plan: &Plan) -> Builder {
    let Plan {
        team, application, ..
    } = plan;
    let endpoint = &settings.endpoint;
    let url = match (settings.base_paths, plan.by_sdk) {
        (false, _) => endpoint.clone(),
        (true, true) => format!("{endpoint}/tenant/{team}"),
        (true, false) => format!("{endpoint}/tenant/{team}/application/{application}"),
    };
    let config = Config::builder()
        .endpoint_url(url)
        .region(Region::from_static(plan.region));
    match AppName::new(*application) {
        Ok(name) if plan.by_sdk => config.app_name(name),
        Ok(_) | Err(_) => config,
    }
}

/// Scripts the answer of the simulator.
fn scripted(plan: &Plan) -> impl Fn(&mut HttpRequest) + Send + Sync + use<> {
    let script = plan.script.clone();
    move |request| {
        request.headers_mut().insert("x-simulate", script.clone());
    }
}

async fn invoke(client: &Client, config: Builder, plan: &Plan) -> Ending {
    let call = client
        .invoke_model()
        .model_id(&plan.model_id)
        .content_type("application/json")
        .body(native_body(plan))
        .set_service_tier(tier(plan));
    let call = call.customize().config_override(config);
    let sent = call.mutate_request(scripted(plan)).send().await;
    sent.map(drop).map_err(|error| kind(&error))
}

async fn invoke_stream(client: &Client, config: Builder, plan: &Plan) -> Ending {
    let call = client
        .invoke_model_with_response_stream()
        .model_id(&plan.model_id)
        .content_type("application/json")
        .body(native_body(plan))
        .set_service_tier(tier(plan));
    let call = call.customize().config_override(config);
    let sent = call.mutate_request(scripted(plan)).send().await;
    read(sent.map_err(|error| kind(&error))?.body, plan).await
}

async fn converse(client: &Client, config: Builder, plan: &Plan) -> Ending {
    let call = client
        .converse()
        .model_id(&plan.model_id)
        .set_messages(messages())
        .set_service_tier(converse_tier(plan));
    let call = call.customize().config_override(config);
    let sent = call.mutate_request(scripted(plan)).send().await;
    sent.map(drop).map_err(|error| kind(&error))
}

async fn converse_stream(client: &Client, config: Builder, plan: &Plan) -> Ending {
    let call = client
        .converse_stream()
        .model_id(&plan.model_id)
        .set_messages(messages())
        .set_service_tier(converse_tier(plan));
    let call = call.customize().config_override(config);
    let sent = call.mutate_request(scripted(plan)).send().await;
    read(sent.map_err(|error| kind(&error))?.stream, plan).await
}

/// Reads a stream to its end, or leaves it in the middle by dropping it.
async fn read<T, E>(mut events: EventReceiver<T, E>, plan: &Plan) -> Ending {
    let mut count = 0;
    while plan.course != Course::Abort || count < EVENTS_BEFORE_ABORT {
        match events.recv().await {
            Ok(Some(_)) => count += 1,
            Ok(None) => break,
            Err(error) => return Err(kind(&error)),
        }
    }
    Ok(())
}

/// A body in the shape of the model's family.
fn native_body(plan: &Plan) -> Blob {
    let messages = json!([{"role": "user", "content": "hello"}]);
    let body = if plan.model_id.contains("anthropic.") {
        let version = "bedrock-2023-05-31";
        json!({"anthropic_version": version, "max_tokens": 1200, "messages": messages})
    } else if plan.model_id.contains("nova-") {
        json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]})
    } else if plan.model_id.contains("titan-") {
        json!({"inputText": "hello"})
    } else {
        json!({"max_tokens": 1200, "messages": messages})
    };
    Blob::new(body.to_string())
}

fn messages() -> Option<Vec<Message>> {
    let message = Message::builder()
        .role(ConversationRole::User)
        .content(ContentBlock::Text("hello".to_owned()));
    Some(vec![message.build().ok()?])
}

fn tier(plan: &Plan) -> Option<ServiceTierType> {
    plan.priority.then_some(ServiceTierType::Priority)
}

fn converse_tier(plan: &Plan) -> Option<ServiceTier> {
    ServiceTier::builder().r#type(tier(plan)?).build().ok()
}

/// What kind of failure the SDK saw.
fn kind<E, R>(error: &SdkError<E, R>) -> &'static str {
    match error {
        SdkError::ConstructionFailure(_) => "the call could not be made",
        SdkError::TimeoutError(_) => "timeout",
        SdkError::DispatchFailure(_) => "the connection failed",
        SdkError::ResponseError(_) => "the answer could not be read",
        SdkError::ServiceError(_) => "an error was answered",
        _ => "another failure",
    }
}
