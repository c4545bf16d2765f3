//! `doctor` meets every fault that the simulator can play, and names it and its mend.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use bedrock_meter::simulator::{self, Running, Settings};
use rustls::{ServerConnection, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::{Certificate, Upstream};

const KEY: &str = "AKIASIMULATOREXAMPLE";
const SECRET: &str = "simulator/secret/EXAMPLEKEY";

/// A simulator and the place of a ledger.
struct Ward {
    runtime: Runtime,
    running: Option<Running>,
    directory: TempDir,
}

impl Ward {
    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = TempDir::new().unwrap();
        let mut settings = Settings {
            bill_log: Some(directory.path().join("bill.ndjson")),
            ..Settings::default()
        };
        change(&mut settings);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let running = runtime.block_on(simulator::start(settings)).unwrap();
        Self {
            runtime,
            running: Some(running),
            directory,
        }
    }

    fn refusing(rule: &str) -> Self {
        Self::with(|settings| settings.refused = vec![rule.parse().unwrap()])
    }

    fn url(&self) -> String {
        format!("http://{}", self.running.as_ref().unwrap().address())
    }

    fn examine(&self) -> Report {
        self.examine_with(&[])
    }

    fn examine_with(&self, arguments: &[&str]) -> Report {
        let configuration = configuration(&self.url(), self.directory.path());
        let output = doctor(&configuration, self.directory.path(), arguments, true);
        Report::of(&output)
    }

    /// What the simulator would bill.
    fn bill(mut self) -> Vec<Value> {
        let running = self.running.take().unwrap();
        self.runtime.block_on(running.stop());
        let bill = std::fs::read_to_string(self.directory.path().join("bill.ndjson")).unwrap();
        let lines = bill.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }
}

fn configuration(url: &str, directory: &Path) -> String {
    let ledger = directory.join("ledger").display().to_string();
    let tables = ["endpoints", "control_endpoints", "sts_endpoints"];
    let tables = tables.map(|table| format!("[upstream.{table}]\nus-east-1 = \"{url}\"\n"));
    format!("[ledger]\ndirectory = \"{ledger}\"\n{}", tables.concat())
}

/// Runs the command in an environment that holds nothing else.
fn doctor(configuration: &str, directory: &Path, arguments: &[&str], keys: bool) -> Output {
    let file = directory.join("doctor.toml");
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-meter"));
    command
        .args(["doctor", "--config"])
        .arg(file)
        .args(["--format", "json"])
        .args(arguments)
        .env_clear()
        .env("HOME", directory)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    if keys {
        command
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET);
    }
    command.output().unwrap()
}

/// What `doctor` said.
struct Report {
    checks: Vec<Value>,
    exit: Option<i32>,
}

