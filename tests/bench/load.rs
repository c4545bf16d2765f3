//! The load generator. Closed loop: so many connections, each calls again when it has its answer.
//! Open loop: calls leave on a timer at a fixed rate and latency counts from the scheduled time,
//! so that a slow answer cannot hide the calls that waited behind it (no coordinated omission).

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

use crate::client::{Call, Client};
use crate::frames::{self, Walker, monotonic_ns};
use crate::protocol::{Protocol, tls_connector};

/// One load against one address.
#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// The address to call.
    #[arg(long)]
    pub(crate) target: SocketAddr,
    /// What is spoken.
    #[arg(long, value_enum, default_value = "http1")]
    pub(crate) protocol: Protocol,
    /// Folder with certificate.pem, for TLS.
    #[arg(long)]
    pub(crate) certificates: Option<PathBuf>,
    /// The end of the path: invoke, converse or invoke-with-response-stream.
    #[arg(long, default_value = "invoke")]
    pub(crate) operation: String,
    /// Size of the request body.
    #[arg(long, default_value_t = 1024)]
    pub(crate) body_bytes: usize,
    /// Text deltas that each stream must have.
    #[arg(long, default_value_t = frames::DELTAS)]
    pub(crate) deltas: usize,
    /// Calls open at a time (closed loop).
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: u32,
    /// Make each call on a connection of its own (closed loop).
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Calls per second (open loop); 0: closed loop.
    #[arg(long, default_value_t = 0)]
    pub(crate) rate: u32,
    /// Load before the measured window.
    #[arg(long, default_value_t = 0.5)]
    pub(crate) warm_up: f64,
    /// The measured window.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
}

/// What happened within the measured window.
pub(crate) struct Measured {
    pub(crate) calls: u64,
    pub(crate) frames: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) latency_p50_us: Option<f64>,
    pub(crate) latency_p99_us: Option<f64>,
    pub(crate) lag_p50_us: Option<f64>,
}

/// `load` on its own: prints what it saw.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let (measured, _probes) = measure(&options, || Ok(())).await?;
    println!(
        "{} calls, {} frames, {} errors in {} s; latency p50 {:.0?} us, p99 {:.0?} us; \
         frame lag p50 {:.0?} us",
        measured.calls,
        measured.frames,
        measured.errors,
        options.seconds,
        measured.latency_p50_us,
        measured.latency_p99_us,
        measured.lag_p50_us,
    );
    if let Some(error) = measured.first_error {
        println!("first error: {error}");
    }
    Ok(())
}

/// Runs the load; `probe` is called at both ends of the measured window.
pub(crate) async fn measure<P>(
    options: &Options,
    mut probe: impl FnMut() -> anyhow::Result<P>,
) -> anyhow::Result<(Measured, [P; 2])> {
    let generator = Rc::new(Generator::new(options)?);
    let mut tasks = JoinSet::new();
    if options.rate == 0 {
        generator.start_closed_loop(&mut tasks, options);
    } else {
        tasks.spawn_local(Rc::clone(&generator).open_loop(options.rate));
    }
    sleep(Duration::from_secs_f64(options.warm_up)).await;
    let before = probe()?;
    generator.tally.clear();
    sleep(Duration::from_secs_f64(options.seconds)).await;
    let after = probe()?;
    let measured = generator.tally.read();
    Ok((measured, [before, after]))
}

struct Generator {
    target: SocketAddr,
    protocol: Protocol,
    tls: Option<TlsConnector>,
    call: Call,
    /// Frames each answer must have; 0 when it is no stream.
    frames_expected: u64,
    tally: Tally,
    /// Connections of the open loop that wait for their next call.
    idle: RefCell<Vec<Client>>,
}

/// HTTP/2 connections carry so many calls at a time each.
const CALLS_PER_HTTP2_CONNECTION: u32 = 8;

/// What a connection of the closed loop is for.
#[derive(Clone, Copy)]
enum Use {
    OneCall,
    /// So many callers, each calling again when it has its answer.
    Shared {
        callers: u32,
    },
}

const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

