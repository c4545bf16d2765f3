//! The PostgreSQL server that replicas share: one connection, made again when it is gone.
//!
//! Blocking, for threads that may block: the client runs on a runtime of its own, inside of the
//! calls of this file. Nothing waits longer than the settings say, also when the server is there
//! and silent. Knows nothing of entries.

mod append;
mod deliveries;
mod delivery;
mod inspect;
#[cfg(test)]
mod lease_tests;
mod leases;
#[cfg(test)]
mod rollup_tests;
mod schema;
mod settings;
mod sums;
#[cfg(test)]
pub(super) mod tests;
mod tls;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row, Statement};

pub(super) use append::append;
pub use deliveries::SharedDeliveries;
pub use delivery::SharedDelivery;
pub use inspect::{SharedCondition, Tables, inspect_shared};
pub use leases::{Beat, Leases};
pub use schema::postgres_schema;
pub use settings::{PostgresProblem, PostgresSettings, SslMode};
pub(super) use sums::forget;

use super::database::Value;
use super::{KeepEntries, LedgerError, Settings};
use tls::Tls;

/// Why the server did not do what it was asked. Its words hold nothing of a row.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It refused, or the connection to it broke.
    #[error("{}", words(.0))]
    Refused(tokio_postgres::Error),
    /// It did not answer in time.
    #[error("PostgreSQL did not answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// TLS cannot be had.
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    /// A runtime for the client cannot be made.
    #[error("{0}")]
    Runtime(std::io::Error),
    /// The settings do not name a server.
    #[error(transparent)]
    Settings(#[from] PostgresProblem),
}

pub(super) const fn refused(cause: tokio_postgres::Error) -> Refusal {
    Refusal::Refused(cause)
}

/// The message and the code; a detail could quote a row.
fn words(error: &tokio_postgres::Error) -> String {
    if let Some(refused) = error.as_db_error() {
        let (message, code) = (refused.message(), refused.code().code());
        return format!("PostgreSQL says: {message} ({code})");
    }
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// A session with the server. Only one thread at a time.
pub(super) struct Session {
    server: Server,
    live: RefCell<Option<Live>>,
    /// When partitions were last made ahead.
    partitions: Cell<Option<Instant>>,
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
}

/// Where and how to connect.
struct Server {
    config: Config,
    tls: Option<Tls>,
    schema: String,
    connect_timeout: Duration,
    statement_timeout: Duration,
}

/// A connection, with what was prepared on it.
struct Live {
    client: Client,
    append: Option<Statement>,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses, or does not answer in time.
    pub(super) fn open(settings: &PostgresSettings) -> Result<Self, Refusal> {
        let config = settings.config()?;
        let is_clear = config.get_ssl_mode() == tokio_postgres::config::SslMode::Disable;
        let tls = (!is_clear).then(|| Tls::new(settings));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let session = Self {
            server: Server {
                config,
                tls: tls.transpose().map_err(Refusal::Tls)?,
                schema: settings.schema.clone(),
                connect_timeout: settings.connect_timeout,
                statement_timeout: settings.statement_timeout,
            },
            live: RefCell::new(None),
            partitions: Cell::new(None),
            runtime: Some(runtime.map_err(Refusal::Runtime)?),
        };
        session.run(async |_live| Ok(()))?;
        Ok(session)
    }

    /// The schema of the tables.
    pub(super) fn schema(&self) -> &str {
        &self.server.schema
    }

    /// The rows that answer one statement.
    pub(super) fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Refusal> {
        let values: Vec<_> = values
            .iter()
            .map(|value| value as &(dyn ToSql + Sync))
            .collect();
        self.run(async |live| live.client.query(sql, &values).await)
    }

    /// Runs statements without values.
    pub(super) fn batch(&self, sql: &str) -> Result<(), Refusal> {
        self.run(async |live| live.client.batch_execute(sql).await)
    }

    /// Forgets the connection, with whatever is under way on it.
    pub(super) fn disconnect(&self) {
        self.live.take();
    }

    /// Does work on the connection, made anew where the last one is gone. A connection that does
    /// not answer in time is not used again.
    fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut Live) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Refusal> {
        let Some(runtime) = &self.runtime else {
            return Err(Refusal::Silent(Duration::ZERO));
        };
        let live = self.live.take().filter(|live| !live.client.is_closed());
        let mut live = match live {
            Some(live) => live,
            None => self.server.connect(runtime)?,
        };
        // The server ends what takes too long; this is for the one that says nothing at all.
        let limit = self.server.statement_timeout + GRACE;
        let done = runtime.block_on(async { tokio::time::timeout(limit, work(&mut live)).await });
        let done = done.map_err(|_elapsed| Refusal::Silent(limit))?;
        if !live.client.is_closed() {
            self.live.replace(Some(live));
        }
        done.map_err(Refusal::Refused)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Where this is dropped a runtime may not wait.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("schema", &self.server.schema)
            .finish_non_exhaustive()
    }
}

