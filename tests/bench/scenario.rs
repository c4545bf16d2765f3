//! What is measured: the scenarios (one load each) and the rows (one number each, with the bounds
//! it must reach and aims at).

use crate::protocol::Protocol;
use crate::target::{Credentials, Target, Way};

/// One kind of load.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) way: Way,
    pub(crate) operation: &'static str,
    pub(crate) body_bytes: usize,
    /// Calls open at a time; 1,000 streams need as many.
    pub(crate) connections: u32,
    /// Each call on a connection of its own.
    pub(crate) fresh: bool,
    /// Calls per second; 0: as fast as answers come.
    pub(crate) rate: u32,
    /// Between two frames of a stream; 0: the stream in one write.
    pub(crate) gap_ms: u64,
    pub(crate) warm_up: f64,
    pub(crate) targets: &'static [Target],
}

impl Scenario {
    /// Whether some row needs the target's memory under this load.
    pub(crate) fn measures_memory(&self) -> bool {
        ROWS.iter()
            .any(|row| row.scenario == self.name && row.metric == Metric::LoadedMemory)
    }
}

const SMALL_BYTES: usize = 1024;
const LARGE_BYTES: usize = 200 * 1000;
/// 50 to 100 thousand tokens.
const PROMPT_BYTES: usize = 400 * 1000;
const STREAM: &str = "invoke-with-response-stream";

const SMALL: Scenario = Scenario {
    name: "small",
    way: Way::PLAIN,
    operation: "invoke",
    body_bytes: SMALL_BYTES,
    connections: 64,
    fresh: false,
    rate: 0,
    gap_ms: 0,
    warm_up: 0.4,
    targets: &[
        Target::Passthrough,
        Target::Nginx,
        Target::Meter,
        Target::Budgeted,
        Target::AllOn,
    ],
};

const ALL: &[Target] = &[Target::Passthrough, Target::Nginx, Target::Meter];
const PROXIES: &[Target] = &[Target::Passthrough, Target::Meter];

const H2C: Way = Way {
    protocol: Protocol::H2c,
    ..Way::PLAIN
};

const TLS: Way = Way {
    protocol: Protocol::Tls,
    ..Way::PLAIN
};

const BEARER: Way = Way {
    credentials: Credentials::BearerKey,
    ..Way::PLAIN
};

/// The scenario that further streams are counted from.
pub(crate) const OPEN: &str = "open";

pub(crate) const SCENARIOS: [Scenario; 14] = [
    SMALL,
    Scenario {
        name: "large",
        body_bytes: LARGE_BYTES,
        targets: ALL,
        ..SMALL
    },
    Scenario {
        name: "burst",
        operation: STREAM,
        targets: ALL,
        ..SMALL
    },
    Scenario {
        name: "single",
        operation: STREAM,
        connections: 100,
        gap_ms: 4,
        warm_up: 0.6,
        targets: ALL,
        ..SMALL
    },
    Scenario {
        name: "rate",
        rate: 1000,
        targets: &[
            Target::Direct,
            Target::Passthrough,
            Target::Nginx,
            Target::Meter,
        ],
        ..SMALL
    },
    Scenario {
        name: OPEN,
        operation: STREAM,
        connections: 1000,
        gap_ms: 50,
        warm_up: 1.5,
        targets: ALL,
        ..SMALL
    },
    // Twice the streams at the same frames per second.
    Scenario {
        name: "open2000",
        operation: STREAM,
        connections: 2000,
        gap_ms: 100,
        warm_up: 3.0,
        targets: PROXIES,
        ..SMALL
    },
    Scenario {
        name: "small-h2c",
        way: H2C,
        targets: PROXIES,
        ..SMALL
    },
    Scenario {
        name: "small-h2c-fresh",
        way: H2C,
        fresh: true,
        targets: PROXIES,
        ..SMALL
    },
    Scenario {
        name: "small-tls",
        way: TLS,
        targets: PROXIES,
        ..SMALL
    },
    Scenario {
        name: "small-tls-both",
        way: Way {
            upstream_tls: true,
            ..TLS
        },
        targets: PROXIES,
        ..SMALL
    },
    Scenario {
        name: "prompt400",
        body_bytes: PROMPT_BYTES,
        targets: PROXIES,
        ..SMALL
    },
    Scenario {
        name: "large-bearer",
        way: BEARER,
        body_bytes: LARGE_BYTES,
        targets: PROXIES,
        ..SMALL
    },
    Scenario {
        name: "prompt400-bearer",
        way: BEARER,
        body_bytes: PROMPT_BYTES,
        targets: PROXIES,
        ..SMALL
    },
];

