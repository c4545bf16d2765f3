//! Calls at once of two replicas under a store of a few lines, whose answers may be lost, and that
//! may be away: who is let in is what a model says that counts open calls by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::domain::{
    ManualClock, Region, SharedLotEnd, SharedPlace, SharedPlaces, SharedRates, SharedSaid,
    SharedWants, Subject, TenantId,
};

/// Which calls stand in which counter, by replica and number.
#[derive(Debug, Default)]
struct Sets {
    last: u64,
    open: BTreeMap<Arc<str>, BTreeSet<(usize, u64)>>,
}

/// The store, as one replica knows it.
#[derive(Clone, Debug)]
struct Store {
    replica: usize,
    sets: Arc<Mutex<Sets>>,
}

impl Store {
    /// All that has room, or nothing: these limits all enforce.
    fn take(&self, wants: &SharedWants) -> SharedSaid {
        let has_room = |want: &crate::domain::SharedPlaceWant| {
            let sets = self.sets.lock().unwrap();
            let open = sets.open.get(&want.counter).map_or(0, BTreeSet::len);
            u64::try_from(open).unwrap() < want.most
        };
        let places: Vec<_> = wants.places.iter().map(has_room).collect();
        let fits = places.iter().all(|room| *room);
        let names = wants.places.iter().map(|want| Arc::clone(&want.counter));
        let of: Arc<dyn SharedPlaces> = Arc::new(self.clone());
        let place = fits.then(|| SharedPlace::open(names.collect(), &of));
        SharedSaid {
            rates: Vec::new(),
            places,
            place,
        }
    }
}

impl SharedPlaces for Store {
    fn opened(&self, counters: Vec<Arc<str>>) -> u64 {
        let mut sets = self.sets.lock().unwrap();
        sets.last += 1;
        let id = sets.last;
        for counter in counters {
            let set = sets.open.entry(counter).or_default();
            assert!(set.insert((self.replica, id)));
        }
        id
    }

    fn left(&self, id: u64) {
        let mut sets = self.sets.lock().unwrap();
        let of = (self.replica, id);
        let removed = sets.open.values_mut().map(|set| set.remove(&of));
        assert!(removed.filter(|was_there| *was_there).count() > 0, "twice");
    }
}

impl SharedRates for Store {
    fn ended(&self, lots: Vec<SharedLotEnd>) {
        assert_eq!(lots, [], "these limits have no rates");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(usize, usize, Answer),
    Ends(usize),
}

/// What becomes of the question.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Comes,
    /// The store decides, nobody hears it, and the call is decided by the replica's part.
    IsLost,
    /// The same, and all pass.
    IsLostAndAllPass,
    /// The client leaves.
    IsNotWaitedFor,
}

fn step() -> impl Strategy<Value = Step> {
    let answer = prop_oneof![
        6 => Just(Answer::Comes),
        1 => Just(Answer::IsLost),
        1 => Just(Answer::IsLostAndAllPass),
        1 => Just(Answer::IsNotWaitedFor),
    ];
    prop_oneof![
        3 => (0_usize..2, 0_usize..2, answer).prop_map(|(r, t, a)| Step::Ask(r, t, a)),
        2 => any::<usize>().prop_map(Step::Ends),
    ]
}

/// A call that is open, as the model knows it.
struct Open {
    replica: usize,
    tenant: usize,
    hold: Hold,
}

const TENANTS: [&str; 2] = ["a", "b"];
/// For all, and for each tenant.
const MOST: [usize; 2] = [6, 4];

fn settings() -> Settings {
    let text = "[limits.all]\nconcurrent_calls = 6\n\
                [limits.each]\ntenant = \"*\"\nconcurrent_calls = 4";
    crate::config::parse(text, &|_| None).unwrap().limits
}

fn applying(limits: &Limits, tenant: usize) -> Applying {
    let tenant = TenantId::new(TENANTS[tenant]).unwrap();
    let subject = Subject {
        tenant: &tenant,
        application: "app",
        model: None,
        key: None,
        user: None,
        session: None,
    };
    limits.applying(&subject, &Region::new("us-east-1").unwrap(), None)
}

