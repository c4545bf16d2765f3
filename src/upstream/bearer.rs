//! The Bedrock API key that goes in front of every request as `Authorization: Bearer` (AWS user
//! guide, "Amazon Bedrock API keys"), where no signature is made.

use std::io;

use http::HeaderValue;

use super::settings::BearerKey;

/// The whole header, made once for all calls and marked so that nothing prints it.
///
/// # Errors
/// With words that say why and do not repeat the key: the file cannot be read, or holds no key.
pub(super) fn authorization(key: &BearerKey) -> Result<HeaderValue, String> {
    match key {
        BearerKey::Fixed(secret) => header(secret.as_str()),
        BearerKey::File(path) => {
            let read = std::fs::read_to_string(path);
            let unreadable = |cause: io::Error| format!("{}: {cause}", path.display());
            let text = read.map_err(unreadable)?;
            header(&text).map_err(|why| format!("{}: {why}", path.display()))
        }
    }
}

fn header(key: &str) -> Result<HeaderValue, String> {
    let key = key.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it holds no key, which is one word of printable characters".to_owned());
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_key| "the key cannot be sent in a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    #[test]
    fn a_key_becomes_a_header_that_nothing_prints() {
        let value = authorization(&BearerKey::Fixed(Secret::new(" ABSKa2V5\n"))).unwrap();
        assert_eq!(value.as_bytes(), b"Bearer ABSKa2V5");
        assert!(!format!("{value:?}").contains("ABSK"));
    }

    #[test]
    fn what_is_no_key_is_refused_without_repeating_it() {
        for text in ["", " \n", "two words", "s3cr\u{7f}t", "schl\u{fc}ssel"] {
            let why = authorization(&BearerKey::Fixed(Secret::new(text))).unwrap_err();
            assert!(!why.contains("s3cr") && !why.contains("schl"), "{why}");
        }
    }
}
