//! Replaces `${NAME}` in a text by the environment variable of that name; `$${` is a plain `${`.

/// Reads an environment variable.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a text could not be completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unreplaced {
    /// The variable of this name is not set.
    Unset(String),
    /// A `${` without a name and its `}`.
    Malformed,
}

/// The text with each `${NAME}` replaced. What a variable holds is not searched again.
pub(super) fn substitute(text: &str, env: Environment<'_>) -> Result<String, Unreplaced> {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            replaced.push_str(before);
            replaced.push_str("${");
            rest = after;
            continue;
        }
        let (name, after) = after.split_once('}').ok_or(Unreplaced::Malformed)?;
        if !is_name(name) {
            return Err(Unreplaced::Malformed);
        }
        let value = env(name).ok_or_else(|| Unreplaced::Unset(name.to_owned()))?;
        replaced.push_str(before);
        replaced.push_str(&value);
        rest = after;
    }
    replaced.push_str(rest);
    Ok(replaced)
}

fn is_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    starts_well && name.bytes().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str) -> Result<String, Unreplaced> {
        let env = |name: &str| match name {
            "HOST" => Some("proxy.example".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".to_owned()),
            _ => None,
        };
        substitute(text, &env)
    }

    #[test]
    fn variables_are_replaced_once() {
        let check = |text: &str, expected: &str| {
            assert_eq!(replaced(text).as_deref(), Ok(expected), "{text}");
        };
        check("", "");
        check("plain $HOST", "plain $HOST");
        check("${HOST}", "proxy.example");
        check(
            "http://${HOST}:1/${HOST}",
            "http://proxy.example:1/proxy.example",
        );
        check("a${EMPTY}b", "ab");
        check("${NESTED}", "${HOST}");
        check("$${HOST}", "${HOST}");
        check("pa$$word", "pa$$word");
    }

    #[test]
    fn what_names_no_variable_is_refused() {
        assert_eq!(
            replaced("${ABSENT}"),
            Err(Unreplaced::Unset("ABSENT".to_owned()))
        );
        for text in ["${", "${HOST", "${}", "${HO ST}", "${1}", "${HOST:-x}"] {
            assert_eq!(replaced(text), Err(Unreplaced::Malformed), "{text}");
        }
    }
}
