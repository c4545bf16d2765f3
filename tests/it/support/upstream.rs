//! An upstream that answers what the test says, byte by byte.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tokio::net::TcpSocket;

use super::client::{header, prepare};

/// Listens until it is dropped.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
}

/// A connection from the proxy.
pub(crate) struct Connection {
    stream: Box<dyn super::client::Stream>,
    requests: Arc<AtomicUsize>,
}

impl Upstream {
    /// Hands each connection to `serve`, on a thread of its own; returning closes it.
    pub(crate) fn start(serve: impl Fn(Connection) + Send + Sync + 'static) -> Self {
        Self::behind(|socket| Box::new(socket), serve)
    }

    /// The same, with something between the socket and what is served.
    pub(crate) fn behind(
        wrap: impl Fn(TcpStream) -> Box<dyn super::client::Stream> + Send + Sync + 'static,
        serve: impl Fn(Connection) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let (count, stop) = (Arc::clone(&requests), Arc::clone(&stopping));
        let serve = Arc::new((wrap, serve));
        thread::spawn(move || {
            for socket in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (serve, requests) = (Arc::clone(&serve), Arc::clone(&count));
                let socket = socket.unwrap();
                prepare(&socket);
                thread::spawn(move || {
                    let stream = serve.0(socket);
                    serve.1(Connection { stream, requests });
                });
            }
        });
        Self {
            address,
            requests,
            stopping,
        }
    }

    /// An upstream that answers each request with these bytes and keeps the connection.
    pub(crate) fn answering(bytes: Vec<u8>) -> Self {
        Self::start(move |mut connection| {
            while connection.request().is_some() {
                connection.write(&bytes);
            }
        })
    }

    /// How many requests were read to their end.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the listener, so that it sees that it shall stop.
        drop(TcpStream::connect(self.address));
    }
}

impl Connection {
    /// A connection that the test accepted itself.
    pub(crate) fn over(socket: TcpStream) -> Self {
        prepare(&socket);
        Self {
            stream: Box::new(socket),
            requests: Arc::default(),
        }
    }

    /// Reads a request with its body; `None` when the proxy has closed.
    pub(crate) fn request(&mut self) -> Option<String> {
        let head = self.head()?;
        let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        self.stream.read_exact(&mut vec![0; length]).ok()?;
        self.requests.fetch_add(1, Ordering::SeqCst);
        Some(head)
    }

    /// Reads a head.
    pub(crate) fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        Some(String::from_utf8(head).unwrap())
    }

    /// Reads so much of a body.
    pub(crate) fn body(&mut self, length: usize) -> String {
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    /// Writes; a proxy that has closed already is no failure of the script.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        drop(
            self.stream
                .write_all(bytes)
                .and_then(|()| self.stream.flush()),
        );
    }

    /// Waits until the proxy closes.
    pub(crate) fn wait_for_close(&mut self) {
        while matches!(self.stream.read(&mut [0; 1024]), Ok(1..)) {}
    }
}

/// A whole plain answer.
pub(crate) fn body_of(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body.as_bytes()].concat()
}

/// A port that is taken, so that no other test gets it, and where nobody listens.
pub(crate) struct Refusing {
    pub(crate) address: SocketAddr,
    _held: TcpSocket,
}

impl Refusing {
    pub(crate) fn take() -> Self {
        let held = TcpSocket::new_v4().unwrap();
        held.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self {
            address: held.local_addr().unwrap(),
            _held: held,
        }
    }
}
