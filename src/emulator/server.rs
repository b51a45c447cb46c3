//! HTTP/1.1 over `std::net`, on loopback: reads a request, sends a reply, and then keeps or breaks the connection.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The maximum length of a request's head in bytes, eight times that of common servers.
const MAX_HEAD: usize = 64 * 1024;

/// A request as it was received.
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
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Returns the value of the first query parameter with this name, percent-decoded.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        percent_decode(pairs.find(|(known, _)| *known == name)?.1)
    }

    /// Returns the value of the first header with this name, ignoring case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns `true` if the client wants the connection closed after the response.
    fn is_last(&self) -> bool {
        let connection = self.header("connection").unwrap_or(if self.version == "HTTP/1.0" { "close" } else { "" });
        connection.eq_ignore_ascii_case("close")
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                decoded.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            b'+' => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).ok()
}

/// The bytes to send, and the fate of the connection.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) bytes: Vec<u8>,
    pub(super) then: AfterReply,
}

/// The fate of a connection after a reply.
#[derive(Debug)]
pub(super) enum AfterReply {
    /// The server waits for the next request.
    KeepOpen,
    Close,
    Reset,
    /// The server sends nothing more until the client leaves.
    Stall,
    /// The server sends these bytes too, one by one with this pause, and closes.
    Throttle(Vec<u8>, Duration),
}

/// The function that handles the requests.
pub(super) type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// A listening port. It is closed, with all its connections, on drop.
pub(super) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    connections: AtomicUsize,
    /// The open connections, so that a stop can end them.
    open: Mutex<Vec<Arc<TcpStream>>>,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Vec<Arc<TcpStream>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_all(&self) {
        for stream in self.open().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Server {
    /// Listens on a loopback port; 0 takes a free one. Fails if the port is taken or no thread can be created.
    pub(super) fn start(port: u16, handler: Handler) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let listener = thread::Builder::new().spawn({
            let shared = Arc::clone(&shared);
            move || listen(&listener, &shared, &handler)
        })?;
        Ok(Server { address, shared, listener: Some(listener) })
    }

    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the number of connections made so far.
    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.close_all();
        // A connection wakes the listener, which then sees that it is stopped. A process without a free descriptor
        // cannot make one, and leaves the listener behind rather than wait for it.
        if TcpStream::connect(self.address).is_ok()
            && let Some(listener) = self.listener.take()
        {
            let _ = listener.join();
        }
    }
}

fn listen(listener: &TcpListener, shared: &Shared, handler: &Handler) {
    thread::scope(|scope| {
        for stream in listener.incoming() {
            let Ok(stream) = stream.map(Arc::new) else {
                // Without a free descriptor, `accept` would fail again at once.
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            shared.connections.fetch_add(1, Ordering::SeqCst);
            shared.open().push(Arc::clone(&stream));
            // Checked after the insertion, because a stop closes the connections that it finds, and then waits for this
            // thread.
            if shared.stopped.load(Ordering::SeqCst) {
                break;
            }
            let serve = move |keep_alive| {
                // The client notices if its connection fails.
                let _ = serve(&stream, handler, keep_alive);
                shared.open().retain(|open| !Arc::ptr_eq(open, &stream));
            };
            if thread::Builder::new()
                .spawn_scoped(scope, {
                    let serve = serve.clone();
                    move || serve(true)
                })
                .is_err()
            {
                // No thread can be created. This one serves a single request, so that it is back for the next client.
                serve(false);
            }
        }
        shared.close_all();
    });
}

fn serve(mut stream: &TcpStream, handler: &Handler, keep_alive: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    while let Some(request) = read_all_but_the_last_byte(stream)? {
        let mut reply = handler(&request);
        if request.method == "HEAD" {
            // The response has no body (RFC 9112, 6.3): it would be taken for the beginning of the next response.
            let end_of_head = reply.bytes.windows(4).position(|four| four == b"\r\n\r\n");
            reply.bytes.truncate(end_of_head.map_or(0, |at| at + 4));
        }
        // A connection that is closed with a byte unread is reset (RFC 1122, 4.2.2.13): std has no other way to do it.
        if !matches!(reply.then, AfterReply::Reset) {
            stream.read_exact(&mut [0])?;
        }
        // One write: many small ones meet Nagle's algorithm and delayed acknowledgements, 40 ms each.
        stream.write_all(&reply.bytes)?;
        match reply.then {
            AfterReply::KeepOpen if keep_alive && !request.is_last() => {}
            AfterReply::KeepOpen | AfterReply::Close | AfterReply::Reset => break,
            AfterReply::Stall => while stream.read(&mut [0; 1024])? > 0 {},
            AfterReply::Throttle(bytes, pause) => {
                stream.set_read_timeout(Some(pause.max(Duration::from_millis(1))))?;
                for byte in bytes {
                    stream.write_all(&[byte])?;
                    // The timeout is the pause. The read ends early if the client leaves or the server stops.
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

/// Reads a request, except for its last byte. Returns `None` if the client has left or does not speak HTTP.
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
        Some(Err(_)) => return reject(stream),
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

/// Reads the head of a request, except for its last byte. Peeked bytes are consumed before waiting for more, so that a
/// client that leaves in the middle is noticed.
fn read_head(mut stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut peeked = [0; 4096];
    while head.len() < MAX_HEAD {
        let n = stream.peek(&mut peeked)?;
        let known = head.len();
        head.extend_from_slice(&peeked[..n]);
        // A server of plain HTTP responds to a TLS handshake, for example, with 400.
        match head.first() {
            None => return Ok(None),
            Some(letter) if letter.is_ascii_uppercase() => {}
            Some(_) => return reject(stream),
        }
        let from = known.saturating_sub(3);
        if let Some(at) = head[from..].windows(4).position(|four| four == b"\r\n\r\n") {
            head.truncate(from + at + 3);
            stream.read_exact(&mut peeked[..head.len() - known])?;
            return Ok(Some(head));
        }
        if n == 0 {
            return Ok(None);
        }
        stream.read_exact(&mut peeked[..n])?;
    }
    reject(stream)
}

/// Ends a connection on which the beginning of the next request cannot be found.
fn reject<T>(mut stream: &TcpStream) -> io::Result<Option<T>> {
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
    stream.shutdown(Shutdown::Write)?;
    // The rest of the client's bytes is read: otherwise the client would get a reset, and no response.
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    while stream.read(&mut [0; 1024])? > 0 {}
    Ok(None)
}
