//! Where Bedrock is: one target per plane and region, from public host names or overrides.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;

use super::settings::Settings;
use crate::aws::{Plane, public_url};
use crate::domain::Region;

/// One host that is called.
#[derive(Clone, Debug)]
pub struct Target {
    /// What the `Host` header says: the authority, without a default port.
    pub host: HeaderValue,
    /// Path prefix of an override URL, without its last slash; usually empty.
    pub base_path: String,
    /// Tells connections apart that must not serve each other's calls.
    pub(super) pool_key: Arc<str>,
    pub(super) address: (String, u16),
    pub(super) tls: Option<ServerName<'static>>,
}

/// A URL that cannot be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {why}")]
pub struct InvalidTarget {
    url: String,
    why: &'static str,
}

impl Target {
    /// The target of an `http://` or `https://` URL.
    ///
    /// # Errors
    /// When the URL has another scheme, no host, or a query.
    pub fn new(uri: &Uri) -> Result<Self, InvalidTarget> {
        let refuse = |why| InvalidTarget {
            url: uri.to_string(),
            why,
        };
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(refuse("expected http:// or https://")),
        };
        if uri.query().is_some() {
            return Err(refuse("must not have a query"));
        }
        let authority = uri.authority().ok_or_else(|| refuse("has no host"))?;
        let name = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let default = port == if tls { 443 } else { 80 };
        let host = if default {
            authority.host()
        } else {
            authority.as_str()
        };
        let host = HeaderValue::from_str(host).map_err(|_value| refuse("has a strange host"))?;
        let server = ServerName::try_from(name.to_owned());
        let tls = match (tls, server) {
            (false, _) => None,
            (true, Ok(server)) => Some(server),
            (true, Err(_)) => return Err(refuse("has no valid server name")),
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let pool_key = format!("{scheme}://{name}:{port}").into();
        let base_path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self {
            host,
            base_path,
            pool_key,
            address: (name.to_owned(), port),
            tls,
        })
    }

    /// Bedrock's public host.
    fn public(plane: Plane, region: &Region) -> Result<Self, InvalidTarget> {
        let url = public_url(plane, region);
        match url.parse() {
            Ok(uri) => Self::new(&uri),
            Err(_invalid) => Err(InvalidTarget {
                url,
                why: "not a URL",
            }),
        }
    }

    /// `host:port`, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.address.0, self.address.1)
    }
}

/// All targets: every configured region, on both planes.
#[derive(Clone, Debug)]
pub struct Targets {
    by_region: HashMap<Region, [Target; 2]>,
    default_region: Region,
}

impl Targets {
    /// The targets of the settings.
    ///
    /// # Errors
    /// When an override is not a URL that can be called.
    pub fn new(settings: &Settings) -> Result<Self, InvalidTarget> {
        let mut by_region = HashMap::new();
        for region in &settings.regions {
            let target = |plane, own: Option<&Uri>| match own {
                Some(uri) => Target::new(uri),
                None => Target::public(plane, region),
            };
            let runtime = target(Plane::Runtime, settings.endpoints.get(region))?;
            let control = target(Plane::Control, settings.control_endpoints.get(region))?;
            by_region.insert(region.clone(), [runtime, control]);
        }
        Ok(Self {
            by_region,
            default_region: settings.default_region.clone(),
        })
    }

    /// The region for callers that name none.
    pub fn default_region(&self) -> &Region {
        &self.default_region
    }

    /// The configured region of that name, as shared by all calls.
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.by_region.keys().find(|region| region.as_str() == name)
    }

    /// The target of a plane in a region; `None` for a region that is not configured.
    pub fn get(&self, plane: Plane, region: &Region) -> Option<&Target> {
        let [runtime, control] = self.by_region.get(region)?;
        Some(match plane {
            Plane::Runtime => runtime,
            Plane::Control => control,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_targets() {
        let parse = |url: &'static str| Target::new(&Uri::from_static(url));
        let target = parse("http://127.0.0.1:9000/base/").unwrap();
        assert_eq!(target.host, "127.0.0.1:9000");
        assert_eq!(target.base_path, "/base");
        assert!(target.tls.is_none());
        let target = parse("https://vpce.example:443").unwrap();
        assert_eq!(target.host, "vpce.example");
        assert_eq!(target.address(), "vpce.example:443");
        for url in ["ftp://x", "/path", "http://h/?q=1"] {
            assert!(parse(url).is_err(), "{url}");
        }
    }
}
