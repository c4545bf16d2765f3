//! The configuration from the outside: text in, settings or problems out.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{Problem, Settings, explain, load, parse};
use crate::admin::Role;
use crate::domain::Keyword;
use crate::identity::{IdentityUnknown, UserPolicy};
use crate::ledger::Durability;
use crate::upstream::CredentialSettings;

fn env(name: &str) -> Option<String> {
    let value = match name {
        "PORT_LIMIT" => "77",
        "FLAG" => "true",
        "NETWORKS" => "10.0.0.0/8, 192.0.2.7",
        "EMPTY" => "",
        "TOKEN" => "s3cret-of-the-env",
        "HOST" => "127.0.0.1",
        _ => return None,
    };
    Some(value.to_owned())
}

fn problems(text: &str) -> Vec<Problem> {
    parse(text, &env).map_or_else(|problems| problems.0, |_| Vec::new())
}

pub(super) fn settings(text: &str) -> Settings {
    parse(text, &env).unwrap()
}

/// One problem, at that path, with those words in it.
fn check(text: &str, path: &str, words: &str) {
    let found = problems(text);
    let [problem] = found.as_slice() else {
        panic!("{text}: expected one problem, found {found:?}");
    };
    assert_eq!(problem.path, path, "{text}: {problem}");
    assert!(problem.to_string().contains(words), "{text}: {problem}");
}

#[test]
fn nothing_written_is_the_defaults() {
    assert_eq!(settings(""), Settings::default());
    assert_eq!(settings("[listener]\n[upstream]\n"), Settings::default());
}

#[test]
fn values_reach_their_fields() {
    let text = r#"
        [listener]
        listen = "[::1]:9090"
        trusted_proxies = ["192.0.2.0/24", "198.51.100.7"]
        connections_max = 12
        preface_timeout = "250ms"
        [admin]
        token = "abc"
        [identity]
        tenant_header = "X-Team"
        user = "drop"
        aliases = { tenant = ["x-other"] }
        [identity.tenants.acme]
        applications = ["chat", "search"]
        default_application = "chat"
        [identity.tenants."a/b"]
        [when]
        identity_unknown = "refuse"
        [upstream]
        regions = ["eu-west-1"]
        default_region = "eu-west-1"
        proxy = "http://user:p%40ss@proxy.example:3128"
        response_timeout = "2h"
        [upstream.endpoints]
        eu-west-1 = "http://127.0.0.1:9000"
        [upstream.credentials]
        access_key_id = "AKIDEXAMPLE"
        secret_access_key = "key"
        [drain]
        share_per_tenant_percent = 100
        [ledger]
        durability = "strict"
        [prices.models]
        "arn:aws:bedrock:us-east-1:1:prompt/X" = "us.amazon.nova-lite-v1:0"
    "#;
    let read = settings(text);
    assert_eq!(read.listener.listen.to_string(), "[::1]:9090");
    let proxies: Vec<_> = read
        .listener
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(proxies, ["192.0.2.0/24", "198.51.100.7/32"]);
    assert_eq!(read.listener.connections_max, 12);
    assert_eq!(read.listener.preface_timeout, Duration::from_millis(250));
    assert_eq!(read.admin.token.as_ref().unwrap().as_str(), "abc");
    assert_eq!(read.identity.headers.tenant, ["x-team", "x-other"]);
    assert_eq!(read.identity.user, UserPolicy::Drop);
    assert_eq!(read.identity.identity_unknown, IdentityUnknown::Refuse);
    let tenants: Vec<_> = read
        .identity
        .tenants
        .iter()
        .map(|t| t.name.as_str())
        .collect();
    assert_eq!(tenants, ["a/b", "acme"]);
    assert_eq!(read.identity.tenants[1].applications.len(), 2);
    assert_eq!(read.upstream.response_timeout, Duration::from_hours(2));
    let proxy = read.upstream.proxy.as_ref().unwrap();
    assert_eq!(proxy.url.to_string(), "http://proxy.example:3128/");
    assert_eq!(proxy.user_info.as_ref().unwrap().as_str(), "user:p%40ss");
    assert_eq!(read.upstream.endpoints.len(), 1);
    assert!(matches!(
        &read.upstream.credentials,
        CredentialSettings::Static { access_key_id, session_token: None, .. }
            if access_key_id == "AKIDEXAMPLE"
    ));
    assert_eq!(read.drain.share_per_tenant_percent, 100);
    assert_eq!(read.ledger.durability, Durability::Strict);
    assert_eq!(read.prices.models.len(), 1);
}

