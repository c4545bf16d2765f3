//! Roles assumed for tenants: whose credentials sign a call, and that no others ever do. Request
//! metadata: what Bedrock is sent.

use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use bedrock_meter::config::Settings;
use bedrock_meter::domain::Secret;
use bedrock_meter::simulator;
use bedrock_meter::upstream::{BearerKey, CredentialSettings, MetadataKeys};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::{Proxy, Refusing, Request, Upstream, body_of, endpoint, wait_for};

const TEMPLATE: &str = "arn:aws:iam::123456789012:role/bedrock-{tenant}";

/// A simulator with its bill.
struct Bedrock {
    runtime: Runtime,
    running: Option<simulator::Running>,
    bill: PathBuf,
    directory: TempDir,
}

impl Bedrock {
    fn start(change: impl FnOnce(&mut simulator::Settings)) -> Self {
        let directory = TempDir::new().unwrap();
        let bill = directory.path().join("bill.ndjson");
        let mut settings = simulator::Settings {
            bill_log: Some(bill.clone()),
            ..simulator::Settings::default()
        };
        change(&mut settings);
        let runtime = Runtime::new().unwrap();
        let running = runtime.block_on(simulator::start(settings)).unwrap();
        Self {
            runtime,
            running: Some(running),
            bill,
            directory,
        }
    }

    fn address(&self) -> std::net::SocketAddr {
        self.running.as_ref().unwrap().address()
    }

    /// The lines of one operation, once there are that many.
    fn served(&self, operation: &str, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} of {operation}"), || {
            let text = std::fs::read_to_string(&self.bill).unwrap_or_default();
            let lines = text
                .lines()
                .map_while(|line| serde_json::from_str(line).ok());
            let lines: Vec<Value> = lines
                .filter(|line: &Value| line["operation"] == operation)
                .collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }
}

impl Drop for Bedrock {
    fn drop(&mut self) {
        self.stop();
        assert!(self.directory.path().exists());
    }
}

/// A proxy whose credentials the simulator takes, with STS there too.
fn proxy(bedrock: &Bedrock, change: impl FnOnce(&mut Settings)) -> Proxy {
    let address = bedrock.address();
    Proxy::start(address, |settings| {
        let own = simulator::Settings::default();
        settings.upstream.credentials = CredentialSettings::Static {
            access_key_id: own.access_key_id,
            secret_access_key: Secret::new(&own.secret_access_key),
            session_token: None,
        };
        settings.upstream.sts_endpoints = endpoint(&format!("http://{address}"));
        settings.upstream.roles.default = Some(TEMPLATE.to_owned());
        change(settings);
    })
}

fn call(proxy: &Proxy, tenant: &str) -> (u16, Option<String>) {
    let request = Request::of("converse").header("x-bedrock-meter-tenant", tenant);
    let answer = proxy.client().call(&request);
    (answer.status, answer.refusal().map(str::to_owned))
}

/// How many requests to STS came to that.
fn assumptions(proxy: &Proxy, outcome: &str) -> u64 {
    let name = format!("bedrock_meter_role_assumptions_total{{outcome=\"{outcome}\"}}");
    proxy.metric(&name).to_string().parse().unwrap()
}

const SERVED: (u16, Option<String>) = (200, None);

fn unavailable() -> (u16, Option<String>) {
    (503, Some("role_unavailable".to_owned()))
}

#[test]
fn each_tenant_is_served_under_its_own_session() {
    let bedrock = Bedrock::start(|_| {});
    let proxy = proxy(&bedrock, |settings| {
        settings.upstream.roles.tag_application = true;
    });
    for tenant in ["red", "blue", "red"] {
        assert_eq!(call(&proxy, tenant), SERVED, "{tenant}");
    }
    let seen: Vec<_> = bedrock
        .served("Converse", 3)
        .into_iter()
        .map(|line| (line["principal"].clone(), line["session_tags"].clone()))
        .collect();
    let of = |tenant: &str| {
        let arn = format!("arn:aws:sts::123456789012:assumed-role/bedrock-{tenant}/{tenant}");
        (
            json!(arn),
            json!({"tenant": tenant, "application": "unknown"}),
        )
    };
    assert_eq!(seen, [of("red"), of("blue"), of("red")]);
    assert_eq!(
        bedrock.served("AssumeRole", 2).len(),
        2,
        "one for each role"
    );
    assert_eq!(assumptions(&proxy, "assumed"), 2);
    assert_eq!(proxy.metric("bedrock_meter_role_sessions").to_string(), "2");
}

