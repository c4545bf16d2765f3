//! Host names of Bedrock per region (Bedrock service model, endpoint rules).

use crate::domain::Region;

/// Which of Bedrock's hosts serves an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plane {
    /// `bedrock-runtime`: model calls.
    Runtime,
    /// `bedrock`: the read-only control-plane calls that are passed on.
    Control,
}

/// The public URL of a plane in a region.
pub fn public_url(plane: Plane, region: &Region) -> String {
    let service = match plane {
        Plane::Runtime => "bedrock-runtime",
        Plane::Control => "bedrock",
    };
    service_url(service, region)
}

/// The public URL of the Security Token Service in a region.
pub fn sts_url(region: &Region) -> String {
    service_url("sts", region)
}

/// The public URL of the Simple Notification Service in a region.
pub fn sns_url(region: &Region) -> String {
    service_url("sns", region)
}

fn service_url(service: &str, region: &Region) -> String {
    let suffix = match region.as_str() {
        cn if cn.starts_with("cn-") => "amazonaws.com.cn",
        eusc if eusc.starts_with("eusc-") => "amazonaws.eu",
        iso if iso.starts_with("us-iso-") => "c2s.ic.gov",
        _ => "amazonaws.com",
    };
    format!("https://{service}.{region}.{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_follow_the_partition() {
        let url = |plane, region: &str| public_url(plane, &Region::new(region).unwrap());
        let runtime = url(Plane::Runtime, "us-east-1");
        assert_eq!(runtime, "https://bedrock-runtime.us-east-1.amazonaws.com");
        assert_eq!(
            url(Plane::Control, "eu-west-3"),
            "https://bedrock.eu-west-3.amazonaws.com"
        );
        let sovereign = url(Plane::Runtime, "eusc-de-east-1");
        assert_eq!(
            sovereign,
            "https://bedrock-runtime.eusc-de-east-1.amazonaws.eu"
        );
        let sts = sts_url(&Region::new("eu-west-3").unwrap());
        assert_eq!(sts, "https://sts.eu-west-3.amazonaws.com");
    }
}
