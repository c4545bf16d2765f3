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
        let rate = u128::from(size.rate.max(1)).saturating_mul(SCALE);
        // Virtual time goes in whole steps, each of which pays all weights.
        let ms_of = |steps: u128| {
            let units = steps.saturating_mul(self.weights);
            ms(units.saturating_sub(self.rest).div_ceil(rate))
        };
        // What the whole has no room for.
        let over = used.saturating_sub(whole);
        let of_whole = ms_of(over.div_ceil(self.weights.max(1)));
        let Some(member) = self.members.get(tenant) else {
            return of_whole;
        };
        // Its backlog and the call within what is free: a step moves both sides.
        let over = used.saturating_add(member.backlog(self.virtual_now));
        let over = over.saturating_sub(whole);
        let both = over.div_ceil(self.weights.saturating_add(member.weight));
        // Or until it has none: then all that is free is its.
        let none = member.finish.saturating_sub(self.virtual_now);
        ms_of(both.min(none)).max(of_whole)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    struct Step {
        pause_ms: i64,
        tenant: usize,
        reserved: u64,
        actual: u64,
        takes_ms: i64,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let one = (
            0..3_000_i64,
            0..3_usize,
            1..50_u64,
            0..50_u64,
            0..60_000_i64,
        );
        let step = one.prop_map(|(pause_ms, tenant, reserved, actual, takes_ms)| Step {
            pause_ms,
            tenant,
            reserved,
            actual: actual.min(reserved),
            takes_ms,
        });
        prop::collection::vec(step, 1..120)
    }

    fn check_sums(fair: &Fair) {
        let members = fair.members.values();
        let backlogs = members.map(|member| member.backlog(fair.virtual_now));
        assert_eq!(backlogs.sum::<u128>(), fair.backlog);
        let weights: u128 = fair.members.values().map(|member| member.weight).sum();
        assert_eq!(weights, fair.weights);
        assert_eq!(fair.members.len(), fair.finishes.len());
    }

    proptest! {
        /// The model: of the calls that were let in, sum up each window of a minute.
        #[test]
        fn no_minute_of_all_tenants_uses_more_than_quota_and_burst(
            steps in steps(),
            rate in 1..200_u64,
            burst in 1..100_u64,
        ) {
            let (mut fair, size) = (Fair::default(), Size { rate, burst });
            let tenants: [Arc<str>; 3] = ["a".into(), "b".into(), "c".into()];
            let mut now = 0;
            let mut open: Vec<(i64, FairLot, u64)> = Vec::new();
            let mut let_in: Vec<(i64, u64)> = Vec::new();
            for step in &steps {
                let next = now + step.pause_ms;
                open.sort_by_key(|(ends, ..)| *ends);
                while open.first().is_some_and(|(ends, ..)| *ends <= next) {
                    let (ends, lot, unused) = open.remove(0);
                    fair.pass(ends, rate);
                    fair.give_back(&lot, unused);
                    check_sums(&fair);
                }
                now = next;
                fair.pass(now, rate);
                let tenant = &tenants[step.tenant];
                let wait = fair.wait_ms(tenant, step.reserved, size);
                if wait == 0 {
                    let weight = [1, 2, 7][step.tenant];
                    let lot = fair.take(tenant, step.reserved, weight);
                    open.push((now + step.takes_ms, lot, step.reserved - step.actual));
                    let_in.push((now, step.actual));
                } else {
                    fair.claim(tenant, step.reserved, wait, now);
                }
                check_sums(&fair);
            }
            let largest = steps.iter().map(|step| step.reserved).max().unwrap();
            let most = rate + burst.max(largest);
            for (from, _) in &let_in {
                let window = let_in.iter().filter(|(at, _)| (*from..from + 60_000).contains(at));
                let used: u64 = window.map(|(_, used)| used).sum();
                prop_assert!(used <= most, "{used} of {most} from {from}");
            }
        }

        /// The hint is enough where nobody else takes anything, to the millisecond that rounding may
        /// cost.
        #[test]
        fn whoever_waits_as_told_is_let_in(steps in steps(), rate in 1..200_u64, burst in 1..100_u64) {
            let (mut fair, size) = (Fair::default(), Size { rate, burst });
            let tenants: [Arc<str>; 3] = ["a".into(), "b".into(), "c".into()];
            let mut now = 0;
            for step in &steps {
                now += step.pause_ms;
                fair.pass(now, rate);
                let tenant = &tenants[step.tenant];
                let wait = fair.wait_ms(tenant, step.reserved, size);
                now += i64::try_from(wait).unwrap() + i64::from(wait > 0);
                fair.pass(now, rate);
                prop_assert_eq!(fair.wait_ms(tenant, step.reserved, size), 0);
                fair.take(tenant, step.reserved, [1, 2, 7][step.tenant]);
            }
        }
    }

    #[test]
    fn payment_is_divided_by_weight_and_goes_to_the_others_when_one_is_paid() {
        let mut fair = Fair::default();
        let [a, b]: [Arc<str>; 2] = ["a".into(), "b".into()];
        fair.pass(0, 60);
        fair.take(&a, 30, 1);
        fair.take(&b, 30, 3);
        let backlog = |fair: &Fair, tenant: &Arc<str>| {
            let member = fair.members.get(tenant);
            member.map_or(0, |member| {
                member.backlog(fair.virtual_now) / SCALE / 60_000
            })
        };
        // Twenty seconds pay twenty: five and fifteen.
        fair.pass(20_000, 60);
        assert_eq!((backlog(&fair, &a), backlog(&fair, &b)), (25, 15));
        // Twenty more pay the fifteen of b, and a as the third of that; then a alone.
        fair.pass(45_000, 60);
        assert_eq!((backlog(&fair, &a), backlog(&fair, &b)), (15, 0));
        fair.pass(60_000, 60);
        assert_eq!(fair.len(), 0);
    }
}
