//! The client: the verbs, each a few lines over the rooms below.

use std::env::{self, VarError};
use std::fmt;
use std::path::Path;

use crate::api::{Api, Draft, Endpoint};
use crate::batch::Batch;
use crate::download::{self, Download};
use crate::error::{Error, Result};
use crate::generation::{GenerationId, Status, Video};
use crate::http::{Http, Limits, Url};
use crate::poll::Poll;
use crate::recover;
use crate::request::VideoRequest;
use crate::retry::retry;
use crate::watch::{self, Watch};

/// The origin of the service.
pub(crate) const SERVICE: &str = "https://api.aimlapi.com";

/// The provider's own SDK reads these, in this order.
const KEY_VARIABLES: [&str; 2] = ["AIML_API_KEY", "AIMLAPI_API_KEY"];
const BASE_VARIABLES: [&str; 2] = ["AIML_API_BASE", "AIMLAPI_API_BASE"];

/// A client of the service: a key, and the verbs that turn a [`VideoRequest`] into a file.
///
/// Cheap to clone; clones share their connections. It blocks the thread that calls it, and nothing else: it can be
/// shared between threads, and be used in the blocking threads of an async runtime.
///
/// It never logs. `ureq` does, through the `log` crate: at the level TRACE it shows all that goes over the wire, the
/// key and the signatures of URLs too.
///
/// # Example
///
/// ```
/// # let emulator = kling::emulator::Emulator::start();
/// # let client = emulator.client();
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("fox.mp4");
/// use kling::{Client, VideoRequest};
///
/// // With a key: let client = Client::from_env()?;
/// let video = client.generate(&VideoRequest::new("A fox in the snow"))?;
/// client.download(&video, &path)?;
/// assert!(path.exists());
/// # Ok::<(), kling::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    api: Api,
    poll: Poll,
    base_url: String,
}

impl Client {
    /// A client with the key of the environment variable `AIML_API_KEY`, else `AIMLAPI_API_KEY`.
    ///
    /// `AIML_API_BASE`, else `AIMLAPI_API_BASE`, names another server, such as an emulator; as in the provider's own
    /// SDK, only scheme, host and port of it count. A variable that is empty counts as absent. Proxies come from
    /// `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, or their names in lower case; loopback never goes
    /// through one.
    ///
    /// # Errors
    ///
    /// [`Error::MissingKey`] if there is no key, [`Error::InvalidConfig`] if a value cannot be used.
    pub fn from_env() -> Result<Self> {
        let (key_name, key) = first_variable(KEY_VARIABLES)?.ok_or(Error::MissingKey)?;
        let mut builder = ClientBuilder { key_name, ..Client::builder(key) };
        if let Some((base_name, base)) = first_variable(BASE_VARIABLES)? {
            builder = ClientBuilder { base_name, ..builder.base_url(base) };
        }
        builder.build()
    }

    /// A client with this key, and defaults for all else.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`] if the key cannot stand in an HTTP header. The message does not show it.
    pub fn new(key: impl Into<String>) -> Result<Self> {
        Client::builder(key).build()
    }

