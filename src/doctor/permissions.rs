//! May the role call models? Proven by requests that Bedrock refuses before it generates.
//!
//! The body is a JSON array, which no model takes. Whoever may not call gets
//! `AccessDeniedException`; whoever may gets `ValidationException`. Neither is charged.

use std::collections::BTreeSet;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::finding::{Finding, State};
use super::identity::refused;
use super::prices::is_priced;
use super::reach;
use super::road::{Answer, Ask, Road};
use super::visit::Patient;

/// Proves both ways of calling, for each model asked.
pub(super) async fn check(
    road: &Road<'_>,
    patient: &Patient<'_>,
    callable: &BTreeSet<String>,
) -> Vec<Finding> {
    let models = match patient.models.as_slice() {
        [] => default_model(patient, callable),
        asked => asked.to_vec(),
    };
    let mut findings = Vec::new();
    for way in [&INVOKE, &STREAM] {
        let mut of_way = Vec::new();
        for model in &models {
            of_way.push(probe(road, way, model).await);
        }
        findings.push(worst(of_way, way));
    }
    findings
}

struct Way {
    check: &'static str,
    action: &'static str,
    path: &'static str,
}

const INVOKE: Way = Way {
    check: "invoke",
    action: "bedrock:InvokeModel",
    path: "invoke",
};
const STREAM: Way = Way {
    check: "stream",
    action: "bedrock:InvokeModelWithResponseStream",
    path: "invoke-with-response-stream",
};

/// A model that the account can call and that has a price: one of Amazon's own where there is one,
/// as those need no subscription that an account may lack.
fn default_model(patient: &Patient<'_>, callable: &BTreeSet<String>) -> Vec<String> {
    let priced = || callable.iter().filter(|id| is_priced(patient, id));
    let own = priced().find(|id| id.contains("amazon.nova"));
    let known = own.or_else(|| priced().next());
    vec![known.map_or(MODEL_WITHOUT_LIST, String::as_str).to_owned()]
}

/// What is probed where models cannot be listed.
const MODEL_WITHOUT_LIST: &str = "amazon.nova-lite-v1:0";

async fn probe(road: &Road<'_>, way: &Way, model: &str) -> Finding {
    let id = utf8_percent_encode(model, NON_ALPHANUMERIC);
    let path = format!("/model/{id}/{}", way.path);
    let ask = Ask::post(&path, "application/json", b"[]");
    match road.ask(&road.runtime, &ask).await {
        Ok(answer) => read(way, model, &answer),
        Err(error) => Finding::failed(way.check, error.to_string(), reach::mend(&error)),
    }
}

fn read(way: &Way, model: &str, answer: &Answer) -> Finding {
    let (check, action) = (way.check, way.action);
    let message = answer.message();
    let seen = format!("{action} on {model}: {}: {message}", answer.class());
    if answer.status.is_success() {
        let mend = "Bedrock accepted a body that no model takes: look at what answers there";
        return Finding::warning(check, seen, mend);
    }
    match answer.class().as_str() {
        "ValidationException" if message.contains("model identifier is invalid") => {
            let mend = format!(
                "{model} is not offered in this region: choose another region, or one of the \
                 models of `aws bedrock list-foundation-models`"
            );
            Finding::failed(check, seen, mend)
        }
        "ResourceNotFoundException" => {
            let mend =
                format!("{model} is not offered in this region or has reached its end of life");
            Finding::failed(check, seen, mend)
        }
        "ValidationException" if message.contains("on-demand throughput") => {
            let mend =
                "name an inference profile (us., eu., global. ...) instead of the bare model";
            Finding::failed(check, seen, mend)
        }
        "ValidationException" => Finding::ok(check, format!("{action} is allowed on {model}")),
        "AccessDeniedException" if !message.contains("not authorized") => {
            let mend = format!(
                "the role may call, but the account has no access to {model}: accept its terms in \
                 the Bedrock console, or allow the AWS Marketplace subscription"
            );
            Finding::failed(check, seen, mend)
        }
        _ => refused(check, action, answer),
    }
}

/// One finding for a way: the worst, with the others as details.
fn worst(findings: Vec<Finding>, way: &Way) -> Finding {
    let details = match findings.len() {
        0 | 1 => Vec::new(),
        _ => findings
            .iter()
            .map(|finding| finding.seen.clone())
            .collect(),
    };
    let rank = |finding: &Finding| match finding.state {
        State::Failed => 3,
        State::Warning => 2,
        State::Ok => 1,
        State::Skipped => 0,
    };
    let found = findings.into_iter().max_by_key(rank);
    let found = found.unwrap_or_else(|| Finding::skipped(way.check, "no model to probe"));
    found.with_details(details)
}
