//! What can go wrong in setting up and printing telemetry.

/// A failure of the telemetry set-up or of a scrape; never of a call.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The metrics library refused a definition or a sample: a fault of the table.
    #[error("metric refused: {0}")]
    Metric(#[from] prometheus::Error),
    /// A metric was given another number of labels than the table says.
    #[error("metric {name} has {defined} labels in the table, {used} in use")]
    Labels {
        /// The metric.
        name: &'static str,
        /// Labels in the table.
        defined: usize,
        /// Labels in use.
        used: usize,
    },
    /// A log subscriber was installed before.
    #[error("the log is set up already")]
    LogInstalled,
}
