//! What proving a caller costs: one signature of a 2 kB call beyond the hash of its body, the two
//! refusals that must take equally long, and the memory of a hundred thousand keys.
//!
//! Unlike the other parts it calls the library: these times are too small to be seen from outside.

use std::fs;
use std::net::IpAddr;
use std::time::Instant;

use anyhow::Context as _;
use bedrock_meter::aws::{Credentials, Scope, Signable, Signer, hex};
use bedrock_meter::domain::{BasePath, Clock as _, Secret, SystemClock, Timestamp};
use bedrock_meter::identity::{Head, Identity, Mode, Outside, Settings};
use bedrock_meter::registry::{Callers, KeyKind, MasterKeys, NewKey, PolicyDocument, Registry};
use http::{HeaderMap, HeaderValue, Uri};

/// What `callers` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many keys there are.
    #[arg(long, default_value_t = 100_000)]
    keys: u32,
    /// How many signatures are verified, and refusals made.
    #[arg(long, default_value_t = 2_000)]
    times: usize,
}

const PATH: &str = "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke";
const HOST: &str = "127.0.0.1:8080";
const BODY_BYTES: usize = 2_000;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let masters = MasterKeys::generate(1).context("draw random bytes")?;
    let masters = MasterKeys::parse(masters.as_str())?;
    let mut registry = Registry::open(&directory.path().join("callers.sqlite3"))?;
    let now = SystemClock.now();
    let pair = fill(&mut registry, options.keys, &masters, now)?;
    let before = resident_bytes()?;
    let callers = registry.load(masters)?;
    let held = resident_bytes()?.saturating_sub(before);
    println!(
        "memory of {} keys: {:.1} MiB (must: 64)",
        callers.len(),
        held as f64 / 1_048_576.0
    );

    let settings = Settings {
        mode: Mode::Proven,
        ..Settings::default()
    };
    let identity = Identity::new(settings, &Secret::new("bench"));
    let prover = Prover {
        identity,
        callers,
        now,
    };
    let right = signed(&pair.0, &pair.1, now);
    let unknown = signed("BMAKABCDEFGHIJKLMNOP", &pair.1, now);
    let wrong = signed(&pair.0, "another", now);
    anyhow::ensure!(prover.prove(&right), "the signature must hold");
    anyhow::ensure!(
        !prover.prove(&unknown) && !prover.prove(&wrong),
        "these must not"
    );

    let times = |headers: &HeaderMap| {
        let begun = Instant::now();
        let _proven = prover.prove(headers);
        begun.elapsed().as_secs_f64() * 1e6
    };
    let [mut verified, mut of_unknown, mut of_wrong] = [(); 3].map(|()| Vec::new());
    for _ in 0..options.times {
        verified.push(times(&right));
        of_unknown.push(times(&unknown));
        of_wrong.push(times(&wrong));
    }
    let [verified, of_unknown, of_wrong] = [verified, of_unknown, of_wrong].map(median);
    println!("verification of a 2 kB call: {verified:.2} us beyond its hash (must: 15)");
    println!(
        "refusals, median of {}: unknown key {of_unknown:.2} us, bad signature {of_wrong:.2} us, ratio {:.3} (must: 0.95 to 1.05)",
        options.times,
        of_unknown / of_wrong
    );
    Ok(())
}

/// Makes the keys; the pair that will be used is one of them.
fn fill(
    registry: &mut Registry,
    count: u32,
    masters: &MasterKeys,
    now: Timestamp,
) -> anyhow::Result<(String, String)> {
    let mut last = None;
    for number in 0..count {
        let new = NewKey {
            tenant: format!("team-{}", number % 1_000).parse()?,
            kind: KeyKind::Pair,
            name: None,
            policy: PolicyDocument::default(),
            expires_at: None,
        };
        last = Some(registry.create_key(&new, masters, "bench", now)?);
    }
    let issued = last.context("at least one key")?;
    Ok((issued.id.to_string(), issued.secret.as_str().to_owned()))
}

struct Prover {
    identity: Identity,
    callers: Callers,
    now: Timestamp,
}

impl Prover {
    /// All that a call pays for its proof, but for the hash of its body.
    fn prove(&self, headers: &HeaderMap) -> bool {
        let head = Head {
            client: IpAddr::from([127, 0, 0, 1]),
            method: "POST",
            uri: &Uri::from_static(PATH),
            headers,
            outside: &Outside::default(),
            now: self.now,
        };
        let base = BasePath::default();
        let Ok(caller) = self.identity.caller(head, &base, &self.callers) else {
            return false;
        };
        let hash = [7; 32];
        self.identity.prove(caller, &head, || hash).is_ok()
    }
}

/// The headers of a call that is signed as boto3 does it.
fn signed(id: &str, secret: &str, now: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static(HOST));
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("content-length", BODY_BYTES.into());
    headers.insert(
        "user-agent",
        HeaderValue::from_static("Boto3/1.44.5 md/Botocore#1.44.5"),
    );
    headers.insert(
        "amz-sdk-invocation-id",
        HeaderValue::from_static("8c5a-4e6f"),
    );
    let credentials = Credentials {
        access_key_id: id.into(),
        secret_access_key: secret.into(),
        session_token: None,
        expires_at: None,
    };
    let body_sha256 = hex(&[7; 32]);
    let request = Signable {
        method: "POST",
        path: PATH,
        query: "",
        host: HOST,
        body_sha256: &body_sha256,
    };
    let scope = Scope {
        region: "us-east-1",
        service: "bedrock",
    };
    Signer::default().sign(request, &mut headers, scope, &credentials, now);
    headers
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What the process has in memory (proc(5), `statm`: pages).
fn resident_bytes() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text.split(' ').nth(1).context("read /proc/self/statm")?;
    Ok(pages.parse::<u64>()? * rustix::param::page_size() as u64)
}
