//! The page at `/`: three files that hold no data, so they need no token. What they show they ask
//! from the API, which does. Nothing but this listener may be asked, and no page may frame them.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, Response};
use http_body_util::Full;

use super::service::Answer;

/// One file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    Html,
    Style,
    Script,
}

impl File {
    /// The file at a path.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Html),
            "/page.css" => Some(Self::Style),
            "/page.js" => Some(Self::Script),
            _ => None,
        }
    }

    /// The file, never to be used again without asking.
    pub(super) fn answer(self) -> Answer {
        let (content_type, text) = match self {
            Self::Html => ("text/html; charset=utf-8", include_str!("page/index.html")),
            Self::Style => ("text/css; charset=utf-8", include_str!("page/page.css")),
            Self::Script => (
                "text/javascript; charset=utf-8",
                include_str!("page/page.js"),
            ),
        };
        let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        let content_type = HeaderValue::from_static(content_type);
        answer.headers_mut().insert(CONTENT_TYPE, content_type);
        guard(&mut answer);
        answer
    }
}

/// What keeps a page from being framed, guessed at, kept, or filled with what is another's.
pub(super) fn guard(answer: &mut Answer) {
    for (name, value) in GUARDS {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
}

const GUARDS: [(HeaderName, &str); 4] = [
    (CACHE_CONTROL, "no-cache"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
];
