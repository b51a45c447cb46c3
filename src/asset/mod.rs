//! A generated file that is paid for at most once, by whoever needs it first.
//!
//! The receipt is a file beside the asset, such as `campfire.mp4.receipt.jsonl`. It records each step before the step is
//! taken. Commit both files, and nobody pays again. In a build script, use [`build_script`](crate::build_script());
//! elsewhere, use [`ensure`].
//!
//! # Example
//!
//! ```
//! use kling::emulator::Emulator;
//! use kling::{Asset, VideoRequest, asset};
//!
//! let emulator = Emulator::start();
//! let path = std::env::temp_dir().join(format!("campfire-{}.mp4", std::process::id()));
//! let campfire = Asset::new(&path, VideoRequest::new("A campfire, seamless loop"));
//! assert_eq!(campfire.state()?, asset::State::Missing);
//!
//! // With an API key: `Client::from_env`. Called only if something is to be generated.
//! asset::ensure([&campfire], || Ok(emulator.client()))?;
//! assert!(campfire.state()?.is_current());
//!
//! asset::ensure([&campfire], || panic!("the asset is current"))?;
//! assert_eq!(emulator.creates().len(), 1);
//! # std::fs::remove_file(campfire.receipt_path()).unwrap();
//! # std::fs::remove_file(path).unwrap();
//! # Ok::<(), kling::Error>(())
//! ```
//!
//! # Receipts
//!
//! A receipt is a text file with one event per line. Each event names its attempt by the client request id, so receipts
//! of two branches can be merged by keeping the lines of both. In `.gitattributes`:
//!
//! ```text
//! *.receipt.jsonl merge=union -text
//! *.mp4 filter=lfs diff=lfs merge=lfs -text
//! ```
//!
//! The second line is for repositories that use Git LFS. Until `git lfs pull` has downloaded a
//! video, there is only a pointer file, and the asset is not current.
//!
//! A file is current if the receipt says that it was generated from the same request, and it has the recorded length. If
//! a later video for another request has the same length, the file may be that one, so it is not current.
//!
//! To give up a generation and pay for another one, delete the receipt, and move the file away. Nothing else makes
//! [`ensure`] pay twice for a request.
//!
//! # Files
//!
//! No video that was paid for is deleted. When another video takes its place, it is renamed to `campfire.1a2b3c4d.mp4`,
//! after its generation's id, and its lines stay in the receipt. If the asset's request changes back, it is put
//! back, and nothing is sent. Whether to commit or to delete it is up to you.
//!
//! A file is replaced only if it is a test clip of another emulator, or not a complete MP4 file. These files stay, and the
//! asset fails with a message:
//!
//! - A file without a receipt.
//! - A complete video of another length than the receipt records, because somebody may have edited it.
//! - A video that was paid for, if the client is that of an emulator: a rehearsal replaces rehearsals only.
//!
//! # Names
//!
//! If an asset is missing, and a receipt in the directory of any asset of the call records a video for the same request,
//! the asset was probably renamed. It is not paid for again: the error says which files to rename.
//!
//! Two assets of one call may have the same request. Each gets a video of its own.

mod advice;
mod attempt;
pub(crate) mod build_script;
mod cargo;
mod ensure;
mod event;
mod job;
mod journal;
mod kept;
mod mode;
mod nearby;
mod origin;
mod paths;
mod receipt;
mod state;
mod survey;

use std::path::PathBuf;

pub use self::ensure::{Ensure, EnsureUpdates};
pub use self::origin::Origin;
pub use self::state::{Asset, Difference, State};
use crate::client::Client;
use crate::error::Result;

/// Generates the assets that are not current, and returns the paths of all of them.
///
/// [`Ensure`] does the same with settings, and yields everything that happens.
///
/// Current assets are left alone; if all of them are current, `ensure` sends, writes and locks nothing, and does not
/// call `connect`. Missing assets are generated, up to 4 at a time. If an asset's generation already exists, it is
/// resumed instead.
///
/// Each step is recorded in the receipt before it is taken, and the receipt is locked meanwhile. However many threads
/// and processes run, and wherever they are interrupted, a request is paid for at most once. If an asset fails, the
/// others are still generated.
///
/// A request that differs in any field is a new request: its generation is charged, and its video takes the place of the
/// file. The previous one is kept under another name, if it was paid for: see [Files](self#files).
///
/// If another process holds the lock of an asset's receipt, `ensure` waits for at most
/// [`Poll::max_wait`](crate::Poll::max_wait) per asset.
///
/// # Errors
///
/// - [`Error::AssetsNotMade`](crate::Error::AssetsNotMade), once all assets have been tried. It holds the path and the
///   error of each that failed:
///   - [`Error::OutcomeUnknown`](crate::Error::OutcomeUnknown): a create request was sent, and the service's logs do not
///     say what became of it. The next run looks it up again.
///   - [`Error::Unfinished`](crate::Error::Unfinished): the generation exists. The next run resumes it.
///   - The other errors of [`Client::generate`] and [`Client::download`].
///   - [`Error::AssetNotCurrent`](crate::Error::AssetNotCurrent): the file that is there must stay, the video lies under
///     another name, or the generation was created on another server.
///   - [`Error::Io`](crate::Error::Io): the receipt or the file cannot be written, or the receipt is not valid.
/// - [`Error::InvalidConfig`](crate::Error::InvalidConfig): one path has two different requests.
/// - The errors of `connect`.
pub fn ensure<'a>(
    assets: impl IntoIterator<Item = &'a Asset>,
    connect: impl FnOnce() -> Result<Client>,
) -> Result<Vec<PathBuf>> {
    Ensure::new(assets).run(connect)
}
