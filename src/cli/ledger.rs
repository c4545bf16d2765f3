//! `bedrock-meter ledger`: copies of the file and whether it is sound; tables and roles on a server.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::output::{printing, redraw, say};
use super::serve;
use crate::domain::{Clock as _, SystemClock};
use crate::ledger::{self, Copied, ROLES_SQL, Settings, StoreKind, Verified};

/// Copies of the ledger file, whether it is sound, and its schema; tables and roles in PostgreSQL
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter ledger backup /backup/ledger-2026-11-26.sqlite3")]
pub(super) struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Verify(VerifyArgs),
    SqlSchema(SchemaArgs),
    Migrate(MigrateArgs),
    /// Prints the SQL that makes the roles of a shared ledger
    #[command(after_help = "Example: bedrock-meter ledger roles-sql | psql -d meter")]
    RolesSql,
}

/// Copies the database into a new file and checks the copy
///
/// The server may be running: the copy has what was settled when it began.
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter ledger backup /backup/ledger-2026-11-26.sqlite3")]
struct BackupArgs {
    /// The file to write; it must not exist
    to: PathBuf,
    /// The directory of the ledger
    #[arg(long, value_name = "DIR", default_value_os_t = Settings::default().directory)]
    ledger: PathBuf,
}

/// Puts a backup in the place of the database; the server must be stopped
///
/// The database that was there is kept beside it. What waits in spill/ and open-calls/ comes into
/// the restored one at the next start.
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter ledger restore /backup/ledger-2026-11-26.sqlite3")]
struct RestoreArgs {
    /// The backup
    from: PathBuf,
    /// The directory of the ledger
    #[arg(long, value_name = "DIR", default_value_os_t = Settings::default().directory)]
    ledger: PathBuf,
    /// Also in the place of a database with calls that the backup lacks
    #[arg(long)]
    force: bool,
}

/// Looks whether the ledger is sound: the file, its sums, and what waits beside it
///
/// Reads every entry. The server may be running. Exit code 1 when something is wrong.
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter ledger verify")]
struct VerifyArgs {
    /// The directory of the ledger
    #[arg(long, value_name = "DIR", default_value_os_t = Settings::default().directory)]
    ledger: PathBuf,
    /// The configuration that says where the ledger is, in place of --ledger
    #[arg(long, value_name = "FILE", conflicts_with = "ledger")]
    config: Option<PathBuf>,
}

/// Prints the tables as SQL, for people
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter ledger sql-schema --store postgres")]
struct SchemaArgs {
    /// Of which store
    #[arg(long, value_enum, default_value_t)]
    store: SchemaStore,
}

/// Whose tables are printed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum SchemaStore {
    /// The file
    #[default]
    Sqlite,
    /// The server that replicas share
    Postgres,
}

/// Brings the tables of a shared ledger to what this program needs, and grants its roles theirs
///
/// Run it before the replicas are upgraded: programs of the version before go on beside it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: bedrock-meter ledger migrate --config owner.toml

The configuration has ledger.store = \"postgres\" and the URL of the role that owns the schema."
)]
struct MigrateArgs {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// What the command says; nothing is changed then.
pub(super) fn run(args: &LedgerArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        LedgerCommand::Backup(args) => backup(args),
        LedgerCommand::Restore(args) => restore(args),
        LedgerCommand::Verify(args) => verify(args),
        LedgerCommand::SqlSchema(args) => schema(args.store),
        LedgerCommand::Migrate(args) => migrate(args),
        LedgerCommand::RolesSql => print(ROLES_SQL.trim_end()),
    }
}

fn migrate(args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    let settings = match serve::settings(Some(&args.config)) {
        Ok(settings) => settings,
        Err(bad_configuration) => return Ok(bad_configuration),
    };
    let version = ledger::migrate(&settings.ledger)?;
    say(&format!("the ledger has schema version {version}"));
    Ok(ExitCode::SUCCESS)
}

fn backup(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::in_directory(&args.ledger);
    let mut bar = Bar::of("copied");
    let now = SystemClock.now();
    let copied = ledger::back_up(&settings, &args.to, now, &mut |done, all| {
        bar.draw(done, all);
    })?;
    print(&format!("{}: {}", args.to.display(), held(&copied)))
}

