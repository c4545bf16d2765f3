//! Recognises the operation of a method and a raw path (Bedrock service model, `http` traits).

use http::Method;
use percent_encoding::percent_decode_str;

/// What is asked for; model ids and ARNs are percent-decoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    InvokeModel(String),
    InvokeModelWithResponseStream(String),
    Converse(String),
    ConverseStream(String),
    CountTokens(String),
    ApplyGuardrail,
    InvokeGuardrailChecks,
    StartAsyncInvoke,
    GetAsyncInvoke(String),
    ListAsyncInvokes,
    ListInferenceProfiles,
    GetInferenceProfile(String),
    ListFoundationModels,
    GetCallerIdentity,
    AssumeRole,
}

/// The shape of what a generation answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Native,
    NativeStream,
    Converse,
    ConverseStream,
}

impl Shape {
    pub(super) const fn is_stream(self) -> bool {
        matches!(self, Self::NativeStream | Self::ConverseStream)
    }

    /// Whether it is the family's own shape, not that of Converse.
    pub(super) const fn is_native(self) -> bool {
        matches!(self, Self::Native | Self::NativeStream)
    }
}

impl Operation {
    /// The operation at a raw path, without its query.
    pub(super) fn recognise(method: &Method, path: &str) -> Option<Self> {
        if *method == Method::POST {
            Self::recognise_post(path)
        } else if *method == Method::GET {
            Self::recognise_get(path)
        } else {
            None
        }
    }

    /// Which of its operations STS is asked for: all of them are posted to `/`.
    pub(super) fn of_sts(action: &str) -> Option<Self> {
        match action {
            "GetCallerIdentity" => Some(Self::GetCallerIdentity),
            "AssumeRole" => Some(Self::AssumeRole),
            _ => None,
        }
    }

    fn recognise_post(path: &str) -> Option<Self> {
        match path {
            "/" => return Some(Self::GetCallerIdentity),
            "/async-invoke" => return Some(Self::StartAsyncInvoke),
            "/guardrail-checks/invoke" => return Some(Self::InvokeGuardrailChecks),
            _ => {}
        }
        if let Some(guardrail) = path.strip_prefix("/guardrail/") {
            let applies = guardrail.contains("/version/") && guardrail.ends_with("/apply");
            return applies.then_some(Self::ApplyGuardrail);
        }
        // The id of a model may hold raw slashes: what lies between prefix and suffix is the id.
        let (id, action) = path.strip_prefix("/model/")?.rsplit_once('/')?;
        let id = decoded(id)?;
        match action {
            "invoke" => Some(Self::InvokeModel(id)),
            "invoke-with-response-stream" => Some(Self::InvokeModelWithResponseStream(id)),
            "converse" => Some(Self::Converse(id)),
            "converse-stream" => Some(Self::ConverseStream(id)),
            "count-tokens" => Some(Self::CountTokens(id)),
            _ => None,
        }
    }

    fn recognise_get(path: &str) -> Option<Self> {
        match path {
            "/async-invoke" => Some(Self::ListAsyncInvokes),
            "/inference-profiles" => Some(Self::ListInferenceProfiles),
            "/foundation-models" => Some(Self::ListFoundationModels),
            _ => match path.strip_prefix("/async-invoke/") {
                Some(arn) => decoded(arn).map(Self::GetAsyncInvoke),
                None => decoded(path.strip_prefix("/inference-profiles/")?)
                    .map(Self::GetInferenceProfile),
            },
        }
    }

