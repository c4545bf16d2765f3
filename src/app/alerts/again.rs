//! What an outlet hears again while notices stand: Alertmanager forgets what it is not told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::alerts::{Firing, Notice, Status};

/// What an outlet that hears again was told, by id, and when.
pub(super) type Told = BTreeMap<String, (Notice, Instant)>;

/// What stands for one outlet.
pub(super) fn standing_for(outlet: &str, firing: &[Firing]) -> Vec<Notice> {
    let hears = |one: &&Firing| one.outlets.iter().any(|name| &**name == outlet);
    let notices = firing.iter().filter(hears);
    notices.map(|one| one.notice.clone()).collect()
}

/// What an outlet has to hear now, given what it was told. A notice keeps the time at which it was
/// noticed, and has the newest numbers.
pub(super) fn to_tell_again(told: &mut Told, stands: Vec<Notice>, now: Instant) -> Vec<Notice> {
    let mut before = std::mem::take(told);
    let mut notices = Vec::new();
    for mut notice in stands {
        let known = before.remove(&notice.id);
        let mut told_at = now;
        match known {
            Some((known, at)) if now.duration_since(at) < AGAIN_INTERVAL => {
                (notice.at, told_at) = (known.at, at);
            }
            Some((known, _)) => {
                notice.at = known.at;
                notices.push(notice.clone());
            }
            None => notices.push(notice.clone()),
        }
        told.insert(notice.id.clone(), (notice, told_at));
    }
    let ended = before.into_values().map(|(notice, _)| Notice {
        status: Status::Resolved,
        ..notice
    });
    notices.extend(ended);
    notices
}

/// Alertmanager is told again so often; its alerts last four times as long.
const AGAIN_INTERVAL: Duration = Duration::from_mins(1);
