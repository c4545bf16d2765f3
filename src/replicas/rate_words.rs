//! The words of the scripts of rates: what is asked of a bucket or of a quota that tenants share, what
//! they answer, and what became of a lot.

use std::sync::Arc;

use redis::Cmd;

use super::link::evalsha;
use super::names::Names;
use crate::domain::{SharedLot, SharedLotEnd, SharedRate, SharedRateAnswer, SharedShare};

/// The keys of wants: of each its bucket; of a quota what tenants have taken, and when it is paid.
pub(super) fn keys(names: &Names, wants: &[SharedRate]) -> Vec<String> {
    let keys = wants.iter();
    let keys = keys.flat_map(|want| keys_of(names, &want.bucket, want.share.as_ref()));
    keys.collect()
}

fn keys_of(names: &Names, bucket: &str, share: Option<&SharedShare>) -> Vec<String> {
    match share {
        None => vec![names.bucket(bucket)],
        Some(_) => names.quota(bucket).into(),
    }
}

/// Says what is wanted.
pub(super) fn say(command: &mut Cmd, wants: &[SharedRate]) {
    for want in wants {
        let share = want.share.as_ref();
        let most = most(share);
        command.arg(want.rate.clamp(1, most));
        command.arg(want.burst.min(most)).arg(want.amount.min(most));
        command.arg(want.limit).arg(u8::from(want.enforces));
        command.arg(share.map_or("", |share| &share.tenant));
        command.arg(share.map_or(0, |share| share.weight));
    }
}

/// What was said to wants: four numbers for each.
pub(super) fn answers(wants: &[SharedRate], said: &[i64]) -> Vec<SharedRateAnswer> {
    let answers = wants.iter().zip(said.chunks_exact(NUMBERS));
    answers.map(|(want, said)| answer(want, said)).collect()
}

fn answer(want: &SharedRate, said: &[i64]) -> SharedRateAnswer {
    let at = |index: usize| said.get(index).copied().unwrap_or(0);
    let whole = |index| u64::try_from(at(index));
    SharedRateAnswer {
        wait_ms: whole(0).ok(),
        lot: (at(1) == 1).then(|| SharedLot {
            bucket: Arc::clone(&want.bucket),
            rate: want.rate,
            amount: want.amount,
            end: whole(2).unwrap_or(0),
            gone: whole(3).unwrap_or(0),
            share: want.share.clone(),
        }),
    }
}

/// Tells what became of a lot, to the script of its kind.
pub(super) fn end(script: &str, names: &Names, ended: &SharedLotEnd) -> Cmd {
    let SharedLotEnd { lot, unused, more } = ended;
    let share = lot.share.as_ref();
    let most = most(share);
    let mut command = evalsha(script, &keys_of(names, &lot.bucket, share));
    command
        .arg(lot.rate.clamp(1, most))
        .arg(lot.amount.min(most));
    command.arg(lot.end).arg(lot.gone);
    command.arg(*unused.min(&most)).arg(*more.min(&most));
    if let Some(share) = share {
        command.arg(&*share.tenant).arg(share.weight);
    }
    command
}

/// The largest amount of which the numbers of scripts are exact: they are so below 2^53, in units of
/// a 60,000th. Those of a quota are added up, and go into a clock of 2^50.
const fn most(share: Option<&SharedShare>) -> u64 {
    if share.is_some() {
        1_000_000_000
    } else {
        10_000_000_000
    }
}

/// Of the answer to one want.
pub(super) const NUMBERS: usize = 4;

/// Takes what a call wants of every bucket, quota and counter of calls at once.
pub(super) const RATES: &str = concat!(
    include_str!("scripts/buckets.lua"),
    include_str!("scripts/fair.lua"),
    include_str!("scripts/places.lua"),
    include_str!("scripts/wanted_places.lua"),
    include_str!("scripts/rates.lua")
);
/// Ends a lot of a bucket.
pub(super) const ENDED: &str = concat!(
    include_str!("scripts/buckets.lua"),
    include_str!("scripts/ended.lua")
);
/// Ends a lot of a quota.
pub(super) const SHARE_ENDED: &str = concat!(
    include_str!("scripts/buckets.lua"),
    include_str!("scripts/fair.lua"),
    include_str!("scripts/share_ended.lua")
);
