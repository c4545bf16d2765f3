//! Tests of the thread that tells: budgets by hand, receivers that keep what they hear.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::again::{Told, to_tell_again};
use super::teller::Teller;
use super::*;
use crate::alerts::{Line, Notice, OutletKind, OutletSettings, Standing};
use crate::domain::{Keyword as _, ManualClock, Secret, Timestamp, Usd};
use crate::ledger::test_stores::{Fresh, fresh, stores};
use crate::ledger::{SharedDeliveries, StoreKind};
use crate::telemetry::{CollectorUrl, KnownNames, Observed};
use crate::upstream::CredentialSettings;

/// Paths and bodies of what was heard.
type Heard = Arc<Mutex<Vec<(String, serde_json::Value)>>>;

/// Takes every request, one for each connection.
async fn receiver() -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = Heard::default();
    let keeps = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let request = read_request(stream).await;
            keeps.lock().unwrap().extend(request);
        }
    });
    (url, heard)
}

/// None where the other end is gone before it has said all.
async fn read_request(mut stream: TcpStream) -> Option<(String, serde_json::Value)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.ok()?;
            let path = head.split(' ').nth(1).unwrap().to_owned();
            return Some((path, body));
        }
        let mut piece = [0; 4096];
        let read = stream
            .read(&mut piece)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
    }
}

/// A proxy's alerts with budgets that a test moves.
struct Bench {
    _ledger: Fresh,
    place: LogPlace,
    url: String,
    heard: Heard,
    clock: Arc<ManualClock>,
    standings: Arc<Mutex<Vec<BudgetStanding>>>,
    metrics: Arc<Metrics>,
}

impl Bench {
    async fn new() -> Self {
        Self::on(StoreKind::Sqlite).await
    }

    /// With the delivery log in that store.
    async fn on(store: StoreKind) -> Self {
        let ledger = fresh(store);
        let (url, heard) = receiver().await;
        let metrics = Metrics::new(
            &crate::telemetry::Settings::default(),
            &KnownNames {
                tenants: Vec::new(),
            },
        );
        Self {
            place: LogPlace::of(&Settings::default(), &ledger.settings),
            _ledger: ledger,
            url,
            heard,
            clock: Arc::default(),
            standings: Arc::default(),
            metrics: Arc::new(metrics.unwrap()),
        }
    }

    /// A thread as it is after a start, on the log of the one before.
    async fn teller(&self) -> Teller {
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        let (credentials, _refresher) =
            CredentialStore::open(&CredentialSettings::default(), Arc::clone(&clock)).await;
        let webhook = OutletSettings {
            url: Some(Secret::new(&format!("{}/hook", self.url))),
            secret: Some(Secret::new("secret")),
            ..OutletSettings::named("ops")
        };
        let manager = OutletSettings {
            kind: OutletKind::Alertmanager,
            urls: vec![CollectorUrl::read(&self.url).unwrap()],
            ..OutletSettings::named("manager")
        };
        let standings = Arc::clone(&self.standings);
        Teller::new(Alerts {
            settings: Settings {
                outlets: vec![webhook, manager],
                ..Settings::default()
            },
            upstream: upstream::Settings::default(),
            log: self.place.clone(),
            standings: Box::new(move || standings.lock().unwrap().clone()),
            signals: Box::new(|_| Vec::new()),
            credentials,
            metrics: Arc::clone(&self.metrics),
            clock,
        })
        .unwrap()
    }

    /// A budget of ten dollars a day, of which so much is spent on that day.
    fn budget(&self, day: i64, limit: &str, spent: &str) {
        self.clock
            .set(Timestamp::from_unix_ms(day * DAY_MS + DAY_MS / 2));
        *self.standings.lock().unwrap() = vec![BudgetStanding {
            budget: "search-day".into(),
            subject: "tenant=search".into(),
            tenant: None,
            period: "day".into(),
            begins: Timestamp::from_unix_ms(day * DAY_MS),
            ends: Timestamp::from_unix_ms((day + 1) * DAY_MS),
            limit: limit.parse().unwrap(),
            spent: spent.parse().unwrap(),
            held: Usd::ZERO,
            blocks: true,
            thresholds: [50, 80].into(),
            forecast: false,
            outlets: ["ops".into(), "manager".into()].into(),
            owner: None,
        }];
    }

