//! A reader over a video file that resumes broken transfers and reports end of file only once the video is complete.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::api::{Api, StatusResponse};
use crate::error::{BoxError, Error, Result};
use crate::file_response::{ContentRange, FileResponse, Framing, Validators};
use crate::generation::{Status, Video};
use crate::http::describe_io_error;
use crate::mp4::{self, Boxes};
use crate::random;
use crate::resume_budget::ResumeBudget;
use crate::retry::{self, FailedAttempt, RetryClass};
use crate::save::TempVideo;
use crate::temp_file::check_writable;
use crate::transfer::{Digest, Reread, Transfer};
use crate::url::Url;

/// A reader over a video file, returned by [`Client::open`](crate::Client::open).
///
/// It resumes broken transfers automatically, and requests a new URL if the old one has expired. It waits for a file
/// server that is away, as [`Client::download`](crate::Client::download) does. It reports end of file (`Ok(0)`) only
/// once all bytes of one complete MP4 file have been read. Anything else is an error, which [`io::Error::downcast`]
/// turns into an [`Error`].
///
/// The transfer decides where the file ends: its `Content-Length`, or its last chunk. If a response has neither, the
/// structure of the file and [`Video::file_size`] decide.
///
/// To write the video to a file that is either complete or absent, pass the reader to [`save`](crate::save()).
///
/// # Example
///
/// ```
/// use std::io::Read;
/// use kling::VideoRequest;
/// use kling::emulator::Emulator;
///
/// let emulator = Emulator::start();
/// let client = emulator.client();
/// let video = client.generate(&VideoRequest::new("A fox in the snow"))?;
/// let mut bytes = Vec::new();
/// client.open(&video)?.read_to_end(&mut bytes)?;
/// assert_eq!(&bytes[4..8], b"ftyp");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a download does nothing unless it is read"]
pub struct Download {
    api: Api,
    video: Video,
    state: State,
    /// The length of the file, as far as its server has announced it.
    total: Option<u64>,
    validators: Validators,
    /// The number of bytes returned so far, and their structure.
    position: u64,
    boxes: Boxes,
    /// The digest of the bytes returned so far, if no validator identifies the file.
    digest: Option<Digest>,
    budget: ResumeBudget,
    ranges_failed: bool,
    url_renewed: bool,
    /// `true` if the server has another file at this URL than the one whose bytes were returned. It is shared, because
    /// a wrapper may own this reader.
    has_changed: Arc<AtomicBool>,
}

enum State {
    /// No response is open: the next read requests the file.
    Disconnected,
    Reading(Transfer),
    Done,
    Failed,
}

impl Download {
    /// Requests the file, and reads no byte of it yet. The download fails after `max_wait` without progress.
    pub(crate) fn open(api: Api, video: Video, max_wait: Duration) -> Result<Self> {
        let mut download = Download::new(api, video, max_wait);
        download.connect().map_err(|error| error.or_unfinished(&download.video.id))?;
        Ok(download)
    }

    fn new(api: Api, video: Video, max_wait: Duration) -> Self {
        let budget = ResumeBudget::new(max_wait, api.timeouts().stall);
        Download {
            api,
            video,
            state: State::Disconnected,
            total: None,
            validators: Validators::default(),
            position: 0,
            boxes: Boxes::default(),
            digest: None,
            budget,
            ranges_failed: false,
            url_renewed: false,
            has_changed: Arc::default(),
        }
    }

    /// Returns the length of the file in bytes, if it is known. The length that the file's server announces takes
    /// precedence over [`Video::file_size`].
    #[expect(clippy::len_without_is_empty, reason = "an empty file is not a video: reading it is an error")]
    pub fn len(&self) -> Option<u64> {
        self.total.or(self.video.file_size)
    }

    /// Returns the video that is being downloaded.
    pub fn video(&self) -> &Video {
        &self.video
    }

