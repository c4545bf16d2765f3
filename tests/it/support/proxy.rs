//! The proxy under test, and its ledger.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bedrock_meter::app::Server;
use bedrock_meter::config::{Problems, Settings};
use bedrock_meter::domain::{Region, Secret};
use bedrock_meter::upstream::CredentialSettings;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{Client, wait_for};

/// A proxy that serves until it is stopped or dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    server: Option<Server>,
    runtime: Runtime,
    directory: TempDir,
    settings: Settings,
}

/// One row of the ledger; what is NULL reads as "".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry(BTreeMap<String, String>);

impl Proxy {
    /// A proxy in front of this upstream.
    pub(crate) fn before(upstream: SocketAddr) -> Self {
        Self::start(upstream, |_settings| {})
    }

    /// The same, with other settings.
    pub(crate) fn start(upstream: SocketAddr, change: impl FnOnce(&mut Settings)) -> Self {
        let directory = TempDir::new().unwrap();
        let mut settings = settings(upstream, directory.path());
        change(&mut settings);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let server = runtime
            .block_on(Box::pin(Server::start(settings.clone())))
            .unwrap();
        Self {
            address: server.data_address,
            admin: server.admin_address,
            server: Some(server),
            runtime,
            directory,
            settings,
        }
    }

    /// A connection to the data listener.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// The entries, as soon as there are that many; in the order of the calls.
    pub(crate) fn entries(&self, count: usize) -> Vec<Entry> {
        let directory = self.directory.path();
        wait_for(&format!("{count} entries"), || {
            Some(entries(directory)).filter(|entries| entries.len() >= count)
        })
    }

    /// Waits until so many calls are settled: their entries are there, and budgets have counted
    /// them, which comes after.
    pub(crate) fn settled(&self, count: usize) {
        let most = f64::from(u32::try_from(count).unwrap());
        wait_for(&format!("{count} calls are settled"), || {
            let settled = self.metric("bedrock_meter_requests_total");
            (settled >= most).then_some(())
        });
    }

    /// Its SQLite file.
    pub(crate) fn ledger_file(&self) -> std::path::PathBuf {
        bedrock_meter::ledger::ledger_file(self.directory.path())
    }

    /// The one entry there is.
    pub(crate) fn entry(&self) -> Entry {
        let mut entries = self.entries(1);
        assert_eq!(entries.len(), 1);
        entries.remove(0)
    }

    /// The value of a metric, summed over its series.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let mut client = Client::connect(self.admin);
        client.send(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
        value_of(&String::from_utf8(client.answer().body).unwrap(), name)
    }

    /// Puts other settings in force: the present ones, changed.
    pub(crate) fn reload(&self, change: impl FnOnce(&mut Settings)) -> bool {
        let mut settings = self.settings.clone();
        change(&mut settings);
        self.reload_result(Ok(settings))
    }

    /// What a configuration file that was read again comes to.
    pub(crate) fn reload_result(&self, loaded: Result<Settings, Problems>) -> bool {
        let server = self.server.as_ref().unwrap();
        self.runtime.block_on(server.reload(loaded))
    }

    /// Begins to stop while the test goes on; the returned function waits for the end and gives
    /// the entries.
    pub(crate) fn begin_stop(mut self) -> impl FnOnce() -> Vec<Entry> {
        let server = self.server.take().unwrap();
        let stopping = self.runtime.spawn(Box::pin(server.stop()));
        move || {
            self.runtime.block_on(stopping).unwrap().unwrap();
            entries(self.directory.path())
        }
    }

    /// Stops in order and gives every entry there is.
    pub(crate) fn stop(self) -> Vec<Entry> {
        self.begin_stop()()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let stopped = self.runtime.block_on(Box::pin(server.stop()));
            if !std::thread::panicking() {
                stopped.unwrap();
            }
        }
    }
}

impl Entry {
    /// A column.
    pub(crate) fn get(&self, column: &str) -> &str {
        &self.0[column]
    }

    /// How the call ended and how its usage is known: outcome, source, reason.
    pub(crate) fn verdict(&self) -> [&str; 3] {
        ["outcome", "usage_source", "usage_reason"].map(|column| self.get(column))
    }

    /// Prompt and generated tokens.
    pub(crate) fn tokens(&self) -> [&str; 2] {
        ["input_tokens", "output_tokens"].map(|column| self.get(column))
    }

    /// What does not differ between two equal calls.
    pub(crate) fn essence(&self) -> BTreeMap<&str, &str> {
        const OF_ONE_CALL: [&str; 5] = [
            "call_id",
            "opened_at",
            "settled_at",
            "first_byte_ms",
            "duration_ms",
        ];
        let columns = self
            .0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        columns
            .filter(|(name, _)| !OF_ONE_CALL.contains(name))
            .collect()
    }
}

fn settings(upstream: SocketAddr, directory: &Path) -> Settings {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut settings = Settings::default();
    settings.listener.listen = loopback;
    settings.listener.workers = 1;
    settings.admin.listen = loopback;
    settings.ledger.directory = directory.into();
    settings.ledger.commit_interval = Duration::from_millis(1);
    settings.shutdown.drain_delay = Duration::ZERO;
    settings.shutdown.drain_timeout = Duration::from_millis(100);
    settings.upstream.endpoints = endpoint(&format!("http://{upstream}"));
    settings.upstream.credentials = CredentialSettings::Static {
        access_key_id: "AKIAEXAMPLE".to_owned(),
        secret_access_key: Secret::new("secret"),
        session_token: None,
    };
    settings
}

/// Endpoints that lead there, whatever the scheme.
pub(crate) fn endpoint(url: &str) -> BTreeMap<Region, http::Uri> {
    let region = "us-east-1".parse().unwrap();
    BTreeMap::from([(region, url.parse().unwrap())])
}

fn entries(directory: &Path) -> Vec<Entry> {
    let file = bedrock_meter::ledger::ledger_file(directory);
    let ledger = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut rows = ledger
        .prepare("SELECT * FROM entries ORDER BY call_id")
        .unwrap();
    let names: Vec<String> = rows.column_names().map(str::to_owned).collect();
    let entry = |row: &rusqlite::Row<'_>| {
        let cell = |at: usize| match row.get_ref(at).unwrap() {
            ValueRef::Null => String::new(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
            ValueRef::Real(_) | ValueRef::Blob(_) => unreachable!("an entry holds no such value"),
        };
        let cells = names
            .iter()
            .enumerate()
            .map(|(at, name)| (name.clone(), cell(at)));
        Ok(Entry(cells.collect()))
    };
    rows.query_map((), entry)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn value_of(metrics: &str, name: &str) -> f64 {
    let lines = metrics.lines().filter(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}