impl Server {
    fn connect(&self, runtime: &Runtime) -> Result<Live, Refusal> {
        let limit = self.connect_timeout;
        let opened =
            runtime.block_on(async { tokio::time::timeout(limit, self.open(runtime)).await });
        let client = opened.map_err(|_elapsed| Refusal::Silent(limit))?;
        let client = client.map_err(Refusal::Refused)?;
        let append = None;
        Ok(Live { client, append })
    }

    async fn open(&self, runtime: &Runtime) -> Result<Client, tokio_postgres::Error> {
        let client = if let Some(tls) = &self.tls {
            let (client, connection) = self.config.connect(tls.clone()).await?;
            let _driver = runtime.spawn(connection);
            client
        } else {
            let (client, connection) = self.config.connect(tokio_postgres::NoTls).await?;
            let _driver = runtime.spawn(connection);
            client
        };
        let (schema, limit) = (&self.schema, self.statement_timeout.as_millis());
        let set = format!(
            "SET search_path TO \"{schema}\"; SET statement_timeout TO {limit}; \
             SET timezone TO 'UTC'; SET client_min_messages TO warning"
        );
        client.batch_execute(&set).await?;
        Ok(client)
    }
}

/// Opens a session to write entries in, with the tables as this program needs them.
///
/// # Errors
/// When the server cannot be reached, or its schema does not fit.
pub(super) fn open(settings: &PostgresSettings) -> Result<Session, LedgerError> {
    let session = open_to_read(settings)?;
    schema::set_up(&session, settings)?;
    Ok(session)
}

/// Opens a session to read entries in.
///
/// # Errors
/// When the server cannot be reached.
pub(super) fn open_to_read(settings: &PostgresSettings) -> Result<Session, LedgerError> {
    Session::open(settings).map_err(failed("connect to the ledger's PostgreSQL"))
}

/// Brings the tables on the server to what this program needs and grants roles theirs: among it
/// that the writer may delete old entries, where these settings do not keep them for ever. The
/// version that the tables have then.
///
/// # Errors
/// When the server cannot be reached or refuses, or its schema is too new for this program.
pub fn migrate(settings: &Settings) -> Result<i64, LedgerError> {
    let session = open_to_read(&settings.postgres.patient())?;
    schema::migrate(&session)?;
    schema::let_forget(&session, settings.keep_entries != KeepEntries::Forever)?;
    schema::version(&session)
        .map(|(version, _)| version)
        .map_err(failed("read the schema version"))
}

/// Makes the roles of a shared ledger.
pub const ROLES_SQL: &str = include_str!("../../../deploy/postgres/roles.sql");

/// Names the action around a refusal of the server.
pub(super) fn failed(action: &'static str) -> impl FnOnce(Refusal) -> LedgerError {
    move |cause| LedgerError::Postgres { action, cause }
}

const GRACE: Duration = Duration::from_secs(1);