#[test]
fn every_problem_is_reported_at_once() {
    let text = r#"
        colour = "red"
        [listener]
        listen = 8080
        connection_max = 5
        workers = -1
        [listner]
        x = 1
        [identity]
        trusted_networks = ["10.0.0.0/8", "10.0.0.0/99", 7]
        [upstream]
        connect_timeout = "1 ms"
        default_region = "mars-1"
        [admin]
        listen = "0.0.0.0:8081"
    "#;
    let found = problems(text);
    let mut paths: Vec<_> = found.iter().map(|problem| problem.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "admin.token",
            "colour",
            "identity.trusted_networks[1]",
            "identity.trusted_networks[2]",
            "listener.connection_max",
            "listener.listen",
            "listener.workers",
            "listner",
            "upstream.connect_timeout",
            "upstream.default_region",
        ]
    );
    let printed = parse(text, &env).unwrap_err().to_string();
    assert!(
        printed.starts_with("10 problems in the configuration\n  "),
        "{printed}"
    );
}

#[test]
fn unknown_keys_come_with_a_suggestion() {
    check(
        "[listener]\nlisten_on = \"x\"",
        "listener.listen_on",
        "did you mean listener.listen?",
    );
    check("[listner]", "listner", "did you mean listener?");
    check(
        "[admin]\nresponse_timeout = \"3s\"",
        "admin.response_timeout",
        "upstream.response_timeout?",
    );
    check(
        "[identity.alias]",
        "identity.alias",
        "did you mean identity.aliases?",
    );
    check(
        "[identity.tenants.acme]\napplication = [\"a\"]",
        "identity.tenants.acme.application",
        "did you mean identity.tenants.acme.applications?",
    );
    check("[log]\nzzz = 1", "log.zzz", "remove it");
}

#[test]
fn durations_have_one_form() {
    let read = |text: &str| {
        let parsed = parse(&format!("[ledger]\ncommit_interval = {text}"), &env);
        parsed.ok().map(|settings| settings.ledger.commit_interval)
    };
    assert_eq!(read("\"250ms\""), Some(Duration::from_millis(250)));
    assert_eq!(read("\"20s\""), Some(Duration::from_secs(20)));
    assert_eq!(read("\"1m\""), Some(Duration::from_mins(1)));
    for refused in [
        "1",
        "1.5",
        "\"1\"",
        "\"\"",
        "\"s\"",
        "\"1 ms\"",
        "\" 1ms\"",
        "\"1.5s\"",
        "\"-1s\"",
        "\"+1s\"",
        "\"1S\"",
        "\"1d\"",
        "\"1y\"",
        "\"1us\"",
        "\"1m30s\"",
        "\"0ms\"",
        "\"99999999999999999999s\"",
        "\"18446744073709551615h\"",
        "\"2m\"",
        "true",
        "\"\u{0661}s\"",
    ] {
        assert_eq!(read(refused), None, "{refused}");
    }
    check(
        "[upstream]\nconnect_timeout = 3",
        "upstream.connect_timeout",
        "\"20s\"",
    );
    check(
        "[upstream]\nresponse_timeout = \"59m\"",
        "upstream.response_timeout",
        "is too short",
    );
    assert!(problems("[upstream]\nresponse_timeout = \"60m\"").is_empty());
}

