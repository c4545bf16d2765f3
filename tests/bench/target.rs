//! Starts and stops the processes of the rig: the fake upstream, the baseline, nginx and the
//! proxy under test, each pinned to a core, each fresh for each measurement.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::protocol::Protocol;

/// What stands between the load generator and the fake upstream.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub(crate) enum Target {
    /// Nothing.
    Direct,
    /// The bare hyper baseline.
    Passthrough,
    /// nginx, one worker.
    Nginx,
    /// The proxy under test.
    Meter,
    /// The same with budgets that every call has to fit.
    Budgeted,
    /// The same with budgets, rate limits, the account's quota and alerts.
    AllOn,
}

impl Target {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Passthrough => "pass-through",
            Self::Nginx => "nginx",
            Self::Meter => "bedrock-meter",
            Self::Budgeted => "bedrock-meter, budgets on",
            Self::AllOn => "bedrock-meter, all on",
        }
    }
}

/// What is spoken on the two sides of a target, and what it shows the upstream.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) protocol: Protocol,
    /// TLS to the upstream, in connections that are kept alive.
    pub(crate) upstream_tls: bool,
    pub(crate) credentials: Credentials,
}

impl Way {
    /// HTTP/1.1 in clear text on both sides.
    pub(crate) const PLAIN: Self = Self {
        protocol: Protocol::Http1,
        upstream_tls: false,
        credentials: Credentials::AccessKey,
    };
}

/// What the proxy under test shows the upstream; the others show nothing.
#[derive(Clone, Copy)]
pub(crate) enum Credentials {
    /// A SigV4 signature, which needs a hash of the body.
    AccessKey,
    /// A Bedrock API key.
    BearerKey,
}

/// The machine's part of the rig.
pub(crate) struct Rig {
    /// The proxy under test.
    pub(crate) meter: PathBuf,
    /// Cores of the fake upstream, as `taskset -c` takes them.
    pub(crate) upstream_core: String,
    /// Core of the proxies.
    pub(crate) proxy_core: String,
    /// Configurations, logs, certificates; removed by the caller.
    pub(crate) folder: PathBuf,
}

/// A process that ends when this is dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Three budgets that apply to every call and are never full: of everything, of the tenant by the
/// day, of tenant and model by the month.
pub(crate) const BUDGETS: &str = "
[budgets.all]
limit_usd = \"1000000000\"
action = \"block\"
[budgets.teams]
tenant = \"*\"
limit_usd = \"1000000000\"
period = \"day\"
action = \"block\"
[budgets.models]
tenant = \"*\"
model = \"*\"
limit_usd = \"1000000000\"
action = \"block\"
";