fn restore(args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::in_directory(&args.ledger);
    let mut bar = Bar::of("restored");
    let now = SystemClock.now();
    let restored = ledger::restore(&settings, &args.from, args.force, now, &mut |done, all| {
        bar.draw(done, all);
    });
    let (copied, aside) = restored?;
    if let Some(aside) = aside {
        let aside = aside.display();
        say(&format!("the database that was there is kept as {aside}"));
    }
    print(&format!("{}: {}", args.ledger.display(), held(&copied)))
}

fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let settings = match &args.config {
        None => Settings::in_directory(&args.ledger),
        Some(config) => match serve::settings(Some(config)) {
            Ok(settings) => settings.ledger,
            Err(bad_configuration) => return Ok(bad_configuration),
        },
    };
    let mut bar = Bar::of("verified");
    let verified = ledger::verify(&settings, &mut |done, all| bar.draw(done, all))?;
    let text = findings(&verified, &settings);
    printing(|out| {
        out.write_all(text.as_bytes())?;
        Ok(if verified.is_sound() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

fn schema(of: SchemaStore) -> anyhow::Result<ExitCode> {
    let sql = match of {
        SchemaStore::Sqlite => ledger::sql_schema()?,
        SchemaStore::Postgres => ledger::postgres_schema(),
    };
    print(sql.trim_end())
}

fn findings(verified: &Verified, settings: &Settings) -> String {
    let Verified {
        entries,
        damage,
        wrong_hours,
        wrong_days,
        spill_bytes,
        damaged_segments,
    } = verified;
    let whole = match settings.store {
        StoreKind::Sqlite => format!("file: whole, {entries} entries"),
        StoreKind::Postgres => format!("server: {entries} entries"),
    };
    let sums = wrong_hours.saturating_add(*wrong_days);
    let lines = [
        line(
            damage.is_none(),
            &whole,
            &format!(
                "file: damaged ({}); restore a backup",
                damage.as_deref().unwrap_or_default()
            ),
        ),
        line(
            sums == 0,
            "sums: those of the entries",
            &format!("sums: {wrong_hours} hours and {wrong_days} days differ from their entries"),
        ),
        line(
            *spill_bytes == 0,
            "spill: empty",
            &format!(
                "spill: {spill_bytes} bytes wait; a running server brings them in, or the next start"
            ),
        ),
        line(
            *damaged_segments == 0,
            "segments: none was put aside",
            &format!(
                "segments: {damaged_segments} could not be read whole (*.damaged in {})",
                settings.directory.display()
            ),
        ),
    ];
    lines.concat()
}

fn line(sound: bool, good: &str, bad: &str) -> String {
    if sound {
        format!("ok    {good}\n")
    } else {
        format!("WRONG {bad}\n")
    }
}

fn held(copied: &Copied) -> String {
    let Copied {
        entries,
        settled_to,
        bytes,
    } = copied;
    let settled_to = settled_to.map_or_else(String::new, |at| format!(" settled up to {at}"));
    format!("{entries} entries{settled_to}, {bytes} bytes, checked")
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    printing(|out| {
        writeln!(out, "{text}")?;
        Ok(ExitCode::SUCCESS)
    })
}

/// How far something is: one line that is drawn over itself, on a terminal only.
struct Bar {
    what: &'static str,
    shown: Option<u64>,
}

impl Bar {
    fn of(what: &'static str) -> Self {
        Self { what, shown: None }
    }

    fn draw(&mut self, done: u64, all: u64) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
        if self.shown == Some(percent) {
            return;
        }
        self.shown = Some(percent);
        let full = usize::try_from(percent.checked_div(4).unwrap_or(0)).unwrap_or(0);
        redraw(&format!(
            "{:<25} {percent:>3} % {}",
            "#".repeat(full),
            self.what
        ));
        if done >= all {
            redraw("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_says_what_to_do() {
        let sound = Verified {
            entries: 7,
            ..Verified::default()
        };
        let said = findings(&sound, &Settings::in_directory("data"));
        assert_eq!(
            said.lines().filter(|line| line.starts_with("ok ")).count(),
            4
        );
        let wrong = Verified {
            damage: Some("row 3 missing".to_owned()),
            wrong_hours: 2,
            spill_bytes: 9,
            damaged_segments: 1,
            ..sound
        };
        let said = findings(&wrong, &Settings::in_directory("data"));
        for words in [
            "row 3 missing",
            "restore a backup",
            "2 hours",
            "9 bytes",
            "data",
        ] {
            assert!(said.contains(words), "{said}");
        }
    }
}
