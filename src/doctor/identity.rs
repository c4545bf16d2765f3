//! Does AWS accept the credentials, and whose are they (STS `GetCallerIdentity`)?

use super::finding::Finding;
use super::reach;
use super::road::{Answer, Ask, Road};

const CHECK: &str = "identity";

pub(super) async fn check(road: &Road<'_>) -> Finding {
    let ask = Ask::post(
        "/",
        "application/x-www-form-urlencoded; charset=utf-8",
        b"Action=GetCallerIdentity&Version=2011-06-15",
    );
    match road.ask_service(&road.sts, "sts", &ask).await {
        Ok(answer) if answer.status.is_success() => match answer.element("Arn") {
            Some(arn) => Finding::ok(CHECK, arn),
            None => Finding::warning(
                CHECK,
                "STS answered without an ARN",
                "check upstream.sts_endpoints: something else answers there",
            ),
        },
        Ok(answer) => refused(CHECK, "sts:GetCallerIdentity", &answer),
        Err(error) => Finding::warning(CHECK, error.to_string(), reach::mend(&error)),
    }
}

/// What an answer that is no success means for the action asked, and its mend.
pub(super) fn refused(check: &'static str, action: &str, answer: &Answer) -> Finding {
    let class = answer.class();
    let seen = format!("{action}: {class}: {}", answer.message());
    let mend = match class.as_str() {
        "ExpiredToken" | "ExpiredTokenException" => {
            "the session token has expired: log in again (`aws sso login`) or let a role renew it"
        }
        "InvalidClientTokenId" | "UnrecognizedClientException" => {
            "AWS does not know this access key: it is deleted, inactive, of another partition, or \
             its session token is missing; give the process another"
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" if is_of_region(answer) => {
            "the host is not that of this region: check upstream.endpoints, \
             upstream.control_endpoints, upstream.sts_endpoints and --region"
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" => {
            "the secret access key does not belong to the access key, or something in between \
             changes the request or its Host header; check the clock as well"
        }
        "AccessDenied" | "AccessDeniedException" => return denied(check, action, seen),
        "Throttling" | "ThrottlingException" | "TooManyRequestsException" => {
            let mend = "AWS throttles these requests now: run doctor again in a minute";
            return Finding::warning(check, seen, mend);
        }
        _ if answer.status.is_server_error() => {
            let mend = "AWS has a fault of its own: run doctor again, and look at the AWS Health \
                        dashboard";
            return Finding::warning(check, seen, mend);
        }
        _ => "AWS's own words say what it wants; check upstream.endpoints and the region",
    };
    Finding::failed(check, seen, mend)
}

fn is_of_region(answer: &Answer) -> bool {
    answer.message().contains("valid region")
}

fn denied(check: &'static str, action: &str, seen: String) -> Finding {
    let allow = format!(
        "allow {action} to this role (deploy/iam/proxy-policy.json), and look for a deny in service \
         control policies, permission boundaries and VPC endpoint policies"
    );
    if NEEDED.contains(&action) {
        Finding::failed(check, seen, allow)
    } else {
        Finding::warning(check, seen, allow)
    }
}

/// Without these the proxy serves nothing; the others only doctor and a few clients need.
const NEEDED: [&str; 2] = [
    "bedrock:InvokeModel",
    "bedrock:InvokeModelWithResponseStream",
];
