//! Which region a client signed for. A wish, not a proof: nothing here verifies a signature.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The region in the credential scope of a SigV4 `Authorization` header:
/// `AWS4-HMAC-SHA256 Credential=AKID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=..., ...`.
pub fn claimed_region(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let parameters = authorization.strip_prefix("AWS4-HMAC-SHA256")?;
    // The scope stands first in what every SDK sends.
    let scope = match parameters.strip_prefix(" Credential=") {
        Some(rest) => rest.split(',').next()?.split(' ').next()?,
        None => parameters
            .split([',', ' '])
            .find_map(|p| p.strip_prefix("Credential="))?,
    };
    // From the right: an access key id of another issuer may hold a slash.
    let scope = scope.strip_suffix("/aws4_request")?;
    let (scope, _service) = scope.rsplit_once('/')?;
    let (scope, region) = scope.rsplit_once('/')?;
    let (_access_key_id, _date) = scope.rsplit_once('/')?;
    Some(region).filter(|region| !region.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_region_is_read_from_the_credential_scope() {
        let check = |value: &str, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            assert_eq!(claimed_region(&headers), expected, "{value}");
        };
        let whole = |scope: &str| {
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00")
        };
        check(
            &whole("AKIDEXAMPLE/20261122/eu-west-1/bedrock/aws4_request"),
            Some("eu-west-1"),
        );
        check(
            "AWS4-HMAC-SHA256 SignedHeaders=host,Credential=A/20261122/us-east-1/bedrock/aws4_request",
            Some("us-east-1"),
        );
        check(
            &whole("A/B/20261122/us-east-2/bedrock/aws4_request"),
            Some("us-east-2"),
        );
        check(&whole("A/20261122/us-east-1/bedrock/aws5_request"), None);
        check(&whole("20261122/us-east-1/bedrock/aws4_request"), None);
        check(&whole("A/20261122//bedrock/aws4_request"), None);
        check(&whole(""), None);
        check("Bearer x", None);
        check("AWS4-HMAC-SHA256", None);
        assert_eq!(claimed_region(&HeaderMap::new()), None);
    }
}