fn follow(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let limits = [0, 1].map(|_| Limits::new(&settings(), Arc::new(ManualClock::default())));
    let sets = Arc::new(Mutex::new(Sets::default()));
    let mut open: Vec<Open> = Vec::new();
    for step in steps {
        let (replica, tenant, answer) = match step {
            Step::Ask(replica, tenant, answer) => (replica, tenant, answer),
            Step::Ends(_) if open.is_empty() => continue,
            Step::Ends(which) => {
                drop(open.swap_remove(which % open.len()));
                continue;
            }
        };
        let store = Arc::new(Store {
            replica,
            sets: Arc::clone(&sets),
        });
        let applying = applying(&limits[replica], tenant);
        let said = store.take(&applying.wants(Demand::default()));
        let open_of = |replicas: &[usize]| {
            let meant = open.iter().filter(|one| replicas.contains(&one.replica));
            let own = meant.clone().filter(|one| one.tenant == tenant);
            [meant.count(), own.count()]
        };
        let fits = |open: [usize; 2], part: usize| {
            let mut limits = open.iter().zip(MOST);
            limits.all(|(open, most)| *open < most / part)
        };
        let told = Arc::<Store>::clone(&store);
        let (rates, expected) = match answer {
            Answer::Comes => (Rates::Told(said, told), fits(open_of(&[0, 1]), 1)),
            Answer::IsNotWaitedFor => continue,
            Answer::IsLost => {
                drop(said);
                (Rates::Part(2), fits(open_of(&[replica]), 2))
            }
            Answer::IsLostAndAllPass => {
                drop(said);
                (Rates::Any, true)
            }
        };
        let admitted = applying.telling(store).admit_by(Demand::default(), rates);
        prop_assert_eq!(admitted.is_ok(), expected);
        match admitted {
            Ok(Admitted { hold, .. }) => open.push(Open {
                replica,
                tenant,
                hold,
            }),
            Err(refused) => prop_assert_eq!(refused.what, What::Calls),
        }
        let sets = sets.lock().unwrap();
        let in_store = |name: &str| {
            let set = sets.open.iter().find(|(key, _)| key.starts_with(name));
            set.map_or(0, |(_, set)| set.len())
        };
        prop_assert_eq!(in_store("all|"), open.len());
    }
    for one in open {
        drop(one.hold);
    }
    let sets = sets.lock().unwrap();
    prop_assert!(sets.open.values().all(BTreeSet::is_empty), "{:?}", sets);
    for limits in limits {
        let uses = limits.uses();
        prop_assert!(
            uses.iter().all(|one| one.fullest_permille == 0),
            "{:?}",
            uses
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn two_replicas_let_in_what_a_model_of_a_few_lines_does_and_all_places_come_back(
        steps in prop::collection::vec(step(), 1..80)
    ) {
        follow(steps)?;
    }
}

#[test]
fn what_only_observes_takes_no_place_where_it_has_none_and_refuses_nobody() {
    let text = "[limits.all]\nconcurrent_calls = 1\nmode = \"observe\"";
    let settings = crate::config::parse(text, &|_| None).unwrap().limits;
    let limits = Limits::new(&settings, Arc::new(ManualClock::default()));
    let sets = Arc::new(Mutex::new(Sets::default()));
    let store = Arc::new(Store {
        replica: 0,
        sets: Arc::clone(&sets),
    });
    let admit = |rates| {
        let applying = applying(&limits, 0).telling(Arc::<Store>::clone(&store) as _);
        applying.admit_by(Demand::default(), rates).unwrap()
    };
    // Refused by nobody, counted by this process alone, and told.
    let first = admit(Rates::Own);
    let second = admit(Rates::Own);
    assert_eq!((first.observed.len(), second.observed.len()), (0, 1));
    let open = || {
        sets.lock()
            .unwrap()
            .open
            .values()
            .map(BTreeSet::len)
            .sum::<usize>()
    };
    assert_eq!(open(), 1);
    drop((first.hold, second.hold));
    assert_eq!(open(), 0);
}
