//! One response that is being read, and the comparison of its prefix with what was read before.

use std::io::{self, Read};

use crate::file_response::{FileResponse, Framing, Validators};

/// One response that is being read.
pub(crate) struct Transfer {
    pub(crate) body: Box<dyn Read + Send + Sync>,
    pub(crate) framing: Framing,
    pub(crate) reread: Option<Reread>,
}

/// The prefix of a body that was already returned to the caller.
pub(crate) struct Reread {
    pub(crate) left: u64,
    /// `None` if the validators have shown that the file is the same.
    pub(crate) digest: Option<Digest>,
    /// Those of the file, once the prefix turns out to be the same.
    pub(crate) validators: Validators,
}

impl Transfer {
    /// The end of a part proves nothing unless the total is known.
    pub(crate) fn new(response: FileResponse, total: Option<u64>) -> Self {
        let is_unproven = response.status == 206 && total.is_none();
        let framing = if is_unproven { Framing::UntilClose } else { response.framing };
        Transfer { body: response.body, framing, reread: None }
    }

    pub(crate) fn empty() -> Self {
        Transfer { body: Box::new(io::empty()), framing: Framing::Length(0), reread: None }
    }

    /// Reads new bytes, or bytes of the prefix, but never both.
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let limit = self.reread.as_ref().and_then(|reread| usize::try_from(reread.left).ok());
        let window = buf.len().min(limit.unwrap_or(usize::MAX));
        self.body.read(&mut buf[..window])
    }
}

impl Reread {
    /// Records bytes of the prefix. Returns `true` if it is complete.
    pub(crate) fn update(&mut self, bytes: &[u8]) -> bool {
        self.left -= bytes.len() as u64;
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
        self.left == 0
    }
}

/// A digest of bytes that does not depend on the pieces they arrive in (FNV-1a). It detects a file that was replaced,
/// but not a forgery: a forger could replace the file before it is read at all.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Digest(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }
}