impl Generator {
    fn new(options: &Options) -> anyhow::Result<Self> {
        let tls = match options.protocol {
            Protocol::Tls => {
                let folder = options
                    .certificates
                    .as_deref()
                    .context("TLS needs --certificates")?;
                Some(tls_connector(folder)?)
            }
            Protocol::Http1 | Protocol::H2c => None,
        };
        let streams = options.operation.ends_with("stream");
        let frames_expected = if streams {
            options.deltas + frames::FRAMES_AROUND
        } else {
            0
        };
        Ok(Self {
            target: options.target,
            protocol: options.protocol,
            tls,
            call: Call::new(options.target, &options.operation, options.body_bytes),
            frames_expected: frames_expected as u64,
            tally: Tally::default(),
            idle: RefCell::default(),
        })
    }

    /// Starts the connections over the first half of the warm-up, not all in one instant.
    fn start_closed_loop(self: &Rc<Self>, tasks: &mut JoinSet<()>, options: &Options) {
        let callers = match self.protocol {
            Protocol::Http1 | Protocol::Tls => 1,
            Protocol::H2c => CALLS_PER_HTTP2_CONNECTION,
        };
        let (use_of_connection, connections) = if options.fresh {
            (Use::OneCall, options.connections)
        } else {
            (
                Use::Shared { callers },
                options.connections.div_ceil(callers),
            )
        };
        let apart = Duration::from_secs_f64(options.warm_up / 2.0) / connections;
        for index in 0..connections {
            tasks.spawn_local(Rc::clone(self).keep_calling(use_of_connection, apart * index));
        }
    }

    async fn keep_calling(self: Rc<Self>, use_of_connection: Use, delay: Duration) {
        sleep(delay).await;
        loop {
            let called = match use_of_connection {
                Use::OneCall => self.call_on_fresh().await,
                Use::Shared { callers } => self.call_until_error(callers).await,
            };
            if let Err(error) = called {
                self.tally.error(&error);
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }

    /// One call; its latency includes opening the connection.
    async fn call_on_fresh(&self) -> io::Result<()> {
        let since = monotonic_ns();
        let mut client = self.connect().await?;
        self.call_once(&mut client, since).await
    }

    async fn call_until_error(&self, callers: u32) -> io::Result<()> {
        let first = self.connect().await?;
        let shared = std::iter::repeat_with(|| first.share())
            .take(callers as usize - 1)
            .flatten();
        let clients: Vec<Client> = shared.collect();
        let calls = clients.into_iter().chain([first]).map(async |mut client| {
            loop {
                self.call_once(&mut client, monotonic_ns()).await?;
            }
        });
        try_join_all(calls).await.map(|_never: Vec<()>| ())
    }

    /// Sends a call at every tick of a timer, on an idle connection or a new one.
    async fn open_loop(self: Rc<Self>, rate: u32) {
        let mut ticks = match Ticks::new(rate) {
            Ok(ticks) => ticks,
            Err(error) => return self.tally.error(&error),
        };
        let mut calls = JoinSet::new();
        loop {
            match ticks.next().await {
                Ok(due) => {
                    for scheduled in due {
                        calls.spawn_local(Rc::clone(&self).call_on_idle(scheduled));
                    }
                }
                Err(error) => return self.tally.error(&error),
            }
            while calls.try_join_next().is_some() {}
        }
    }

    async fn call_on_idle(self: Rc<Self>, scheduled: u64) {
        let idle = self.idle.borrow_mut().pop();
        let called = async {
            let mut client = match idle {
                Some(client) => client,
                None => self.connect().await?,
            };
            self.call_once(&mut client, scheduled)
                .await
                .map(|()| client)
        };
        match called.await {
            Ok(client) => self.idle.borrow_mut().push(client),
            Err(error) => self.tally.error(&error),
        }
    }

    async fn call_once(&self, client: &mut Client, since: u64) -> io::Result<()> {
        let mut walker = Walker::default();
        let mut frames = 0;
        let streams = self.frames_expected > 0;
        let mut on_body = |bytes: &[u8]| {
            if !streams {
                return Ok(());
            }
            walker.feed(bytes, &mut |frame| {
                frames += 1;
                self.tally.frame(frame);
            })
        };
        client.call(&self.call, &mut on_body).await?;
        if frames != self.frames_expected {
            return Err(io::Error::other(format!("a stream of {frames} frames")));
        }
        self.tally.call(since);
        Ok(())
    }

    async fn connect(&self) -> io::Result<Client> {
        match self.protocol {
            Protocol::Http1 | Protocol::Tls => Client::http1(self.target, self.tls.as_ref()).await,
            Protocol::H2c => Client::http2(self.target).await,
        }
    }
}

/// A kernel timer: tokio's own has a resolution of one millisecond.
struct Ticks {
    timer: AsyncFd<OwnedFd>,
    gap_ns: u64,
    next: u64,
}

impl Ticks {
    fn new(rate: u32) -> io::Result<Self> {
        let gap_ns = 1_000_000_000 / u64::from(rate);
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let next = monotonic_ns() + gap_ns;
        let schedule = Itimerspec {
            it_interval: timespec(gap_ns),
            it_value: timespec(next),
        };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &schedule)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an owned descriptor is kept here"
        )]
        let timer = AsyncFd::new(timer)?;
        Ok(Self {
            timer,
            gap_ns,
            next,
        })
    }

    /// Waits, then returns the times of the ticks that are due; late ones keep their own time.
    async fn next(&mut self) -> io::Result<impl Iterator<Item = u64> + use<>> {
        let mut expirations = [0; 8];
        loop {
            let mut ready = self.timer.readable().await?;
            let read =
                ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expirations)?));
            if let Ok(read) = read {
                read?;
                break;
            }
        }
        let count = u64::from_ne_bytes(expirations);
        let (first, gap) = (self.next, self.gap_ns);
        self.next += count * gap;
        Ok((0..count).map(move |index| first + index * gap))
    }
}

