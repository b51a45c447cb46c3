//! Turns a text prompt into a video file with Kling 2.5 Turbo Pro on the AI/ML API
//! (`klingai/v2.5-turbo/pro/text-to-video`), and pays for it at most once. Blocking, with four dependencies.
//!
//! The types are the stages, the verbs of [`Client`] are the arrows:
//!
//! ```text
//! VideoRequest --create--> GenerationId --status / watch / wait--> Status::Completed(Video) --open / download--> file
//! ```
//!
//! [`generate`](Client::generate) is [`create`](Client::create) and [`wait`](Client::wait):
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("raccoon.mp4");
//! use kling::VideoRequest;
//! use kling::emulator::Emulator;
//!
//! // With a key in the environment: let client = kling::Client::from_env()?;
//! let emulator = Emulator::start();
//! let client = emulator.client();
//!
//! let video = client.generate(&VideoRequest::new("A cheerful white raccoon running through a sequoia forest"))?;
//! let bytes = client.download(&video, &path)?;
//! assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes);
//! # Ok::<(), kling::Error>(())
//! ```
//!
//! [`generate_all`](Client::generate_all) does the same for many, on one thread. In a build script,
//! [`build_script`](build_script()) generates an asset once, for everybody; elsewhere, [`asset::ensure`] makes sure
//! that a file is there.
//!
//! # What can go wrong, and what is promised
//!
//! - A create is never sent twice unless the first was certainly not accepted; otherwise it comes back as
//!   [`Error::OutcomeUnknown`], and [`Client::recover`] looks it up in the service's logs.
//! - Every error of a [`Client`] after a create has the [`GenerationId`]: [`Error::generation_id`].
//! - A poll that fails is a missed poll, not a failed generation; one deadline bounds the wait ([`Poll`]).
//! - A video file is whole or absent: [`Client::download`], and [`save`] to show progress on the way.
//! - The host of the file never receives the key, and no error shows it.
//!
//! # Features
//!
//! - `rustls` (default): TLS with Mozilla's root certificates.
//! - `native-tls`: TLS and root certificates of the operating system; wins over `rustls`.
//! - `platform-verifier`: rustls, trusting what the operating system trusts.
//! - `socks-proxy`: SOCKS proxies.
//! - `emulator`: a stand-in for the service, for tests and rehearsals. It adds no package.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
pub mod asset;
mod batch;
mod builder;
mod client;
mod create;
mod decode;
mod download;
#[cfg(feature = "emulator")]
pub mod emulator;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod generation;
mod http;
mod json;
mod key_search;
mod logs;
mod mp4;
mod poll;
mod random;
mod reason;
mod recover;
mod redact;
mod request;
mod resume_budget;
mod retry;
mod save;
mod timestamp;
mod url;
mod watch;
mod wire;

pub use api::Endpoint;
pub use asset::Asset;
pub use asset::build_script::build_script;
pub use batch::{Batch, Progress};
pub use builder::ClientBuilder;
pub use client::Client;
pub use download::Download;
pub use error::{Error, Result};
pub use generation::{Failure, GenerationId, Status, Usage, Video};
pub use poll::Poll;
pub use recover::Recovery;
pub use request::{AspectRatio, Seconds, VideoRequest};
pub use save::save;
pub use watch::Watch;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
