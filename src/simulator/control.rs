//! The control plane and STS, as far as they tell a caller what it may do, and refusals by action.

use std::str::FromStr;

use bytes::Bytes;
use jiff::{Timestamp, fmt::rfc2822};
use serde_json::{Value, json};

use super::Settings;
use super::operation::Operation;
use super::refusal::Refusal;
use super::sessions::Assumption;

/// An action that is always refused: `bedrock:InvokeModel=AccessDeniedException`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedAction {
    action: String,
    class: String,
}

/// A text that names no action and class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected ACTION=CLASS, such as bedrock:InvokeModel=AccessDeniedException")]
pub struct InvalidRefusal;

impl FromStr for RefusedAction {
    type Err = InvalidRefusal;

    fn from_str(text: &str) -> Result<Self, InvalidRefusal> {
        let (action, class) = text.split_once('=').ok_or(InvalidRefusal)?;
        let named = action == "*" || action.contains(':');
        let fits = named && class.ends_with("Exception");
        fits.then(|| Self {
            action: action.to_owned(),
            class: class.to_owned(),
        })
        .ok_or(InvalidRefusal)
    }
}

/// Refuses what the settings say is refused.
pub(super) fn check(settings: &Settings, operation: &Operation) -> Result<(), Refusal> {
    check_action(settings, &action(operation))?;
    let absent = |id: &str| {
        settings
            .absent_models
            .iter()
            .any(|absent| id.ends_with(absent.as_str()))
    };
    if operation.model_id().is_some_and(absent) {
        return Err(Refusal::validation(
            "The provided model identifier is invalid.",
        ));
    }
    Ok(())
}

/// Refuses to assume a role: in general, as that role, or with session tags.
pub(super) fn check_assumption(
    settings: &Settings,
    assumption: &Assumption,
) -> Result<(), Refusal> {
    check_action(
        settings,
        &format!("sts:AssumeRole/{}", assumption.role_name()),
    )?;
    if assumption.tags_the_session() {
        check_action(settings, "sts:TagSession")?;
    }
    Ok(())
}

fn check_action(settings: &Settings, action: &str) -> Result<(), Refusal> {
    let mut refused = settings.refused.iter();
    let rule = refused.find(|rule| rule.action == "*" || rule.action == action);
    rule.map_or(Ok(()), |rule| {
        let (status, message) = refusal_text(&rule.class, action);
        Err(Refusal::new(status, &rule.class, message))
    })
}

/// The IAM action that an operation needs (facts of the service authorization reference).
fn action(operation: &Operation) -> String {
    match operation.name() {
        "Converse" => "bedrock:InvokeModel".to_owned(),
        "ConverseStream" => "bedrock:InvokeModelWithResponseStream".to_owned(),
        name @ ("GetCallerIdentity" | "AssumeRole") => format!("sts:{name}"),
        name => format!("bedrock:{name}"),
    }
}

fn refusal_text(class: &str, action: &str) -> (u16, String) {
    match class {
        "AccessDeniedException" => (
            403,
            format!(
                "User: arn:aws:sts::123456789012:assumed-role/simulated/session is not authorized \
                 to perform: {action} because no identity-based policy allows the {action} action"
            ),
        ),
        "ExpiredTokenException" => (
            403,
            "The security token included in the request is expired".to_owned(),
        ),
        "ThrottlingException" => (
            429,
            "Too many requests, please wait before trying again.".to_owned(),
        ),
        "InternalServerException" => (500, "Internal error.".to_owned()),
        _ => (400, "Refused by the simulator's settings.".to_owned()),
    }
}

/// A few models with their ways of being called.
pub(super) fn list_foundation_models(region: &str) -> Value {
    let models = [
        ("anthropic.claude-opus-5-5", "INFERENCE_PROFILE"),
        (
            "anthropic.claude-haiku-4-5-20251001-v1:0",
            "INFERENCE_PROFILE",
        ),
        (
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            "INFERENCE_PROFILE",
        ),
        ("amazon.nova-pro-v1:0", "ON_DEMAND"),
        ("amazon.nova-lite-v1:0", "ON_DEMAND"),
        ("example.unpriced-model-v1:0", "ON_DEMAND"),
    ];
    let summary = |(id, inference): (&str, &str)| {
        json!({
            "modelArn": format!("arn:aws:bedrock:{region}::foundation-model/{id}"),
            "modelId": id,
            "modelName": id,
            "providerName": id.split('.').next(),
            "inputModalities": ["TEXT"],
            "outputModalities": ["TEXT"],
            "responseStreamingSupported": true,
            "inferenceTypesSupported": [inference],
            "modelLifecycle": {"status": "ACTIVE"},
        })
    };
    let summaries: Vec<Value> = models.into_iter().map(summary).collect();
    json!({"modelSummaries": summaries})
}

/// Who is calling, in the XML of STS; a JSON string stands for a body that is no JSON.
pub(super) fn get_caller_identity(principal: Option<&str>, request_id: &str) -> Value {
    let arn = principal.unwrap_or("arn:aws:sts::123456789012:assumed-role/simulated/session");
    Value::String(format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <GetCallerIdentityResult>\
         <Arn>{arn}</Arn>\
         <UserId>AROAEXAMPLE:session</UserId><Account>123456789012</Account>\
         </GetCallerIdentityResult>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>\
         </GetCallerIdentityResponse>"
    ))
}

/// An error in the XML of STS, whose codes have no `Exception` at their end.
pub(super) fn sts_error(refusal: &Refusal) -> Bytes {
    let code = match refusal.class.as_str() {
        "InvalidSignatureException" => "SignatureDoesNotMatch",
        "UnrecognizedClientException" => "InvalidClientTokenId",
        "ThrottlingException" => "Throttling",
        class => class.strip_suffix("Exception").unwrap_or(class),
    };
    let message = &refusal.message;
    Bytes::from(format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
         <Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    ))
}

/// The simulator's clock as the `Date` header has it.
pub(super) fn http_date(now: Timestamp) -> String {
    let printed = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
    printed.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_refused_by_its_iam_name() {
        let refused = |rule: &str, operation: &Operation| {
            let settings = Settings {
                refused: vec![rule.parse().unwrap()],
                ..Settings::default()
            };
            check(&settings, operation)
                .err()
                .map(|refusal| refusal.class)
        };
        let converse = Operation::Converse("a.b".to_owned());
        let denied = Some("AccessDeniedException".to_owned());
        assert_eq!(
            refused("bedrock:InvokeModel=AccessDeniedException", &converse),
            denied
        );
        assert_eq!(
            refused("bedrock:CountTokens=AccessDeniedException", &converse),
            None
        );
        let expired = Some("ExpiredTokenException".to_owned());
        assert_eq!(
            refused("*=ExpiredTokenException", &Operation::GetCallerIdentity),
            expired
        );
    }

    #[test]
    fn the_date_is_that_of_http() {
        let now = "2026-11-22T12:10:00Z".parse().unwrap();
        assert_eq!(http_date(now), "Sun, 22 Nov 2026 12:10:00 GMT");
    }
}
