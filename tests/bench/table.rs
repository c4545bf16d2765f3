//! Turns measurements into the two tables, the JSON file and the verdict. A ratio is taken within
//! a round, where both sides met the same neighbours; the median of the rounds is printed.

use std::fmt::Write as _;

use anyhow::bail;
use serde_json::{Value, json};

use crate::run::Cell;
use crate::scenario::{BASELINE_TO_NGINX_MAX, Bounds, Metric, OPEN, ROWS, Row, SCENARIOS};
use crate::target::Target;

/// All measurements of a run.
pub(crate) struct Results {
    cells: Vec<Cell>,
    seconds: f64,
}

impl Results {
    pub(crate) fn new(cells: Vec<Cell>, seconds: f64) -> Self {
        Self { cells, seconds }
    }

    fn cells_of(&self, scenario: &str, target: Target) -> impl Iterator<Item = &Cell> {
        self.cells
            .iter()
            .filter(move |cell| cell.scenario == scenario && cell.target == target)
    }

    /// The row for a target: the median of its values, or of its ratios round by round.
    fn row(&self, row: &Row, target: Target) -> Option<f64> {
        let values = self.cells_of(row.scenario, target).filter_map(|cell| {
            let value = self.in_round(cell, row.metric)?;
            let Some(base) = row.against else {
                return Some(value);
            };
            let base = self.same_round(cell, base)?;
            let base = self.in_round(base, row.metric).filter(|base| *base > 0.0)?;
            Some(value / base)
        });
        median(values.collect())
    }

    fn in_round(&self, cell: &Cell, metric: Metric) -> Option<f64> {
        let value = cell.value(metric)?;
        match metric {
            Metric::AddedP50 | Metric::AddedP99 => {
                let direct = self.same_round(cell, Target::Direct)?;
                Some(value - direct.value(metric)?)
            }
            Metric::MemoryPerFurtherStream => {
                let fewer = self
                    .cells_of(OPEN, cell.target)
                    .find(|other| other.round == cell.round)?;
                let streams = open_streams(cell.scenario)? - open_streams(OPEN)?;
                Some((value - fewer.value(metric)?) * KB_PER_MB / streams)
            }
            Metric::CpuPerCall
            | Metric::CpuPerFrame
            | Metric::FrameLag
            | Metric::IdleMemory
            | Metric::LoadedMemory => Some(value),
        }
    }

    fn same_round(&self, cell: &Cell, target: Target) -> Option<&Cell> {
        self.cells_of(cell.scenario, target)
            .find(|other| other.round == cell.round)
    }

    /// How much the baseline costs on small calls as a ratio to nginx.
    fn baseline_to_nginx(&self) -> Option<f64> {
        let row = Row {
            scenario: "small",
            label: "baseline / nginx",
            metric: Metric::CpuPerCall,
            of: Target::Passthrough,
            against: Some(Target::Nginx),
            bounds: None,
        };
        self.row(&row, Target::Passthrough)
    }

    fn median_of(
        &self,
        scenario: &str,
        target: Target,
        value: impl Fn(&Cell) -> Option<f64>,
    ) -> Option<f64> {
        median(self.cells_of(scenario, target).filter_map(value).collect())
    }
}

const KB_PER_MB: f64 = 1000.0;

fn open_streams(scenario: &str) -> Option<f64> {
    let mut all = SCENARIOS.iter();
    let scenario = all.find(|one| one.name == scenario)?;
    Some(f64::from(scenario.connections))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 {
        upper
    } else {
        f64::midpoint(values[middle - 1], upper)
    })
}

fn judged(value: Option<f64>, bounds: Option<Bounds>) -> &'static str {
    match (value, bounds) {
        (None, _) => "not measured",
        (Some(_), None) => "-",
        (Some(value), Some(bounds)) if value <= bounds.aim => "aim reached",
        (Some(value), Some(bounds)) if value <= bounds.must => "must reached",
        (Some(_), Some(_)) => "MISSED",
    }
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() < 10.0 => format!("{value:.2}"),
        Some(value) if value.abs() < 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

