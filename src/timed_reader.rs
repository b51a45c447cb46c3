//! A reader whose every read ends within a time limit.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::file_response::Framing;
use crate::worker::Workers;

/// A body that is read on a worker thread, so that a server cannot hold up the thread that wants its bytes.
///
/// The timeouts of the HTTP library start over with each byte that arrives. A TLS record, a chunk extension or a trailer
/// may arrive byte by byte, and not become a byte of the body for hours.
pub(crate) struct TimedReader {
    workers: Workers,
    limit: Duration,
    /// `None` once a read has taken too long: the thread that is still reading owns the body.
    source: Option<Source>,
}

struct Source {
    body: Box<dyn Read + Send + Sync>,
    buffer: Vec<u8>,
    /// The bytes of the buffer that have not been returned yet.
    start: usize,
    end: usize,
    /// The end of the body, or its error, which comes after these bytes.
    last: Option<io::Result<usize>>,
}

/// As much as 16 TLS records hold: handing a buffer to another thread costs as much CPU as decrypting a record.
const BUFFER_BYTES: usize = 256 * 1024;

/// The time after which a buffer is returned although it is not full. A slow body does not fill one for a minute.
const MAX_FILL_TIME: Duration = Duration::from_millis(100);

/// How much longer than its limit a read may take: the timeout of the HTTP library, which begins within the time above,
/// should come first, since it loses no byte that has arrived.
const GRACE: Duration = Duration::from_millis(200);

/// The time in which the longest TLS record, of 16 KiB, arrives at the lowest transfer rate. None of it can be read before
/// all of it has arrived.
const RECORD_TIME: Duration = Duration::from_secs(16);

/// Returns the time limit of a read, or `None` for a body of which no byte can be hidden from its reader.
pub(crate) fn limit(is_https: bool, framing: Framing, stall: Duration) -> Option<Duration> {
    match framing {
        _ if is_https => Some(stall.max(RECORD_TIME)),
        Framing::Chunked => Some(stall),
        Framing::Length(_) | Framing::UntilClose => None,
    }
}

impl TimedReader {
    pub(crate) fn new(body: impl Read + Send + Sync + 'static, workers: &Workers, limit: Duration) -> Self {
        let source = Source { body: Box::new(body), buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, last: None };
        TimedReader { workers: workers.clone(), limit, source: Some(source) }
    }

    /// Fills the buffer of a source. The source is lost if that takes too long.
    fn fill(&self, mut source: Source) -> io::Result<Source> {
        let filled = self.workers.run(self.limit + GRACE, move || {
            source.fill();
            source
        });
        filled.map_err(|stopped| io::Error::new(io::ErrorKind::TimedOut, stopped.to_string()))
    }
}

impl Source {
    fn fill(&mut self) {
        (self.start, self.end) = (0, 0);
        let started = Instant::now();
        loop {
            match self.body.read(&mut self.buffer[self.end..]) {
                Ok(n) if n > 0 => self.end += n,
                last => self.last = Some(last),
            }
            if self.end == self.buffer.len() || self.last.is_some() || started.elapsed() >= MAX_FILL_TIME {
                return;
            }
        }
    }
}

impl Read for TimedReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(mut source) = self.source.take() else { return Err(io::ErrorKind::TimedOut.into()) };
        if source.start == source.end && source.last.is_none() {
            source = self.fill(source)?;
        }
        let source = self.source.insert(source);
        let bytes = &source.buffer[source.start..source.end];
        if bytes.is_empty() {
            return source.last.take().unwrap_or(Ok(0));
        }
        let n = bytes.len().min(buf.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        source.start += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn bodies_that_can_hide_bytes_are_read_with_a_limit() {
        const SECOND: Duration = Duration::from_secs(1);
        let table = [
            (false, Framing::Length(5), 30, None),
            (false, Framing::UntilClose, 30, None),
            (false, Framing::Chunked, 30, Some(30)),
            (false, Framing::Chunked, 1, Some(1)),
            (true, Framing::Length(5), 30, Some(30)),
            (true, Framing::Chunked, 30, Some(30)),
            (true, Framing::UntilClose, 1, Some(16)),
        ];
        for (is_https, framing, stall, expected) in table {
            let found = limit(is_https, framing, stall * SECOND);
            assert_eq!(found, expected.map(|seconds: u32| seconds * SECOND), "{is_https} {framing:?} {stall}");
        }
    }

    #[test]
    fn bytes_arrive_in_order_in_buffers_of_any_size() {
        let bytes: Vec<u8> = (0..600_000_u32).map(|n| n as u8).collect();
        for size in [1000, BUFFER_BYTES, 1 << 20] {
            let mut reader = TimedReader::new(io::Cursor::new(bytes.clone()), &Workers::default(), LONG);
            let (mut read, mut buffer) = (Vec::new(), vec![0; size]);
            loop {
                match reader.read(&mut buffer).unwrap() {
                    0 => break,
                    n => read.extend_from_slice(&buffer[..n]),
                }
            }
            assert!(read == bytes, "{size}");
        }
    }

    /// Blocks until its sender is dropped.
    struct Blocks(Mutex<Receiver<()>>);

    impl Read for Blocks {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            let _ = self.0.get_mut().unwrap().recv();
            Ok(0)
        }
    }

    /// Returns three bytes at a time, and breaks off after nine of them.
    struct Breaks(usize);

    impl Read for Breaks {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0 > 3 { Err(io::ErrorKind::ConnectionReset.into()) } else { (&[7; 3][..]).read(buf) }
        }
    }

    #[test]
    fn an_error_comes_after_the_bytes_that_arrived_before_it() {
        let mut reader = TimedReader::new(Breaks(0), &Workers::default(), LONG);
        let mut bytes = Vec::new();
        assert_eq!(reader.read_to_end(&mut bytes).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(bytes, [7; 9]);
    }

    #[test]
    fn a_read_that_takes_too_long_is_an_error_and_so_is_the_next_one() {
        let (_end, ended) = channel();
        let mut reader = TimedReader::new(Blocks(Mutex::new(ended)), &Workers::default(), Duration::from_millis(1));
        for _ in 0..2 {
            assert_eq!(reader.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
    }
}
