//! The client. Each method is a thin wrapper over the modules below it.

use std::borrow::Borrow;
use std::fmt;
use std::io::Read;
use std::path::Path;

use crate::api::Api;
use crate::batch::Batch;
use crate::create::Create;
use crate::download::{self, Download};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::generation::{GenerationId, Status, Video};
use crate::poll::Poll;
use crate::recover::{self, Recovery};
use crate::request::VideoRequest;
use crate::retry::RetryClass;
use crate::save::{TempVideo, check_absent};
use crate::update::Update;
use crate::watch::Watch;

/// A client of the service. It holds an API key, and its methods turn a [`VideoRequest`] into a file.
///
/// A client is cheap to clone; clones share their connections. Its methods block the calling thread. It can be shared
/// between threads, and used in the blocking threads of an async runtime.
///
/// The client itself never logs. `ureq` logs through the `log` crate: at the TRACE level it prints everything that is
/// sent and received, including the API key and the signatures of URLs.
///
/// # Example
///
/// ```
/// use kling::VideoRequest;
/// use kling::emulator::Emulator;
///
/// // With an API key: let client = kling::Client::from_env()?;
/// let emulator = Emulator::start();
/// let client = emulator.client();
/// let path = std::env::temp_dir().join(format!("fox-{}.mp4", std::process::id()));
///
/// let video = client.generate(&VideoRequest::new("A fox in the snow"))?;
/// client.download(&video, &path)?;
/// assert!(path.exists());
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), kling::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    api: Api,
    poll: Poll,
    base_url: String,
}

impl Client {
    pub(crate) fn from_parts(api: Api, poll: Poll, base_url: String) -> Self {
        Client { api, poll, base_url }
    }

    /// Sends a create request, which costs money, and returns the id of the new generation without waiting for it.
    ///
    /// The request is sent on a new connection. It is retried at most twice, and only if the service certainly did not
    /// accept it: no byte of the body was sent, or the service responded with 429. A `Retry-After` of more than 60 s ends
    /// the attempts. Each attempt times out after 60 s, and has its own client request id unless you set one.
    ///
    /// # Errors
    ///
    /// - [`Error::InvalidRequest`]: the request failed validation and was not sent.
    /// - [`Error::NotSent`], [`Error::Refused`]: nothing was charged.
    /// - [`Error::OutcomeUnknown`]: the request may have been accepted. It is never retried automatically.
    ///
    /// # Example
    ///
    /// ```
    /// use kling::emulator::{Emulator, Step};
    /// use kling::{Error, VideoRequest};
    ///
    /// let emulator = Emulator::builder().create([Step::Close]).start();
    /// let request = VideoRequest::new("A fox in the snow");
    /// let error = emulator.client().create(&request).unwrap_err();
    /// assert!(matches!(error, Error::OutcomeUnknown { .. }));
    /// assert_eq!(emulator.creates().len(), 1);
    /// ```
    pub fn create(&self, request: &VideoRequest) -> Result<GenerationId> {
        Create::new(request)?.finish(&self.api)
    }

    /// Looks up a create request whose response was lost, using the client request id from [`Error::OutcomeUnknown`].
    ///
    /// The lookup reads the service's logs of the last 7 days, 100 entries a page and at most 200 pages a minute, which
    /// is what the service allows. The logs are those of one API key: use the key that sent the request. An entry may
    /// be listed only after the generation has finished. Look again after some minutes before you pay again.
    ///
    /// This is implemented from the service's August 2026 documentation and its description of `/v2/logs`; it has not
    /// been tested against the live service.
    ///
    /// # Errors
    ///
    /// - [`Error::InvalidRequest`]: `client_request_id` is not a valid client request id.
    /// - [`Error::OutcomeUnknown`]: the logs could not be read. Its source is [`Error::NoResponse`], [`Error::Refused`]
    ///   or [`Error::UnexpectedResponse`].
    ///
    /// # Example
    ///
    /// ```
    /// use kling::emulator::{Emulator, Step};
    /// use kling::{Error, Recovery, VideoRequest};
    ///
    /// // The service accepts the create request, and its response is lost.
    /// let emulator = Emulator::builder().create([Step::Reset]).start();
    /// let client = emulator.client();
    /// let lost = client.create(&VideoRequest::new("A fox in the snow"));
    /// let Err(Error::OutcomeUnknown { client_request_id, .. }) = lost else {
    ///     panic!("the response was lost");
    /// };
    ///
    /// let Recovery::Found(id) = client.recover(&client_request_id)? else {
    ///     panic!("the logs list it");
    /// };
    /// assert_eq!(client.wait(&id)?.duration, Some(5.0));
    /// assert_eq!(emulator.creates().len(), 1);
    /// # Ok::<(), kling::Error>(())
    /// ```
    pub fn recover(&self, client_request_id: &str) -> Result<Recovery> {
        recover::recover(&self.api, client_request_id)
    }

