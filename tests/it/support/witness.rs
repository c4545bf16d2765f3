//! An upstream that remembers what reached it, and an honest caller who is served meanwhile.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Client, Proxy, Request, Upstream, body_of, wait_for};

const USAGE: &str = r#"{"output":{},"stopReason":"end_turn","usage":{"inputTokens":5,"outputTokens":2,"totalTokens":7}}"#;
const HONEST: &str = "x-honest: yes";

/// Answers every call, and keeps the heads of those that are not the honest caller's.
pub(crate) struct Witness {
    upstream: Upstream,
    heads: Arc<Mutex<Vec<String>>>,
}

/// Calls again and again, each time over a connection of its own and over one that it keeps.
pub(crate) struct Honest {
    stopping: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    calls: Option<JoinHandle<()>>,
}

impl Witness {
    pub(crate) fn start() -> Self {
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        let upstream = Upstream::start(move |mut connection| {
            while let Some(head) = connection.request() {
                if !head.contains(HONEST) {
                    seen.lock().unwrap().push(head);
                }
                connection.write(&body_of("200 OK", "", USAGE));
            }
        });
        Self { upstream, heads }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.upstream.address
    }

    /// The heads that came since the last look.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock().unwrap())
    }
}

impl Honest {
    pub(crate) fn begin(proxy: &Proxy) -> Self {
        let address = proxy.address;
        let (stopping, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stop, count) = (Arc::clone(&stopping), Arc::clone(&served));
        let calls = std::thread::spawn(move || {
            let request = Request::of("converse").header("x-honest", "yes");
            let mut kept = Caller::new(address);
            while !stop.load(Ordering::SeqCst) {
                kept.call(&request);
                Caller::new(address).call(&request);
                count.fetch_add(2, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let honest = Self {
            stopping,
            served,
            calls: Some(calls),
        };
        honest.is_served();
        honest
    }

    /// Waits until a call that begins now is served.
    pub(crate) fn is_served(&self) {
        let before = self.served.load(Ordering::SeqCst);
        wait_for("an honest call to be served", || {
            let dead = self.calls.as_ref().is_some_and(JoinHandle::is_finished);
            assert!(!dead, "an honest call failed");
            (self.served.load(Ordering::SeqCst) >= before + 3).then_some(())
        });
    }

    /// Ends; every call was served.
    pub(crate) fn end(mut self) {
        self.is_served();
        self.stopping.store(true, Ordering::SeqCst);
        self.calls.take().unwrap().join().unwrap();
    }
}

/// A connection of the honest caller.
struct Caller {
    address: SocketAddr,
    client: Client,
    /// Before its last use began.
    used: Instant,
}

/// Below the limits of time that tests set.
const IDLE_MAX: Duration = Duration::from_millis(250);

impl Caller {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            used: Instant::now(),
            client: Client::connect(address),
        }
    }

    /// Calls until it is served. On a busy machine this thread may sleep for longer than the proxy
    /// waits for a head; only then may the connection be closed.
    fn call(&mut self, request: &Request) {
        loop {
            let used = std::mem::replace(&mut self.used, Instant::now());
            self.client.send(&request.bytes());
            let idle = used.elapsed();
            if let Some(answer) = self.client.answer_if_any() {
                assert_eq!(answer.status, 200, "an honest call");
                return;
            }
            assert!(idle > IDLE_MAX, "an honest call was cut off after {idle:?}");
            *self = Self::new(self.address);
        }
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
    }
}