#[test]
fn values_of_another_type_are_refused() {
    check(
        "listener = 1",
        "listener",
        "write it as a table: [listener]",
    );
    check(
        "[listener]\nproxy_protocol = \"yes\"",
        "listener.proxy_protocol",
        "true or false",
    );
    check(
        "[listener]\nconnections_max = \"10\"",
        "listener.connections_max",
        "without quotes",
    );
    check(
        "[listener]\nconnections_max = 1.5",
        "listener.connections_max",
        "a whole number",
    );
    check(
        "[listener]\nconnections_max = 0",
        "listener.connections_max",
        "from 1 to 1000000",
    );
    check(
        "[listener]\nlisten = \"localhost:80\"",
        "listener.listen",
        "\"127.0.0.1:8080\"",
    );
    check(
        "[listener]\nlisten = [\"127.0.0.1:80\"]",
        "listener.listen",
        "a list does not fit",
    );
    check(
        "[identity]\nmode = \"none\"",
        "identity.mode",
        "write \"trusted-headers\"",
    );
    check(
        "[identity]\nuser = \"hash\"",
        "identity.user",
        "\"pseudonym\" or \"store\" or \"drop\"",
    );
    check(
        "[identity]\ntrusted_networks = \"10.0.0.0/8\"",
        "identity.trusted_networks",
        "not a list",
    );
    check(
        "[identity]\ntenant_header = \"a b\"",
        "identity.tenant_header",
        "a header name",
    );
    check(
        "[identity.tenants.\"-\"]",
        "identity.tenants.-",
        "its name must be",
    );
    check(
        "[upstream.endpoints]\nUS = \"http://x\"",
        "upstream.endpoints.US",
        "a region name",
    );
    for url in [
        "ftp://x",
        "x",
        "http://",
        "http://u:p@x",
        "http://x/path",
        "http://x?q=1",
    ] {
        let text = format!("[upstream.endpoints]\nus-east-1 = \"{url}\"");
        check(
            &text,
            "upstream.endpoints.us-east-1",
            "scheme, host and port",
        );
    }
    check(
        "[ledger]\ndirectory = \"\"",
        "ledger.directory",
        "not empty",
    );
    check(
        "[drain]\nshare_per_tenant_percent = 101",
        "drain.share_per_tenant_percent",
        "1 to 100",
    );
    check(
        "[drain]\nshare_per_tenant_percent = 300",
        "drain.share_per_tenant_percent",
        "number",
    );
}

#[test]
fn values_may_come_from_the_environment() {
    let text = r#"
        [listener]
        listen = "${HOST}:9090"
        connections_max = "${PORT_LIMIT}"
        proxy_protocol = "${FLAG}"
        trusted_proxies = ["${HOST}"]
        [identity]
        trusted_networks = "${NETWORKS}"
        [admin]
        token = "${TOKEN}"
    "#;
    let read = settings(text);
    assert_eq!(read.listener.listen.to_string(), "127.0.0.1:9090");
    assert_eq!(read.listener.connections_max, 77);
    assert!(read.listener.proxy_protocol);
    assert_eq!(read.identity.trusted_networks.len(), 2);
    assert_eq!(read.admin.token.unwrap().as_str(), "s3cret-of-the-env");
    check(
        "[admin]\ntoken = \"${ABSENT}\"",
        "admin.token",
        "variable ABSENT is not set",
    );
    check(
        "[admin]\ntoken = \"${EMPTY}\"",
        "admin.token",
        "from the environment does not fit",
    );
    check(
        "[admin]\ntoken = \"${\"",
        "admin.token",
        "names no variable",
    );
    check(
        "[identity]\ntrusted_networks = \"${EMPTY}\"",
        "identity.trusted_networks",
        "empty",
    );
}

#[test]
fn the_proxy_of_the_environment_is_the_default() {
    let read = |text: &str, proxy: &'static str| {
        let parsed = parse(text, &|name| {
            (name == "HTTPS_PROXY").then(|| proxy.to_owned())
        });
        parsed.map(|settings| settings.upstream.proxy.map(|proxy| proxy.url.to_string()))
    };
    let some = |url: &str| Ok(Some(url.to_owned()));
    assert_eq!(
        read("", "http://env.example:1"),
        some("http://env.example:1/")
    );
    assert_eq!(read("", ""), Ok(None));
    let none = "[upstream]\nproxy = \"none\"";
    assert_eq!(read(none, "http://env.example:1"), Ok(None));
    let own = "[upstream]\nproxy = \"http://own.example:2\"";
    assert_eq!(
        read(own, "http://env.example:1"),
        some("http://own.example:2/")
    );
    let refused = read("", "socks5://user:s3cret@x").unwrap_err();
    assert_eq!(refused.0[0].path, "HTTPS_PROXY");
    assert!(!refused.to_string().contains("s3cret"), "{refused}");
}