    fn read_next(&mut self, buf: &mut [u8]) -> Result<usize> {
        loop {
            let transfer = match &mut self.state {
                State::Reading(transfer) => transfer,
                State::Disconnected => {
                    self.connect()?;
                    continue;
                }
                State::Done | State::Failed => return Ok(0),
            };
            let is_reread = transfer.reread.is_some();
            let started = Instant::now();
            let result = transfer.read(buf);
            let waited = started.elapsed();
            let n = match result {
                Ok(0) => {
                    self.end_transfer(true, self.cut())?;
                    continue;
                }
                Ok(n) => n,
                Err(error) => {
                    self.budget.record_read(0, 0, waited);
                    self.end_transfer(false, self.no_response(describe_io_error(error)))?;
                    continue;
                }
            };
            let new_bytes = if is_reread { 0 } else { n };
            let is_too_slow = self.budget.record_read(n as u64, new_bytes as u64, waited);
            if is_reread {
                self.compare(&buf[..n])?
            } else {
                self.deliver(&buf[..n])?
            }
            if is_too_slow {
                self.interrupt(self.no_response("the transfer rate fell below 1 KiB/s".into()), None)?;
            }
            if new_bytes > 0 {
                return Ok(new_bytes);
            }
        }
    }

    /// Records bytes that are returned to the caller.
    fn deliver(&mut self, bytes: &[u8]) -> Result<()> {
        self.boxes.update(bytes).map_err(|found| self.not_a_video(found))?;
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
        self.position += bytes.len() as u64;
        match self.total {
            Some(total) if self.position > total => {
                Err(self.not_a_video(format!("it is longer than the announced {total} bytes")))
            }
            _ => Ok(()),
        }
    }

    /// Compares bytes with those that were returned before.
    fn compare(&mut self, bytes: &[u8]) -> Result<()> {
        let State::Reading(transfer) = &mut self.state else { return Ok(()) };
        let Some(reread) = transfer.reread.take_if(|reread| reread.update(bytes)) else { return Ok(()) };
        if reread.digest.is_some() {
            if reread.digest != self.digest {
                return Err(self.changed());
            }
            self.validators = reread.validators;
            self.digest = self.digest.filter(|_| !self.validators.are_strong());
        }
        Ok(())
    }

    /// Ends a transfer, and with it the download if the file is complete. `is_read` is `false` if the body broke off.
    fn end_transfer(&mut self, is_read: bool, error: Error) -> Result<()> {
        let State::Reading(transfer) = &self.state else { return Ok(()) };
        let is_until_close = transfer.framing == Framing::UntilClose;
        if transfer.reread.is_some() {
            // A framed body that ends here is another, shorter file.
            return if is_read && !is_until_close { Err(self.changed()) } else { self.interrupt(error, None) };
        }
        let size = self.video.file_size;
        let is_framed = match self.total {
            Some(total) => total == self.position,
            None if is_until_close => size == Some(self.position),
            None => is_read,
        };
        // Complete boxes alone are proof enough, unless the service announced more bytes.
        let may_end = is_read && self.total.is_none() && size.is_none_or(|size| size < self.position);
        match self.boxes.finish(is_framed) {
            Ok(()) if is_framed || may_end => {
                self.state = State::Done;
                Ok(())
            }
            Err(found) if is_framed && is_read => Err(self.not_a_video(found)),
            _ => self.interrupt(error, None),
        }
    }

    /// Closes the response, and waits before the next attempt. Returns `error` if the last attempt has been made.
    fn interrupt(&mut self, error: Error, retry_after: Option<Duration>) -> Result<()> {
        self.state = State::Disconnected;
        if self.wait(retry_after) { Ok(()) } else { Err(error) }
    }

    /// Records a failed attempt, and sleeps before the next one. Returns `false` if the last one has been made.
    fn wait(&mut self, retry_after: Option<Duration>) -> bool {
        let attempts = self.budget.record_failure();
        let delay = retry::backoff(attempts, self.api.retry_delay(), random::fraction());
        let delay = self.budget.next_delay(delay, retry_after);
        delay.inspect(|delay| thread::sleep(*delay)).is_some()
    }

