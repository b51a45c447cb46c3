//! An emulator of the service on a loopback port, for rehearsals: offline runs that cost nothing, with scripted faults.
//!
//! It needs the feature `emulator`, which adds no package. In `Cargo.toml`:
//!
//! ```toml
//! [dev-dependencies]
//! kling = { path = "../kling", features = ["emulator"] } # a clone
//! ```
//!
//! The emulator validates requests by the service's schema. It serves the paths of both editions, `/v2/logs`, and one
//! of six test clips: real, playable videos of the requested length and aspect ratio. It records the requests that it
//! receives. The file server has a port of its own, as the service's files are on another host than its API.
//!
//! Each generation plays a script of [`Step`]s, one per poll; so do create requests, file requests and log requests.
//!
//! # Example: a user's own test
//!
//! ```
//! use kling::emulator::{Emulator, Step};
//! use kling::{Client, VideoRequest};
//!
//! fn length_of_the_trailer(client: &Client) -> kling::Result<u64> {
//!     let video = client.generate(&VideoRequest::new("A film about foxes"))?;
//!     Ok(video.file_size.unwrap_or(0))
//! }
//!
//! // The service is overloaded for a moment. The trailer is generated all the same, and
//! // paid for once.
//! let emulator = Emulator::script([Step::Queued, Step::Http(503), Step::Completed]);
//! assert!(length_of_the_trailer(&emulator.client()).unwrap() > 0);
//! assert_eq!(emulator.creates().len(), 1);
//! assert_eq!(emulator.polls().len(), 3);
//! ```
//!
//! # Limits
//!
//! The emulator was written from the service's documents, and never compared with the live service. It does not
//! reproduce:
//!
//! - Time and price. A generation ends after a number of polls, and costs the 120,000 credits of the documents' sample.
//! - Keys and credit. Any bearer token is accepted, and credit never runs out, unless a step refuses a request.
//! - Rate limits, except the number of generations in flight: [`max_concurrent`](EmulatorBuilder::max_concurrent).
//! - Moderation of prompts, and what a prompt describes: the video is a test clip.
//! - Models other than `klingai/v2.5-turbo/pro/text-to-video`.
//! - TLS, proxies and HTTP/2. A request with `Transfer-Encoding: chunked` is refused with 411.
//! - A port that refuses connections. To get one, drop the emulator and keep its URL.
//! - Resets on other systems than Linux, which may lose the bytes that [`ResetAfter`](Step::ResetAfter) sends.
//!
//! It is for tests and rehearsals on one machine, and not hardened against hostile clients.

mod builder;
mod clips;
mod date;
mod logs;
mod recorded;
mod response;
mod schema;
mod server;
mod service;
mod step;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use self::builder::EmulatorBuilder;
pub use self::recorded::RecordedRequest;
use self::server::Server;
use self::service::Service;
pub use self::step::Step;
use crate::builder::ClientBuilder;
use crate::client::Client;
use crate::poll::Poll;

/// A running emulator of the service. It shuts down when it is dropped.
#[must_use = "an emulator shuts down when it is dropped"]
pub struct Emulator {
    api: Server,
    // Dropped after the API, whose responses contain its URL.
    files: Server,
    service: Arc<Service>,
}

impl Emulator {
    /// Starts an emulator whose generations are `queued`, then `generating`, then `completed`.
    ///
    /// # Panics
    ///
    /// Panics if no loopback port is free or no thread can be created. [`EmulatorBuilder::try_start`] returns that as
    /// an error.
    pub fn start() -> Self {
        Emulator::builder().start()
    }

    /// Starts an emulator whose generations play these steps, one per poll, and are then `completed`.
    ///
    /// # Panics
    ///
    /// As [`start`](Emulator::start).
    pub fn script(steps: impl IntoIterator<Item = Step>) -> Self {
        Emulator::builder().status(steps).start()
    }

    /// Returns a builder, for scripts of other requests than polls and for other settings.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::new()
    }

    /// Returns the scheme, host and port of the API, for any client.
    pub fn base_url(&self) -> String {
        self.api.origin()
    }

    /// Returns a client of this emulator. It polls every 5 ms for at most 60 s, and begins to retry after 1 ms instead of
    /// 1 s, so that tests are quick.
    pub fn client(&self) -> Client {
        self.client_builder().build().expect("the emulator's own URL and key are valid")
    }

    /// Returns the builder that [`client`](Emulator::client) uses, for tests that need other settings.
    pub fn client_builder(&self) -> ClientBuilder {
        let poll = Poll { interval: Duration::from_millis(5), max_wait: Duration::from_secs(60) };
        Client::builder("offline-key")
            .base_url(self.base_url())
            .poll(poll)
            .timeouts(self.service.settings.client_timeouts)
            .retry_delay(Duration::from_millis(1))
    }

    /// Returns the create requests received so far, including refused ones.
    pub fn creates(&self) -> Vec<RecordedRequest> {
        self.service.state().creates.clone()
    }

    /// Returns the polls received so far.
    pub fn polls(&self) -> Vec<RecordedRequest> {
        self.service.state().polls.clone()
    }

    /// Returns the file requests received so far.
    pub fn files(&self) -> Vec<RecordedRequest> {
        self.service.state().files.clone()
    }

    /// Returns the number of connections made to the API so far.
    pub fn connections(&self) -> usize {
        self.api.connections()
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("api", &self.api.origin()).field("files", &self.files.origin()).finish()
    }
}

impl EmulatorBuilder {
    /// Starts the emulator.
    ///
    /// # Panics
    ///
    /// Panics if the port cannot be bound or no thread can be created.
    pub fn start(self) -> Emulator {
        self.try_start().expect("failed to start the emulator")
    }

    /// Starts the emulator, or returns why it cannot be started.
    ///
    /// # Errors
    ///
    /// The error of the operating system if the port cannot be bound or no thread can be created.
    pub fn try_start(self) -> io::Result<Emulator> {
        let port = self.port;
        let service = Arc::new(Service::new(self));
        let files = Server::start(0, {
            let service = Arc::clone(&service);
            Arc::new(move |request| service.file(request))
        })?;
        let api = Server::start(port, {
            let service = Arc::clone(&service);
            let files = files.origin();
            Arc::new(move |request| service.api(request, &files))
        })?;
        Ok(Emulator { api, files, service })
    }
}
