//! Reads on when the client has left, to learn what Bedrock charges anyway.
//!
//! Limits: how many answers at once, and of one tenant; how long, how many bytes. Beyond them the
//! connection is closed and the usage estimated.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::task::TaskTracker;

use super::live::Live;
use crate::domain::TenantId;
use crate::relay::{DrainSettings, Merged, Next, OnClientDisconnect};
use crate::telemetry::{Held, Metrics};

/// The answers that are read on after their client left.
#[derive(Debug)]
pub struct Drains {
    settings: DrainSettings,
    tasks: TaskTracker,
    open: Mutex<Open>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_tenant: HashMap<TenantId, usize>,
}

/// The place of one drain; given back when dropped.
struct Place {
    drains: Arc<Drains>,
    tenant: TenantId,
    _gauge: Held,
}

impl Drains {
    /// No drain yet.
    pub fn new(settings: DrainSettings, metrics: Arc<Metrics>) -> Self {
        Self {
            settings,
            tasks: TaskTracker::new(),
            open: Mutex::default(),
            metrics,
        }
    }

    /// Waits until every drain has ended; new ones are still taken.
    pub async fn wait(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Takes a call over whose client left. To be called on a worker's runtime.
    pub(super) fn take_over(self: &Arc<Self>, mut live: Live) {
        let Some(tenant) = live.client_left() else {
            return;
        };
        let place = match self.settings.on_client_disconnect {
            OnClientDisconnect::Drain => self.place(tenant),
            OnClientDisconnect::Close => None,
        };
        // Outside a runtime (its end, or a test) nobody can read on.
        match (place, tokio::runtime::Handle::try_current()) {
            (Some(place), Ok(runtime)) => {
                let settings = self.settings.clone();
                let read_on = async move {
                    let limit = settings.time_max;
                    if tokio::time::timeout(limit, read_on(&mut live, settings.bytes_max))
                        .await
                        .is_err()
                    {
                        live.abandon();
                    }
                    drop(place);
                };
                drop(self.tasks.spawn_on(read_on, &runtime));
            }
            (None, _) | (_, Err(_)) => live.abandon(),
        }
    }

    fn place(self: &Arc<Self>, tenant: TenantId) -> Option<Place> {
        let share = usize::from(self.settings.share_per_tenant_percent);
        let of_tenant_max = self.settings.calls_max.saturating_mul(share).div_ceil(100);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.settings.calls_max {
            return None;
        }
        let of_tenant = open.by_tenant.entry(tenant.clone()).or_default();
        if *of_tenant >= of_tenant_max {
            return None;
        }
        *of_tenant += 1;
        open.total += 1;
        let gauge = self.metrics.open_drain();
        Some(Place {
            drains: Arc::clone(self),
            tenant,
            _gauge: gauge,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .drains
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(of_tenant) = open.by_tenant.get_mut(&self.tenant) {
            *of_tenant = of_tenant.saturating_sub(1);
            if *of_tenant == 0 {
                open.by_tenant.remove(&self.tenant);
            }
        }
    }
}

/// Reads the head where it is still awaited, and the body; settles.
async fn read_on(live: &mut Live, bytes_max: u64) {
    if live.awaits_head() {
        match poll_fn(|cx| live.poll_head(cx)).await {
            Ok(parts) => live.head(parts.status.as_u16(), &parts.headers),
            Err(failed) => return live.failed(&failed),
        }
    }
    let mut left = bytes_max;
    loop {
        match poll_fn(|cx| live.poll_answer(cx)).await {
            Merged::Data(bytes, Next::Open | Next::Trailers(_)) if !live.is_settled() => {
                left = left.saturating_sub(bytes.len() as u64);
                if left == 0 {
                    return live.abandon();
                }
            }
            Merged::Trailers(_) if !live.is_settled() => {}
            Merged::Data(..) | Merged::Trailers(_) | Merged::End | Merged::Failed(_) => return,
        }
    }
}