    /// A client with this key, and settings of your own.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    /// use kling::{Client, Endpoint, Poll};
    ///
    /// # fn main() -> kling::Result<()> {
    /// # let base_url = "http://127.0.0.1:8080";
    /// let client = Client::builder("my-key")
    ///     .base_url(base_url)
    ///     .endpoint(Endpoint::Universal)
    ///     .poll(Poll { interval: Duration::from_secs(5), ..Poll::default() })
    ///     .user_agent("trailer-maker/1.0")
    ///     .build()?;
    /// assert!(!format!("{client:?}").contains("my-key"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(key: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            key: key.into(),
            key_name: "API key",
            base_name: "base URL",
            base_url: SERVICE.to_owned(),
            endpoint: Endpoint::default(),
            poll: Poll::default(),
            user_agent: concat!("kling-rs/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Limits::default(),
        }
    }

    /// Creates a generation, which costs money, and returns its id at once.
    ///
    /// It is sent on a fresh connection, and at most twice more, only when it was certainly not accepted: its body had
    /// not left, or the service answered 429, or 503 with a `Retry-After` of up to 60 s. Each try ends after 60 s.
    /// After such an answer, a request with a [`client_request_id`](VideoRequest::client_request_id) of yours comes
    /// back as refused instead: the logs could not tell two tries under one id apart.
    ///
    /// # Errors
    ///
    /// - [`Error::InvalidRequest`]: refused here.
    /// - [`Error::NotSent`], [`Error::Refused`]: nothing was charged.
    /// - [`Error::OutcomeUnknown`]: it may have been accepted. It is not sent again by itself.
    ///
    /// # Example
    ///
    /// ```
    /// use kling::emulator::{Emulator, Step};
    /// use kling::{Error, VideoRequest};
    ///
    /// let emulator = Emulator::builder().create([Step::Close]).start();
    /// let error = emulator.client().create(&VideoRequest::new("A fox in the snow")).unwrap_err();
    /// assert!(matches!(error, Error::OutcomeUnknown { .. }));
    /// assert_eq!(emulator.creates().len(), 1);
    /// ```
    pub fn create(&self, request: &VideoRequest) -> Result<GenerationId> {
        let mut draft = Draft::new(request)?;
        retry(&self.api, || self.api.create(&draft).inspect_err(|_| draft.renew()))
    }

    /// Looks up a create whose answer was lost, by the id that [`Error::OutcomeUnknown`] tells, in the service's logs.
    ///
    /// `None` means that the logs do not show it, which is no proof that it was not accepted: the service documents
    /// that the row of a video may appear only when its generation has ended, so look again after some minutes before
    /// you pay again. The logs of the last 7 days are read, 100 rows a page and at most 200 pages a minute, which the
    /// service allows. They are those of one key: look with the one that created.
    ///
    /// All this was read in the service's documents of August 2026 and its description of `/v2/logs`; nobody could try
    /// it against the live service.
    ///
    /// # Errors
    ///
    /// - [`Error::NotCharged`]: the logs say that it failed, and a failed request costs nothing.
    /// - [`Error::InvalidRequest`]: it is no client request id.
    /// - [`Error::NoAnswer`], [`Error::Refused`], [`Error::UnexpectedAnswer`]: the logs could not be read.
    ///
    /// # Example
    ///
    /// ```
    /// use kling::emulator::{Emulator, Step};
    /// use kling::{Error, VideoRequest};
    ///
    /// // The service accepts the create, and its answer is lost on the way.
    /// let emulator = Emulator::builder().create([Step::Reset]).start();
    /// let client = emulator.client();
    /// let video = match client.generate(&VideoRequest::new("A fox in the snow")) {
    ///     Err(Error::OutcomeUnknown { client_request_id, .. }) => {
    ///         let id = client.recover(&client_request_id)?.expect("the logs show it");
    ///         client.wait(&id)?
    ///     }
    ///     other => other?,
    /// };
    /// assert_eq!(video.duration, Some(5.0));
    /// assert_eq!(emulator.creates().len(), 1);
    /// # Ok::<(), kling::Error>(())
    /// ```
    pub fn recover(&self, client_request_id: &str) -> Result<Option<GenerationId>> {
        recover::recover(&self.api, client_request_id)
    }

    /// Asks once how far a generation is, and waits up to 30 s for the answer.
    ///
    /// A generation that has failed is an answer: [`Status::Failed`], not an error.
    ///
    /// # Errors
    ///
    /// [`Error::Unfinished`], which keeps the id; its source is [`Error::NoAnswer`], [`Error::UnexpectedAnswer`] or
    /// [`Error::Refused`].
    pub fn status(&self, id: &GenerationId) -> Result<Status> {
        let polled = self.api.status(id, None);
        polled.map(|polled| polled.status).map_err(|setback| setback.error.about(id))
    }

    /// Watches a generation: an iterator that gives each status, and sleeps between them.
    ///
    /// The first question is asked at once, the next ones in the interval of [`Poll`], until its deadline. A poll that
    /// fails for a passing reason (no connection, 408, 409, 425, 429, 5xx, an answer that cannot be read) is asked
    /// again at the next turn, later if the server asks for that; so is a 404 for the first 60 s, and `completed`
    /// without a URL three times.
    ///
    /// # Errors
    ///
    /// The last item may be [`Error::Unfinished`], which keeps the id; its source is [`Error::DeadlineExceeded`], or
    /// what the service answered.
    ///
    /// # Example
    ///
    /// ```
    /// # let emulator = kling::emulator::Emulator::start();
    /// # let client = emulator.client();
    /// use kling::VideoRequest;
    ///
    /// let id = client.create(&VideoRequest::new("A fox in the snow"))?;
    /// let mut words = Vec::new();
    /// for update in client.watch(&id) {
    ///     words.push(update?.to_string());
    /// }
    /// assert_eq!(words, ["queued", "generating", "completed"]);
    /// # Ok::<(), kling::Error>(())
    /// ```
    pub fn watch(&self, id: &GenerationId) -> Watch {
        Watch::new(self.api.clone(), id.clone(), self.poll)
    }

    /// Waits until a generation has ended, and returns its video.
    ///
    /// # Errors
    ///
    /// As [`watch`](Client::watch), and [`Error::Failed`] if the generation ended without a video.
    pub fn wait(&self, id: &GenerationId) -> Result<Video> {
        let outcome = self.watch(id).find_map(|update| watch::outcome(id, update));
        outcome.unwrap_or_else(|| unreachable!("a watch ends with a finished status or an error"))
    }

    /// Creates a generation and waits for it: [`create`](Client::create), then [`wait`](Client::wait).
    ///
    /// # Errors
    ///
    /// Those of the two. Until it ends, the id is known to this call alone: an error after the create has it
    /// ([`Error::generation_id`]), a process that is killed does not. To keep it before the wait, call the two.
    pub fn generate(&self, request: &VideoRequest) -> Result<Video> {
        self.wait(&self.create(request)?)
    }

    /// Creates many generations and waits for them, on the thread that iterates: see [`Batch`]. At most 4 are in flight
    /// at once, unless [`Batch::in_flight`] says otherwise; an item is what [`generate`](Client::generate) would
    /// return.
    ///
    /// # Example
    ///
    /// ```
    /// # let emulator = kling::emulator::Emulator::start();
    /// # let client = emulator.client();
    /// use kling::VideoRequest;
    ///
    /// let requests = ["calm", "wild", "frozen"].map(|sea| VideoRequest::new(format!("A {sea} sea")));
    /// let mut videos = vec![None; requests.len()];
    /// for (index, outcome) in client.generate_all(&requests).in_flight(2) {
    ///     match outcome {
    ///         Ok(video) => videos[index] = Some(video),
    ///         Err(error) => eprintln!("sea {index}: {error}"),
    ///     }
    /// }
    /// assert!(videos.iter().all(Option::is_some));
    /// ```
    pub fn generate_all<'a>(&self, requests: impl IntoIterator<Item = &'a VideoRequest>) -> Batch {
        self.batch(requests.into_iter().cloned().enumerate())
    }

    /// A batch whose items have these indices.
    pub(crate) fn batch(&self, requests: impl IntoIterator<Item = (usize, VideoRequest)>) -> Batch {
        Batch::new(self.api.clone(), self.poll, requests.into_iter())
    }

    /// Waits for many generations, on the thread that iterates: see [`Batch`]. Their index is their place in `ids`; an
    /// item is what [`wait`](Client::wait) would return.
    ///
    /// # Example
    ///
    /// ```
    /// # let emulator = kling::emulator::Emulator::start();
    /// # let client = emulator.client();
    /// use kling::VideoRequest;
    ///
    /// let ids = [client.create(&VideoRequest::new("A fox"))?, client.create(&VideoRequest::new("An owl"))?];
    /// // Perhaps in another process: the ids are plain strings.
    /// let finished = client.wait_all(ids).filter(|(_, outcome)| outcome.is_ok()).count();
    /// assert_eq!(finished, 2);
    /// # Ok::<(), kling::Error>(())
    /// ```
    pub fn wait_all(&self, ids: impl IntoIterator<Item = GenerationId>) -> Batch {
        let mut batch = self.generate_all([]);
        for (index, id) in ids.into_iter().enumerate() {
            batch.wait_for(index, id);
        }
        batch
    }

    /// Opens a video: a reader of known length, for a progress bar or any sink.
    ///
    /// The file lies on another host, which never receives the key. Its URL has to be https (or on loopback).
    ///
    /// # Errors
    ///
    /// [`Error::Unfinished`], which keeps the id; its source is [`Error::NoAnswer`], also for a URL that may
    /// not be asked, [`Error::UnexpectedAnswer`] or [`Error::NotAVideo`].
    pub fn open(&self, video: &Video) -> Result<Download> {
        Download::open(self.api.clone(), video.clone())
    }

    /// Downloads a video to a file, and returns its length in bytes.
    ///
    /// The file is whole or absent: it is written beside its place, checked, synced and renamed, and replaces a file
    /// that was there. A transfer that broke goes on where it broke; five attempts in a row without a new byte end it,
    /// and so do a hundred that bring less than 64 KiB each. Silence for 30 s is a break, and so is less than 1 KiB/s.
    /// See [`save`](crate::save()) for what is not promised.
    ///
    /// # Errors
    ///
    /// [`Error::Unfinished`], which keeps the id; its source is that of [`open`](Client::open) or [`Error::Io`].
    pub fn download(&self, video: &Video, path: impl AsRef<Path>) -> Result<u64> {
        self.download_if(video, path.as_ref(), &|| Ok(()))
    }

    /// The same, if the whole file may still be put in its place when it is there.
    pub(crate) fn download_if(
        &self,
        video: &Video,
        path: &Path,
        may_be_placed: &dyn Fn() -> Result<()>,
    ) -> Result<u64> {
        download::download(&self.api, video, path, may_be_placed)
    }

    /// The origin of the server.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    pub(crate) fn poll(&self) -> Poll {
        self.poll
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.base_url).field("poll", &self.poll).finish_non_exhaustive()
    }
}