/// What a row takes from a measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Metric {
    CpuPerCall,
    CpuPerFrame,
    /// Median latency less the direct one of the same round.
    AddedP50,
    /// The same of the 99th percentile.
    AddedP99,
    FrameLag,
    IdleMemory,
    LoadedMemory,
    /// What a stream adds to the memory of `OPEN` in the same round, in kB.
    MemoryPerFurtherStream,
}

/// One line of the result.
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) label: &'static str,
    pub(crate) metric: Metric,
    /// Whose number it is.
    pub(crate) of: Target,
    /// The row is a ratio to this target; none: the value itself.
    pub(crate) against: Option<Target>,
    pub(crate) bounds: Option<Bounds>,
}

/// Upper bounds.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) must: f64,
    pub(crate) aim: f64,
}

const fn row(
    scenario: &'static str,
    label: &'static str,
    metric: Metric,
    against: Option<Target>,
    bounds: Option<(f64, f64)>,
) -> Row {
    let bounds = match bounds {
        Some((must, aim)) => Some(Bounds { must, aim }),
        None => None,
    };
    Row {
        scenario,
        label,
        metric,
        of: Target::Meter,
        against,
        bounds,
    }
}

const BASE: Option<Target> = Some(Target::Passthrough);
const NGINX: Option<Target> = Some(Target::Nginx);

#[rustfmt::skip]
pub(crate) const ROWS: [Row; 23] = [
    row("small", "CPU per small call / pass-through", Metric::CpuPerCall, BASE, Some((1.5, 1.25))),
    row("small", "CPU per small call / nginx", Metric::CpuPerCall, NGINX, Some((1.7, 1.3))),
    Row { of: Target::Budgeted, ..row("small", "CPU per small call, budgets on / off", Metric::CpuPerCall, Some(Target::Meter), Some((1.15, 1.05))) },
    Row { of: Target::AllOn, ..row("small", "CPU per small call, all on / off", Metric::CpuPerCall, Some(Target::Meter), Some((1.15, 1.05))) },
    row("large", "CPU per 200 kB call / pass-through", Metric::CpuPerCall, BASE, Some((2.8, 2.2))),
    row("burst", "CPU per free-running stream / pass-through", Metric::CpuPerCall, BASE, Some((0.35, 0.2))),
    row("burst", "CPU per free-running stream / nginx", Metric::CpuPerCall, NGINX, Some((2.5, 1.4))),
    row("single", "CPU per frame, one by one / pass-through", Metric::CpuPerFrame, BASE, Some((1.2, 1.0))),
    row("rate", "added p50 at 1,000 calls/s / pass-through's", Metric::AddedP50, BASE, Some((1.5, 1.2))),
    row("rate", "added p99 at 1,000 calls/s (us)", Metric::AddedP99, None, None),
    row(OPEN, "frame lag p50, 1,000 open streams / pass-through", Metric::FrameLag, BASE, Some((1.3, 1.0))),
    row(OPEN, "memory, idle (MB)", Metric::IdleMemory, None, Some((25.0, 12.0))),
    row(OPEN, "memory, 1,000 open streams (MB)", Metric::LoadedMemory, None, Some((80.0, 45.0))),
    row("open2000", "frame lag p50, 2,000 open streams / pass-through", Metric::FrameLag, BASE, None),
    row("open2000", "memory, 2,000 open streams (MB)", Metric::LoadedMemory, None, None),
    row("open2000", "memory per stream beyond 1,000 (kB)", Metric::MemoryPerFurtherStream, None, None),
    row("small-h2c", "CPU per small call, h2c client / pass-through", Metric::CpuPerCall, BASE, None),
    row("small-h2c-fresh", "CPU per small call, h2c client, a connection per call / pass-through", Metric::CpuPerCall, BASE, None),
    row("small-tls", "CPU per small call, TLS client / pass-through", Metric::CpuPerCall, BASE, None),
    row("small-tls-both", "CPU per small call, TLS on both sides / pass-through", Metric::CpuPerCall, BASE, None),
    row("prompt400", "CPU per 400 kB call / pass-through", Metric::CpuPerCall, BASE, None),
    row("large-bearer", "CPU per 200 kB call, upstream bearer key / pass-through", Metric::CpuPerCall, BASE, Some((1.5, 1.2))),
    row("prompt400-bearer", "CPU per 400 kB call, upstream bearer key / pass-through", Metric::CpuPerCall, BASE, None),
];

/// The baseline may cost this much more than nginx on small calls; above it, it is no baseline.
pub(crate) const BASELINE_TO_NGINX_MAX: f64 = 1.25;
