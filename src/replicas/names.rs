//! The names of keys. One hash tag holds all keys of a deployment on one node of a cluster, which a
//! script over several of them needs. Keys of an epoch that is over are never read again.

use crate::domain::SharedCounter;

/// Who names keys, and under which tag.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
    pub(super) replica: String,
    pub(super) ledger: String,
}

impl Names {
    pub(super) fn new(deployment: &str, replica: String, ledger: String) -> Self {
        Self {
            prefix: format!("{{bm:{deployment}}}:"),
            replica,
            ledger,
        }
    }

    pub(super) fn epoch(&self) -> String {
        format!("{}epoch", self.prefix)
    }

    /// A bucket of a rate. It outlives epochs: what is lost of it is a minute's worth.
    pub(super) fn bucket(&self, bucket: &str) -> String {
        format!("{}l:{bucket}", self.prefix)
    }

    /// What tenants have taken of a quota, and until when each has a backlog.
    pub(super) fn quota(&self, quota: &str) -> [String; 2] {
        ["q", "f"].map(|kind| format!("{}{kind}:{quota}", self.prefix))
    }

    pub(super) fn within(&self, epoch: &str) -> EpochNames {
        EpochNames {
            prefix: format!("{}{epoch}:", self.prefix),
            replica: self.replica.clone(),
        }
    }
}

/// The names within an epoch.
#[derive(Clone, Debug)]
pub(super) struct EpochNames {
    prefix: String,
    replica: String,
}

impl EpochNames {
    /// The generation and the last number of this replica.
    pub(super) fn replica(&self) -> String {
        format!("{}r:{}", self.prefix, self.replica)
    }

    /// When the lease of each replica ends.
    pub(super) fn leases(&self) -> String {
        format!("{}leases", self.prefix)
    }

    pub(super) fn holds_of_any(&self) -> String {
        format!("{}o:", self.prefix)
    }

    pub(super) fn expired_of_any(&self) -> String {
        format!("{}x:", self.prefix)
    }

    /// The calls of a replica that have places among the calls at once.
    pub(super) fn places_of_any(&self) -> String {
        format!("{}q:", self.prefix)
    }

    pub(super) fn places(&self) -> String {
        self.places_of_any() + &self.replica
    }

    /// A counter of calls at once.
    pub(super) fn place(&self, counter: &str) -> String {
        format!("{}p:{counter}", self.prefix)
    }

    pub(super) fn holds(&self) -> String {
        self.holds_of_any() + &self.replica
    }

    pub(super) fn expired(&self) -> String {
        self.expired_of_any() + &self.replica
    }

    /// Which replicas have settled calls that are not in their ledger yet.
    pub(super) fn behind(&self) -> String {
        format!("{}behind", self.prefix)
    }

    /// Replicas whose holds were counted as spent.
    pub(super) fn gone(&self) -> String {
        format!("{}gone", self.prefix)
    }

    /// Calls that were settled for a process that died.
    pub(super) fn late(&self) -> String {
        format!("{}late", self.prefix)
    }

    /// Which replica sums up a ledger now.
    pub(super) fn summing(&self, ledger: &str) -> String {
        format!("{}s:{ledger}", self.prefix)
    }

    /// Says which ledgers were summed up for a budget in a stretch.
    pub(super) fn marker(&self, book: &str) -> String {
        format!("{}m:{book}", self.prefix)
    }

    pub(super) fn counter(&self, counter: &SharedCounter) -> String {
        format!("{}c:{}:{}", self.prefix, counter.book, counter.subject)
    }
}