    /// Requests the file until there is a body to read.
    fn connect(&mut self) -> Result<()> {
        loop {
            let started = Instant::now();
            let attempt = self.attempt();
            self.budget.record_wait(started.elapsed());
            match attempt {
                Ok(transfer) => {
                    self.state = State::Reading(transfer);
                    self.url_renewed = false;
                    return Ok(());
                }
                Err(FailedAttempt { error, class, retry_after }) => match class {
                    RetryClass::Transient => self.interrupt(*error, retry_after)?,
                    RetryClass::NotFound | RetryClass::MissingUrl => self.renew_url(*error, retry_after)?,
                    RetryClass::Permanent => return Err(*error),
                },
            }
        }
    }

    /// Requests the file once. If a validator identifies it, only the bytes that are missing are requested.
    fn attempt(&mut self) -> Result<Transfer, FailedAttempt> {
        let url = Url::parse(&self.video.url).map_err(|reason| permanent(self.no_response(reason.into())))?;
        let can_resume = self.validators.are_strong() && !self.ranges_failed;
        let from = if can_resume { self.position } else { 0 };
        let response = self.api.http().file(&url, from, &self.validators);
        let response = response.map_err(|error| FailedAttempt::new(error.class, self.no_response(error.cause)))?;
        match (response.status, response.range) {
            (200 | 203, None) => self.start(response.framing.length(), response),
            // A 200 has no use for `Content-Range`. If one says that the body begins elsewhere, the body is not the
            // file.
            (200 | 203, Some(range)) if range.first() == Some(0) => self.start(response.framing.length(), response),
            (206, Some(ContentRange::Part { first: 0, total, .. })) if from == 0 => self.start(total, response),
            (206, None) if from == 0 => self.start(None, response),
            (206, Some(range)) if from > 0 && self.is_rest_of_same_file(range, &response) => {
                self.total = range.total().or(self.total);
                Ok(Transfer::new(response, self.total))
            }
            // Nothing is left: the file ends where a body without a length ended.
            (416, Some(ContentRange::Unsatisfied { total })) if total == from && from > 0 => {
                self.total = Some(total);
                Ok(Transfer::empty())
            }
            // The range was misunderstood, or is of another file: a request without one will show it.
            (200 | 203 | 206 | 416, _) => {
                self.ranges_failed = true;
                Err(self.refused(RetryClass::Transient, &response))
            }
            // The URL has expired or is wrong, or the file is not published yet.
            (202 | 204 | 304 | 400..=404 | 410, _) => Err(self.refused(RetryClass::NotFound, &response)),
            (408 | 409 | 425 | 429 | 500.., _) => Err(self.refused(RetryClass::Transient, &response)),
            _ => Err(self.refused(RetryClass::Permanent, &response)),
        }
    }

    /// Reads a response that begins with the first byte of the file.
    fn start(&mut self, total: Option<u64>, response: FileResponse) -> Result<Transfer, FailedAttempt> {
        mp4::check_length(total.unwrap_or_default()).map_err(|found| permanent(self.not_a_video(found)))?;
        let validators = response.validators.clone();
        let mut transfer = Transfer::new(response, total);
        if self.position == 0 {
            self.digest = (!validators.are_strong()).then(Digest::default);
            (self.total, self.validators) = (total, validators);
            return Ok(transfer);
        }
        let is_same = self.validators.matches(&validators);
        let has_other_length = total.is_some_and(|total| self.total.is_some_and(|known| known != total));
        if has_other_length || !(is_same || self.digest.is_some()) {
            return Err(permanent(self.changed()));
        }
        let digest = (!is_same).then(Digest::default);
        transfer.reread = Some(Reread { left: self.position, digest, validators });
        Ok(transfer)
    }

    /// Returns `true` if a 206 is the rest of the file whose beginning was returned.
    fn is_rest_of_same_file(&self, range: ContentRange, response: &FileResponse) -> bool {
        let ContentRange::Part { first, last, total } = range else { return false };
        let has_same_total = total.is_none_or(|total| self.total.is_none_or(|known| known == total));
        let has_length_of_range = response.framing.length().is_none_or(|length| length == last - first + 1);
        let is_same = self.validators.are_continued_by(&response.validators);
        first == self.position && has_same_total && has_length_of_range && is_same
    }

