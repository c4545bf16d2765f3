//! Idle connections to Bedrock, kept per worker and address, newest first.
//!
//! Nobody drives an idle connection. Taking one out polls it once: a connection that Bedrock has
//! closed meanwhile shows it there and is dropped.

use std::collections::HashMap;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::connect::{Connector, Link, TrustError};
use super::settings::Settings;
use super::{Target, UpstreamError};

/// The connections of one worker. Each worker has its own, so its lock is never contended.
pub struct Pool {
    connector: Connector,
    idle: Mutex<HashMap<Arc<str>, Vec<Idle>>>,
    per_host_max: usize,
    idle_timeout: Duration,
}

struct Idle {
    link: Box<Link>,
    since: Instant,
}

impl Pool {
    /// An empty pool.
    ///
    /// # Errors
    /// When the trust that the settings ask for cannot be had.
    pub fn new(settings: &Settings) -> Result<Self, TrustError> {
        Ok(Self {
            connector: Connector::new(settings)?,
            idle: Mutex::default(),
            per_host_max: settings.pool_idle_per_host,
            idle_timeout: settings.pool_idle_timeout,
        })
    }

    /// An idle connection that still lives.
    pub(super) fn take(&self, target: &Target) -> Option<Box<Link>> {
        while let Some(mut idle) = self.pop(target) {
            if idle.since.elapsed() < self.idle_timeout && is_alive(&mut idle.link) {
                return Some(idle.link);
            }
        }
        None
    }

    /// A fresh connection.
    pub(super) async fn open(&self, target: &Target) -> Result<Box<Link>, UpstreamError> {
        self.connector.connect(target).await.map(Box::new)
    }

    /// Takes a connection back whose answer was read to its end.
    pub(super) fn put_back(&self, key: Arc<str>, link: Box<Link>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let links = idle.entry(key).or_default();
        if links.len() < self.per_host_max {
            links.push(Idle {
                link,
                since: Instant::now(),
            });
        }
    }

    /// Drops connections that have been idle for too long. To be called now and then.
    pub fn prune(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        for links in idle.values_mut() {
            links.retain(|idle| idle.since.elapsed() < self.idle_timeout);
        }
    }

    fn pop(&self, target: &Target) -> Option<Idle> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.get_mut(&target.pool_key)?.pop()
    }
}

fn is_alive(link: &mut Link) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    match Pin::new(&mut link.connection).poll(&mut cx) {
        Poll::Ready(_closed) => false,
        Poll::Pending => link.sender.is_ready(),
    }
}