    /// The name in the service model.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::InvokeModel(_) => "InvokeModel",
            Self::InvokeModelWithResponseStream(_) => "InvokeModelWithResponseStream",
            Self::Converse(_) => "Converse",
            Self::ConverseStream(_) => "ConverseStream",
            Self::CountTokens(_) => "CountTokens",
            Self::ApplyGuardrail => "ApplyGuardrail",
            Self::InvokeGuardrailChecks => "InvokeGuardrailChecks",
            Self::StartAsyncInvoke => "StartAsyncInvoke",
            Self::GetAsyncInvoke(_) => "GetAsyncInvoke",
            Self::ListAsyncInvokes => "ListAsyncInvokes",
            Self::ListInferenceProfiles => "ListInferenceProfiles",
            Self::GetInferenceProfile(_) => "GetInferenceProfile",
            Self::ListFoundationModels => "ListFoundationModels",
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::AssumeRole => "AssumeRole",
        }
    }

    /// The shape and the model of an operation that generates.
    pub(super) fn generates(&self) -> Option<(Shape, &str)> {
        match self {
            Self::InvokeModel(id) => Some((Shape::Native, id)),
            Self::InvokeModelWithResponseStream(id) => Some((Shape::NativeStream, id)),
            Self::Converse(id) => Some((Shape::Converse, id)),
            Self::ConverseStream(id) => Some((Shape::ConverseStream, id)),
            Self::CountTokens(_)
            | Self::ApplyGuardrail
            | Self::InvokeGuardrailChecks
            | Self::StartAsyncInvoke
            | Self::GetAsyncInvoke(_)
            | Self::ListAsyncInvokes
            | Self::ListInferenceProfiles
            | Self::GetInferenceProfile(_)
            | Self::ListFoundationModels
            | Self::GetCallerIdentity
            | Self::AssumeRole => None,
        }
    }

    /// The model that the path names.
    pub(super) fn model_id(&self) -> Option<&str> {
        if let Self::CountTokens(id) = self {
            return Some(id);
        }
        self.generates().map(|(_shape, id)| id)
    }
}

/// One path segment without its percent-encoding; `None` when empty or not UTF-8.
fn decoded(segment: &str) -> Option<String> {
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    (!text.is_empty()).then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.a.b-v1:0";

    fn check(method: &Method, path: &str, expected: Option<&Operation>) {
        assert_eq!(
            Operation::recognise(method, path).as_ref(),
            expected,
            "{path}"
        );
    }

    #[test]
    fn every_spelling_of_a_model_id_is_decoded_once() {
        let rows = [
            (
                "/model/a.b-v2:0/invoke",
                Operation::InvokeModel("a.b-v2:0".into()),
            ),
            (
                "/model/a.b-v2%3A0/converse",
                Operation::Converse("a.b-v2:0".into()),
            ),
            (
                "/model/a.b%253A0/count-tokens",
                Operation::CountTokens("a.b%3A0".into()),
            ),
            (
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.a.b-v1%3A0/converse-stream",
                Operation::ConverseStream(PROFILE.into()),
            ),
            (
                "/model/arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.a.b-v1:0/invoke-with-response-stream",
                Operation::InvokeModelWithResponseStream(PROFILE.into()),
            ),
        ];
        for (path, expected) in rows {
            check(&Method::POST, path, Some(&expected));
        }
    }

    #[test]
    fn other_operations_are_recognised_by_method_and_path() {
        check(
            &Method::POST,
            "/guardrail/g1/version/DRAFT/apply",
            Some(&Operation::ApplyGuardrail),
        );
        check(
            &Method::POST,
            "/async-invoke",
            Some(&Operation::StartAsyncInvoke),
        );
        check(
            &Method::GET,
            "/async-invoke",
            Some(&Operation::ListAsyncInvokes),
        );
        check(
            &Method::GET,
            "/async-invoke/arn%3Ax",
            Some(&Operation::GetAsyncInvoke("arn:x".into())),
        );
        check(
            &Method::GET,
            "/inference-profiles/us.a.b",
            Some(&Operation::GetInferenceProfile("us.a.b".into())),
        );
    }

    #[test]
    fn unknown_paths_are_no_operation() {
        for path in [
            "/model/a.b/dance",
            "/model//invoke",
            "/model/invoke",
            "/guardrail/g1/apply",
        ] {
            check(&Method::POST, path, None);
        }
        check(&Method::GET, "/model/a.b/invoke", None);
        check(&Method::PUT, "/async-invoke", None);
    }
}
