//! Can the PostgreSQL that replicas share be written: way, password, tables, rights?

use super::finding::Finding;
use crate::ledger::{KeepEntries, Settings, SharedCondition, StoreKind, Tables, inspect_shared};

const CHECK: &str = "postgres";

/// Nothing where the ledger is a file.
pub(super) async fn check(settings: &Settings) -> Option<Finding> {
    if settings.store == StoreKind::Sqlite {
        return None;
    }
    let server = settings.postgres.clone();
    let asked = tokio::task::spawn_blocking(move || inspect_shared(&server)).await;
    Some(match asked {
        Ok(Ok(condition)) => judged(&condition, settings.keep_entries),
        Ok(Err(error)) => Finding::failed(CHECK, error.to_string(), MEND),
        Err(error) => Finding::failed(CHECK, error.to_string(), MEND),
    })
}

fn judged(condition: &SharedCondition, keep: KeepEntries) -> Finding {
    let server = format!("PostgreSQL {}", condition.server);
    match condition.tables {
        Tables::Older => Finding::warning(
            CHECK,
            format!("{server}: its tables are older than this program, or there are none"),
            "run `bedrock-meter ledger migrate` with the role that owns the schema",
        ),
        Tables::TooNew => Finding::failed(
            CHECK,
            format!("{server}: its tables are too new for this program"),
            "run the newer program",
        ),
        Tables::Fit if !condition.may_serve => Finding::failed(
            CHECK,
            format!("{server}: this role may not write the ledger"),
            "use the role meter_writer, and run `bedrock-meter ledger migrate` once more as the owner",
        ),
        Tables::Fit if keep != KeepEntries::Forever && !condition.may_forget => Finding::warning(
            CHECK,
            format!("{server}: this role may not delete old entries, as ledger.keep_entries says"),
            "run `bedrock-meter ledger migrate` as the owner with the same ledger.keep_entries",
        ),
        Tables::Fit => {
            let replicas = condition.replicas;
            Finding::ok(
                CHECK,
                format!("{server}: writable, {replicas} replicas live"),
            )
        }
    }
}

const MEND: &str = "look at ledger.postgres: url, sslmode, ca_file; and whether the network lets this \
                    process through";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_role_that_may_not_delete_what_is_due_is_a_warning() {
        let check = |keep, may_forget, expected| {
            let condition = SharedCondition {
                server: "15".to_owned(),
                tables: Tables::Fit,
                may_serve: true,
                may_forget,
                replicas: 2,
            };
            assert_eq!(
                judged(&condition, keep).state,
                expected,
                "{keep} {may_forget}"
            );
        };
        check(KeepEntries::Forever, false, State::Ok);
        check(KeepEntries::Days(400), true, State::Ok);
        check(KeepEntries::Days(400), false, State::Warning);
    }
}
