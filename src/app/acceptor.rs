//! Takes connections, within limits, and spreads them over the workers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::connection::ConnectionSettings;
use super::worker::{Accepted, Worker};

/// How many connections there may be at once: in all, and of one peer.
pub(super) struct Limits {
    total_max: usize,
    of_peer_max: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// The place of one connection; given back when dropped.
pub(super) struct Place {
    limits: Arc<Limits>,
    /// The peer it counts for; `None` for a trusted proxy, behind which are many.
    peer: Option<IpAddr>,
}

impl Limits {
    pub(super) fn new(total_max: usize, of_peer_max: usize) -> Self {
        Self {
            total_max,
            of_peer_max,
            open: Mutex::default(),
        }
    }

    fn place(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.total_max {
            return None;
        }
        if let Some(peer) = peer {
            let of_peer = open.by_peer.entry(peer).or_default();
            if *of_peer >= self.of_peer_max {
                return None;
            }
            *of_peer += 1;
        }
        open.total += 1;
        Some(Place {
            limits: Arc::clone(self),
            peer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .limits
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        let Some(peer) = self.peer else { return };
        if let Some(of_peer) = open.by_peer.get_mut(&peer) {
            *of_peer = of_peer.saturating_sub(1);
            if *of_peer == 0 {
                open.by_peer.remove(&peer);
            }
        }
    }
}

/// Accepts until `stop`. A connection past the limits is closed at once.
pub(super) async fn accept(
    listener: TcpListener,
    workers: Vec<Worker>,
    settings: Arc<ArcSwap<ConnectionSettings>>,
    limits: Arc<Limits>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => give(stream, peer.ip(), &workers, &settings.load(), &limits),
            Err(error) => {
                // Out of file descriptors, or the client left already; a pause keeps the loop
                // from spinning on the first.
                tracing::warn!(event = "accept_failed", %error, "connection not accepted");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

fn give(
    stream: TcpStream,
    peer: IpAddr,
    workers: &[Worker],
    settings: &ConnectionSettings,
    limits: &Arc<Limits>,
) {
    let peer = peer.to_canonical();
    let counted = Some(peer).filter(|peer| !settings.is_trusted_proxy(*peer));
    let Some(place) = limits.place(counted) else {
        tracing::warn!(event = "connection_refused", %peer, "too many connections");
        return;
    };
    let prepared = stream.set_nodelay(true).and_then(|()| stream.into_std());
    let worker = workers.iter().min_by_key(|worker| worker.load());
    if let (Ok(stream), Some(worker)) = (prepared, worker) {
        worker.give(Accepted {
            stream,
            peer,
            place,
        });
    }
}

const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_cannot_take_all_places() {
        let limits = Arc::new(Limits::new(3, 2));
        let peers: [IpAddr; 2] = [[127, 0, 0, 1].into(), [127, 0, 0, 2].into()];
        let held: Vec<_> = (0..2)
            .map(|_| limits.place(Some(peers[0])).unwrap())
            .collect();
        assert!(limits.place(Some(peers[0])).is_none(), "its share is two");
        let other = limits.place(Some(peers[1])).unwrap();
        assert!(limits.place(None).is_none(), "three in all");
        drop(held);
        assert!(limits.place(Some(peers[0])).is_some());
        drop(other);
    }
}