/// The settings of a [`Client`], made by [`Client::builder`].
#[derive(Clone)]
#[must_use]
pub struct ClientBuilder {
    key: String,
    /// What an error calls the key and the base URL: the variable that they came from.
    key_name: &'static str,
    base_name: &'static str,
    base_url: String,
    endpoint: Endpoint,
    poll: Poll,
    user_agent: String,
    limits: Limits,
}

impl ClientBuilder {
    /// Sets the server. Only its scheme, host and port count. It has to be https, or http on loopback, and hold no
    /// user name. Defaults to `https://api.aimlapi.com`.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Sets which of the service's two paths is used. Defaults to [`Endpoint::Vendor`].
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// Sets how often and how long a generation's status is asked. Defaults to every 10 s for 1,000 s.
    pub fn poll(mut self, poll: Poll) -> Self {
        self.poll = poll;
        self
    }

    /// Sets what the client calls itself. Defaults to `kling-rs/` and the version of this library.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    #[cfg(feature = "emulator")]
    pub(crate) fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Builds the client. No byte is sent.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`] if a setting cannot be used. The message never shows the key.
    pub fn build(self) -> Result<Client> {
        let invalid = |what, reason: &str| Error::InvalidConfig { what, reason: reason.to_owned() };
        // A header takes visible ASCII (RFC 9110, 5.5); a key with anything else was copied wrongly.
        let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible(&self.key) {
            return Err(invalid(
                self.key_name,
                "it is empty, or holds a space, a line break or a character beyond ASCII",
            ));
        }
        if !self.user_agent.split(' ').all(visible) {
            return Err(invalid("user agent", "it is empty, or holds more than visible ASCII and single spaces"));
        }
        if self.poll.interval.is_zero() {
            return Err(invalid("poll interval", "it is zero: the service would be asked without a pause"));
        }
        let url = Url::parse(&self.base_url).map_err(|reason| invalid(self.base_name, reason))?;
        let http =
            Http::new(&url, &self.key, &self.user_agent, self.limits).map_err(|reason| invalid("proxy", reason))?;
        Ok(Client { api: Api::new(http, &url.origin(), self.endpoint), poll: self.poll, base_url: url.origin() })
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The base URL is not checked yet, and may hold a password.
        f.debug_struct("ClientBuilder")
            .field("endpoint", &self.endpoint)
            .field("poll", &self.poll)
            .finish_non_exhaustive()
    }
}

/// The name and the value of the first variable that is set and not empty.
fn first_variable(names: [&'static str; 2]) -> Result<Option<(&'static str, String)>> {
    for name in names {
        match env::var(name) {
            Ok(value) if !value.is_empty() => return Ok(Some((name, value))),
            Ok(_) | Err(VarError::NotPresent) => {}
            Err(VarError::NotUnicode(_)) => {
                return Err(Error::InvalidConfig { what: name, reason: "it is not valid Unicode".to_owned() });
            }
        }
    }
    Ok(None)
}
