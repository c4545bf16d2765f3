//! Cookies of this listener (RFC 6265): read out of a request, written into an answer.

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};

/// A cookie's name, and whether it goes over TLS only.
#[derive(Debug)]
pub(super) struct Cookie {
    name: String,
    secure: bool,
}

impl Cookie {
    /// Over TLS with the prefix that keeps other hosts of the domain from setting it.
    pub(super) fn new(name: &str, secure: bool) -> Self {
        let prefix = if secure { "__Host-" } else { "" };
        Self {
            name: format!("{prefix}bedrock-meter-{name}"),
            secure,
        }
    }

    /// What the browser sends as this cookie.
    pub(super) fn of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let lines = headers.get_all(COOKIE).iter();
        let mut pairs = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(name, _)| *name == self.name)?;
        Some(value)
    }

    /// For `set-cookie`: no script reads it, no other site's form sends it.
    pub(super) fn set(&self, value: &str, seconds: u64) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let name = &self.name;
        let text =
            format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(text).ok()
    }

    /// For `set-cookie`: the browser forgets it.
    pub(super) fn clear(&self) -> Option<HeaderValue> {
        self.set("", 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let check = |line: &str, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, line.parse().unwrap());
            let cookie = Cookie::new("session", false);
            assert_eq!(cookie.of(&headers), expected, "{line}");
        };
        check("bedrock-meter-session=a", Some("a"));
        check("x=y; bedrock-meter-session=a.b; z=", Some("a.b"));
        check("x=y;bedrock-meter-session=a", Some("a"));
        check("xbedrock-meter-session=a", None);
        check("bedrock-meter-session", None);
        check("__Host-bedrock-meter-session=a", None);
    }

    #[test]
    fn over_tls_a_cookie_is_this_hosts_alone() {
        let cookie = Cookie::new("session", true).set("a", 60).unwrap();
        assert_eq!(
            cookie,
            "__Host-bedrock-meter-session=a; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        let cookie = Cookie::new("session", false).clear().unwrap();
        let expected = "bedrock-meter-session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax";
        assert_eq!(cookie, expected);
    }
}
