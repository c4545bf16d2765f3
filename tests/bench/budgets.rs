//! What a reservation costs: three budgets that apply, with many counters, held and settled; and
//! the bound that it is made of.
//!
//! Like `callers` it calls the library: these times are too small to be seen from outside.

use std::time::Instant;

use anyhow::Context as _;
use bedrock_meter::budgets::{Budgets, Room, Spent};
use bedrock_meter::domain::{Clock as _, Subject, SystemClock, TenantId, Usd};

use crate::target::BUDGETS;

/// What `budgets` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many tenants have counters.
    #[arg(long, default_value_t = 1_000)]
    tenants: u32,
    /// How many reservations are made and settled.
    #[arg(long, default_value_t = 200_000)]
    times: u32,
    /// How many are shared with other replicas; 0: none.
    #[arg(long, default_value_t = 5_000)]
    shared: u32,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let settings = bedrock_meter::config::parse(BUDGETS, &|_| None);
    let settings = settings.map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let now = SystemClock.now();
    let budgets = Budgets::new(settings.budgets, &[], now);
    let tenants = (0..options.tenants).map(|n| TenantId::new(&format!("team-{n}")));
    let tenants: Vec<TenantId> = tenants.collect::<Result<_, _>>()?;
    let most: Usd = "0.0215".parse()?;
    let cost: Usd = "0.003".parse()?;
    let (mut reserving, mut settling) = (Vec::new(), Vec::new());
    for (time, tenant) in (0..options.times).zip(tenants.iter().cycle()) {
        let subject = Subject {
            tenant,
            application: "web",
            model: Some("us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
            key: None,
            user: None,
            session: None,
        };
        let begun = Instant::now();
        let enrolled = budgets.enroll(&subject, now, Some(most));
        let applying = budgets.applying(&subject, now).of(enrolled);
        let bid = applying.bid(|_, _| Some(most));
        let held = bid.reserve(Room::Whole);
        let reserved = begun.elapsed();
        let held = held.ok().context("there is room")?;
        let begun = Instant::now();
        let spent = Spent {
            subject,
            at: now,
            amount: cost,
        };
        budgets.settle(held.sent(), &spent);
        // The first of each tenant makes its counters.
        if time >= options.tenants {
            reserving.push(reserved.as_secs_f64() * 1e6);
            settling.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    let [reserving, settling] = [reserving, settling].map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        [times[times.len() / 2], times[times.len() * 99 / 100]]
    });
    let [p50, p99] = reserving;
    println!("reservation with 3 budgets: p50 {p50:.2} us, p99 {p99:.2} us (must: 5)");
    let [p50, p99] = settling;
    println!("settlement with 3 budgets: p50 {p50:.2} us, p99 {p99:.2} us");
    if options.shared > 0 {
        crate::shared::run(&budgets, &tenants, options.shared)?;
    }
    Ok(())
}
