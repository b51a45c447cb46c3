//! Chapter 4: files that are complete or absent.
//!
//! The finished video is a file on another host. It has about 20 MB, and its URL is valid for a limited time.
//! [`Client::download`] copies it to your disk, and makes three promises.
//!
//! 1. *The file is complete or absent.* The bytes go to a temporary file beside the target. Only when they are a
//!    complete MP4 file, and are synced to the disk, is the temporary file renamed.
//! 2. *A broken transfer is resumed.* The next request is for the rest (`Range`), on the condition that it is still the
//!    same file (`If-Range`). If it is another one, the download starts over.
//! 3. *The API key stays here.* The host of the file never receives it.
//!
//! ```
//! use kling::VideoRequest;
//! use kling::emulator::{Emulator, Step};
//!
//! // The connection breaks after 10,000 bytes. Then the server is away for a moment.
//! let script = [Step::ResetAfter(10_000), Step::Http(503)];
//! let emulator = Emulator::builder().file(script).start();
//! let client = emulator.client();
//!
//! let video = client.generate(&VideoRequest::new("A fox in the snow"))?;
//! let path = std::env::temp_dir().join(format!("fox-4-{}.mp4", std::process::id()));
//! let bytes = client.download(&video, &path)?;
//!
//! assert_eq!(std::fs::metadata(&path)?.len(), bytes);
//! let requests = emulator.files();
//! assert_eq!(requests.len(), 3);
//! assert_eq!(requests[0].header("range"), None);
//! assert_eq!(requests[2].header("range"), Some("bytes=10000-"));
//! assert!(requests.iter().all(|request| request.header("authorization").is_none()));
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What else can go wrong
//!
//! - *The URL has expired.* The file's host refuses it, and the client requests a new one from the service. That is why a
//!   [`Video`] holds the id of its generation.
//! - *The host is away, or does not have the file yet.* The request is retried, with pauses that grow to 32 s.
//! - *Nothing arrives for 30 s*, or less than 1 KiB per second. The connection counts as broken.
//! - *A web page arrives instead of a video.* The error is `NotAVideo`, and no file is written.
//!
//! A download that makes no progress for [`Poll::max_wait`] ends as [`Unfinished`]. Then call it again: a new download
//! starts at the first byte.
//!
//! "Complete" means that the structure of the MP4 file is complete. The picture itself is not checked.
//!
//! # Not over another file
//!
//! `download` replaces a file of the same name. [`download_new`] never does, even if two processes choose one name at
//! the same time:
//!
//! ```
//! use std::io::ErrorKind;
//! use kling::emulator::Emulator;
//! use kling::{Error, VideoRequest};
//!
//! let emulator = Emulator::start();
//! let client = emulator.client();
//! let video = client.generate(&VideoRequest::new("A fox in the snow"))?;
//! let path = std::env::temp_dir().join(format!("fox-5-{}.mp4", std::process::id()));
//!
//! client.download_new(&video, &path)?;
//! let Err(Error::Unfinished { source, .. }) = client.download_new(&video, &path) else {
//!     panic!("the file exists");
//! };
//! let Error::Io { source, .. } = *source else { panic!("{source}") };
//! assert_eq!(source.kind(), ErrorKind::AlreadyExists);
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The error comes when the video is paid for. A program that takes a path from its user checks it before it creates.
//!
//! # Progress
//!
//! [`Client::download_with`] hands each byte through a reader of yours, such as the `wrap_read` of a progress bar.
//! [`Client::open`] returns the reader itself, for any other use: a [`Download`] is a [`Read`](std::io::Read) of known
//! length, which resumes broken transfers as well.
//!
//! Next: [batches](super::_5_batches).
//!
//! [`Client::download`]: crate::Client::download
//! [`Client::download_with`]: crate::Client::download_with
//! [`Client::open`]: crate::Client::open
//! [`download_new`]: crate::Client::download_new
//! [`Download`]: crate::Download
//! [`Video`]: crate::Video
//! [`Poll::max_wait`]: crate::Poll::max_wait
//! [`Unfinished`]: crate::Error::Unfinished
