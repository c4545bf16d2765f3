//! Which operation a method and path are (bedrock-runtime service model, and two control-plane
//! reads). It looks at the raw path only, so that an encoded slash never makes a segment.

use http::Method;

use crate::domain::Operation;

/// An operation and the model id in its path, still percent-encoded.
pub(super) struct Found<'a> {
    pub(super) operation: Operation,
    pub(super) raw_model_id: Option<&'a str>,
}

/// Finds the operation of a method and a raw path without base path.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Option<Found<'a>> {
    if method == Method::POST {
        posted(path)
    } else if method == Method::GET {
        read(path).map(without_model)
    } else {
        None
    }
}

fn posted(path: &str) -> Option<Found<'_>> {
    match path {
        "/async-invoke" => Some(without_model(Operation::StartAsyncInvoke)),
        "/guardrail-checks/invoke" => Some(without_model(Operation::InvokeGuardrailChecks)),
        _ => on_model(path).or_else(|| on_guardrail(path)),
    }
}

/// `/model/{modelId}/{suffix}`: an ARN may arrive with its slash raw, so the id is all that lies
/// between the known ends.
fn on_model(path: &str) -> Option<Found<'_>> {
    let (raw_model_id, suffix) = path.strip_prefix("/model/")?.rsplit_once('/')?;
    let operation = match suffix {
        "invoke" => Operation::InvokeModel,
        "invoke-with-response-stream" => Operation::InvokeModelWithResponseStream,
        "invoke-with-bidirectional-stream" => Operation::InvokeModelWithBidirectionalStream,
        "converse" => Operation::Converse,
        "converse-stream" => Operation::ConverseStream,
        "count-tokens" => Operation::CountTokens,
        _ => return None,
    };
    Some(Found {
        operation,
        raw_model_id: Some(raw_model_id),
    })
}

/// `/guardrail/{id}/version/{version}/apply`, where the id may be an ARN with a raw slash.
fn on_guardrail(path: &str) -> Option<Found<'_>> {
    let inner = path.strip_prefix("/guardrail/")?.strip_suffix("/apply")?;
    let (id, version) = inner.rsplit_once("/version/")?;
    let is_whole = !id.is_empty() && !version.is_empty() && !version.contains('/');
    is_whole.then(|| without_model(Operation::ApplyGuardrail))
}

fn read(path: &str) -> Option<Operation> {
    let under = |prefix: &str| path.strip_prefix(prefix).is_some_and(|id| !id.is_empty());
    match path {
        "/async-invoke" => Some(Operation::ListAsyncInvokes),
        "/inference-profiles" => Some(Operation::ListInferenceProfiles),
        _ if under("/async-invoke/") => Some(Operation::GetAsyncInvoke),
        _ if under("/inference-profiles/") => Some(Operation::GetInferenceProfile),
        _ => None,
    }
}

const fn without_model(operation: Operation) -> Found<'static> {
    Found {
        operation,
        raw_model_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_found_by_its_own_method_only() {
        let check = |method: Method, path: &str, expected: Operation| {
            let found = |method: &Method| find(method, path).map(|found| found.operation);
            assert_eq!(found(&method), Some(expected), "{method} {path}");
            for other in [Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS] {
                assert_eq!(found(&other), None, "{other} {path}");
            }
        };
        let post = |path, expected| check(Method::POST, path, expected);
        post("/model/a/invoke", Operation::InvokeModel);
        post(
            "/model/a/invoke-with-response-stream",
            Operation::InvokeModelWithResponseStream,
        );
        post(
            "/model/a/invoke-with-bidirectional-stream",
            Operation::InvokeModelWithBidirectionalStream,
        );
        post("/model/a/converse", Operation::Converse);
        post("/model/a/converse-stream", Operation::ConverseStream);
        post("/model/a/count-tokens", Operation::CountTokens);
        post("/guardrail/g/version/1/apply", Operation::ApplyGuardrail);
        post(
            "/guardrail/arn:aws:bedrock:us-east-1:1:guardrail/g/version/DRAFT/apply",
            Operation::ApplyGuardrail,
        );
        post("/guardrail-checks/invoke", Operation::InvokeGuardrailChecks);
        post("/async-invoke", Operation::StartAsyncInvoke);
        let get = |path, expected| check(Method::GET, path, expected);
        get("/async-invoke", Operation::ListAsyncInvokes);
        get(
            "/async-invoke/arn:aws:bedrock:us-east-1:1:async-invoke/x",
            Operation::GetAsyncInvoke,
        );
        get("/inference-profiles", Operation::ListInferenceProfiles);
        get(
            "/inference-profiles/us.amazon.nova-lite-v1%3A0",
            Operation::GetInferenceProfile,
        );
    }

    #[test]
    fn other_paths_are_no_operation() {
        for path in [
            "/",
            "",
            "/model",
            "/model/converse",
            "/model/a/Converse",
            "/model/a/converse/",
            "/models/a/converse",
            "//model/a/converse",
            "/guardrail/g/apply",
            "/guardrail//version/1/apply",
            "/guardrail/g/version/1/2/apply",
            "/async-invoke/",
            "/inference-profiles/",
            "/v1/chat/completions",
        ] {
            assert!(find(&Method::POST, path).is_none(), "POST {path}");
            assert!(find(&Method::GET, path).is_none(), "GET {path}");
        }
        assert!(find(&Method::GET, "/model/a/converse").is_none());
        assert!(find(&Method::POST, "/inference-profiles").is_none());
    }
}