#[test]
fn calls_that_wait_for_one_role_ask_for_it_once() {
    let bedrock = Bedrock::start(|_| {});
    let proxy = proxy(&bedrock, |_| {});
    let mut clients: Vec<_> = (0..20).map(|_| proxy.client()).collect();
    let request = Request::of("converse").header("x-bedrock-meter-tenant", "red");
    for client in &mut clients {
        client.send(&request.bytes());
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(bedrock.served("AssumeRole", 1).len(), 1);
}

#[test]
fn a_role_that_cannot_be_assumed_refuses_its_tenant_alone() {
    let bedrock = Bedrock::start(|settings| {
        let rule = "sts:AssumeRole/bedrock-red=AccessDeniedException";
        settings.refused = vec![rule.parse().unwrap()];
    });
    let proxy = proxy(&bedrock, |_| {});
    assert_eq!(call(&proxy, "red"), unavailable());
    assert_eq!(
        call(&proxy, "red"),
        unavailable(),
        "at once, without another request"
    );
    assert_eq!(call(&proxy, "blue"), SERVED);
    assert_eq!(
        call(&proxy, "a/b"),
        unavailable(),
        "it would name another role"
    );
    let lines = bedrock.served("Converse", 1);
    assert_eq!(lines.len(), 1, "no other credentials signed a call");
    assert!(assumptions(&proxy, "denied") >= 1);
    let refused = "bedrock_meter_refused_total{reason=\"role_unavailable\",tenant=\"red\"}";
    assert_eq!(proxy.metric(refused).to_string(), "2");
}

#[test]
fn while_sts_is_away_a_session_serves_to_its_end_and_nothing_signs_after_it() {
    let bedrock = Bedrock::start(|_| {});
    // Sessions of another simulator with the same secret are good at the first.
    let mut sts = Bedrock::start(|settings| settings.session_seconds = Some(6));
    let at = format!("http://{}", sts.address());
    let proxy = proxy(&bedrock, |settings| {
        settings.upstream.sts_endpoints = endpoint(&at);
    });
    assert_eq!(call(&proxy, "red"), SERVED);
    sts.stop();
    assert_eq!(call(&proxy, "red"), SERVED, "from memory");
    assert_eq!(call(&proxy, "blue"), unavailable(), "it was never assumed");
    let mut served = 2;
    wait_for("the end of the session", || {
        let answer = call(&proxy, "red");
        if answer == SERVED {
            served += 1;
            return None;
        }
        assert_eq!(answer, unavailable());
        Some(())
    });
    let lines = bedrock.served("Converse", served);
    assert_eq!(lines.len(), served);
    for line in lines {
        assert_eq!(line["session_tags"], json!({"tenant": "red"}));
        assert_eq!(line["status"], 200);
    }
    assert!(
        assumptions(&proxy, "unreachable") >= 2,
        "refreshes were tried"
    );
}

#[test]
fn a_session_is_refreshed_ahead_while_calls_go_on() {
    let bedrock = Bedrock::start(|settings| settings.session_seconds = Some(4));
    let proxy = proxy(&bedrock, |_| {});
    let mut keys = std::collections::HashSet::new();
    wait_for("three sessions", || {
        assert_eq!(call(&proxy, "red"), SERVED);
        let lines = bedrock.served("Converse", 1);
        keys.extend(lines.iter().map(|line| line["access_key_id"].to_string()));
        (keys.len() >= 3).then_some(())
    });
    for line in bedrock.served("Converse", 1) {
        assert_eq!(
            line["status"], 200,
            "none was signed with a session that was over"
        );
    }
}

#[test]
fn sts_is_asked_for_what_the_settings_say() {
    let (forms, seen) = sync_channel(4);
    let sts = Upstream::start(move |mut connection| {
        while let Some(head) = connection.head() {
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1).unwrap();
            let length = length.split("\r\n").next().unwrap().parse().unwrap();
            forms.send((head, connection.body(length))).unwrap();
            connection.write(&body_of(
                "400 Bad Request",
                "",
                "<Error><Code>Validation</Code></Error>",
            ));
        }
    });
    let bedrock = Bedrock::start(|_| {});
    let at = format!("http://{}", sts.address);
    let proxy = proxy(&bedrock, |settings| {
        settings.upstream.sts_endpoints = endpoint(&at);
        settings.upstream.roles.external_id = Some("of us/1".to_owned());
        settings.upstream.roles.duration = std::time::Duration::from_mins(30);
    });
    assert_eq!(call(&proxy, "red"), unavailable());
    let (head, form) = seen.recv().unwrap();
    assert!(head.starts_with("POST / HTTP/1.1\r\n") && head.contains("/sts/aws4_request"));
    assert_eq!(
        form,
        "Action=AssumeRole&Version=2011-06-15\
         &RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fbedrock-red&RoleSessionName=red\
         &DurationSeconds=1800&Tags.member.1.Key=tenant&Tags.member.1.Value=red&ExternalId=of%20us%2F1"
    );
}

