//! Turns a text prompt into a video file with Kling 2.5 Turbo Pro on the AI/ML API
//! (`klingai/v2.5-turbo/pro/text-to-video`), and pays for it at most once. Blocking, with four dependencies.
//!
//! The [guide] explains everything in nine short chapters, for those who are new to this.
//!
//! Each method of [`Client`] takes a request one stage further:
//!
//! ```text
//! VideoRequest
//!   -- create --------------->  GenerationId
//!   -- status, watch, wait -->  Status::Completed(Video)
//!   -- open, download ------->  file
//! ```
//!
//! [`generate`](Client::generate) is [`create`](Client::create) followed by [`wait`](Client::wait):
//!
//! ```
//! use kling::VideoRequest;
//! use kling::emulator::Emulator;
//!
//! // With an API key: let client = kling::Client::from_env()?;
//! let emulator = Emulator::start();
//! let client = emulator.client();
//! let path = std::env::temp_dir().join(format!("raccoon-{}.mp4", std::process::id()));
//!
//! let video = client.generate(&VideoRequest::new("A raccoon runs through a forest"))?;
//! let bytes = client.download(&video, &path)?;
//! assert_eq!(std::fs::metadata(&path)?.len(), bytes);
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The other entry points:
//!
//! - [`Client::generate_all`] runs many generations on one thread.
//! - [`Watch::updates`] and [`Batch::updates`] yield everything that happens, to show progress or to stop a wait.
//! - [`build_script`](build_script()) generates an asset once, for everybody who builds the package.
//! - [`asset::ensure`] does the same outside of build scripts.
//!
//! # Terms
//!
//! - A *create request* starts a generation. It is the only request that costs money.
//! - A *poll* is one request for the status of a generation. A *missed poll* is one that failed for a transient reason,
//!   such as a lost connection; it is retried at the next interval.
//! - A generation is *in flight* from its creation until it has finished.
//! - An *asset* is a generated file that a program needs. Its *receipt*, a file beside it, records what was requested
//!   and generated.
//! - A *rehearsal* is a run against the emulator, offline and for free.
//!
//! # Promises
//!
//! - A create request is retried only if the service certainly did not accept it. If the outcome is unknown, it fails
//!   with [`Error::OutcomeUnknown`], and [`Client::recover`] looks it up in the service's logs.
//! - Once a generation exists, every error of a [`Client`] carries its id: [`Error::generation_id`].
//! - A missed poll does not end a wait. One deadline bounds the wait: [`Poll::max_wait`].
//! - A video file is complete or absent: see [`Client::download`], and [`save`](save()).
//! - The host of the file never receives the API key, and no error contains the key.
//!
//! # Features
//!
//! - `rustls` (default): TLS with Mozilla's root certificates.
//! - `native-tls`: TLS and root certificates of the operating system. Takes precedence over `rustls`.
//! - `platform-verifier`: rustls with the certificates that the operating system trusts, such as a company's own.
//! - `socks-proxy`: SOCKS proxies.
//! - `emulator`: an emulator of the service, for tests and rehearsals. Adds no dependency.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
pub mod asset;
mod batch;
mod builder;
mod charged;
mod client;
mod create;
mod decode;
mod download;
#[cfg(feature = "emulator")]
pub mod emulator;
mod error;
mod fields;
mod file_response;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod generation;
// Chapters without items: only rustdoc reads them.
#[cfg(any(doc, doctest))]
pub mod guide;
mod http;
mod json;
mod key_search;
mod logs;
mod message;
mod mp4;
mod outcome;
mod poll;
mod proxy;
mod random;
mod reason;
mod recover;
mod redact;
mod request;
mod response;
mod resume_budget;
mod retry;
mod save;
mod sending;
mod stream;
mod temp_file;
mod ticks;
mod timed_reader;
mod timeouts;
mod timestamp;
mod transfer;
mod update;
mod url;
mod watch;
mod wire;
mod worker;

pub use api::Endpoint;
#[doc(inline)]
pub use asset::Asset;
pub use asset::build_script::build_script;
pub use batch::{Batch, Progress};
pub use builder::ClientBuilder;
pub use charged::Charged;
pub use client::Client;
pub use download::Download;
pub use error::{Error, Result};
pub use fields::{AspectRatio, Seconds};
pub use generation::{Failure, GenerationId, Status, Usage, Video};
pub use poll::Poll;
pub use recover::Recovery;
pub use request::VideoRequest;
pub use save::{save, save_new};
pub use stream::{BatchUpdates, WatchUpdates};
pub use ticks::Ticks;
pub use timeouts::Timeouts;
pub use update::Update;
pub use watch::Watch;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
