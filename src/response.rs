//! The response to an API request, as far as it has arrived.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::BoxError;

/// A thousand times the length of any documented response.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// The response to one API request.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    /// The `x-inference-id`: for a create request, the id of its generation.
    pub(crate) inference_id: Option<String>,
    pub(crate) body: Vec<u8>,
    /// Why the body is incomplete, if it is.
    pub(crate) body_error: Option<BoxError>,
}

/// A response that another thread reads.
#[derive(Clone, Default)]
pub(crate) struct Received(Arc<Mutex<Option<Response>>>);

impl Received {
    /// Stores a response whose head has arrived.
    pub(crate) fn start(&self, response: Response) {
        *self.lock() = Some(response);
    }

    /// Returns what has arrived so far. What arrives later is dropped.
    pub(crate) fn take(&self) -> Option<Response> {
        self.lock().take()
    }

    /// Reads the body to its end, or until the response was taken.
    pub(crate) fn read_body(&self, mut body: impl Read, describe_error: impl Fn(io::Error) -> BoxError) {
        // A status has some hundred bytes.
        let mut buffer = [0; 512];
        loop {
            let read = body.read(&mut buffer);
            let mut received = self.lock();
            let Some(response) = &mut *received else { return };
            match read {
                Ok(0) => {}
                Ok(n) if response.body.len() + n <= MAX_RESPONSE_BYTES => {
                    response.body.extend_from_slice(&buffer[..n]);
                    continue;
                }
                Ok(_) => response.body_error = Some("the response is longer than 1 MiB".into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => response.body_error = Some(describe_error(error)),
            }
            return;
        }
    }

    /// Locks, also after a panic in the HTTP library: what has arrived is still good.
    fn lock(&self) -> MutexGuard<'_, Option<Response>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails with these errors, and then returns as many bytes.
    struct Body(Vec<io::ErrorKind>, usize);

    impl Read for Body {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if let Some(kind) = self.0.pop() {
                return Err(kind.into());
            }
            let n = self.1.min(buf.len());
            self.1 -= n;
            Ok(n)
        }
    }

    #[test]
    fn a_body_is_read_to_its_end() {
        use io::ErrorKind::{ConnectionReset, Interrupted};
        let too_long = Some("the response is longer than 1 MiB");
        let table = [
            // errors, bytes after them, bytes received, why the body is incomplete
            (vec![], 0, 0, None),
            (vec![], MAX_RESPONSE_BYTES, MAX_RESPONSE_BYTES, None),
            (vec![], MAX_RESPONSE_BYTES + 1, MAX_RESPONSE_BYTES, too_long),
            (vec![Interrupted; 3], 600, 600, None),
            (vec![ConnectionReset, Interrupted], 600, 0, Some("connection reset")),
        ];
        for (errors, bytes, len, reason) in table {
            let received = Received::default();
            let (status, body) = (200, Vec::new());
            received.start(Response { status, retry_after: None, inference_id: None, body, body_error: None });
            received.read_body(Body(errors.clone(), bytes), |error| error.to_string().into());
            let response = received.take().unwrap();
            let found = (response.body.len(), response.body_error.map(|error| error.to_string()));
            assert_eq!(found, (len, reason.map(str::to_owned)), "{errors:?}, {bytes}");
        }
    }

    #[test]
    fn a_response_that_was_taken_is_not_read_any_further() {
        let mut body = Body(vec![], 5120);
        Received::default().read_body(&mut body, |error| error.into());
        assert_eq!(body.1, 5120 - 512);
    }
}
