//! HTTP/1.1 on loopback over `std::net`: reads a request, sends what it is told to send, and breaks what it is told to
//! break.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// The path and the query.
    pub(super) target: String,
    version: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether the client wants the connection closed after the answer.
    fn is_the_last(&self) -> bool {
        let connection = self.header("connection").unwrap_or(if self.version == "HTTP/1.0" { "close" } else { "" });
        connection.eq_ignore_ascii_case("close")
    }
}

/// The bytes to send, and what becomes of the connection.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) bytes: Vec<u8>,
    pub(super) then: Then,
}

#[derive(Debug)]
pub(super) enum Then {
    /// Waits for the next request.
    Keep,
    Close,
    Reset,
    /// Says nothing more until the client leaves.
    Stall,
    /// Sends these bytes too, one by one with this pause, and closes.
    Drip(Vec<u8>, Duration),
}

/// What answers the requests.
pub(super) type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// A listening port; closed, with all its connections, on drop.
pub(super) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    connections: AtomicUsize,
    /// The open connections by their number, so that a stop can end them.
    open: Mutex<HashMap<usize, TcpStream>>,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<usize, TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_all(&self) {
        for (_, stream) in self.open().drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Server {
    /// Listens on a port of loopback; 0 takes a free one.
    pub(super) fn start(port: u16, handler: Handler) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let listening = thread::spawn({
            let shared = Arc::clone(&shared);
            move || listen(&listener, &shared, &handler)
        });
        Ok(Server { address, shared, listening: Some(listening) })
    }

    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were made so far.
    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.close_all();
        // Wakes the listener, which then sees that it is stopped. A process without a free descriptor cannot, and
        // leaves the listener behind rather than wait for it.
        if TcpStream::connect(self.address).is_ok()
            && let Some(listening) = self.listening.take()
        {
            let _ = listening.join();
        }
    }
}

fn listen(listener: &TcpListener, shared: &Shared, handler: &Handler) {
    thread::scope(|scope| {
        for stream in listener.incoming() {
            if shared.stopped.load(Ordering::SeqCst) {
                break;
            }
            let Ok((stream, clone)) = stream.and_then(|stream| Ok((stream.try_clone()?, stream))) else {
                // Without a free descriptor `accept` would fail again at once.
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            let number = shared.connections.fetch_add(1, Ordering::SeqCst);
            shared.open().insert(number, clone);
            // Without a thread to be had the connection is dropped, and the next one tried.
            let _ = thread::Builder::new().spawn_scoped(scope, move || {
                // A connection that fails is the client's to notice.
                let _ = serve(&stream, handler);
                // Before this end of it goes: the clone would keep the connection open.
                shared.open().remove(&number);
            });
        }
        shared.close_all();
    });
}

fn serve(mut stream: &TcpStream, handler: &Handler) -> io::Result<()> {
    stream.set_nodelay(true)?;
    while let Some(request) = read_all_but_the_last_byte(stream)? {
        let reply = handler(&request);
        // A connection that is closed with a byte unread is reset (RFC 1122, 4.2.2.13): std has no other way to do it.
        if !matches!(reply.then, Then::Reset) {
            stream.read_exact(&mut [0])?;
        }
        // In one write: many small ones meet Nagle and delayed acknowledgements, 40 ms each.
        stream.write_all(&reply.bytes)?;
        match reply.then {
            Then::Keep if !request.is_the_last() => {}
            Then::Keep | Then::Close | Then::Reset => break,
            Then::Stall => while stream.read(&mut [0; 1024])? > 0 {},
            Then::Drip(bytes, pause) => {
                stream.set_read_timeout(Some(pause.max(Duration::from_millis(1))))?;
                for byte in bytes {
                    stream.write_all(&[byte])?;
                    // A pause, unless the client leaves or the server stops.
                    if stream.peek(&mut [0]).is_ok_and(|n| n == 0) {
                        break;
                    }
                }
                break;
            }
        }
    }
    Ok(())
}

/// Reads a request, but for its last byte; `None` if the client has left, or does not speak HTTP.
fn read_all_but_the_last_byte(mut stream: &TcpStream) -> io::Result<Option<Request>> {
    let Some(head) = read_head(stream)? else { return Ok(None) };
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut request = Request {
        method: first.next().unwrap_or_default().to_owned(),
        target: first.next().unwrap_or_default().to_owned(),
        version: first.next().unwrap_or_default().to_owned(),
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
        body: Vec::new(),
    };
    let length: u64 = match request.header("content-length").map(str::parse) {
        None => 0,
        Some(Ok(length)) => length,
        Some(Err(_)) => return refuse(stream),
    };
    if length > 0 {
        stream.read_exact(&mut [0])?;
        stream.take(length - 1).read_to_end(&mut request.body)?;
        let mut last = [0];
        if stream.peek(&mut last)? == 0 {
            return Ok(None);
        }
        request.body.push(last[0]);
    }
    Ok(Some(request))
}

/// Reads a head, but for its last byte. What it has seen of one it reads, so that it notices a client that leaves in
/// the middle.
fn read_head(mut stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut seen = [0; 4096];
    while head.len() < 64 * 1024 {
        let n = stream.peek(&mut seen)?;
        let known = head.len();
        head.extend_from_slice(&seen[..n]);
        // A TLS handshake, say: a server of plain HTTP answers it with 400.
        match head.first() {
            None => return Ok(None),
            Some(letter) if letter.is_ascii_uppercase() => {}
            Some(_) => return refuse(stream),
        }
        let from = known.saturating_sub(3);
        if let Some(at) = head[from..].windows(4).position(|four| four == b"\r\n\r\n") {
            head.truncate(from + at + 3);
            stream.read_exact(&mut seen[..head.len() - known])?;
            return Ok(Some(head));
        }
        if n == 0 {
            return Ok(None);
        }
        stream.read_exact(&mut seen[..n])?;
    }
    refuse(stream)
}

/// Ends a connection on which the next request cannot be told from the last.
fn refuse<T>(mut stream: &TcpStream) -> io::Result<Option<T>> {
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
    stream.shutdown(Shutdown::Write)?;
    // What the client still sends is read, or it would get a reset and no answer.
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    while stream.read(&mut [0; 1024])? > 0 {}
    Ok(None)
}