    /// Fetches the status of a generation once. The request times out after 30 s.
    ///
    /// A failed generation is not an error: the result is [`Status::Failed`].
    ///
    /// # Errors
    ///
    /// - [`Error::UnknownGeneration`]: the service does not know the id.
    /// - [`Error::Unfinished`], which carries the id. Its source is [`Error::NoResponse`],
    ///   [`Error::UnexpectedResponse`] or [`Error::Refused`].
    pub fn status(&self, id: &GenerationId) -> Result<Status> {
        let response = self.api.status(id, None);
        response.map(|response| response.status).map_err(|failed| match failed.class {
            RetryClass::NotFound => failed.error.or_unknown(id),
            _ => failed.error.or_unfinished(id),
        })
    }

    /// Returns an iterator over the statuses of a generation. The iterator polls the service and sleeps between polls.
    ///
    /// The first poll is sent immediately, and later ones at [`Poll::interval`] until [`Poll::max_wait`] has passed. A
    /// poll that fails for a transient reason is a *missed poll*: it is retried at the next interval, or later if the
    /// server requests it. Transient reasons are: no connection; a status of 408, 409, 425, 429 or 5xx; a response that
    /// cannot be read; a 404, until there have been only 404s for 60 s; and the first three `completed` without a video
    /// URL.
    ///
    /// # Errors
    ///
    /// The last item may be an error:
    ///
    /// - [`Error::Unfinished`], which carries the id. Its source is [`Error::DeadlineExceeded`], or the failure of the
    ///   last poll.
    /// - [`Error::UnknownGeneration`]: the service has never known the id, for 60 s.
    ///
    /// # Example
    ///
    /// ```
    /// use kling::VideoRequest;
    /// use kling::emulator::Emulator;
    ///
    /// let emulator = Emulator::start();
    /// let client = emulator.client();
    /// let id = client.create(&VideoRequest::new("A fox in the snow"))?;
    /// let mut statuses = Vec::new();
    /// for update in client.watch(&id) {
    ///     statuses.push(update?.to_string());
    /// }
    /// assert_eq!(statuses, ["queued", "generating", "completed"]);
    /// # Ok::<(), kling::Error>(())
    /// ```
    pub fn watch(&self, id: &GenerationId) -> Watch {
        Watch::new(self.api.clone(), id.clone(), self.poll)
    }

    /// Waits until a generation has finished, and returns its video.
    ///
    /// # Errors
    ///
    /// Those of [`watch`](Client::watch), and [`Error::Failed`] if the generation failed.
    pub fn wait(&self, id: &GenerationId) -> Result<Video> {
        Client::finish(self.watch(id))
    }

    fn finish(watch: Watch) -> Result<Video> {
        let finished = watch.updates().find_map(|update| match update {
            Update::Finished(outcome) => Some(outcome),
            _ => None,
        });
        finished.unwrap_or_else(|| unreachable!("`Finished` is always the last update"))
    }

    /// Creates a generation and waits for it: [`create`](Client::create), and then [`wait`](Client::wait).
    ///
    /// If the process is killed before this returns, the id is lost. To store it first, call the two methods yourself.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Client::create) and [`wait`](Client::wait). Every error after the create request carries the
    /// id: [`Error::generation_id`].
    pub fn generate(&self, request: &VideoRequest) -> Result<Video> {
        Client::finish(self.watch(&self.create(request)?).created_here())
    }

