//! The road to Bedrock (`[upstream]`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use crate::domain::{Region, Secret};

/// The upstream settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The regions a call may go to; nothing a client sends can name another.
    pub regions: Vec<Region>,
    /// The region of calls that name none; one of `regions`.
    pub default_region: Region,
    /// Base URLs that replace the public host of bedrock-runtime, by region.
    pub endpoints: BTreeMap<Region, Uri>,
    /// Base URLs that replace the public host of the control plane, by region.
    pub control_endpoints: BTreeMap<Region, Uri>,
    /// Base URLs that replace the public host of STS, by region.
    pub sts_endpoints: BTreeMap<Region, Uri>,
    /// The HTTP proxy for `https` endpoints.
    pub proxy: Option<HttpProxy>,
    /// A PEM file with further certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// Limit for a new connection, its TLS handshake included.
    pub connect_timeout: Duration,
    /// Limit from the request to the end of the answer; at least 60 minutes.
    pub response_timeout: Duration,
    /// Limit between two bytes of an answer that has begun.
    pub idle_timeout: Duration,
    /// Idle connections kept for each host.
    pub pool_idle_per_host: usize,
    /// How long an idle connection is kept.
    pub pool_idle_timeout: Duration,
    /// With which credentials requests are signed, or which key they carry.
    pub credentials: CredentialSettings,
    /// Which roles are assumed for tenants.
    pub roles: RoleSettings,
    /// What is written into each call's request metadata.
    pub request_metadata: MetadataKeys,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            regions: regions(),
            default_region: region("us-east-1"),
            endpoints: BTreeMap::new(),
            control_endpoints: BTreeMap::new(),
            sts_endpoints: BTreeMap::new(),
            proxy: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(3),
            response_timeout: Self::RESPONSE_TIMEOUT_MIN,
            idle_timeout: Duration::from_mins(15),
            pool_idle_per_host: 128,
            pool_idle_timeout: Duration::from_secs(55),
            credentials: CredentialSettings::default(),
            roles: RoleSettings::default(),
            request_metadata: MetadataKeys::default(),
        }
    }
}

impl Settings {
    /// The least response timeout: AWS lets Nova and Claude infer for up to 60 minutes, and a
    /// call that is cut off earlier is charged all the same.
    pub const RESPONSE_TIMEOUT_MIN: Duration = Duration::from_hours(1);
}

/// An HTTP proxy on the way to AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProxy {
    /// Its URL, without user and password.
    pub url: Uri,
    /// `user:password`, as given in the URL, still percent-encoded.
    pub user_info: Option<Secret>,
}

/// Which roles are assumed for tenants (`[upstream.roles]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSettings {
    /// The role of tenants whose policy and key name none; `{tenant}` stands for the name.
    pub default: Option<String>,
    /// How long a session lasts.
    pub duration: Duration,
    /// What the trust policies of the roles may ask for.
    pub external_id: Option<String>,
    /// Whether the application is a session tag beside the tenant.
    pub tag_application: bool,
}

impl Default for RoleSettings {
    fn default() -> Self {
        Self {
            default: None,
            duration: Duration::from_hours(1),
            external_id: None,
            tag_application: false,
        }
    }
}

/// Under which keys of the request metadata a call is described (`[upstream.request_metadata]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataKeys {
    /// The key of the tenant.
    pub tenant: Option<String>,
    /// The key of the application.
    pub application: Option<String>,
    /// The key of the call's id.
    pub call_id: Option<String>,
}

impl MetadataKeys {
    /// Whether nothing is written.
    pub const fn is_empty(&self) -> bool {
        self.tenant.is_none() && self.application.is_none() && self.call_id.is_none()
    }
}

/// With which credentials requests are signed, or which key they carry instead of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSettings {
    /// The AWS default chain: environment, profile files, container and instance roles.
    DefaultChain {
        /// The profile to use instead of `AWS_PROFILE` or `default`.
        profile: Option<String>,
    },
    /// These, which never change.
    Static {
        /// The access key id.
        access_key_id: String,
        /// The secret access key.
        secret_access_key: Secret,
        /// The session token of temporary credentials.
        session_token: Option<Secret>,
    },
    /// A Bedrock API key, sent as `Authorization: Bearer`.
    Bearer(BearerKey),
}

/// Where the Bedrock API key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BearerKey {
    /// This one, which never changes.
    Fixed(Secret),
    /// In this file, which is read again: a short-term key lives 12 hours at most.
    File(PathBuf),
}

impl Default for CredentialSettings {
    fn default() -> Self {
        Self::DefaultChain { profile: None }
    }
}

fn regions() -> Vec<Region> {
    COMMERCIAL_REGIONS.iter().map(|name| region(name)).collect()
}

#[expect(
    clippy::expect_used,
    reason = "the names are constants of this file, and a test reads them all"
)]
fn region(name: &str) -> Region {
    Region::new(name).expect("a valid region name")
}

/// The regions of the partition `aws` for which the AWS price list has Bedrock prices.
const COMMERCIAL_REGIONS: [&str; 34] = [
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_region_is_one_of_the_regions() {
        let settings = Settings::default();
        assert!(settings.regions.contains(&settings.default_region));
        assert_eq!(settings.regions.len(), COMMERCIAL_REGIONS.len());
    }
}