    /// Asks the service for a new URL after the file's server has refused this one.
    ///
    /// A new URL is tried at once. If it is refused as well, the file may not be published yet: then, and while the
    /// service still reports the generation as completed, the delays grow.
    fn renew_url(&mut self, refusal: Error, retry_after: Option<Duration>) -> Result<()> {
        let is_first = !std::mem::replace(&mut self.url_renewed, true);
        if !is_first && !self.wait(retry_after) {
            return Err(refusal);
        }
        let started = Instant::now();
        let response = self.api.status(&self.video.id, None);
        self.budget.record_wait(started.elapsed());
        match response {
            Ok(StatusResponse { status: Status::Completed(video), .. }) => {
                let is_new = video.url != self.video.url;
                self.video = video;
                if is_first && !is_new && !self.wait(retry_after) { Err(refusal) } else { Ok(()) }
            }
            Ok(StatusResponse { status: Status::Failed(failure), .. }) => {
                Err(Error::Failed { id: self.video.id.clone(), failure })
            }
            Ok(_) => Err(refusal),
            Err(FailedAttempt { error, class: RetryClass::Permanent, .. }) => Err(*error),
            Err(FailedAttempt { error, retry_after, .. }) => {
                if self.wait(retry_after) {
                    Ok(())
                } else {
                    Err(*error)
                }
            }
        }
    }

    fn changed(&self) -> Error {
        self.has_changed.store(true, Ordering::Relaxed);
        self.not_a_video("the file on the server has changed since its first bytes were read".to_owned())
    }

    fn cut(&self) -> Error {
        let found = self.boxes.finish(false).err();
        self.not_a_video(found.unwrap_or_else(|| format!("it ends after {} bytes", self.position)))
    }

    fn refused(&self, class: RetryClass, response: &FileResponse) -> FailedAttempt {
        FailedAttempt {
            class,
            retry_after: response.retry_after,
            error: Box::new(Error::UnexpectedResponse {
                request: self.request(),
                status: response.status,
                // File stores explain a refusal with the signature of the URL.
                body: String::new(),
                source: None,
            }),
        }
    }

    fn shown_url(&self) -> String {
        self.api.http().redactor.url(&self.video.url)
    }

    fn request(&self) -> String {
        format!("GET {}", self.shown_url())
    }

    fn no_response(&self, cause: BoxError) -> Error {
        Error::NoResponse { request: self.request(), source: cause }
    }

    fn not_a_video(&self, found: String) -> Error {
        Error::NotAVideo { url: self.shown_url(), found }
    }
}

fn permanent(error: Error) -> FailedAttempt {
    FailedAttempt::new(RetryClass::Permanent, error)
}

impl Read for Download {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if matches!(self.state, State::Failed) {
            return Err(io::Error::other("this download has failed: open it again"));
        }
        if buf.is_empty() {
            return Ok(0);
        }
        self.read_next(buf).map_err(|error| {
            self.state = State::Failed;
            io::Error::other(error.or_unfinished(&self.video.id))
        })
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("video", &self.video)
            .field("total", &self.total)
            .field("position", &self.position)
            .finish()
    }
}

/// The maximum number of restarts of a download whose file changes on the server.
const MAX_RESTARTS: u32 = 4;

/// Downloads a video to a temporary file beside `path`. Fails after `max_wait` without progress.
///
/// `wrap` is called again if the download has to start over.
pub(crate) fn fetch<'a, R: Read>(
    api: &Api,
    video: &Video,
    path: &'a Path,
    max_wait: Duration,
    mut wrap: impl FnMut(Download) -> R,
) -> Result<TempVideo<'a>> {
    // Checked before waiting for the file's server.
    check_writable(path).map_err(|error| error.or_unfinished(&video.id))?;
    let mut restarts = 0;
    loop {
        let download = Download::open(api.clone(), video.clone(), max_wait)?;
        let has_changed = Arc::clone(&download.has_changed);
        match TempVideo::write(wrap(download), path) {
            // A file download can start over; only a reader that has already returned bytes cannot.
            Err(_) if has_changed.load(Ordering::Relaxed) && restarts < MAX_RESTARTS => restarts += 1,
            written => return written.map_err(|error| error.or_unfinished(&video.id)),
        }
    }
}