    /// Creates many generations and waits for them, on the thread that iterates: see [`Batch`].
    ///
    /// At most 4 generations are in flight at once; [`Batch::max_in_flight`] changes that. Each item is the index of a
    /// request, and what [`generate`](Client::generate) would return for it.
    ///
    /// # Example
    ///
    /// ```
    /// use kling::VideoRequest;
    /// use kling::emulator::Emulator;
    ///
    /// let emulator = Emulator::start();
    /// let client = emulator.client();
    /// let seas = ["calm", "wild", "frozen"];
    /// let requests = seas.map(|sea| VideoRequest::new(format!("A {sea} sea")));
    /// let mut videos = vec![None; requests.len()];
    /// for (index, outcome) in client.generate_all(&requests).max_in_flight(2) {
    ///     match outcome {
    ///         Ok(video) => videos[index] = Some(video),
    ///         Err(error) => eprintln!("sea {index}: {error}"),
    ///     }
    /// }
    /// assert!(videos.iter().all(Option::is_some));
    /// ```
    pub fn generate_all(&self, requests: impl IntoIterator<Item: Borrow<VideoRequest>>) -> Batch {
        self.batch(requests.into_iter().map(|request| request.borrow().clone()).enumerate())
    }

    /// Returns a batch whose items have these indices.
    pub(crate) fn batch(&self, requests: impl IntoIterator<Item = (usize, VideoRequest)>) -> Batch {
        Batch::new(self.api.clone(), self.poll, requests.into_iter())
    }

    /// Waits for many generations, on the thread that iterates: see [`Batch`].
    ///
    /// Each item is the index of an id in `ids`, and what [`wait`](Client::wait) would return for it.
    ///
    /// # Example
    ///
    /// ```
    /// use kling::VideoRequest;
    /// use kling::emulator::Emulator;
    ///
    /// let emulator = Emulator::start();
    /// let client = emulator.client();
    /// let fox = client.create(&VideoRequest::new("A fox"))?;
    /// let owl = client.create(&VideoRequest::new("An owl"))?;
    /// // This can run in another process: ids are plain strings.
    /// let outcomes = client.wait_all([fox, owl]);
    /// let finished = outcomes.filter(|(_, outcome)| outcome.is_ok()).count();
    /// assert_eq!(finished, 2);
    /// # Ok::<(), kling::Error>(())
    /// ```
    pub fn wait_all(&self, ids: impl IntoIterator<Item: Borrow<GenerationId>>) -> Batch {
        let mut batch = self.batch([]);
        for (index, id) in ids.into_iter().enumerate() {
            batch.wait_for(index, id.borrow().clone());
        }
        batch
    }

    /// Opens a video and returns a reader of known length, for a progress bar or any sink.
    ///
    /// The file is on another host, which never receives the API key. Its URL must use https, or http on loopback.
    ///
    /// # Errors
    ///
    /// [`Error::Unfinished`], which carries the id. Its source is [`Error::NoResponse`] (also if the URL may not be
    /// requested), [`Error::UnexpectedResponse`] or [`Error::NotAVideo`].
    pub fn open(&self, video: &Video) -> Result<Download> {
        Download::open(self.api.clone(), video.clone(), self.poll.max_wait)
    }

    /// Downloads a video to a file, and returns its length in bytes.
    ///
    /// The file is either complete or absent: it is written to a temporary file in the same directory, checked, synced,
    /// and then renamed over `path`. See [`save`](crate::save()) for what is not promised.
    ///
    /// Broken transfers are resumed where they stopped. An attempt is aborted after 30 s of silence
    /// ([`Timeouts::stall`](crate::Timeouts::stall)), or when the transfer rate drops below 1 KiB/s.
    ///
    /// A file server that is away, busy, or does not have the file yet is waited for. Attempts are retried with delays
    /// that grow from 1 s to 32 s, or as long as a `Retry-After` requests. If the server refuses the URL (400 to 404 or
    /// 410), the service is asked for a new one. The download fails once it has spent [`Poll::max_wait`] without progress,
    /// which is 64 KiB of new bytes. Files of more than 16 GiB are rejected.
    ///
    /// # Errors
    ///
    /// [`Error::Unfinished`], which carries the id. Its source is that of [`open`](Client::open), or [`Error::Io`].
    pub fn download(&self, video: &Video, path: impl AsRef<Path>) -> Result<u64> {
        self.download_with(video, path, |download| download)
    }

