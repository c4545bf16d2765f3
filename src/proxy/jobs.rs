//! Whose asynchronous jobs and profiles are: jobs are noted when they start, and lists show a
//! tenant its own.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Response};
use http_body::Body as _;
use serde_json::Value;

use super::answer::AnswerBody;
use super::refusal::Refusal;
use super::world::{Gates, World};
use crate::domain::{Glob, Operation, TenantId, Timestamp};
use crate::identity::{Grants, Principal};
use crate::registry::{Registry, RegistryError};
use crate::upstream::UpstreamError;

/// The registry, for the few calls that need to write it or to ask it.
#[derive(Debug)]
pub struct Jobs {
    registry: Mutex<Registry>,
}

impl Jobs {
    /// With a connection of their own: no call waits for the thread that follows the registry.
    pub const fn new(registry: Registry) -> Self {
        Self {
            registry: Mutex::new(registry),
        }
    }

    /// Whose a job is; `None` for one that this proxy did not see start. Blocking work is kept off
    /// the worker's thread.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub(super) async fn owner(self: &Arc<Self>, arn: String) -> Result<Option<TenantId>, String> {
        self.ask(move |registry| registry.job_owner(&arn)).await
    }

    async fn keep(
        self: &Arc<Self>,
        arn: String,
        of: TenantId,
        now: Timestamp,
    ) -> Result<(), String> {
        self.ask(move |registry| registry.keep_job(&arn, &of, now))
            .await
    }

    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&mut Registry) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, String> {
        let jobs = Arc::clone(self);
        let asked = tokio::task::spawn_blocking(move || {
            ask(&mut jobs.registry.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match asked.await {
            Ok(asked) => asked.map_err(|error| error.to_string()),
            Err(_panic) => Err("asking the registry failed".to_owned()),
        }
    }
}

/// Whose job or list an answer is about.
pub(super) struct Ownership {
    operation: Operation,
    jobs: Arc<Jobs>,
    tenant: TenantId,
    grants: Grants,
    /// What is everybody's, where the caller sees only its own.
    shared: Option<Vec<Glob>>,
    now: Timestamp,
}

impl Ownership {
    /// What it takes to show the answer of this call; `None` for one that passes as it is.
    pub(super) fn of_call(
        gates: &Gates,
        world: &World,
        principal: &Principal,
        operation: Operation,
        now: Timestamp,
    ) -> Option<Self> {
        let concerns = matches!(
            operation,
            Operation::StartAsyncInvoke
                | Operation::ListAsyncInvokes
                | Operation::ListInferenceProfiles
        );
        let shared = world.identity.shared_resources(principal);
        concerns.then(|| Self {
            operation,
            jobs: Arc::clone(&gates.jobs),
            tenant: principal.tenant.clone(),
            grants: principal.grants.clone(),
            shared: shared.map(<[_]>::to_vec),
            now,
        })
    }

    /// The answer as its caller may see it: of a job that started its owner is noted, of a list
    /// what is another's is left out.
    ///
    /// # Errors
    /// When the answer breaks off.
    pub(super) async fn show(
        &self,
        response: Response<AnswerBody>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        if !response.status().is_success() {
            return Ok(response);
        }
        let (mut parts, body) = response.into_parts();
        let whole = read_whole(body).await;
        let whole = whole.map_err(|error| Refusal::from(&error).of(&self.tenant))?;
        let shown = self.shown(whole).await;
        let length = HeaderValue::from(shown.len());
        parts.headers.insert(CONTENT_LENGTH, length);
        Ok(Response::from_parts(parts, AnswerBody::own(shown)))
    }

    async fn shown(&self, body: Bytes) -> Bytes {
        let Ok(mut value) = serde_json::from_slice::<Value>(&body) else {
            return body;
        };
        if self.operation == Operation::StartAsyncInvoke {
            self.note(&value).await;
        }
        let changed = self.keep_own_jobs(&mut value).await || self.keep_own_profiles(&mut value);
        if changed {
            value.to_string().into()
        } else {
            body
        }
    }

    /// The caller has its answer whatever becomes of the note: without it, the job is nobody's.
    async fn note(&self, started: &Value) {
        let Some(arn) = started.get("invocationArn").and_then(Value::as_str) else {
            return;
        };
        let kept = self
            .jobs
            .keep(arn.to_owned(), self.tenant.clone(), self.now);
        if let Err(error) = kept.await {
            tracing::error!(event = "job_not_noted", %error, "whose a job is cannot be noted");
        }
    }

    async fn keep_own_jobs(&self, value: &mut Value) -> bool {
        let Some(list) = self.list(value, JOBS) else {
            return false;
        };
        let all = list.len();
        let mut own = Vec::with_capacity(all);
        for job in list.drain(..) {
            let arn = job.get("invocationArn").and_then(Value::as_str);
            let owner = match arn {
                Some(arn) => self.jobs.owner(arn.to_owned()).await,
                None => Ok(None),
            };
            if owner.is_ok_and(|owner| owner.as_ref() == Some(&self.tenant)) {
                own.push(job);
            }
        }
        *list = own;
        list.len() < all
    }

    /// The profiles of AWS itself are everybody's.
    fn keep_own_profiles(&self, value: &mut Value) -> bool {
        let Some(list) = self.list(value, PROFILES) else {
            return false;
        };
        let all = list.len();
        let shared = self.shared.as_deref().unwrap_or_default();
        list.retain(|profile| {
            let text = |name| profile.get(name).and_then(Value::as_str);
            let names = [text("inferenceProfileArn"), text("inferenceProfileId")];
            let own = |name: &str| self.grants.judge_resource(name, shared).refused.is_none();
            text("type") == Some("SYSTEM_DEFINED") || names.into_iter().flatten().any(own)
        });
        list.len() < all
    }

    fn list<'v>(&self, value: &'v mut Value, name: &str) -> Option<&'v mut Vec<Value>> {
        self.shared.as_ref()?;
        value.get_mut(name)?.as_array_mut()
    }
}

/// A whole answer, within a limit that these answers are far below; beyond it nothing is shown.
///
/// # Errors
/// When the answer breaks off; the call is settled then as any other.
async fn read_whole(mut body: AnswerBody) -> Result<Bytes, UpstreamError> {
    let mut whole = BytesMut::new();
    loop {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx));
        let Some(frame) = frame.await else {
            return Ok(whole.freeze());
        };
        if let Ok(bytes) = frame?.into_data()
            && whole.len() < ANSWER_BYTES_MAX
        {
            whole.extend_from_slice(&bytes);
        }
    }
}

/// A page of a thousand jobs takes some 500 kB.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The lists' members in the service model of Bedrock.
const JOBS: &str = "asyncInvokeSummaries";
const PROFILES: &str = "inferenceProfileSummaries";
