//! Which models can the account call here: foundation models on demand, and inference profiles?

use std::collections::BTreeSet;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::finding::{Finding, State};
use super::identity::refused;
use super::reach;
use super::road::{Ask, Road};

const CHECK: &str = "models";

/// The finding, and the ids that calls may name.
pub(super) async fn check(road: &Road<'_>) -> (Finding, BTreeSet<String>) {
    let mut callable = BTreeSet::new();
    match read(
        road,
        "/foundation-models",
        "",
        "bedrock:ListFoundationModels",
    )
    .await
    {
        Ok(list) => callable.extend(on_demand(&list)),
        Err(finding) => return (finding, callable),
    }
    let models = callable.len();
    if let Err(finding) = add_profiles(road, &mut callable).await {
        return (finding, callable);
    }
    let profiles = callable.len().saturating_sub(models);
    let region = road.region;
    let seen = format!("{models} models on demand and {profiles} inference profiles in {region}");
    let finding = if callable.is_empty() {
        let mend = format!("{region} offers this account no model: choose another region");
        Finding::failed(CHECK, seen, mend)
    } else {
        Finding::ok(CHECK, seen)
    };
    (finding, callable)
}

/// Reads the profiles page by page.
async fn add_profiles(road: &Road<'_>, ids: &mut BTreeSet<String>) -> Result<(), Finding> {
    let mut query = "maxResults=1000".to_owned();
    for _page in 0..PAGES_MAX {
        let action = "bedrock:ListInferenceProfiles";
        let list = read(road, "/inference-profiles", &query, action).await?;
        let profiles = items(&list, "inferenceProfileSummaries");
        let active = profiles.filter(|profile| text(profile, "/status") == "ACTIVE");
        ids.extend(active.map(|profile| text(profile, "/inferenceProfileId").to_owned()));
        let Some(next) = list.get("nextToken").and_then(Value::as_str) else {
            break;
        };
        let next = utf8_percent_encode(next, NON_ALPHANUMERIC);
        query = format!("maxResults=1000&nextToken={next}");
    }
    Ok(())
}

async fn read(road: &Road<'_>, path: &str, query: &str, action: &str) -> Result<Value, Finding> {
    let answer = road.ask(&road.control, &Ask::get(path, query)).await;
    let answer =
        answer.map_err(|error| Finding::warning(CHECK, error.to_string(), reach::mend(&error)))?;
    if !answer.status.is_success() {
        return Err(refused(CHECK, action, &answer));
    }
    serde_json::from_slice(&answer.body).map_err(|error| Finding {
        state: State::Warning,
        ..Finding::failed(
            CHECK,
            format!("{action}: the answer cannot be read: {error}"),
            "check upstream.control_endpoints: something else answers there",
        )
    })
}

/// Active models that a bare id calls.
fn on_demand(list: &Value) -> impl Iterator<Item = String> {
    let active = |model: &&Value| text(model, "/modelLifecycle/status") == "ACTIVE";
    let bare = |model: &&Value| items(model, "inferenceTypesSupported").any(|t| t == "ON_DEMAND");
    let models = items(list, "modelSummaries").filter(active).filter(bare);
    models.map(|model| text(model, "/modelId").to_owned())
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

const PAGES_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_models_that_a_bare_id_calls_are_listed() {
        let model = |id: &str, status: &str, inference: &str| {
            serde_json::json!({"modelId": id, "modelLifecycle": {"status": status},
                "inferenceTypesSupported": [inference]})
        };
        let list = serde_json::json!({"modelSummaries": [
            model("a.on-demand", "ACTIVE", "ON_DEMAND"),
            model("a.old", "LEGACY", "ON_DEMAND"),
            model("a.profile-only", "ACTIVE", "INFERENCE_PROFILE"),
        ]});
        assert_eq!(on_demand(&list).collect::<Vec<_>>(), ["a.on-demand"]);
    }
}
