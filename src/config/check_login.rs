//! The rules that join several keys of `[admin.login]`. Whatever would let somebody in on less than
//! the provider's word, or let nobody in, is a problem.

use std::fs::File;

use super::problem::Problem;
use super::settings::Settings;
use crate::admin::{LoginSettings, Role};
use crate::identity::JwksUrl;

pub(super) fn login(settings: &Settings) -> Vec<Problem> {
    let login = &settings.admin.login;
    if !login.is_on() {
        return off(login).into_iter().collect();
    }
    let rules = [
        issuer,
        client_id,
        client_secret,
        scopes,
        roles,
        tenant_claim,
        algorithms,
        ca_file,
    ];
    let own = rules.iter().filter_map(|rule| rule(login));
    own.chain(external_url(settings)).collect()
}

/// Keys without an issuer do nothing, and whoever wrote them believes that they do.
fn off(login: &LoginSettings) -> Option<Problem> {
    let means_it = login.client_id.is_some()
        || login.client_secret.is_some()
        || login.external_url.is_some()
        || !login.roles.is_empty();
    let what = "it is missing, so that nobody can log in";
    let mend = "write the exact `iss` of the provider's tokens, or remove the table";
    means_it.then(|| problem("issuer", what, mend))
}

fn issuer(login: &LoginSettings) -> Option<Problem> {
    let issuer = login.issuer.as_deref().unwrap_or_default();
    let url = JwksUrl::read(issuer);
    let is_plain = url.is_some_and(|url| url.is_safe() && url.uri().query().is_none());
    let what = "it is not an https:// URL, so that anybody on the way could log in as anybody";
    let mend =
        "write the provider's issuer URL, such as \"https://login.example.com/realms/company\"";
    (!is_plain).then(|| problem("issuer", what, mend))
}

fn client_id(login: &LoginSettings) -> Option<Problem> {
    let what = "it is missing, and a token that was issued for somebody else must not count here";
    let mend = "write the id under which the provider knows this proxy";
    (login.client_id.is_none()).then(|| problem("client_id", what, mend))
}

fn client_secret(login: &LoginSettings) -> Option<Problem> {
    let secret = login.client_secret.as_ref()?;
    let fits = secret.as_str().bytes().all(|byte| byte.is_ascii_graphic());
    let what = "it holds what is no visible ASCII character";
    let mend = "write the secret that the provider issued";
    (!fits).then(|| problem("client_secret", what, mend))
}

fn scopes(login: &LoginSettings) -> Option<Problem> {
    let lacks = !login.scopes.iter().any(|scope| scope == "openid");
    let what = "\"openid\" is not in it, and without that the provider says of nobody who it is";
    (lacks).then(|| problem("scopes", what, "add \"openid\""))
}

fn roles(login: &LoginSettings) -> Option<Problem> {
    let what = "it is empty, so that nobody who logs in may do anything";
    let mend = "map values of roles_claim to roles, such as \"meter-admins\" = \"admin\"";
    (login.roles.is_empty()).then(|| problem("roles", what, mend))
}

fn tenant_claim(login: &LoginSettings) -> Option<Problem> {
    let has_leads = login.roles.values().any(|role| *role == Role::TeamLead);
    let what = "it is missing, and a role of admin.login.roles is that of a team lead";
    let mend = "name the claim that says whose team lead somebody is";
    (has_leads && login.tenant_claim.is_none()).then(|| problem("tenant_claim", what, mend))
}

fn algorithms(login: &LoginSettings) -> Option<Problem> {
    let what = "it is empty, so that every token is refused";
    let mend = "name what the provider signs with, such as \"RS256\"";
    (login.algorithms.is_empty()).then(|| problem("algorithms", what, mend))
}

fn ca_file(login: &LoginSettings) -> Option<Problem> {
    let file = login.ca_file.as_ref()?;
    let cause = File::open(file).err()?;
    let what = format!("the file {} cannot be read: {cause}", file.display());
    Some(problem(
        "ca_file",
        &what,
        "create it, or let this process read it",
    ))
}

