//! A worker: one thread, one runtime, connections of its own to clients and to Bedrock.
//!
//! Calls never move between threads, so nothing on their way is contended. The acceptor gives
//! each new connection to the worker that has the fewest.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, ConnectionSettings};
use super::door::Door;

/// A connection that was accepted, and its place in the limits.
pub(super) struct Accepted {
    pub(super) stream: std::net::TcpStream,
    pub(super) peer: IpAddr,
    pub(super) place: super::acceptor::Place,
}

/// The acceptor's end of a worker.
pub(super) struct Worker {
    connections: Sender<Accepted>,
    load: Arc<AtomicUsize>,
}

/// What all workers share.
#[derive(Clone)]
pub(super) struct WorkerContext {
    /// How new connections are served; a reload replaces it.
    pub(super) settings: Arc<ArcSwap<ConnectionSettings>>,
    /// Stops taking calls; those in flight go on.
    pub(super) stop: CancellationToken,
    /// Ends the worker with all that is in flight.
    pub(super) end: CancellationToken,
    /// The connections of all workers.
    pub(super) open: TaskTracker,
}

impl WorkerContext {
    /// Of workers that serve, with new connections served so.
    pub(super) fn new(connections: ConnectionSettings) -> Self {
        Self {
            settings: Arc::new(ArcSwap::from_pointee(connections)),
            stop: CancellationToken::new(),
            end: CancellationToken::new(),
            open: TaskTracker::new(),
        }
    }
}

impl Worker {
    /// Starts the worker's thread.
    pub(super) fn start(
        number: usize,
        door: Door,
        context: WorkerContext,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (connections, accepted) = channel(ACCEPTED_WAITING_MAX);
        let load = Arc::new(AtomicUsize::new(0));
        let worker = Self {
            connections,
            load: Arc::clone(&load),
        };
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        let thread = thread.spawn(move || {
            runtime.block_on(run(Arc::new(door), context, accepted, load));
        })?;
        Ok((worker, thread))
    }

    /// How many connections it has.
    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Gives it a connection; one that finds no place is closed.
    pub(super) fn give(&self, accepted: Accepted) {
        self.load.fetch_add(1, Ordering::Relaxed);
        if self.connections.try_send(accepted).is_err() {
            self.load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

async fn run(
    door: Arc<Door>,
    context: WorkerContext,
    mut accepted: Receiver<Accepted>,
    load: Arc<AtomicUsize>,
) {
    let mut prune = tokio::time::interval(PRUNE_INTERVAL);
    loop {
        tokio::select! {
            biased;
            () = context.end.cancelled() => return,
            connection = accepted.recv() => match connection {
                Some(connection) => spawn(connection, &door, &context, &load),
                None => context.end.cancelled().await,
            },
            _ = prune.tick() => door.service().pool().prune(),
        }
    }
}

fn spawn(accepted: Accepted, door: &Arc<Door>, context: &WorkerContext, load: &Arc<AtomicUsize>) {
    let Accepted {
        stream,
        peer,
        place,
    } = accepted;
    let door = Arc::clone(door);
    let settings = context.settings.load_full();
    let stop = context.stop.clone();
    let load = Arc::clone(load);
    drop(context.open.spawn(async move {
        match TcpStream::from_std(stream) {
            Ok(stream) => connection::serve(stream, peer, settings, door, stop).await,
            Err(error) => tracing::debug!(%peer, %error, "connection not taken"),
        }
        load.fetch_sub(1, Ordering::Relaxed);
        drop(place);
    }));
}

/// Connections that a busy worker may have waiting.
const ACCEPTED_WAITING_MAX: usize = 1024;
const PRUNE_INTERVAL: Duration = Duration::from_secs(10);
