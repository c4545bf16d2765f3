//! Who may do what: a table of roles and rights. It knows neither tokens nor pages.

use crate::domain::{TenantId, keywords};

keywords!(
    /// What somebody may do here; `docs/admin.md` has the table.
    Role {
        /// Reads numbers, and nothing of keys and people.
        Viewer = "viewer",
        /// Reads what is its own tenant's, and issues its keys.
        TeamLead = "team-lead",
        /// Reads all money and the tenants' facts.
        Finance = "finance",
        /// Everything.
        Admin = "admin",
    }
);

keywords!(
    /// Something that a login may be allowed to do.
    Right {
        /// `GET /api/v1/report`
        Report = "report",
        /// `GET /api/v1/calls/{call_id}`
        Call = "call",
        /// `GET /api/v1/live`
        Live = "live",
        /// `GET /api/v1/budgets`
        Budgets = "budgets",
        /// `GET /metrics`
        Metrics = "metrics",
        /// `GET /api/v1/keys`
        Keys = "keys",
        /// `POST /api/v1/keys`, and `rotate` and `revoke` of a key
        IssueKeys = "issue keys",
        /// `expire` and `policy` of a key
        ChangeKeys = "change keys",
        /// `GET /api/v1/tenants`
        Tenants = "tenants",
        /// `PUT` of a tenant, `suspend`, `resume` and `rename`
        ChangeTenants = "change tenants",
        /// `GET /api/v1/audit`
        Audit = "audit",
    }
);

/// How far a right of a role reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nowhere.
    Nothing,
    /// To what is the login's own tenant's.
    Own,
    /// Everywhere, but users and sessions are left out.
    Numbers,
    /// Everywhere.
    All,
}

impl Reach {
    /// As the documents' table writes it.
    #[cfg(test)]
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "-",
            Self::Own => "own",
            Self::Numbers => "all, no people",
            Self::All => "all",
        }
    }
}

/// Who has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    /// As the audit log names it.
    pub(super) actor: String,
    pub(super) role: Role,
    /// Of a team lead.
    pub(super) tenant: Option<TenantId>,
}

impl Login {
    /// How far a right reaches. A team lead without a tenant reaches nothing.
    pub(super) fn reach(&self, right: Right) -> Reach {
        let reach = self.role.reach(right);
        if reach == Reach::Own && self.tenant.is_none() {
            return Reach::Nothing;
        }
        reach
    }

    /// The tenant that this right is limited to.
    pub(super) fn limit(&self, right: Right) -> Option<&TenantId> {
        match self.reach(right) {
            Reach::Own => self.tenant.as_ref(),
            Reach::Nothing | Reach::Numbers | Reach::All => None,
        }
    }
}

impl Role {
    /// The table. `docs/admin.md` shows it, and a test holds the two together.
    pub(super) const fn reach(self, right: Right) -> Reach {
        match (self, right) {
            (Self::Admin, _)
            | (
                Self::Finance | Self::Viewer,
                Right::Report | Right::Live | Right::Metrics | Right::Tenants,
            ) => Reach::All,
            (Self::Finance | Self::Viewer, Right::Call | Right::Budgets) => Reach::Numbers,
            (
                Self::TeamLead,
                Right::Report
                | Right::Call
                | Right::Live
                | Right::Budgets
                | Right::Keys
                | Right::IssueKeys
                | Right::Tenants,
            ) => Reach::Own,
            (
                Self::Finance | Self::Viewer,
                Right::Keys
                | Right::IssueKeys
                | Right::ChangeKeys
                | Right::ChangeTenants
                | Right::Audit,
            )
            | (
                Self::TeamLead,
                Right::Metrics | Right::ChangeKeys | Right::ChangeTenants | Right::Audit,
            ) => Reach::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Keyword as _;

    #[test]
    fn the_documentation_has_the_table_of_roles() {
        let row = |right: &Right| {
            let reach = |role: Role| role.reach(*right).name();
            let cells = [Role::Admin, Role::Finance, Role::TeamLead, Role::Viewer].map(reach);
            format!("| {} | {} |\n", right.name(), cells.join(" | "))
        };
        let table: String = Right::ALL.iter().map(row).collect();
        let page = include_str!("../../docs/admin.md");
        assert!(page.contains(&table), "docs/admin.md needs\n{table}");
    }

    #[test]
    fn a_team_lead_without_a_tenant_reaches_nothing() {
        let mut login = Login {
            actor: "token:x".to_owned(),
            role: Role::TeamLead,
            tenant: None,
        };
        assert_eq!(login.reach(Right::Report), Reach::Nothing);
        login.tenant = Some("acme".parse().unwrap());
        assert_eq!(login.reach(Right::Report), Reach::Own);
        assert_eq!(login.limit(Right::Report), login.tenant.as_ref());
    }
}