/// The provider sends people back there, and their sessions are cookies of there.
fn external_url(settings: &Settings) -> Option<Problem> {
    let admin = &settings.admin;
    let is_near = admin.listen.ip().to_canonical().is_loopback();
    let mend = "write the https:// URL by which people reach the admin listener";
    let Some(url) = &admin.login.external_url else {
        let what = "it is missing, and the address of this listener is none that people use";
        return (!is_near).then(|| problem("external_url", what, mend));
    };
    let is_safe = JwksUrl::read(&url.to_string()).is_some_and(|url| url.is_safe());
    let what = "it is not https, so that anybody on the way could take a session";
    (!is_safe).then(|| problem("external_url", what, mend))
}

fn problem(key: &str, what: &str, mend: &str) -> Problem {
    Problem::new(&format!("admin.login.{key}"), what, mend)
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    const WHOLE: [&str; 3] = [
        "issuer = \"https://login.example/realm\"",
        "client_id = \"meter\"",
        "roles = { boss = \"admin\" }",
    ];

    /// The paths of the problems of `[admin.login]` with these lines.
    fn check(lines: &[&str], expected: &[&str]) {
        let text = format!("[admin.login]\n{}", lines.join("\n"));
        let problems = parse(&text, &|_name| None).err();
        let problems = problems.into_iter().flat_map(|problems| problems.0);
        let paths: Vec<_> = problems.map(|problem| problem.path).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|key| format!("admin.login.{key}"))
            .collect();
        assert_eq!(paths, expected, "{text}");
    }

    /// As [`check`], with these lines beside or instead of those of a whole login.
    fn check_with(lines: &[&str], expected: &[&str]) {
        let key = |line: &str| line.split(' ').next().map(str::to_owned);
        let own: Vec<_> = lines.iter().map(|line| key(line)).collect();
        let kept = WHOLE.iter().filter(|line| !own.contains(&key(line)));
        let all: Vec<_> = kept.chain(lines).copied().collect();
        check(&all, expected);
    }

    #[test]
    fn a_login_needs_its_provider_an_audience_and_roles() {
        check(&[], &[]);
        check(&WHOLE, &[]);
        check(&[WHOLE[0]], &["client_id", "roles"]);
        check(&[WHOLE[1]], &["issuer"]);
        check(&[WHOLE[2]], &["issuer"]);
        check_with(&["algorithms = []"], &["algorithms"]);
        check_with(&["scopes = [\"email\"]"], &["scopes"]);
        check_with(&["client_secret = \"a b\""], &["client_secret"]);
        check_with(&["ca_file = \"/nonexistent\""], &["ca_file"]);
    }

    #[test]
    fn a_provider_comes_over_tls_or_from_this_machine() {
        let issuer = |url: &str, expected: &[&str]| {
            check_with(&[&format!("issuer = \"{url}\"")], expected);
        };
        issuer("https://login.example/", &[]);
        issuer("http://127.0.0.1:9", &[]);
        issuer("http://[::1]:9/realm", &[]);
        for url in [
            "http://login.example",
            "login.example",
            "https://a@login.example",
            "https://login.example?realm=a",
            "ftp://login.example",
        ] {
            issuer(url, &["issuer"]);
        }
        check_with(&["external_url = \"https://meter.example\""], &[]);
        check_with(&["external_url = \"http://localhost:8081\""], &[]);
        check_with(
            &["external_url = \"http://meter.example\""],
            &["external_url"],
        );
        check_with(
            &["external_url = \"https://meter.example/a\""],
            &["external_url"],
        );
    }

    #[test]
    fn roles_are_known_and_a_team_lead_has_a_team() {
        check_with(&["roles = { a = \"team-lead\" }"], &["tenant_claim"]);
        check_with(
            &["roles = { a = \"team-lead\" }", "tenant_claim = \"team\""],
            &[],
        );
        check_with(&["roles = { a = \"boss\" }"], &["roles.a", "roles"]);
    }

    #[test]
    fn a_login_opens_a_listener_off_loopback_where_people_reach_it() {
        let problems = |external: &str| {
            let text = format!(
                "[admin]\nlisten = \"0.0.0.0:8081\"\n[admin.login]\n{}\n{external}",
                WHOLE.join("\n")
            );
            let problems = parse(&text, &|_name| None).err();
            let problems = problems.into_iter().flat_map(|problems| problems.0);
            problems.map(|problem| problem.path).collect::<Vec<_>>()
        };
        assert_eq!(problems(""), ["admin.login.external_url"]);
        assert_eq!(
            problems("external_url = \"https://meter.example\""),
            [""; 0]
        );
    }
}
