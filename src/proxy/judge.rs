//! Whether policies allow a call, on what it resolves to: model, geography, region, and whose the
//! things are that it names.

use super::refusal::Refusal;
use super::service::Service;
use super::world::World;
use crate::aws::parse_model_ref;
use crate::domain::{Glob, ModelRef, Operation, Region};
use crate::identity::{Asked, Forbidden, Head, IdentityError, Judgement, Principal};
use crate::routing::Named;

/// A call as policies see it.
pub(super) struct Called<'a> {
    pub(super) operation: Operation,
    pub(super) model: Option<&'a ModelRef>,
    pub(super) region: &'a Region,
    pub(super) named: &'a Named,
}

impl Service {
    /// Refuses what a policy forbids. What contradicts and passes, and what would be refused and is
    /// only observed, is counted.
    pub(super) async fn judge(
        &self,
        world: &World,
        principal: &Principal,
        head: &Head<'_>,
        called: &Called<'_>,
    ) -> Result<(), Refusal> {
        if principal.contradicted {
            self.gates.metrics.contradicted(&principal.tenant);
        }
        let grants = &principal.grants;
        self.hold(
            principal,
            grants.judge(&Asked {
                operation: called.operation,
                model: called.model,
                region: called.region,
                client: head.client,
                application: &principal.application,
            }),
        )?;
        if called.operation.generates() {
            let guardrail = called.named.guardrail.as_deref();
            self.hold(principal, grants.judge_guardrail(guardrail))?;
        }
        let Some(shared) = world.identity.shared_resources(principal) else {
            return Ok(());
        };
        if called.named.unreadable {
            let what = Forbidden::Resource("what a body names that cannot be read".into());
            let refused = Some(what);
            self.hold(
                principal,
                Judgement {
                    refused,
                    ..Judgement::default()
                },
            )?;
        }
        for resource in resources(called) {
            self.hold(principal, grants.judge_resource(resource, shared))?;
        }
        match &called.named.job {
            Some(job) => self.judge_job(principal, job, shared).await,
            None => Ok(()),
        }
    }

    /// A job is its tenant's: who started it, or who has it listed.
    async fn judge_job(
        &self,
        principal: &Principal,
        job: &str,
        shared: &[Glob],
    ) -> Result<(), Refusal> {
        let owner = self.gates.jobs.owner(job.to_owned()).await;
        let owner = owner.unwrap_or_else(|error| {
            tracing::error!(event = "job_owner_unknown", %error, "the registry cannot be asked");
            None
        });
        if owner.as_ref() == Some(&principal.tenant) {
            return Ok(());
        }
        self.hold(principal, principal.grants.judge_resource(job, shared))
    }

    fn hold(&self, principal: &Principal, judgement: Judgement) -> Result<(), Refusal> {
        let tenant = &principal.tenant;
        if let Some(observed) = judgement.observed {
            self.gates.metrics.observed(tenant, observed.kind());
        }
        match judgement.refused {
            Some(what) => Err(Refusal::from(&IdentityError::Forbidden {
                tenant: tenant.clone(),
                what,
            })),
            None => Ok(()),
        }
    }
}

/// What of the account a call names. Models and profiles that AWS offers to everybody are none of
/// it; what a configured price says of an opaque id does not change whose it is.
fn resources<'a>(called: &'a Called<'_>) -> impl Iterator<Item = &'a str> {
    let Named {
        guardrails,
        profile,
        buckets,
        ..
    } = called.named;
    let is_own = |id: &&str| parse_model_ref(id).base.is_none();
    let model = called.model.map(|model| &*model.asked).filter(is_own);
    let profile = profile.as_deref().filter(is_own);
    let named = buckets.iter().chain(guardrails).map(String::as_str);
    named.chain(profile).chain(model)
}
