//! One quota, shared fairly between tenants, without a queue.
//!
//! What each tenant has taken is its backlog. The quota pays backlogs off as an ideal fair server
//! would: all tenants that have one at the same time, each by its weight; a tenant without one
//! takes no part, so its share goes to the others (max-min fairness, work-conserving). The sum of
//! all backlogs is a token bucket of the whole quota.
//!
//! A call is let in where the whole has room for it and the tenant's backlog with it is no larger
//! than what stays free (a dynamic threshold): n busy tenants hold an n+1st part of the bucket
//! each, and one part is always free. So a tenant that comes back finds room at once, for a call of
//! up to that part; for a larger one it gets a *claim*: the others leave it the room until it fits.
//! Under overload every tenant has a backlog all the time, and is paid, and so let in, by weight.
//!
//! Payment is in virtual time: it runs at the quota's rate divided by the weights of those who have
//! a backlog, and a tenant's finish says until when it has one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::bucket::{Size, UNITS};

/// The tenants of one quota.
#[derive(Debug, Default)]
pub(super) struct Fair {
    members: HashMap<Arc<str>, Member>,
    /// Who has a backlog, by finish.
    finishes: BTreeSet<(u128, Arc<str>)>,
    /// The weights of all that have a backlog.
    weights: u128,
    virtual_now: u128,
    /// The sum of all backlogs, in scaled units.
    backlog: u128,
    /// What was too little to move virtual time.
    rest: u128,
    rate: u64,
    at_ms: i64,
    claim: Option<Claim>,
    born: u64,
}

/// A tenant with a backlog.
#[derive(Debug)]
struct Member {
    /// The virtual time at which its backlog is paid.
    finish: u128,
    weight: u128,
    /// All that was given back to it, in virtual time.
    given_back: u128,
    /// Tells it from an earlier one of its name.
    born: u64,
}

/// Room that others leave to one tenant.
#[derive(Debug)]
struct Claim {
    tenant: Arc<str>,
    amount: u64,
    until_ms: i64,
}

/// Something taken.
#[derive(Clone, Debug)]
pub(super) struct FairLot {
    tenant: Arc<str>,
    amount: u64,
    weight: u64,
    finish: u128,
    given_back: u128,
    born: u64,
}

impl Fair {
    /// Lets time pass, and a changed quota take effect.
    pub(super) fn pass(&mut self, now_ms: i64, rate: u64) {
        let passed = u64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(0);
        let paid = u128::from(passed).saturating_mul(u128::from(self.rate));
        self.pay(paid.saturating_mul(SCALE));
        (self.at_ms, self.rate) = (now_ms, rate);
        let is_over = |claim: &Claim| {
            let left = claim.until_ms.saturating_sub(now_ms);
            // One that lies far ahead was made before the clock stepped back.
            left <= 0 || left > CLAIM_MS_MAX
        };
        if self.claim.as_ref().is_some_and(is_over) {
            self.claim = None;
        }
    }

    /// Lets time pass under the quota that it has.
    pub(super) fn pass_on(&mut self, now_ms: i64) {
        self.pass(now_ms, self.rate);
    }

    fn pay(&mut self, paid: u128) {
        let mut left = paid.saturating_add(self.rest);
        while let Some((finish, _)) = self.finishes.first() {
            let ahead = finish.saturating_sub(self.virtual_now);
            let needed = ahead.saturating_mul(self.weights);
            if needed > left {
                let steps = left.div_euclid(self.weights.max(1));
                let used = steps.saturating_mul(self.weights);
                self.virtual_now = self.virtual_now.saturating_add(steps);
                self.backlog = self.backlog.saturating_sub(used);
                self.rest = left.saturating_sub(used);
                return;
            }
            self.virtual_now = *finish;
            self.backlog = self.backlog.saturating_sub(needed);
            left = left.saturating_sub(needed);
            if let Some((_, tenant)) = self.finishes.pop_first() {
                self.forget(&tenant);
            }
        }
        // Nobody has a backlog: nothing can be paid in advance.
        (self.rest, self.backlog) = (0, 0);
    }

    fn forget(&mut self, tenant: &Arc<str>) {
        if let Some(member) = self.members.remove(tenant) {
            self.weights = self.weights.saturating_sub(member.weight);
        }
    }

    /// How many milliseconds until an amount of a tenant fits, if nobody else takes anything;
    /// zero: now.
    pub(super) fn wait_ms(&self, tenant: &Arc<str>, amount: u64, size: Size) -> u64 {
        let whole = scaled(size.burst);
        let asked = scaled(amount.min(size.burst));
        let claimed = self
            .claimed_by_others(tenant)
            .min(whole.saturating_sub(asked));
        let used = self.backlog.saturating_add(claimed).saturating_add(asked);
        let speed = u128::from(size.rate.max(1)).saturating_mul(SCALE);
        // What the whole has no room for is paid at the rate of the whole.
        let of_whole = used.saturating_sub(whole).div_ceil(speed);
        let Some(member) = self.members.get(tenant) else {
            return ms(of_whole);
        };
        let own = member.backlog(self.virtual_now);
        // Its backlog and the call within what is free: both sides move, each at its speed.
        let over = used.saturating_add(own).saturating_sub(whole);
        let share = speed
            .saturating_mul(member.weight)
            .div_euclid(self.weights.max(1));
        let both = over.div_ceil(speed.saturating_add(share));
        // Or until it has none: then all that is free is its.
        let none = own.div_ceil(share.max(1));
        ms(both.min(none).max(of_whole))
    }