#[test]
fn a_clock_that_is_wrong_is_learned_from_sts() {
    let bedrock = Bedrock::start(|settings| settings.clock_skew_seconds = 3_600);
    let proxy = proxy(&bedrock, |_| {});
    assert_eq!(call(&proxy, "red"), SERVED);
    assert_eq!(call(&proxy, "red"), SERVED);
    let lines = bedrock.served("Converse", 2);
    assert!(
        lines
            .iter()
            .all(|line| line["session_tags"]["tenant"] == "red")
    );
}

#[test]
fn an_api_key_assumes_no_role_and_is_not_sent_instead() {
    let bedrock = Bedrock::start(|_| {});
    let nobody = Refusing::take();
    let proxy = proxy(&bedrock, |settings| {
        settings.upstream.credentials =
            CredentialSettings::Bearer(BearerKey::Fixed(Secret::new("ABSKsimulatorEXAMPLE")));
        settings.upstream.sts_endpoints = endpoint(&format!("http://{}", nobody.address));
    });
    assert_eq!(call(&proxy, "red"), unavailable());
    assert!(assumptions(&proxy, "api_key") >= 1);
}

fn keys() -> MetadataKeys {
    MetadataKeys {
        tenant: Some("tenant".to_owned()),
        application: Some("app".to_owned()),
        call_id: Some("call".to_owned()),
    }
}

#[test]
fn bedrock_is_told_tenant_application_and_call_and_nobody_forges_them() {
    let bedrock = Bedrock::start(|_| {});
    let proxy = proxy(&bedrock, |settings| {
        settings.upstream.roles.default = None;
        settings.upstream.request_metadata = keys();
    });
    let forged = r#"{"t\u0065nant":"blue","app":"x","mine":"1"}"#;
    let of = |operation: &str, body: String| {
        Request::of(operation)
            .header("x-bedrock-meter-tenant", "red")
            .header("x-bedrock-meter-application", "chat")
            .body(body.into_bytes())
    };
    let converse = |metadata: &str| {
        let messages = r#""messages":[{"role":"user","content":[{"text":"Hello"}]}]"#;
        format!("{{{messages}{metadata}}}")
    };
    let mut ids = Vec::new();
    for request in [
        of("converse", converse("")),
        of(
            "converse-stream",
            converse(&format!(r#","requestMetadata":{forged}"#)),
        ),
        of("invoke", "{}".to_owned()),
        of("invoke-with-response-stream", "{}".to_owned())
            .header("X-Amzn-Bedrock-Request-Metadata", forged),
    ] {
        let answer = proxy.client().call(&request);
        assert_eq!(answer.status, 200);
        let head = answer.head.to_ascii_lowercase();
        let id = head.split("x-bedrock-meter-call-id: ").nth(1).unwrap();
        ids.push(id.split("\r\n").next().unwrap().to_owned());
    }
    let operations = [
        "Converse",
        "ConverseStream",
        "InvokeModel",
        "InvokeModelWithResponseStream",
    ];
    for (at, (operation, id)) in operations.iter().zip(&ids).enumerate() {
        let line = &bedrock.served(operation, 1)[0];
        let mut expected = json!({"tenant": "red", "app": "chat", "call": id});
        if at % 2 == 1 {
            expected["mine"] = json!("1");
        }
        assert_eq!(line["request_metadata"], expected, "{operation}");
    }
}

#[test]
fn pairs_that_find_no_room_are_refused_and_malformed_bodies_are_not_ours_to_judge() {
    let bedrock = Bedrock::start(|_| {});
    let proxy = proxy(&bedrock, |settings| {
        settings.upstream.roles.default = None;
        settings.upstream.request_metadata = keys();
    });
    let with = |count: usize| {
        let pairs: Vec<String> = (0..count).map(|n| format!(r#""k{n}":"v""#)).collect();
        format!(
            r#"{{"messages":[],"requestMetadata":{{{}}}}}"#,
            pairs.join(",")
        )
    };
    let send = |body: String| {
        let answer = proxy
            .client()
            .call(&Request::of("converse").body(body.into_bytes()));
        (answer.status, answer.refusal().map(str::to_owned))
    };
    assert_eq!(send(with(13)), SERVED);
    assert_eq!(
        send(with(14)),
        (400, Some("request_metadata_full".to_owned()))
    );
    let twice = r#"{"requestMetadata":{},"requestMetadata":{"tenant":"x"}}"#;
    let unreadable = (400, Some("request_metadata_unreadable".to_owned()));
    assert_eq!(send(twice.to_owned()), unreadable);
    let (_status, refusal) = send(r#"{"messages":["#.to_owned());
    assert_eq!(refusal, None, "Bedrock's to answer");
    assert_eq!(bedrock.served("Converse", 2).len(), 2);
}
