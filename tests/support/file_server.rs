//! A file server that responds as a test decides, and records the requests.

use std::io::{BufRead, BufReader};
use std::sync::{Arc, Mutex};

use kling::emulator::{Emulator, Step};
use kling::{Client, Poll, Video};

use super::{RawServer, fox, millis, respond};

/// A file server. It closes each connection after one response, and runs until the test process exits.
pub struct FileServer {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FileServer {
    /// Starts a server that sends what `response` returns for the number of the request, from 0 on, and for its head.
    pub fn start(response: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&requests);
        let server = RawServer::start(move |mut stream| {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let head = lines.map(|line| line + "\n").collect::<String>();
            let number = {
                let mut recorded = recorded.lock().unwrap();
                recorded.push(head.clone());
                recorded.len() - 1
            };
            respond(&mut stream, &response(number, &head));
        });
        FileServer { port: server.port, requests }
    }

    /// Starts a server that sends the same response to everything.
    pub fn always(response: Vec<u8>) -> Self {
        FileServer::start(move |_, _| response.clone())
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/output.mp4?signature=secret", self.port)
    }

    /// Returns the heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Returns this header of each request so far.
    pub fn headers(&self, name: &str) -> Vec<Option<String>> {
        self.requests().iter().map(|head| header(head, name).map(str::to_owned)).collect()
    }

    /// Returns a completed video on this server, and a client that waits this long without progress. The service
    /// returns the same URL whenever it is polled.
    pub fn video(&self, file_size: Option<u64>, max_wait: u64) -> (Emulator, Client, Video) {
        let status = serde_json::json!({
            "status": "completed",
            "video": { "url": self.url(), "file_size": file_size },
        });
        let emulator = Emulator::script(vec![Step::body(status.to_string()); 5000]);
        let poll = Poll { interval: millis(5), max_wait: millis(max_wait) };
        let client = emulator.client_builder().poll(poll).build().unwrap();
        let video = client.generate(&fox()).expect("only the file has faults");
        (emulator, client, video)
    }
}

/// Returns the value of a header.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}

/// Returns the first byte of the `Range` of a request.
pub fn range(head: &str) -> Option<usize> {
    header(head, "range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

/// Returns a response with a body that ends with the connection, unless `headers` frame it.
pub fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status}\r\n{headers}\r\n").as_bytes(), body].concat()
}

/// Returns a response with a `Content-Length` for all of `body`.
pub fn framed(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    response(status, &format!("{headers}Content-Length: {}\r\n", body.len()), body)
}

/// Returns a 206 with the bytes from `first` on.
pub fn part(file: &[u8], first: usize, headers: &str) -> Vec<u8> {
    let range = format!("Content-Range: bytes {first}-{}/{}\r\n{headers}", file.len() - 1, file.len());
    framed("206 Partial Content", &range, &file[first..])
}

/// Returns a chunked response without its last chunk.
pub fn chunks(headers: &str, body: &[u8]) -> Vec<u8> {
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let chunks = body.chunks(1000).flat_map(chunk).collect::<Vec<_>>();
    response("200 OK", &format!("{headers}Transfer-Encoding: chunked\r\n"), &chunks)
}

/// Returns a complete chunked response.
pub fn chunked(headers: &str, body: &[u8]) -> Vec<u8> {
    [chunks(headers, body), b"0\r\n\r\n".to_vec()].concat()
}

/// Returns boxes with these names, of 3,000 bytes each. No two stretches of bytes are equal.
pub fn boxes(names: &str) -> Vec<u8> {
    let a_box = |(number, name): (usize, &str)| {
        let content = (8..3000_usize).map(|at| (at * at + number * 7 + at / 256) as u8).collect::<Vec<_>>();
        [&3000_u32.to_be_bytes(), name.as_bytes(), &content].concat()
    };
    names.split(' ').enumerate().flat_map(a_box).collect()
}

/// Returns a playable file.
pub fn file() -> Vec<u8> {
    boxes("ftyp moov free mdat")
}