impl Report {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains(SECRET) && !complaints.contains(SECRET));
        assert!(text.starts_with('{'), "{complaints}");
        let json: Value = serde_json::from_str(&text).unwrap();
        let exit = output.status.code();
        assert_eq!(json["healthy"], Value::Bool(exit == Some(0)));
        Self {
            checks: json["checks"].as_array().unwrap().clone(),
            exit,
        }
    }

    fn check(&self, name: &str) -> &Value {
        let mut checks = self.checks.iter();
        checks.find(|check| check["check"] == name).unwrap()
    }

    fn result(&self, name: &str) -> &str {
        self.check(name)["result"].as_str().unwrap()
    }

    /// The check ended so, and says these words of what was seen and of the mend.
    fn expect(&self, name: &str, result: &str, seen: &str, mend: &str) {
        let check = self.check(name);
        assert_eq!(check["result"], result, "{check}");
        let holds = |field: &str, words: &str| check[field].to_string().contains(words);
        assert!(holds("seen", seen), "{seen}: {check}");
        assert!(holds("mend", mend), "{mend}: {check}");
    }

    fn expect_results(&self, expected: &[(&str, &str)]) {
        let names = self
            .checks
            .iter()
            .map(|check| check["check"].as_str().unwrap());
        let found: Vec<_> = names.map(|name| (name, self.result(name))).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn an_open_road_is_green_and_causes_no_charge() {
    let ward = Ward::with(|_| {});
    let report = ward.examine();
    report.expect_results(&[
        ("credentials", "ok"),
        ("region", "ok"),
        ("reachability", "ok"),
        ("clock", "ok"),
        ("identity", "ok"),
        ("models", "ok"),
        ("prices", "warning"),
        ("invoke", "ok"),
        ("stream", "ok"),
        ("ledger", "ok"),
    ]);
    assert_eq!(report.exit, Some(0), "a warning is no failure");
    report.expect("credentials", "ok", "AKIA...MPLE", "null");
    report.expect("invoke", "ok", "amazon.nova", "null");
    report.expect("identity", "ok", "assumed-role/simulated/session", "null");
    // The simulator offers six models and four profiles; three of the models need a profile.
    report.expect(
        "models",
        "ok",
        "3 models on demand and 6 inference profiles",
        "null",
    );
    report.expect("prices", "warning", "6 of 9", "price_unknown");
    assert_eq!(
        report.check("prices")["details"],
        serde_json::json!(["example.unpriced-model-v1:0", "team-a", "team-b"])
    );
    let bill = ward.bill();
    assert!(bill.len() >= 8, "every request is on the bill");
    for line in bill {
        assert!(
            line["usage"]
                .as_object()
                .is_none_or(serde_json::Map::is_empty),
            "{line}"
        );
    }
}

#[test]
fn without_credentials_the_road_itself_is_still_proven() {
    let ward = Ward::with(|_| {});
    let configuration = configuration(&ward.url(), ward.directory.path());
    let output = doctor(&configuration, ward.directory.path(), &[], false);
    let report = Report::of(&output);
    assert_eq!(report.exit, Some(1));
    report.expect("credentials", "failed", "none found", "AWS_ACCESS_KEY_ID");
    report.expect("reachability", "ok", "answered", "null");
    report.expect("clock", "ok", "agrees", "null");
    report.expect("invoke", "skipped", "there are no credentials", "null");
    report.expect("ledger", "ok", "not there yet", "null");
}

#[test]
fn a_region_that_is_not_configured_ends_the_journey() {
    let ward = Ward::with(|_| {});
    let report = ward.examine_with(&["--region", "mars-north-1"]);
    assert_eq!(report.exit, Some(1));
    report.expect(
        "region",
        "failed",
        "not one of upstream.regions",
        "--region",
    );
    for check in [
        "reachability",
        "clock",
        "identity",
        "models",
        "prices",
        "invoke",
        "stream",
    ] {
        report.expect(check, "skipped", "the region cannot be called", "null");
    }
}

#[test]
fn the_host_of_another_region_is_told_from_a_wrong_secret() {
    let ward = Ward::with(|settings| settings.regions = vec!["eu-west-1".to_owned()]);
    let report = ward.examine();
    assert_eq!(report.exit, Some(1));
    report.expect(
        "identity",
        "failed",
        "valid region",
        "not that of this region",
    );

    let ward = Ward::with(|settings| "another".clone_into(&mut settings.secret_access_key));
    let report = ward.examine();
    report.expect(
        "identity",
        "failed",
        "SignatureDoesNotMatch",
        "secret access key",
    );

    let ward = Ward::with(|settings| "AKIAOTHER".clone_into(&mut settings.access_key_id));
    let report = ward.examine();
    report.expect(
        "identity",
        "failed",
        "InvalidClientTokenId",
        "deleted, inactive",
    );
}

#[test]
fn a_model_that_is_not_in_the_region_is_named() {
    let nova = "amazon.nova-lite-v1:0";
    let ward = Ward::with(|settings| settings.absent_models = vec![nova.to_owned()]);
    let report = ward.examine_with(&["--model", nova]);
    assert_eq!(report.exit, Some(1));
    report.expect("invoke", "failed", nova, "another region");
}

#[test]
fn a_wrong_clock_is_measured_and_hides_nothing_else() {
    for (ahead, said) in [(600, "behind AWS's"), (-600, "ahead of AWS's")] {
        let ward = Ward::with(|settings| settings.clock_skew_seconds = ahead);
        let report = ward.examine();
        assert_eq!(report.exit, Some(1));
        report.expect("clock", "failed", said, "chrony");
        for check in ["identity", "models", "invoke", "stream"] {
            assert_eq!(report.result(check), "ok", "signed with AWS's time");
        }
    }
}

#[test]
fn each_missing_permission_is_named() {
    for (action, check, result) in [
        ("sts:GetCallerIdentity", "identity", "warning"),
        ("bedrock:ListFoundationModels", "models", "warning"),
        ("bedrock:ListInferenceProfiles", "models", "warning"),
        ("bedrock:InvokeModel", "invoke", "failed"),
        ("bedrock:InvokeModelWithResponseStream", "stream", "failed"),
    ] {
        let report = Ward::refusing(&format!("{action}=AccessDeniedException")).examine();
        let mend = format!("allow {action} to this role");
        report.expect(check, result, "AccessDenied", &mend);
        assert_eq!(report.exit, Some(i32::from(result == "failed")), "{action}");
    }
}

#[test]
fn expired_tokens_and_throttling_are_told_apart() {
    let report = Ward::refusing("*=ExpiredTokenException").examine();
    assert_eq!(report.exit, Some(1));
    report.expect(
        "identity",
        "failed",
        "ExpiredToken",
        "session token has expired",
    );
    report.expect(
        "invoke",
        "skipped",
        "does not accept the credentials",
        "null",
    );

    let report = Ward::refusing("*=ThrottlingException").examine();
    assert_eq!(
        report.exit,
        Some(0),
        "throttling says nothing about the road"
    );
    report.expect(
        "models",
        "warning",
        "ThrottlingException",
        "again in a minute",
    );
}

#[test]
fn closed_ways_are_told_apart() {
    let directory = TempDir::new().unwrap();
    let examine = |url: &str| {
        let configuration = configuration(url, directory.path());
        Report::of(&doctor(&configuration, directory.path(), &[], true))
    };
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address: SocketAddr = closed.local_addr().unwrap();
    drop(closed);
    let report = examine(&format!("http://{address}"));
    assert_eq!(report.exit, Some(1));
    report.expect("reachability", "failed", "refused", "nothing listens there");
    report.expect("identity", "skipped", "cannot be reached", "null");

    // Reserved never to exist (RFC 6761, section 6.4).
    let report = examine("https://bedrock.invalid");
    report.expect(
        "reachability",
        "failed",
        "bedrock.invalid",
        "name is unknown",
    );
}

#[test]
fn an_unknown_authority_is_mended_by_ca_file() {
    let Some(certificate) = Certificate::make() else {
        return;
    };
    let server = certificate.server();
    let wrap = move |socket| {
        let session = ServerConnection::new(Arc::clone(&server)).unwrap();
        let stream: Box<dyn crate::support::Stream> = Box::new(StreamOwned::new(session, socket));
        stream
    };
    let upstream = Upstream::behind(wrap, |mut connection| {
        while connection.request().is_some() {
            connection.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let directory = TempDir::new().unwrap();
    let url = format!("https://localhost:{}", upstream.address.port());
    let configuration = configuration(&url, directory.path());
    let report = Report::of(&doctor(&configuration, directory.path(), &[], true));
    report.expect(
        "reachability",
        "failed",
        "invalid peer certificate",
        "upstream.ca_file",
    );

    let trusting = format!(
        "[upstream]\nca_file = {:?}\n{configuration}",
        certificate.chain_file
    );
    let report = Report::of(&doctor(&trusting, directory.path(), &[], true));
    report.expect("reachability", "ok", "localhost", "null");
    report.expect("clock", "warning", "no date", "by hand");
}

#[test]
fn a_ledger_that_cannot_be_written_is_named() {
    let ward = Ward::with(|_| {});
    let ledger = "[ledger]\ndirectory = \"/proc/nowhere\"\n";
    let configuration = configuration(&ward.url(), ward.directory.path());
    let (_, upstream) = configuration.split_once("[upstream.").unwrap();
    let configuration = format!("{ledger}[upstream.{upstream}");
    let report = Report::of(&doctor(&configuration, ward.directory.path(), &[], true));
    assert_eq!(report.exit, Some(1));
    report.expect("ledger", "failed", "/proc", "ledger.directory");
}