/// The columns of the second table.
type Column = (&'static str, fn(&Cell, f64) -> Option<f64>);

const COLUMNS: [Column; 9] = [
    ("calls/s", |cell, seconds| {
        Some(cell.measured.calls as f64 / seconds)
    }),
    ("frames/s", |cell, seconds| {
        Some(cell.measured.frames as f64 / seconds)
    }),
    ("CPU us/call", |cell, _| cell.value(Metric::CpuPerCall)),
    ("CPU us/frame", |cell, _| cell.value(Metric::CpuPerFrame)),
    ("p50 us", |cell, _| cell.measured.latency_p50_us),
    ("p99 us", |cell, _| cell.measured.latency_p99_us),
    ("frame lag p50 us", |cell, _| cell.measured.lag_p50_us),
    ("idle MB", |cell, _| cell.idle_mb),
    ("loaded MB", |cell, _| cell.loaded_mb),
];

const TARGETS: [Target; 6] = [
    Target::Direct,
    Target::Passthrough,
    Target::Nginx,
    Target::Meter,
    Target::Budgeted,
    Target::AllOn,
];

/// Both tables and the check of the baseline.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = "| measure | bedrock-meter | must | aim | |\n|---|---|---|---|---|\n".to_owned();
    for row in &ROWS {
        let value = results.row(row, row.of);
        let bound = |which: fn(Bounds) -> f64| {
            row.bounds
                .map_or_else(|| "-".to_owned(), |b| which(b).to_string())
        };
        line(
            &mut text,
            [
                row.label.to_owned(),
                number(value),
                bound(|bounds| bounds.must),
                bound(|bounds| bounds.aim),
                judged(value, row.bounds).to_owned(),
            ],
        );
    }
    let baseline = number(results.baseline_to_nginx());
    text.push_str(&baseline_line(&baseline));
    text + &medians(results)
}

fn baseline_line(baseline: &str) -> String {
    format!(
        "\nBaseline / nginx on small calls: {baseline} (at most {BASELINE_TO_NGINX_MAX}, or the \
         baseline is too slow to compare with)\n\nMedians of the rounds:\n\n"
    )
}

fn medians(results: &Results) -> String {
    let mut text = String::new();
    let titles = COLUMNS.iter().map(|(title, _)| (*title).to_owned());
    line(
        &mut text,
        ["scenario".to_owned(), "target".to_owned()]
            .into_iter()
            .chain(titles),
    );
    line(
        &mut text,
        std::iter::repeat_n("---".to_owned(), COLUMNS.len() + 2),
    );
    for scenario in &SCENARIOS {
        for target in TARGETS {
            if results.cells_of(scenario.name, target).next().is_some() {
                let columns = COLUMNS.iter().map(|(_, column)| {
                    let value = |cell: &Cell| column(cell, results.seconds);
                    number(results.median_of(scenario.name, target, value))
                });
                let names = [scenario.name.to_owned(), target.name().to_owned()];
                line(&mut text, names.into_iter().chain(columns));
            }
        }
    }
    text
}

fn line(text: &mut String, fields: impl IntoIterator<Item = String>) {
    let fields: Vec<String> = fields.into_iter().collect();
    writeln!(text, "| {} |", fields.join(" | ")).expect("a String takes all");
}

/// Every number of the run.
pub(crate) fn json(results: &Results) -> Value {
    let rows = ROWS.iter().map(|row| {
        let value = results.row(row, row.of);
        json!({
            "scenario": row.scenario,
            "measure": row.label,
            "value": value,
            "must": row.bounds.map(|bounds| bounds.must),
            "aim": row.bounds.map(|bounds| bounds.aim),
            "verdict": judged(value, row.bounds),
        })
    });
    let cells = results.cells.iter().map(|cell| {
        let columns = COLUMNS
            .iter()
            .map(|(title, column)| ((*title).to_owned(), json!(column(cell, results.seconds))));
        let mut object: serde_json::Map<String, Value> = columns.collect();
        object.insert("round".to_owned(), json!(cell.round));
        object.insert("scenario".to_owned(), json!(cell.scenario));
        object.insert("target".to_owned(), json!(cell.target.name()));
        object.insert("errors".to_owned(), json!(cell.measured.errors));
        Value::Object(object)
    });
    json!({
        "seconds": results.seconds,
        "baseline_to_nginx": results.baseline_to_nginx(),
        "rows": rows.collect::<Vec<_>>(),
        "measurements": cells.collect::<Vec<_>>(),
    })
}

/// # Errors
/// When calls failed, or when the baseline is slow: then the ratios say nothing.
pub(crate) fn verdict(results: &Results) -> anyhow::Result<()> {
    let mut problems = String::new();
    for cell in results.cells.iter().filter(|cell| cell.measured.errors > 0) {
        let first = cell.measured.first_error.as_deref().unwrap_or_default();
        let (errors, target) = (cell.measured.errors, cell.target.name());
        writeln!(
            problems,
            "{}, {target}: {errors} errors, the first: {first}",
            cell.scenario
        )?;
    }
    let idle = |cell: &&Cell| cell.measured.calls + cell.measured.frames == 0;
    for cell in results.cells.iter().filter(idle) {
        writeln!(
            problems,
            "{}, {}: no answer came",
            cell.scenario,
            cell.target.name()
        )?;
    }
    if let Some(ratio) = results
        .baseline_to_nginx()
        .filter(|ratio| *ratio > BASELINE_TO_NGINX_MAX)
    {
        writeln!(
            problems,
            "the baseline costs {ratio:.2} of nginx: it is too slow"
        )?;
    }
    if problems.is_empty() {
        Ok(())
    } else {
        bail!("not to be trusted:\n{problems}")
    }
}
