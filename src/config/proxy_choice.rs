//! How the HTTP proxy of the upstream is written. Absence means the environment's, so "none" is
//! a choice of its own.

use toml::Value;

use super::field::{Field, quoted, read_base_url};
use crate::domain::Secret;
use crate::upstream::HttpProxy;

/// Which HTTP proxy to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProxyChoice {
    /// No proxy, whatever the environment says.
    Direct,
    /// This one.
    Via(HttpProxy),
}

impl From<Option<HttpProxy>> for ProxyChoice {
    fn from(proxy: Option<HttpProxy>) -> Self {
        proxy.map_or(Self::Direct, Self::Via)
    }
}

impl From<ProxyChoice> for Option<HttpProxy> {
    fn from(choice: ProxyChoice) -> Self {
        match choice {
            ProxyChoice::Direct => None,
            ProxyChoice::Via(proxy) => Some(proxy),
        }
    }
}

impl Field for ProxyChoice {
    const IS_SECRET: bool = true;

    fn expected() -> String {
        "\"none\", or the URL of an HTTP proxy such as \"http://proxy.example:3128\"".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "none" => Some(Self::Direct),
            url => read_proxy(url).map(Self::Via),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Direct => quoted("none"),
            Self::Via(proxy) => quoted(&write_proxy(proxy)),
        }
    }
}

/// An `http://` URL; user and password are taken out of it, so that the URL can be printed.
fn read_proxy(text: &str) -> Option<HttpProxy> {
    let inner = text.strip_prefix("http://")?;
    let (user_info, authority) = match inner.rsplit_once('@') {
        Some((user_info, authority)) => (Some(Secret::new(user_info)), authority),
        None => (None, inner),
    };
    let url = read_base_url(&format!("http://{authority}"))?;
    Some(HttpProxy { url, user_info })
}

fn write_proxy(proxy: &HttpProxy) -> String {
    let authority = proxy.url.authority().map(ToString::to_string);
    let stars = proxy.user_info.as_ref().map_or("", |_| "***@");
    format!("http://{stars}{}", authority.unwrap_or_default())
}
