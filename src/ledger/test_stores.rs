//! The stores that the tests of this room run on: a file always, and a server where the
//! environment names one (`tests/postgres.py` starts one and says where it is).

use std::io::Write as _;
use std::sync::Once;

use super::database::Dialect;
use super::{Ledger, Settings, SslMode, StoreKind, ledger_file, postgres};
use crate::domain::{CallId, Entry, Secret, Timestamp};

/// The URL of a superuser of a server that is there for tests.
const SERVER: &str = "BEDROCK_METER_TEST_POSTGRES";

/// A ledger that nothing was written to, and the directory of what stays local.
pub(crate) struct Fresh {
    pub(crate) settings: Settings,
    _directory: tempfile::TempDir,
}

/// Every store that there is.
pub(crate) fn stores() -> Vec<StoreKind> {
    static SAID: Once = Once::new();
    if std::env::var_os(SERVER).is_some() {
        return vec![StoreKind::Sqlite, StoreKind::Postgres];
    }
    SAID.call_once(|| {
        let line = format!("left out: ledgers in PostgreSQL: {SERVER} names no server\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    });
    vec![StoreKind::Sqlite]
}

/// The server, where there is one.
pub(super) fn servers() -> impl Iterator<Item = StoreKind> {
    let servers = stores().into_iter();
    servers.filter(|store| *store == StoreKind::Postgres)
}

/// A new ledger in a store, in a schema of its own.
pub(crate) fn fresh(store: StoreKind) -> Fresh {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = Settings::in_directory(directory.path());
    settings.store = store;
    settings.postgres.url = std::env::var(SERVER).ok().map(|url| Secret::new(&url));
    settings.postgres.sslmode = SslMode::Disable;
    let id = CallId::generate(Timestamp::from_unix_ms(0)).to_string();
    settings.postgres.schema = format!("t{}", id.replace('-', "_"));
    Fresh {
        settings,
        _directory: directory,
    }
}

/// A new ledger in a store, with these entries.
pub(super) fn filled(store: StoreKind, entries: &[Entry]) -> (Fresh, Ledger) {
    let fresh = fresh(store);
    let mut ledger = Ledger::open(&fresh.settings).unwrap();
    ledger.append(entries).unwrap();
    (fresh, ledger)
}

/// Changes a ledger behind its back, as no program does.
pub(super) fn change_by_hand(settings: &Settings, sql: &str) {
    match settings.store {
        StoreKind::Sqlite => {
            let file = rusqlite::Connection::open(ledger_file(&settings.directory)).unwrap();
            file.execute_batch(sql).unwrap();
        }
        StoreKind::Postgres => {
            let session = postgres::open_to_read(&settings.postgres).unwrap();
            session.batch(sql).unwrap();
        }
    }
}

/// Returns once those who follow the entries can see what was appended: on a server, when what
/// other tests had under way is over.
pub(super) fn await_readers(ledger: &Ledger) {
    let database = ledger.database();
    if database.dialect() == Dialect::Sqlite {
        return;
    }
    let sql = "SELECT coalesce(max(tx), 0) < pg_snapshot_xmin(pg_current_snapshot())::text::bigint \
               FROM entries";
    while database.first(sql, &[], |row| row.flag(0)).unwrap() != Some(true) {
        std::thread::yield_now();
    }
}