    /// Notes that a tenant without a backlog found no room: the others leave it to it.
    pub(super) fn claim(&mut self, tenant: &Arc<str>, amount: u64, wait_ms: u64, now_ms: i64) {
        let is_free = self.claim.as_ref().is_none_or(|c| c.tenant == *tenant);
        if !is_free || self.members.contains_key(tenant) {
            return;
        }
        let patience = i64::try_from(wait_ms).unwrap_or(i64::MAX);
        let patience = patience.saturating_add(CLAIM_GRACE_MS).min(CLAIM_MS_MAX);
        self.claim = Some(Claim {
            tenant: Arc::clone(tenant),
            amount,
            until_ms: now_ms.saturating_add(patience),
        });
    }

    fn claimed_by_others(&self, tenant: &Arc<str>) -> u128 {
        let claim = self.claim.as_ref().filter(|claim| claim.tenant != *tenant);
        claim.map_or(0, |claim| scaled(claim.amount))
    }

    /// Takes an amount, whether it fits or not.
    pub(super) fn take(&mut self, tenant: &Arc<str>, amount: u64, weight: u64) -> FairLot {
        if self.claim.as_ref().is_some_and(|c| c.tenant == *tenant) {
            self.claim = None;
        }
        self.born = self.born.saturating_add(1);
        let (now, born) = (self.virtual_now, self.born);
        let is_new = !self.members.contains_key(tenant);
        let member = self
            .members
            .entry(Arc::clone(tenant))
            .or_insert_with(|| Member {
                finish: now,
                weight: u128::from(weight.max(1)),
                given_back: 0,
                born,
            });
        if is_new {
            self.weights = self.weights.saturating_add(member.weight);
        } else {
            self.finishes.remove(&(member.finish, Arc::clone(tenant)));
        }
        let length = scaled(amount).div_ceil(member.weight);
        member.finish = member.finish.saturating_add(length);
        let taken = length.saturating_mul(member.weight);
        self.backlog = self.backlog.saturating_add(taken);
        self.finishes.insert((member.finish, Arc::clone(tenant)));
        FairLot {
            tenant: Arc::clone(tenant),
            amount,
            weight,
            finish: member.finish,
            given_back: member.given_back,
            born: member.born,
        }
    }

    /// Takes what a call used beyond what it had taken.
    pub(super) fn take_more(&mut self, lot: &FairLot, amount: u64) {
        if amount > 0 {
            self.take(&lot.tenant, amount, lot.weight);
        }
    }

    /// Gives back a part of what was taken, as far as it is not paid yet.
    pub(super) fn give_back(&mut self, lot: &FairLot, amount: u64) {
        let now = self.virtual_now;
        let Some(member) = self.members.get_mut(&lot.tenant) else {
            return;
        };
        if member.born != lot.born {
            return;
        }
        let moved = member.given_back.saturating_sub(lot.given_back);
        let left = lot.finish.saturating_sub(moved).saturating_sub(now);
        let most = scaled(amount.min(lot.amount)).div_euclid(member.weight);
        let length = most.min(left);
        self.finishes
            .remove(&(member.finish, Arc::clone(&lot.tenant)));
        member.finish = member.finish.saturating_sub(length);
        member.given_back = member.given_back.saturating_add(length);
        let finish = member.finish;
        let given = length.saturating_mul(member.weight);
        self.backlog = self.backlog.saturating_sub(given);
        if finish <= now {
            self.forget(&lot.tenant);
        } else {
            self.finishes.insert((finish, Arc::clone(&lot.tenant)));
        }
    }

    /// What is taken of the whole, in thousandths.
    pub(super) fn used_permille(&self, size: Size) -> u64 {
        let whole = scaled(size.burst).max(1);
        let used = self.backlog.saturating_mul(1_000).div_euclid(whole);
        u64::try_from(used).unwrap_or(u64::MAX)
    }

    /// How many tenants have a backlog.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }
}

impl Member {
    const fn backlog(&self, virtual_now: u128) -> u128 {
        let ahead = self.finish.saturating_sub(virtual_now);
        ahead.saturating_mul(self.weight)
    }
}

fn scaled(amount: u64) -> u128 {
    u128::from(amount.saturating_mul(UNITS)).saturating_mul(SCALE)
}

fn ms(ms: u128) -> u64 {
    u64::try_from(ms).unwrap_or(u64::MAX)
}

/// How finely virtual time is counted.
const SCALE: u128 = 1 << 20;
/// How long after its hint a caller may come back for its claim: SDKs add up to five seconds.
const CLAIM_GRACE_MS: i64 = 6_000;
/// No hint is longer: two minutes pay for a bucket of a minute and a call as large.
const CLAIM_MS_MAX: i64 = 126_000;
