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
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
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
        // Wakes the listener, which then sees that it is stopped.
        let _ = TcpStream::connect(self.address);
        if let Some(listening) = self.listening.take() {
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
            let Ok(stream) = stream else { continue };
            let number = shared.connections.fetch_add(1, Ordering::SeqCst);
            let Ok(clone) = stream.try_clone() else { continue };
            shared.open().insert(number, clone);
            scope.spawn(move || {
                // A connection that fails is the client's to notice.
                let _ = serve(&stream, handler);
                // Before the clone goes: a clone would keep the connection open.
                shared.open().remove(&number);
            });
        }
        for stream in shared.open().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
}

fn serve(mut stream: &TcpStream, handler: &Handler) -> io::Result<()> {
    stream.set_nodelay(true)?;
    while let Some(request) = read_all_but_the_last_byte(stream)? {
        let reply = handler(&request);
        if !matches!(reply.then, Then::Reset) {
            stream.read_exact(&mut [0])?;
        }
        // In one write: many small ones meet Nagle and delayed acknowledgements, 40 ms each.
        stream.write_all(&reply.bytes)?;
        match reply.then {
            Then::Keep => {}
            // A connection that is closed with a byte unread is reset (RFC 9293, 3.10.4, and RFC 1122, 4.2.2.13).
            Then::Close | Then::Reset => break,
            Then::Stall => while stream.read(&mut [0; 1024])? > 0 {},
            Then::Drip(bytes, pause) => {
                for byte in bytes {
                    stream.write_all(&[byte])?;
                    thread::sleep(pause);
                }
                break;
            }
        }
    }
    Ok(())
}

/// Reads a request, but for its last byte; `None` if the client has left. The last byte is the means to reset the
/// connection, which std offers no other way for.
fn read_all_but_the_last_byte(mut stream: &TcpStream) -> io::Result<Option<Request>> {
    let Some(length) = head_length(stream)? else { return Ok(None) };
    let mut head = vec![0; length - 1];
    stream.read_exact(&mut head)?;
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut request = Request {
        method: first.next().unwrap_or_default().to_owned(),
        target: first.next().unwrap_or_default().to_owned(),
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
        body: Vec::new(),
    };
    let length: usize = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    if length > 0 {
        stream.read_exact(&mut [0])?;
        stream.take(length as u64 - 1).read_to_end(&mut request.body)?;
        let mut last = [0];
        if stream.peek(&mut last)? == 0 {
            return Ok(None);
        }
        request.body.push(last[0]);
    }
    Ok(Some(request))
}

/// Waits for a whole head, and leaves it unread.
fn head_length(stream: &TcpStream) -> io::Result<Option<usize>> {
    let mut head = vec![0; 64 * 1024];
    loop {
        let n = stream.peek(&mut head)?;
        if let Some(end) = head[..n].windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(Some(end + 4));
        }
        match n {
            0 => return Ok(None),
            n if n == head.len() => return Err(io::ErrorKind::InvalidData.into()),
            // A peek returns at once while part of the head is there.
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
}