    /// Downloads a video like [`download`](Client::download), through a reader of your own: to show progress, say.
    ///
    /// `wrap` is called again if the download starts over, because the file has changed on its server.
    ///
    /// # Errors
    ///
    /// Those of [`download`](Client::download).
    ///
    /// # Example
    ///
    /// ```
    /// use std::io::{self, Read};
    /// use kling::emulator::Emulator;
    /// use kling::{Download, VideoRequest};
    ///
    /// /// Prints how much has been read. A progress bar has a method for this, such as
    /// /// indicatif's `wrap_read`.
    /// struct Progress(Download, u64);
    ///
    /// impl Read for Progress {
    ///     fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
    ///         let n = self.0.read(buf)?;
    ///         self.1 += n as u64;
    ///         println!("{} of {:?} bytes", self.1, self.0.len());
    ///         Ok(n)
    ///     }
    /// }
    ///
    /// let emulator = Emulator::start();
    /// let client = emulator.client();
    /// let path = std::env::temp_dir().join(format!("fox-with-{}.mp4", std::process::id()));
    /// let video = client.generate(&VideoRequest::new("A fox in the snow"))?;
    /// let bytes = client.download_with(&video, &path, |download| Progress(download, 0))?;
    /// assert_eq!(video.file_size, Some(bytes));
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), kling::Error>(())
    /// ```
    pub fn download_with<R: Read>(
        &self,
        video: &Video,
        path: impl AsRef<Path>,
        wrap: impl FnMut(Download) -> R,
    ) -> Result<u64> {
        let temp = download::fetch(&self.api, video, path.as_ref(), self.poll.max_wait, wrap)?;
        temp.persist().map_err(|error| error.or_unfinished(&video.id))
    }

    /// Downloads a video like [`download`](Client::download), but never replaces anything: fails if `path` exists.
    ///
    /// If several processes download to one path at the same time, exactly one succeeds: see
    /// [`save_new`](crate::save_new()).
    ///
    /// # Errors
    ///
    /// Those of [`download`](Client::download). The source of [`Error::Unfinished`] is [`Error::Io`] with
    /// [`AlreadyExists`](std::io::ErrorKind::AlreadyExists) if there is anything at `path`: before anything is
    /// requested, or because it appeared in the meantime.
    ///
    /// # Example
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use kling::emulator::Emulator;
    /// use kling::{Error, VideoRequest};
    ///
    /// let emulator = Emulator::start();
    /// let client = emulator.client();
    /// let path = std::env::temp_dir().join(format!("fox-once-{}.mp4", std::process::id()));
    /// let video = client.generate(&VideoRequest::new("A fox in the snow"))?;
    /// client.download_new(&video, &path)?;
    /// let Err(Error::Unfinished { source, .. }) = client.download_new(&video, &path) else {
    ///     panic!("it exists");
    /// };
    /// let Error::Io { source, .. } = *source else { panic!("{source}") };
    /// assert_eq!(source.kind(), ErrorKind::AlreadyExists);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), kling::Error>(())
    /// ```
    pub fn download_new(&self, video: &Video, path: impl AsRef<Path>) -> Result<u64> {
        let path = path.as_ref();
        let saved = check_absent(path).and_then(|()| self.fetch(video, path)).and_then(TempVideo::persist_new);
        saved.map_err(|error| error.or_unfinished(&video.id))
    }

    /// Downloads a video to a temporary file beside `path`.
    pub(crate) fn fetch<'a>(&self, video: &Video, path: &'a Path) -> Result<TempVideo<'a>> {
        download::fetch(&self.api, video, path, self.poll.max_wait, |download| download)
    }

    /// Returns the scheme, host and port of the server. An id is valid only there.
    pub fn base_url(&self) -> &str {
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