fn timespec(ns: u64) -> Timespec {
    let part = |value: u64| value.try_into().expect("times of a running machine fit");
    Timespec {
        tv_sec: part(ns / 1_000_000_000),
        tv_nsec: part(ns % 1_000_000_000),
    }
}

/// Counts of the measured window. One thread, hence cells.
#[derive(Default)]
struct Tally {
    calls: Cell<u64>,
    frames: Cell<u64>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
    latencies_ns: RefCell<Vec<u64>>,
    lags_ns: RefCell<Vec<u64>>,
}

impl Tally {
    fn call(&self, since: u64) {
        self.calls.update(|calls| calls + 1);
        self.latencies_ns
            .borrow_mut()
            .push(monotonic_ns().saturating_sub(since));
    }

    fn frame(&self, frame: &[u8]) {
        self.frames.update(|frames| frames + 1);
        if let Some(sent) = frames::stamped_at(frame) {
            self.lags_ns
                .borrow_mut()
                .push(monotonic_ns().saturating_sub(sent));
        }
    }

    fn error(&self, error: &io::Error) {
        self.errors.update(|errors| errors + 1);
        self.first_error
            .borrow_mut()
            .get_or_insert_with(|| error.to_string());
    }

    /// Errors of the warm-up stay: a target that fails early has failed.
    fn clear(&self) {
        self.calls.set(0);
        self.frames.set(0);
        self.latencies_ns.borrow_mut().clear();
        self.lags_ns.borrow_mut().clear();
    }

    fn read(&self) -> Measured {
        let mut latencies = self.latencies_ns.take();
        latencies.sort_unstable();
        let mut lags = self.lags_ns.take();
        lags.sort_unstable();
        Measured {
            calls: self.calls.get(),
            frames: self.frames.get(),
            errors: self.errors.get(),
            first_error: self.first_error.borrow().clone(),
            latency_p50_us: percentile_us(&latencies, 50),
            latency_p99_us: percentile_us(&latencies, 99),
            lag_p50_us: percentile_us(&lags, 50),
        }
    }
}

fn percentile_us(sorted_ns: &[u64], percent: usize) -> Option<f64> {
    let rank = (sorted_ns.len() * percent).div_ceil(100);
    sorted_ns
        .get(rank.checked_sub(1)?)
        .map(|ns| *ns as f64 / 1000.0)
}