    /// The line of an outlet in the delivery log, which has one for each.
    fn line_of(&self, outlet: &str) -> Line {
        let lines = off_runtime(|| self.place.open_to_read().unwrap().lines(9).unwrap());
        let mut found = lines.into_iter().filter(|line| line.outlet == outlet);
        let line = found.next().unwrap();
        assert_eq!(found.next(), None);
        line
    }

    /// Lets a day's half pass, for the clock and for the server.
    fn let_holds_end(&self) {
        let half = Duration::from_hours(11);
        let later = self.clock.now().unix_ms() + i64::try_from(half.as_millis()).unwrap();
        self.clock.set(Timestamp::from_unix_ms(later));
        if let LogPlace::Shared { server, .. } = &self.place {
            off_runtime(|| SharedDeliveries::open(server).unwrap().pass(half));
        }
    }

    /// The ids of what the webhook heard, in order.
    fn hooked(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let hooked = heard.iter().filter(|(path, _)| path == "/hook");
        hooked
            .map(|(_, notice)| notice["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The ends of the alerts that Alertmanager heard of last, by step.
    fn managed(&self) -> Vec<(String, String)> {
        let heard = self.heard.lock().unwrap();
        let mut alerts = heard.iter().filter(|(path, _)| path == "/api/v2/alerts");
        let (_, alerts) = alerts.next_back().unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let alerts = alerts.as_array().unwrap().iter();
        let mut ends: Vec<_> = alerts
            .map(|alert| (text(&alert["labels"]["threshold"]), text(&alert["endsAt"])))
            .collect();
        ends.sort();
        ends
    }
}

/// Where a store may block.
fn off_runtime<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

impl Teller {
    fn settings(&self) -> Settings {
        self.alerts.settings.clone()
    }

    /// Looks once, and waits for all that follows.
    async fn turn(&mut self) {
        self.look().await;
        while let Some(attempt) = self.on_their_way.join_next().await {
            self.settle_joined(attempt).await;
        }
        while let Some(again) = self.again.join_next().await {
            self.note_again(again);
        }
    }
}

const DAY_MS: i64 = 86_400_000;

#[tokio::test]
async fn a_crossing_is_told_once_through_restarts_and_anew_in_the_next_period() {
    for store in stores() {
        a_crossing_is_told_once(&Bench::on(store).await).await;
    }
}

async fn a_crossing_is_told_once(bench: &Bench) {
    let mut teller = bench.teller().await;
    bench.budget(0, "10", "4.99");
    teller.turn().await;
    assert_eq!(bench.hooked().len(), 0);
    bench.budget(0, "10", "6");
    teller.turn().await;
    teller.turn().await;
    assert_eq!(bench.hooked().len(), 1);
    let mut teller = bench.teller().await;
    teller.turn().await;
    bench.budget(0, "10", "9");
    teller.turn().await;
    assert_eq!(bench.hooked().len(), 2);
    // A raise, and the same step again: told already.
    bench.budget(0, "20", "9");
    teller.turn().await;
    bench.budget(0, "20", "12");
    teller.turn().await;
    assert_eq!(bench.hooked().len(), 2);
    bench.budget(1, "10", "6");
    teller.turn().await;
    let mut ids = bench.hooked();
    assert_eq!(ids.len(), 3);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn of_two_who_see_a_crossing_at_once_one_tells() {
    for store in stores() {
        let bench = Bench::on(store).await;
        let (mut one, mut other) = (bench.teller().await, bench.teller().await);
        for (spent, told) in [("6", 1), ("9", 2), ("11", 3)] {
            bench.budget(0, "10", spent);
            tokio::join!(one.turn(), other.turn());
            tokio::join!(one.turn(), other.turn());
            let ids = bench.hooked();
            assert_eq!(ids.len(), told, "{store:?}");
        }
    }
}

#[tokio::test]
async fn what_was_taken_by_one_that_died_is_told_by_another_under_the_same_id() {
    for store in stores() {
        let bench = Bench::on(store).await;
        let mut gone = bench.teller().await;
        bench.budget(0, "10", "6");
        gone.look().await;
        // Whether its request was sent or not: nobody hears what it came to.
        drop(gone);
        let mut other = bench.teller().await;
        other.turn().await;
        let held = bench.line_of("ops");
        assert_eq!((held.standing, held.attempts), (Standing::Pending, 1));
        bench.let_holds_end();
        other.turn().await;
        let told = bench.line_of("ops");
        assert_eq!((told.standing, told.attempts), (Standing::Delivered, 2));
        let mut ids = bench.hooked();
        ids.dedup();
        assert_eq!(ids, [told.notice.id], "{store:?}");
    }
}

#[tokio::test]
async fn a_raise_ends_the_alert_and_a_restart_keeps_it() {
    let bench = Bench::new().await;
    let mut teller = bench.teller().await;
    let pair = |step: &str, ends: &str| (step.to_owned(), ends.to_owned());
    let stands = [
        pair("50", "1970-01-01T12:04:00.000Z"),
        pair("80", "1970-01-01T12:04:00.000Z"),
    ];
    bench.budget(0, "10", "9");
    teller.turn().await;
    let mut restarted = bench.teller().await;
    restarted.turn().await;
    assert_eq!(bench.managed(), stands);
    bench.budget(0, "20", "9");
    restarted.turn().await;
    let ends = [
        pair("50", "1970-01-01T12:00:00.000Z"),
        pair("80", "1970-01-01T12:00:00.000Z"),
    ];
    assert_eq!(bench.managed(), ends);
}

#[tokio::test]
async fn an_outlet_that_comes_later_is_told_of_what_stands() {
    let bench = Bench::new().await;
    let mut teller = bench.teller().await;
    let all = teller.settings();
    let mut without = all.clone();
    without.outlets.retain(|outlet| outlet.name != "ops");
    teller.reload(without);
    bench.budget(0, "10", "6");
    teller.turn().await;
    teller.turn().await;
    assert_eq!(bench.hooked().len(), 0);
    teller.reload(all);
    teller.turn().await;
    teller.turn().await;
    assert_eq!(bench.hooked().len(), 1);
}

#[tokio::test]
async fn where_budgets_stand_is_shown_and_what_was_told_is_counted() {
    let bench = Bench::new().await;
    let mut teller = bench.teller().await;
    bench.budget(0, "10", "6");
    teller.turn().await;
    teller.turn().await;
    let shown = bench.metrics.render(&Observed::default()).unwrap();
    let labels = r#"{budget="search-day",period="day",subject="tenant=search",tenant=""}"#;
    for line in [
        &format!("bedrock_meter_budget_limit_usd{labels} 10"),
        &format!("bedrock_meter_budget_spent_usd{labels} 6"),
        &format!("bedrock_meter_budget_reserved_usd{labels} 0"),
        // Half of the day is over.
        &format!("bedrock_meter_budget_forecast_usd{labels} 12"),
        r#"bedrock_meter_budget_alerting_info{budget="search-day",by="outlet"} 1"#,
        r#"bedrock_meter_alerting_info{by="prometheus",kind="sudden_spend"} 1"#,
        r#"bedrock_meter_alerts_sent_total{kind="threshold",outlet="ops"} 1"#,
        "bedrock_meter_alerts_pending 0",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    bench.standings.lock().unwrap().clear();
    teller.turn().await;
    let shown = bench.metrics.render(&Observed::default()).unwrap();
    assert!(!shown.contains("bedrock_meter_budget_"), "{shown}");
}

#[test]
fn a_notice_is_told_when_new_each_minute_and_when_it_ended() {
    let noticed = |ms| {
        let trouble = Signal::Trouble {
            store: "ledger",
            mode: "full",
        };
        trouble.notice(Timestamp::from_unix_ms(ms))
    };
    let mut told = Told::new();
    let began = Instant::now();
    let mut at = |seconds, stands: &[Notice]| {
        let now = began + Duration::from_secs(seconds);
        let again = to_tell_again(&mut told, stands.to_vec(), now);
        again
            .iter()
            .map(|one| (one.status.name(), one.at.unix_ms()))
            .collect::<Vec<_>>()
    };
    assert_eq!(at(0, &[noticed(5)]), [("firing", 5)]);
    assert_eq!(at(1, &[noticed(6)]), []);
    assert_eq!(at(59, &[noticed(7)]), []);
    assert_eq!(at(60, &[noticed(8)]), [("firing", 5)]);
    assert_eq!(at(61, &[noticed(9)]), []);
    assert_eq!(at(62, &[]), [("resolved", 5)]);
    assert_eq!(at(63, &[]), []);
}
