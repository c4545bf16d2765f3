//! A look at the store from outside, for those who set it up: nothing is changed in it.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use tokio::time::timeout;

use super::connect::{Opened, open};
use super::error::StoreError;
use super::names::Names;
use super::settings::Settings;

/// How the store was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Name and version, such as `Redis 7.0.15`.
    pub server: String,
    /// How long it took to answer.
    pub round_trip: Duration,
    /// A policy under which it may forget a counter when its memory is full.
    pub evicts: Option<String>,
    /// The replicas of this deployment whose lease has not run out; 0 where none has shared yet.
    pub replicas: usize,
}

/// Looks at the store.
///
/// # Errors
/// When it cannot be reached, does not answer in time, or lets this user not do what replicas do.
pub async fn inspect(settings: &Settings) -> Result<Condition, StoreError> {
    match timeout(LONGEST, look(settings)).await {
        Ok(looked) => looked,
        Err(_elapsed) => Err(StoreError::TimedOut),
    }
}

async fn look(settings: &Settings) -> Result<Condition, StoreError> {
    let Opened {
        mut connection,
        driver,
    } = open(settings).await?;
    let looked = ask(settings, &mut connection).await;
    driver.abort();
    looked
}

async fn ask(
    settings: &Settings,
    connection: &mut MultiplexedConnection,
) -> Result<Condition, StoreError> {
    let names = Names::new(&settings.deployment, String::new(), String::new());
    let mut script = redis::cmd("EVAL");
    script.arg("return redis.call('HGET', KEYS[1], 'id')");
    script.arg(1).arg(names.epoch());
    let begun = Instant::now();
    let epoch = script.query_async::<Option<String>>(connection).await?;
    let round_trip = begun.elapsed();
    let info = redis::cmd("INFO").query_async::<String>(connection).await?;
    let mut replicas = 0;
    if let Some(epoch) = epoch {
        let mut command = redis::cmd("ZCARD");
        command.arg(names.within(&epoch).leases());
        replicas = command.query_async(connection).await?;
    }
    Ok(Condition {
        server: server(&info),
        round_trip,
        evicts: evicts(&info),
        replicas,
    })
}

fn value<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let values = info.lines().filter_map(|line| line.split_once(':'));
    let mut found = values.filter(|(key, _)| *key == name);
    found.next().map(|(_, value)| value.trim())
}

/// Valkey names a version of Redis as well, which it is compatible with.
fn server(info: &str) -> String {
    match (value(info, "valkey_version"), value(info, "redis_version")) {
        (Some(version), _) => format!("Valkey {version}"),
        (None, Some(version)) => format!("Redis {version}"),
        (None, None) => "a store of unknown version".to_owned(),
    }
}

fn evicts(info: &str) -> Option<String> {
    let policy = value(info, "maxmemory_policy")?;
    let is_bounded = value(info, "maxmemory").is_some_and(|most| most != "0");
    (is_bounded && policy != "noeviction").then(|| policy.to_owned())
}

const LONGEST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_says_of_itself_is_read() {
        let valkey = "redis_version:7.2.4\r\nvalkey_version:8.0.1\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n";
        assert_eq!(server(valkey), "Valkey 8.0.1");
        assert_eq!(evicts(valkey), None, "it is not bounded");
        let redis = "redis_version:7.0.15\r\nmaxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\n";
        assert_eq!(server(redis), "Redis 7.0.15");
        assert_eq!(evicts(redis).as_deref(), Some("allkeys-lru"));
        assert_eq!(evicts(&redis.replace("allkeys-lru", "noeviction")), None);
    }
}
