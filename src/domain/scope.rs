//! Whom a budget or a limit is for: patterns over the facets of a call.

use std::sync::Arc;

use super::{Glob, Keyword, TenantId};

/// The facets of one call that budgets and limits can tell apart.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Who pays.
    pub tenant: &'a TenantId,
    /// The workload.
    pub application: &'a str,
    /// The model's label, as in metrics and reports; `None` for operations without one.
    pub model: Option<&'a str>,
    /// The public id of the issued key that proved the caller.
    pub key: Option<&'a str>,
    /// The user, as the ledger keeps it.
    pub user: Option<&'a str>,
    /// The session or run.
    pub session: Option<&'a str>,
}

/// Which calls are meant: those whose every named facet fits.
///
/// A pattern that names one thing (`search`) makes one counter; one with a star (`*`,
/// `anthropic.*`) makes one for each name that fits, unless the facet is shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The named facets; those that are not named fit every call.
    pub facets: Vec<(Facet, Glob)>,
    /// The facets whose star makes one counter for all that fit, not one for each.
    pub shared: Vec<Facet>,
}

/// One thing that tells calls apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facet {
    /// Who pays.
    Tenant,
    /// The workload.
    Application,
    /// The model's label.
    Model,
    /// The issued key.
    Key,
    /// The user.
    User,
    /// The session or run.
    Session,
}

impl Facet {
    /// Every facet, in the order in which subjects name them.
    pub const EVERY: [Self; 6] = [
        Self::Tenant,
        Self::Application,
        Self::Model,
        Self::Key,
        Self::User,
        Self::Session,
    ];

    /// The word in the configuration and in subjects.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Application => "application",
            Self::Model => "model",
            Self::Key => "key",
            Self::User => "user",
            Self::Session => "session",
        }
    }

    /// What a call says of it.
    pub fn of<'a>(self, subject: &Subject<'a>) -> Option<&'a str> {
        match self {
            Self::Tenant => Some(subject.tenant.as_str()),
            Self::Application => Some(subject.application),
            Self::Model => subject.model,
            Self::Key => subject.key,
            Self::User => subject.user,
            Self::Session => subject.session,
        }
    }
}

impl Keyword for Facet {
    const ALL: &'static [Self] = &Self::EVERY;

    fn name(self) -> &'static str {
        self.word()
    }
}

impl Scope {
    /// What most counters' names fit in.
    pub const COUNTER_BYTES: usize = 96;

    /// Which counter a call belongs to, such as `tenant=search model=nova-lite`; `None` where the
    /// call is not meant. A call without a facet that is named (no user, no model) is not meant.
    pub fn counter(&self, subject: &Subject<'_>) -> Option<Arc<str>> {
        let mut counter = String::with_capacity(Self::COUNTER_BYTES);
        self.write_counter(subject, &mut counter)
            .then(|| counter.into())
    }

    /// The same, written over what is in `counter`; false where the call is not meant.
    pub fn write_counter(&self, subject: &Subject<'_>, counter: &mut String) -> bool {
        counter.clear();
        for (facet, pattern) in &self.facets {
            let Some(value) = facet.of(subject) else {
                return false;
            };
            if !pattern.matches(value) {
                return false;
            }
            let value = if self.shared.contains(facet) {
                pattern.as_str()
            } else {
                value
            };
            if !counter.is_empty() {
                counter.push(' ');
            }
            // Piece by piece: this is made for every budget of every call, and `write!` costs more.
            for piece in [facet.word(), "=", value] {
                counter.push_str(piece);
            }
        }
        true
    }

    /// All that decides who is meant, as one text: part of names that replicas share, so it must
    /// not change.
    pub fn spelled(&self) -> String {
        let mut spelled = String::new();
        for facet in Facet::EVERY {
            let named = self.facets.iter().find(|(one, _)| *one == facet);
            if let Some((_, pattern)) = named {
                let is_shared = self.shared.contains(&facet);
                let sign = if is_shared { "~" } else { "=" };
                for piece in [facet.word(), sign, pattern.as_str(), " "] {
                    spelled.push_str(piece);
                }
            }
        }
        spelled
    }

    /// The tenant that every counter of this scope belongs to, where there is only one.
    pub fn tenant(&self) -> Option<TenantId> {
        let (_, pattern) = self.facets.iter().find(|(f, _)| *f == Facet::Tenant)?;
        TenantId::new(pattern.as_str()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(facets: &[(Facet, &str)], shared: &[Facet]) -> Option<String> {
        let tenant = TenantId::new("search").unwrap();
        let subject = Subject {
            tenant: &tenant,
            application: "indexer",
            model: Some("anthropic.claude-opus-5"),
            key: None,
            user: Some("u-1"),
            session: None,
        };
        let facets = facets.iter().map(|(f, p)| (*f, Glob::new(p).unwrap()));
        let scope = Scope {
            facets: facets.collect(),
            shared: shared.to_vec(),
        };
        scope.counter(&subject).map(|counter| counter.to_string())
    }

    #[test]
    fn a_star_makes_a_counter_for_each_name_that_fits() {
        let check = |facets: &[(Facet, &str)], expected: Option<&str>| {
            assert_eq!(counter(facets, &[]).as_deref(), expected, "{facets:?}");
        };
        check(&[], Some(""));
        check(&[(Facet::Tenant, "search")], Some("tenant=search"));
        check(&[(Facet::Tenant, "sales")], None);
        check(
            &[(Facet::Tenant, "*"), (Facet::Model, "anthropic.*")],
            Some("tenant=search model=anthropic.claude-opus-5"),
        );
        check(&[(Facet::User, "*")], Some("user=u-1"));
        check(&[(Facet::Key, "*")], None);
        check(&[(Facet::Session, "*")], None);
    }

    #[test]
    fn a_shared_star_makes_one_counter_for_all() {
        let facets = [(Facet::Tenant, "search"), (Facet::Model, "anthropic.*")];
        assert_eq!(
            counter(&facets, &[Facet::Model]).as_deref(),
            Some("tenant=search model=anthropic.*")
        );
    }

    #[test]
    fn a_scope_is_spelled_in_one_order_and_says_what_is_shared() {
        let glob = |text: &str| Glob::new(text).unwrap();
        let scope = Scope {
            facets: vec![
                (Facet::Model, glob("anthropic.*")),
                (Facet::Tenant, glob("*")),
            ],
            shared: vec![Facet::Model],
        };
        assert_eq!(scope.spelled(), "tenant=* model~anthropic.* ");
        assert_eq!(Scope::default().spelled(), "");
    }
}
