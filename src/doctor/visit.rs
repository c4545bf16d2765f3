//! The checks in their order, and which failure makes which later check pointless.

use super::finding::{Finding, State};
use super::road::Road;
use super::{
    budget_store, clock, credentials, identity, ledger, models, permissions, prices, reach, region,
    shared_ledger,
};
use crate::domain::{Clock, Region};
use crate::pricing::Catalogue;
use crate::upstream::Authority;

/// What is examined.
pub struct Patient<'a> {
    /// The road to AWS.
    pub upstream: &'a crate::upstream::Settings,
    /// Where the ledger lies.
    pub ledger: &'a crate::ledger::Settings,
    /// Where replicas share budgets.
    pub budget_store: &'a crate::replicas::Settings,
    /// The prices that calls will have.
    pub catalogue: &'a Catalogue,
    /// The region to examine, one of the configured ones or not.
    pub region: Region,
    /// Models whose use is to be proven; empty: one that the account can call.
    pub models: Vec<String>,
    /// Tells the time.
    pub clock: &'a dyn Clock,
}

/// Makes every check. No charge is caused.
pub async fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (finding, authority) = credentials::check(patient).await;
    findings.push(finding);
    examine_aws(patient, authority, &mut findings).await;
    findings.push(ledger::check(patient.ledger));
    findings.extend(shared_ledger::check(patient.ledger).await);
    findings.extend(budget_store::check(patient.budget_store).await);
    findings
}

async fn examine_aws(
    patient: &Patient<'_>,
    authority: Option<Authority>,
    findings: &mut Vec<Finding>,
) {
    findings.push(region::check(patient));
    if failed(findings) {
        return skip(findings, &AFTER_REGION, "the region cannot be called");
    }
    let mut road = match Road::new(patient) {
        Ok(road) => road,
        Err(finding) => {
            findings.push(finding);
            return skip(findings, &AFTER_REACH, "there is no way to AWS");
        }
    };
    let (finding, seen) = reach::check(&road).await;
    findings.push(finding);
    if failed(findings) {
        return skip(findings, &AFTER_REACH, "Bedrock cannot be reached");
    }
    let (finding, skew_ms) = clock::check(seen);
    findings.push(finding);
    // What follows is signed with AWS's time, so that a wrong clock hides nothing else.
    road.skew_ms = skew_ms;
    let Some(authority) = authority else {
        return skip(findings, &AFTER_CLOCK, "there are no credentials");
    };
    let signs = matches!(authority, Authority::SigV4(_));
    road.authority = Some(authority);
    findings.push(if signs {
        identity::check(&road).await
    } else {
        Finding::skipped("identity", "an API key does not tell whose it is")
    });
    if failed(findings) {
        return skip(
            findings,
            &AFTER_IDENTITY,
            "AWS does not accept the credentials",
        );
    }
    let (finding, callable) = models::check(&road).await;
    findings.push(finding);
    if callable.is_empty() {
        findings.push(Finding::skipped("prices", "no models are known"));
    } else {
        findings.push(prices::check(patient, &callable));
    }
    findings.extend(permissions::check(&road, patient, &callable).await);
}

fn failed(findings: &[Finding]) -> bool {
    findings
        .last()
        .is_some_and(|last| last.state == State::Failed)
}

fn skip(findings: &mut Vec<Finding>, checks: &[&'static str], why: &str) {
    findings.extend(checks.iter().map(|check| Finding::skipped(check, why)));
}

const AFTER_REGION: [&str; 7] = [
    "reachability",
    "clock",
    "identity",
    "models",
    "prices",
    "invoke",
    "stream",
];
const AFTER_REACH: [&str; 6] = ["clock", "identity", "models", "prices", "invoke", "stream"];
const AFTER_CLOCK: [&str; 5] = ["identity", "models", "prices", "invoke", "stream"];
const AFTER_IDENTITY: [&str; 4] = ["models", "prices", "invoke", "stream"];