#[test]
fn secrets_come_from_files_and_are_never_printed() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let good = file("good", "s3cret of a file\n");
    let read = settings(&format!("[admin]\ntoken_file = \"{good}\""));
    assert_eq!(read.admin.token.unwrap().as_str(), "s3cret of a file");
    let empty = file("empty", "\n");
    check(
        &format!("[admin]\ntoken_file = \"{empty}\""),
        "admin.token_file",
        "is empty",
    );
    let absent = directory.path().join("absent");
    let text = format!("[admin]\ntoken_file = \"{}\"", absent.display());
    check(&text, "admin.token_file", "cannot be read");
    let both = format!("[admin]\ntoken = \"a\"\ntoken_file = \"{good}\"");
    check(&both, "admin.token_file", "token is set as well");
    for wrong in [
        "[admin]\ntoken = [\"s3cret\"]",
        "[upstream]\nproxy = \"s3cret\"",
        "[admin]\ntoken = 5 s3cret",
        "[listener]\nlisten = \"${TOKEN}\"",
    ] {
        let shown = format!("{:?}", problems(wrong));
        assert!(!shown.is_empty() && !shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn roles_and_metadata_keys_are_those_that_aws_takes() {
    for no_role in [
        "bedrock-{tenant}",
        "arn:aws:iam::123456789012:user/me",
        "arn:aws:iam::123456789012:role/{team}",
    ] {
        check(
            &format!("[upstream.roles]\ndefault = \"{no_role}\""),
            "upstream.roles.default",
            "is no role",
        );
    }
    check(
        "[upstream.roles]\ndefault = \"arn:aws:iam::1:role/a\"\n[upstream.credentials]\nbearer_key = \"k\"",
        "upstream.roles.default",
        "assumes no role",
    );
    check(
        "[upstream.request_metadata]\ntenant_key = \"a\"\ncall_id_key = \"a\"",
        "upstream.request_metadata.call_id_key",
        "named twice",
    );
    check(
        "[upstream.request_metadata]\napplication_key = \"an app\"",
        "upstream.request_metadata.application_key",
        "no key that Bedrock takes",
    );
}

#[test]
fn a_listener_off_loopback_needs_consent() {
    for address in [
        "0.0.0.0:8080",
        "[::]:8080",
        "192.0.2.10:8080",
        "[::ffff:192.0.2.10]:1",
    ] {
        let text = format!("[listener]\nlisten = \"{address}\"");
        check(
            &text,
            "listener.listen",
            "allow_unproven_callers_off_loopback = true",
        );
        let consent = format!("{text}\nallow_unproven_callers_off_loopback = true");
        assert!(problems(&consent).is_empty(), "{consent}");
    }
    for address in [
        "127.0.0.1:0",
        "127.9.9.9:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
    ] {
        let text = format!("[listener]\nlisten = \"{address}\"");
        assert!(problems(&text).is_empty(), "{text}");
    }
    let open = "[admin]\nlisten = \"0.0.0.0:8081\"";
    check(open, "admin.token", "no token is demanded");
    check(
        &format!("{open}\nmetrics_token = \"x\""),
        "admin.token",
        "no token is demanded",
    );
    assert!(problems(&format!("{open}\ntoken = \"x\"")).is_empty());
}

#[test]
fn a_caller_network_must_not_hold_a_trusted_proxy() {
    let text = |proxy: &str, network: &str| {
        format!(
            "[listener]\ntrusted_proxies = [\"{proxy}\"]\n[identity]\ntrusted_networks = [\"{network}\"]"
        )
    };
    for (proxy, network) in [
        ("10.0.0.1/32", "10.0.0.0/8"),
        ("10.0.0.1", "0.0.0.0/0"),
        ("10.0.0.0/8", "10.1.0.0/16"),
        ("2001:db8::/32", "2001:db8:1::/48"),
    ] {
        check(
            &text(proxy, network),
            "identity.trusted_networks",
            "trusted_proxies",
        );
    }
    assert!(problems(&text("10.0.0.1", "10.1.0.0/16")).is_empty());
    check(
        "[identity]\ntrusted_networks = []",
        "identity.trusted_networks",
        "every call",
    );
}

#[test]
fn authorities_of_a_store_in_clear_text_or_that_cannot_be_read_are_told() {
    let clear = "[budget_store]\nredis_url = \"redis://redis.example\"\nca_file = \"Cargo.toml\"";
    check(clear, "budget_store.ca_file", "not reached by TLS");
    let nowhere = clear
        .replace("redis://", "rediss://")
        .replace("Cargo.toml", "/nonexistent");
    check(&nowhere, "budget_store.ca_file", "cannot be read");
}

#[test]
fn keys_that_belong_together_are_judged_together() {
    check(
        "[listener]\nproxy_protocol = true",
        "listener.proxy_protocol",
        "trusted_proxies",
    );
    let forgets = "[ledger]\nstore = \"postgres\"\nkeep_entries = \"400d\"";
    let server = "[ledger.postgres]\nurl = \"postgres://meter@db/meter\"";
    check(
        &format!("{forgets}\n{server}"),
        "ledger.keep_until_backup",
        "backups of the server",
    );
    settings(&format!("{forgets}\nkeep_until_backup = false\n{server}"));
    check(
        "[listener]\ngathered_bytes_max = 1000",
        "listener.gathered_bytes_max",
        "less than one body",
    );
    check(
        "[admin]\nlisten = \"127.0.0.1:8080\"",
        "admin.listen",
        "taken by listener.listen",
    );
    check(
        "[identity]\ntenant_header = \"Authorization\"",
        "identity.tenant_header",
        "another meaning",
    );
    check(
        "[identity.aliases]\nuser = [\"x-bedrock-meter-tenant\"]",
        "identity.user_header",
        "named twice",
    );
    check(
        "[identity.tenants.acme]\napplications = [\"a\"]\ndefault_application = \"b\"",
        "identity.tenants.acme.default_application",
        "not one of",
    );
    check(
        "[upstream]\nregions = []",
        "upstream.regions",
        "no call can go",
    );
    check(
        "[upstream]\ndefault_region = \"mars-1\"",
        "upstream.default_region",
        "not one of",
    );
    check(
        "[upstream.endpoints]\nmars-1 = \"http://x\"",
        "upstream.endpoints.mars-1",
        "not one of upstream.regions",
    );
    check(
        "[upstream.control_endpoints]\nmars-1 = \"http://x\"",
        "upstream.control_endpoints.mars-1",
        "not one of upstream.regions",
    );
    check(
        "[upstream.sts_endpoints]\nmars-1 = \"http://x\"",
        "upstream.sts_endpoints.mars-1",
        "not one of upstream.regions",
    );
    let credentials = |keys: &str| format!("[upstream.credentials]\n{keys}");
    check(
        &credentials("access_key_id = \"A\""),
        "upstream.credentials.secret_access_key",
        "its other half",
    );
    check(
        &credentials("secret_access_key = \"s\""),
        "upstream.credentials.access_key_id",
        "its other half",
    );
    check(
        &credentials("session_token = \"t\""),
        "upstream.credentials.session_token",
        "no access key",
    );
    check(
        &credentials("profile = \"p\"\naccess_key_id = \"A\"\nsecret_access_key = \"s\""),
        "upstream.credentials.profile",
        "keep the profile, or",
    );
    check(
        "[listener.tls]\ncertificate_file = \"/nowhere\"",
        "listener.tls.key_file",
        "its other half",
    );
    check(
        "[upstream]\nca_file = \"/nowhere/ca.pem\"",
        "upstream.ca_file",
        "cannot be read",
    );
    check(
        "[prices]\ncatalogue_file = \"/nowhere\"",
        "prices.catalogue_file",
        "cannot be read",
    );
}

#[test]
fn a_bearer_key_takes_the_place_of_all_that_signs() {
    let credentials = |keys: &str| format!("[upstream.credentials]\n{keys}");
    check(
        &credentials("profile = \"p\"\nbearer_key = \"k\""),
        "upstream.credentials.bearer_key",
        "keep the Bedrock API key, or",
    );
    check(
        &credentials("bearer_key = \"k\"\nbearer_key_file = \"/nowhere\""),
        "upstream.credentials.bearer_key_file",
        "bearer_key is set as well",
    );
    check(
        &credentials("bearer_key_file = \"/nowhere\""),
        "upstream.credentials.bearer_key_file",
        "cannot be read",
    );
}

#[test]
fn a_text_that_is_no_toml_is_one_problem_with_its_line() {
    check("[listener]\n\nlisten = \n", "line 3", "this is not TOML");
    check("a = 1\na = 2\n", "line 2", "this is not TOML");
    let missing = load(Some(Path::new("/nowhere/x.toml")), &env).unwrap_err();
    assert_eq!(missing.0[0].path, "/nowhere/x.toml");
    assert_eq!(load(None, &env), Ok(Settings::default()));
}

#[test]
fn the_explanation_reads_back_as_the_same_settings() {
    let check = |text: &str| {
        let read = settings(text);
        let explained = explain(&read);
        assert_eq!(parse(&explained, &env).as_ref(), Ok(&read), "{explained}");
    };
    check("");
    check(include_str!("../../config/bedrock-meter.toml"));
    check(
        "[identity.tenants.acme]\napplications = [\"a\"]\ndefault_application = \"a\"\n\
         [identity.tenants.\"b/c\"]\n[identity.aliases]\ntenant = [\"x-a\", \"x-b\"]\n\
         [upstream]\nproxy = \"http://proxy.example:3128\"\nidle_timeout = \"90s\"\n\
         [upstream.endpoints]\nus-east-1 = \"http://127.0.0.1:9\"\n\
         [prices.models]\n\"arn:a/b\" = \"say \\\"x\\\" \\\\ \\t\"\n\
         [upstream.credentials]\nprofile = \"p\"",
    );
}

#[test]
fn the_explanation_masks_secrets() {
    let read = settings(
        "[admin]\ntoken = \"s3cret1\"\nmetrics_token = \"s3cret2\"\n\
         [admin.tokens.a]\ntoken = \"s3cret9\"\n\
         [identity]\npseudonym_key = \"s3cret3\"\n\
         [upstream]\nproxy = \"http://user:s3cret4@proxy.example:1\"\n\
         [upstream.credentials]\naccess_key_id = \"AKIDEXAMPLE\"\nsecret_access_key = \"s3cret5\"\n\
         session_token = \"s3cret6\"\n\
         [telemetry.otlp]\nauthorization = \"s3cret7\"\nheaders.key = \"s3cret8\"",
    );
    let shown = format!("{}{read:?}", explain(&read));
    let key = settings("[upstream.credentials]\nbearer_key = \"s3cret7\"");
    let shown = format!("{shown}{}{key:?}", explain(&key));
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("bearer_key = \"***\"\n"), "{shown}");
    assert!(shown.contains("token = \"***\"\n"), "{shown}");
    assert!(
        shown.contains("proxy = \"http://***@proxy.example:1\"\n"),
        "{shown}"
    );
}

#[test]
fn a_login_has_a_token_of_its_own_and_a_team_lead_has_a_team() {
    let token = |lines: &str| format!("[admin.tokens.ci]\n{lines}");
    let read = settings(&token(
        "token = \"t\"\nrole = \"team-lead\"\ntenant = \"acme\"",
    ));
    let [ci] = read.admin.tokens.as_slice() else {
        panic!("one token");
    };
    assert_eq!((ci.name.as_str(), ci.role), ("ci", Role::TeamLead));
    assert_eq!(
        settings(&token("token = \"t\"")).admin.tokens[0].role,
        Role::Viewer
    );
    settings("[admin]\nlisten = \"0.0.0.0:8081\"\n[admin.tokens.a]\ntoken = \"t\"");
    check(
        &token("role = \"admin\""),
        "admin.tokens.ci.token",
        "set token_file or token",
    );
    let lead = token("token = \"t\"\nrole = \"team-lead\"");
    check(&lead, "admin.tokens.ci.tenant", "name the tenant");
    let viewer = token("token = \"t\"\ntenant = \"acme\"");
    check(&viewer, "admin.tokens.ci.tenant", "would see them all");
    let twice = format!("[admin]\ntoken = \"t\"\n{}", token("token = \"t\""));
    check(
        &twice,
        "admin.tokens.ci.token",
        "another login has the same",
    );
}

#[test]
fn every_word_of_a_closed_set_is_read() {
    for word in UserPolicy::ALL {
        let read = settings(&format!("[identity]\nuser = \"{}\"", word.name()));
        assert_eq!(read.identity.user, *word);
    }
}

#[test]
fn a_collector_has_a_url_and_headers_that_can_be_sent() {
    let read = settings("[telemetry.otlp]\nendpoint = \"https://c.example:4318/otlp/\"");
    let endpoint = read.telemetry.otlp.endpoint.unwrap();
    assert_eq!(endpoint.uri().path(), "/otlp/");
    for wrong in [
        "c.example:4318",
        "grpc://c:1",
        "http://u:p@c",
        "http://c/?q=1",
    ] {
        let text = format!("[telemetry.otlp]\nendpoint = \"{wrong}\"");
        check(&text, "telemetry.otlp.endpoint", "write a URL such as");
    }
    let header = |line: &str| format!("[telemetry.otlp.headers]\n{line}");
    let path = "telemetry.otlp.headers.a b";
    check(&header("\"a b\" = \"x\""), path, "cannot be sent");
    let path = "telemetry.otlp.headers.key";
    check(&header("key = \"a\\nb\""), path, "cannot be sent");
}

#[test]
fn an_outlet_has_what_its_kind_needs_and_those_that_are_named_exist() {
    let webhook = "[alerts.outlets.ops]\nurl = \"https://h.example/x?y=1\"\nsecret = \"${TOKEN}\"";
    let read = settings(&format!("[alerts]\ndefault_outlets = [\"ops\"]\n{webhook}"));
    assert_eq!(read.alerts.outlets[0].name, "ops");
    assert!(
        !explain(&read).contains("h.example"),
        "a URL may be a secret"
    );
    check(
        "[alerts]\ndefault_outlets = [\"ops\"]",
        "alerts.default_outlets",
        "there is no outlet ops",
    );
    let outlet = |lines: &str| format!("[alerts.outlets.ops]\n{lines}");
    let at = |key: &str| format!("alerts.outlets.ops.{key}");
    let with_url = |more: &str| outlet(&format!("url = \"https://h.example\"\n{more}"));
    check(&with_url(""), &at("secret"), "needs it");
    check(
        &with_url("kind = \"slack\"\nsecret = \"s\""),
        &at("secret"),
        "no use for it",
    );
    check(
        &outlet("kind = \"sns\"\ntopic_arn = \"x\""),
        &at("topic_arn"),
        "no ARN",
    );
    check(&outlet("kind = \"alertmanager\""), &at("urls"), "needs it");
    let pager = with_url("secret = \"s\"\nkind = \"pager\"");
    check(&pager, &at("kind"), "does not fit");
    let sns = "kind = \"sns\"\ntopic_arn = \"arn:aws:sns:us-east-1:1:x\"";
    let keyed = format!(
        "{}\n[upstream.credentials]\nbearer_key = \"k\"",
        outlet(sns)
    );
    check(&keyed, &at("kind"), "signs nothing");
    check(
        "[alerts.outlets.\"a b\"]",
        "alerts.outlets.\"a b\"",
        "the name does not fit",
    );
}
