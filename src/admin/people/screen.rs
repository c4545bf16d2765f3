//! What a browser is shown on the way in and out: one heading, one sentence, where to go on.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::admin::service::Answer;
use crate::admin::shell::guard;

/// A page with a heading, words and links. Everything is escaped.
pub(super) fn screen(
    status: StatusCode,
    heading: &str,
    words: &str,
    links: &[(&str, &str)],
) -> Answer {
    let link =
        |(text, to): &(&str, &str)| format!("<p><a href=\"{to}\">{}</a></p>\n", escaped(text));
    let links: String = links.iter().map(link).collect();
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>bedrock-meter</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"/page.css\">\n</head>\n\
         <body>\n<header><h1>{}</h1></header>\n<main>\n<p>{}</p>\n{links}</main>\n</body>\n</html>\n",
        escaped(heading),
        escaped(words)
    );
    let mut answer = Response::new(Full::new(Bytes::from(page)));
    *answer.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, html);
    guarded(answer)
}

/// The browser goes there, with `GET`.
pub(in crate::admin) fn go(to: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(to) = HeaderValue::from_str(to) {
        answer.headers_mut().insert(LOCATION, to);
    }
    guarded(answer)
}

/// No cache keeps a step of a login.
fn guarded(mut answer: Answer) -> Answer {
    guard(&mut answer);
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_named_is_only_ever_text() {
        assert_eq!(
            escaped("<b a=\"x\">&</b>"),
            "&lt;b a=&quot;x&quot;&gt;&amp;&lt;/b&gt;"
        );
        let answer = screen(StatusCode::FORBIDDEN, "No", "Bye", &[("Back", "/")]);
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert!(answer.headers().contains_key("content-security-policy"));
        for answer in [answer, go("/")] {
            assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        }
    }
}
