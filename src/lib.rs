#![doc = "Docs follow."]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
mod client;
mod download;
#[cfg(feature = "emulator")]
pub mod emulator;
mod error;
mod generation;
mod http;
mod mp4;
mod poll;
mod random;
mod recover;
mod request;
mod retry;
mod save;
mod watch;

pub use api::Endpoint;
pub use client::{Client, ClientBuilder};
pub use download::Download;
pub use error::{Error, Result};
pub use generation::{Failure, GenerationId, Status, Usage, Video};
pub use poll::Poll;
pub use request::{AspectRatio, Seconds, VideoRequest};
pub use save::save;
pub use watch::Watch;
