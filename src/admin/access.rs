//! Who may see what: bearer tokens, compared in constant time.

use std::net::IpAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Settings;
use crate::domain::Secret;

/// What a page needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Health, and the files of the page, which hold no data: no token.
    Open,
    /// `/metrics`: its own token where there is one; the admin token opens it too.
    Metrics,
    /// Everything else: the admin token.
    Admin,
}

/// The tokens, and whether a page without a token may be shown.
#[derive(Clone, Debug)]
pub(super) struct Access {
    token: Option<Secret>,
    metrics_token: Option<Secret>,
    loopback: bool,
}

impl Access {
    pub(super) fn new(settings: &Settings, listening: IpAddr) -> Self {
        Self {
            token: settings.token.clone(),
            metrics_token: settings.metrics_token.clone(),
            loopback: listening.to_canonical().is_loopback(),
        }
    }

    /// Whether a request with these headers may pass. Without any token that could open a door,
    /// it is open on loopback and shut elsewhere.
    pub(super) fn allows(&self, door: Door, headers: &HeaderMap) -> bool {
        let tokens = match door {
            Door::Open => return true,
            Door::Metrics => [self.token.as_ref(), self.metrics_token.as_ref()],
            Door::Admin => [self.token.as_ref(), None],
        };
        let mut tokens = tokens.into_iter().flatten().peekable();
        if tokens.peek().is_none() {
            return self.loopback;
        }
        let shown = bearer(headers);
        // Every token is compared, so that the time does not tell which one was near.
        tokens.fold(false, |opened, token| opened | matches(token, shown))
    }
}

fn bearer(headers: &HeaderMap) -> &[u8] {
    let value = headers
        .get(AUTHORIZATION)
        .map_or(&[][..], |value| value.as_bytes());
    match value.split_at_checked(b"bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token,
        Some(_) | None => &[],
    }
}

fn matches(token: &Secret, shown: &[u8]) -> bool {
    let token = token.as_str().as_bytes();
    !token.is_empty() && verify_slices_are_equal(token, shown).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const OFF: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn check(listening: IpAddr, tokens: [&str; 2], shown: &str, admin: bool, metrics: bool) {
        let [token, metrics_token] = tokens.map(|t| (!t.is_empty()).then(|| Secret::new(t)));
        let settings = Settings {
            token,
            metrics_token,
            ..Settings::default()
        };
        let access = Access::new(&settings, listening);
        let mut headers = HeaderMap::new();
        if !shown.is_empty() {
            headers.insert(AUTHORIZATION, shown.parse().unwrap());
        }
        let row = format!("{listening} {tokens:?} {shown:?}");
        assert!(access.allows(Door::Open, &headers), "{row}");
        assert_eq!(access.allows(Door::Admin, &headers), admin, "{row}");
        assert_eq!(access.allows(Door::Metrics, &headers), metrics, "{row}");
    }

    #[test]
    fn doors_open_to_their_tokens_only() {
        check(LOOPBACK, ["", ""], "", true, true);
        check(OFF, ["", ""], "", false, false);
        check(OFF, ["", ""], "Bearer ", false, false);
        check(OFF, ["a", ""], "Bearer a", true, true);
        check(OFF, ["a", ""], "bearer a", true, true);
        check(OFF, ["a", ""], "Bearer b", false, false);
        check(OFF, ["a", ""], "Basic a", false, false);
        check(OFF, ["a", ""], "a", false, false);
        check(OFF, ["a", "m"], "Bearer m", false, true);
        check(OFF, ["a", "m"], "Bearer a", true, true);
        check(OFF, ["", "m"], "Bearer m", false, true);
        check(LOOPBACK, ["a", ""], "", false, false);
        check(LOOPBACK, ["", "m"], "", true, false);
        check(
            "::ffff:127.0.0.1".parse().unwrap(),
            ["", ""],
            "",
            true,
            true,
        );
    }
}