/// Every kind of limit, for every call and never full, and alerts that have nothing to tell.
const LIMITS_AND_ALERTS: &str = "
[limits.teams]
tenant = \"*\"
requests_per_minute = 100000000
tokens_per_minute = 1000000000000
concurrent_calls = 100000
[limits.models]
tenant = \"*\"
model = \"*\"
requests_per_minute = 100000000
[limits.account.all]
model = \"*\"
region = \"us-east-1\"
tokens_per_minute = 1000000000000
requests_per_minute = 100000000
[alerts]
default_outlets = [\"ops\"]
[alerts.outlets.ops]
kind = \"webhook\"
url = \"http://127.0.0.1:9/\"
secret = \"bench\"
";

const STOP_TIMEOUT: Duration = Duration::from_secs(2);
const START_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        let started = Instant::now();
        while started.elapsed() < STOP_TIMEOUT {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            sleep(POLL);
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Rig {
    pub(crate) fn upstream(&self, gap_ms: u64, way: Way) -> anyhow::Result<Running> {
        let mut command = pinned(&self.upstream_core, &std::env::current_exe()?);
        command.args(["upstream", "--gap-ms", &gap_ms.to_string()]);
        if way.upstream_tls {
            command.arg("--certificates").arg(&self.folder);
        }
        self.start(command, "upstream", "listening http://")
    }

    /// Starts a target; `Direct` is none.
    pub(crate) fn target(
        &self,
        target: Target,
        way: Way,
        upstream: SocketAddr,
    ) -> anyhow::Result<Option<Running>> {
        match target {
            Target::Direct => Ok(None),
            Target::Passthrough => self.passthrough(way, upstream).map(Some),
            Target::Nginx => self.nginx(upstream).map(Some),
            Target::Meter => self.meter(way, upstream, "").map(Some),
            Target::Budgeted => self.meter(way, upstream, BUDGETS).map(Some),
            Target::AllOn => {
                let more = format!("{BUDGETS}{LIMITS_AND_ALERTS}");
                self.meter(way, upstream, &more).map(Some)
            }
        }
    }

    fn passthrough(&self, way: Way, upstream: SocketAddr) -> anyhow::Result<Running> {
        let mut command = pinned(&self.proxy_core, &std::env::current_exe()?);
        command.args(["passthrough", "--upstream", &upstream.to_string()]);
        command.arg("--certificates").arg(&self.folder);
        command.arg("--protocol").arg(match way.protocol {
            Protocol::Http1 => "http1",
            Protocol::H2c => "h2c",
            Protocol::Tls => "tls",
        });
        if way.upstream_tls {
            command.arg("--upstream-tls");
        }
        self.start(command, "passthrough", "listening http://")
    }

    fn nginx(&self, upstream: SocketAddr) -> anyhow::Result<Running> {
        // nginx takes no port 0: ask the kernel for a free one and give it back.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let config = self.folder.join("nginx.conf");
        fs::write(&config, nginx_config(&self.folder, address, upstream))?;
        let mut command = pinned(&self.proxy_core, Path::new("nginx"));
        command
            .arg("-c")
            .arg(config)
            .arg("-e")
            .arg(self.folder.join("nginx.error"));
        let mut running = Running {
            child: self.spawn(command, "nginx")?,
            address,
        };
        let connected = || TcpStream::connect(address).ok();
        wait_for(
            &mut running.child,
            connected,
            &self.folder.join("nginx.error"),
        )?;
        Ok(running)
    }

    fn meter(&self, way: Way, upstream: SocketAddr, more: &str) -> anyhow::Result<Running> {
        let config = self.folder.join("bedrock-meter.toml");
        let ledger = self.folder.join("ledger");
        if ledger.exists() {
            fs::remove_dir_all(&ledger)?;
        }
        let text = meter_config(&self.folder, &ledger, way, upstream) + more;
        fs::write(&config, text)?;
        let mut command = pinned(&self.proxy_core, &self.meter);
        command.arg("serve").arg("--config").arg(config);
        self.start(
            command,
            "bedrock-meter",
            match way.protocol {
                Protocol::Http1 | Protocol::H2c => "data listener http://",
                Protocol::Tls => "data listener https://",
            },
        )
    }

    /// Starts a program that says in its output where it listens, behind `marker`.
    fn start(&self, command: Command, name: &str, marker: &str) -> anyhow::Result<Running> {
        let mut child = self.spawn(command, name)?;
        let log = self.folder.join(name);
        let announced = || {
            let text = fs::read_to_string(&log).ok()?;
            let (_, address) = text.split_once(marker)?;
            let (address, _) = address.split_once(char::is_whitespace)?;
            address.parse().ok()
        };
        let address = wait_for(&mut child, announced, &log)?;
        Ok(Running { child, address })
    }

    fn spawn(&self, mut command: Command, name: &str) -> anyhow::Result<Child> {
        let log = File::create(self.folder.join(name))?;
        command.stdout(log.try_clone()?).stderr(log);
        command
            .spawn()
            .with_context(|| format!("cannot start {name}"))
    }
}

/// `taskset` becomes the program, so the child's id is the program's.
fn pinned(core: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

fn wait_for<T>(
    child: &mut Child,
    mut ready: impl FnMut() -> Option<T>,
    log: &Path,
) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = ready() {
            return Ok(value);
        }
        let ended = child.try_wait()?;
        if ended.is_some() || started.elapsed() > START_TIMEOUT {
            drop(child.kill());
            drop(child.wait());
            let said = fs::read_to_string(log).unwrap_or_default();
            bail!("it did not start to listen ({ended:?}):\n{said}");
        }
        sleep(POLL);
    }
}

fn nginx_config(folder: &Path, listen: SocketAddr, upstream: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    keepalive_requests 1000000000;
    upstream fake {{
        server {upstream};
        keepalive 2048;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://fake;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
        }}
    }}
}}
"
    )
}

fn meter_config(folder: &Path, ledger: &Path, way: Way, upstream: SocketAddr) -> String {
    let folder = folder.display();
    let tls = match way.protocol {
        Protocol::Http1 | Protocol::H2c => String::new(),
        Protocol::Tls => format!(
            "[listener.tls]\ncertificate_file = \"{folder}/certificate.pem\"\nkey_file = \"{folder}/key.pem\"\n"
        ),
    };
    let (scheme, trust) = if way.upstream_tls {
        ("https", format!("ca_file = \"{folder}/certificate.pem\"\n"))
    } else {
        ("http", String::new())
    };
    let credentials = match way.credentials {
        Credentials::AccessKey => {
            "access_key_id = \"AKIDEXAMPLE\"\n\
             secret_access_key = \"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\""
        }
        Credentials::BearerKey => "bearer_key = \"bedrock-api-key-EXAMPLE\"",
    };
    format!(
        "[listener]
listen = \"127.0.0.1:0\"
workers = 1
connections_per_peer_max = 5000
{tls}
[admin]
listen = \"127.0.0.1:0\"
[upstream]
regions = [\"us-east-1\"]
default_region = \"us-east-1\"
endpoints = {{ us-east-1 = \"{scheme}://{upstream}\" }}
{trust}[upstream.credentials]
{credentials}
[ledger]
directory = \"{ledger}\"
[shutdown]
drain_delay = \"0s\"
drain_timeout = \"1s\"
",
        ledger = ledger.display()
    )
}
