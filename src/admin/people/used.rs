//! The logins that were answered, so that no answer counts twice.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

/// The newest states of answered logins.
#[derive(Debug, Default)]
pub(super) struct Used(Mutex<States>);

#[derive(Debug, Default)]
struct States {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Used {
    /// Whether this state is used for the first time; from now on it is not. Beyond the limit the
    /// oldest is forgotten: the provider refuses its code, which was used too.
    pub(super) fn is_first(&self, state: &str) -> bool {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !states.known.insert(state.to_owned()) {
            return false;
        }
        states.order.push_back(state.to_owned());
        if states.order.len() > STATES_MAX
            && let Some(oldest) = states.order.pop_front()
        {
            states.known.remove(&oldest);
        }
        true
    }
}

const STATES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_used_once_and_memory_has_a_limit() {
        let used = Used::default();
        assert!(used.is_first("a"));
        assert!(!used.is_first("a"));
        for n in 0..STATES_MAX {
            assert!(used.is_first(&n.to_string()));
        }
        assert!(!used.is_first("0"));
        let states = used.0.lock().unwrap();
        assert_eq!(
            (states.known.len(), states.order.len()),
            (STATES_MAX, STATES_MAX)
        );
    }
}
