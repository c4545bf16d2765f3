//! A test notice through the real outlets of a configuration, past the delivery log.

use std::time::{Duration, Instant};

use super::road::Road;
use crate::alerts::{Notice, OutletKind};
use crate::config::Settings;
use crate::domain::{Clock as _, SystemClock};
use crate::upstream::{Authority, load_authority};

/// What one outlet made of a test notice.
#[derive(Debug)]
pub struct TestedOutlet {
    /// Its name.
    pub outlet: String,
    /// Its kind.
    pub kind: OutletKind,
    /// What it answered, or why it did not take the notice.
    pub answer: Result<String, String>,
    /// How long that took.
    pub took: Duration,
}

/// Tells each of these outlets of one test notice, or all of the configuration. Returns the notice's
/// id and what they answered.
///
/// # Errors
/// When there is no such outlet, or one cannot be had.
pub async fn test_alert(
    settings: &Settings,
    outlets: &[String],
    budget: Option<&str>,
) -> anyhow::Result<(String, Vec<TestedOutlet>)> {
    let all = &settings.alerts.outlets;
    for name in outlets {
        let is_known = all.iter().any(|outlet| outlet.name == *name);
        anyhow::ensure!(is_known, "there is no outlet {name} in the configuration");
    }
    let notice = Notice::test(budget, SystemClock.now());
    let chosen = all
        .iter()
        .filter(|outlet| outlets.is_empty() || outlets.contains(&outlet.name));
    let mut tested = Vec::new();
    for outlet in chosen {
        let road = Road::new(outlet, &settings.upstream, settings.alerts.timeout)?;
        let began = Instant::now();
        tested.push(TestedOutlet {
            outlet: outlet.name.clone(),
            kind: outlet.kind,
            answer: tell(&road, &notice, settings).await,
            took: began.elapsed(),
        });
    }
    Ok((notice.id, tested))
}

async fn tell(road: &Road, notice: &Notice, settings: &Settings) -> Result<String, String> {
    let authority: Option<Authority> = if road.signs() {
        Some(load_authority(&settings.upstream.credentials).await?)
    } else {
        None
    };
    road.tell(notice, authority, SystemClock.now()).await
}
