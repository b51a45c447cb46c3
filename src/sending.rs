//! The body of a create request: whether it has begun to leave, or was withdrawn before.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Whether the body of a create request has begun to leave, or has been withdrawn.
///
/// ureq sends the head first and reads the body afterwards: a body that was not read has not been sent. Of sending and
/// withdrawing, the first decides: a request that was given up before its body was read can never send it later.
#[derive(Clone, Default)]
pub(crate) struct Sending(Arc<AtomicU8>);

impl Sending {
    const PENDING: u8 = 0;
    const SENT: u8 = 1;
    const WITHDRAWN: u8 = 2;

    /// Returns `true` if the body may be sent.
    fn start(&self) -> bool {
        self.settle(Self::SENT)
    }

    /// Returns `true` if the body was not sent and never will be.
    pub(crate) fn withdraw(&self) -> bool {
        self.settle(Self::WITHDRAWN)
    }

    fn settle(&self, state: u8) -> bool {
        match self.0.compare_exchange(Self::PENDING, state, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(settled) => settled == state,
        }
    }
}

/// A request body that is read only if the request has not been withdrawn.
pub(crate) struct TrackedBody {
    body: io::Cursor<Vec<u8>>,
    sending: Sending,
}

impl TrackedBody {
    pub(crate) fn new(body: Vec<u8>, sending: &Sending) -> Self {
        TrackedBody { body: io::Cursor::new(body), sending: sending.clone() }
    }
}

impl Read for TrackedBody {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.sending.start() { self.body.read(buf) } else { Err(io::Error::other("the request was withdrawn")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_was_withdrawn_is_never_read() {
        let sending = Sending::default();
        let mut body = TrackedBody::new(b"{}".to_vec(), &sending);
        assert!(sending.withdraw());
        assert!(body.read(&mut [0; 8]).is_err());
        assert!(sending.withdraw());
    }

    #[test]
    fn a_body_that_was_read_cannot_be_withdrawn() {
        let sending = Sending::default();
        let mut body = TrackedBody::new(b"{}".to_vec(), &sending);
        assert_eq!(body.read(&mut [0; 8]).unwrap(), 2);
        assert!(!sending.withdraw());
        assert_eq!(body.read(&mut [0; 8]).unwrap(), 0);
    }
}
