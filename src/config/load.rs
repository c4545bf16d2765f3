//! From a file, or none, to settings: everything that is wrong is reported at once.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

use super::check::check;
use super::field::Field;
use super::problem::{Problem, Problems};
use super::proxy_choice::ProxyChoice;
use super::reader::Reader;
use super::sections;
use super::settings::Settings;
use super::substitute::Environment;

/// The settings of a file over the defaults; without a file, the defaults.
///
/// `env` reads an environment variable: for `${NAME}` in values, and `HTTPS_PROXY`.
///
/// # Errors
/// Every problem at once. Nothing is started or written.
pub fn load(path: Option<&Path>, env: Environment<'_>) -> Result<Settings, Problems> {
    let Some(path) = path else {
        return parse("", env);
    };
    let text = fs::read_to_string(path).map_err(|cause| {
        let what = format!("the file cannot be read: {cause}");
        let mend = "check the path, and that this process may read it";
        Problems(vec![Problem::new(&path.display().to_string(), what, mend)])
    })?;
    parse(&text, env)
}

/// The settings of a TOML text over the defaults.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, env: Environment<'_>) -> Result<Settings, Problems> {
    let document: Table = text
        .parse()
        .map_err(|cause| Problems(vec![syntax(text, &cause)]))?;
    let mut settings = Settings::default();
    let mut problems = take_proxy_of_environment(&mut settings, env);
    let mut reader = Reader::new(document, env);
    sections::bind(&mut reader, &mut settings);
    problems.extend(reader.finish());
    problems.extend(check(&settings));
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(Problems(problems))
    }
}

/// `HTTPS_PROXY`, as other programs read it; the file's `upstream.proxy` comes over it.
fn take_proxy_of_environment(settings: &mut Settings, env: Environment<'_>) -> Vec<Problem> {
    let mut names = ["HTTPS_PROXY", "https_proxy"].into_iter();
    let set = names.find_map(|name| env(name).map(|url| (name, url)));
    let Some((name, url)) = set.filter(|(_, url)| !url.is_empty()) else {
        return Vec::new();
    };
    let Some(choice) = ProxyChoice::read(&Value::String(url)) else {
        let what = "the environment variable does not fit";
        let mend = format!("write {}", ProxyChoice::expected());
        return vec![Problem::new(name, what, mend)];
    };
    settings.upstream.proxy = choice.into();
    Vec::new()
}

/// Where a text is no TOML. The line itself is not shown: it may hold a secret.
fn syntax(text: &str, cause: &toml::de::Error) -> Problem {
    let at = cause.span().map_or(0, |span| span.start);
    let line = 1 + text.bytes().take(at).filter(|b| *b == b'\n').count();
    let mend = "mend this line; the other keys are judged after that";
    Problem::new(
        &format!("line {line}"),
        format!("this is not TOML: {}", cause.message()),
        mend,
    )
}
