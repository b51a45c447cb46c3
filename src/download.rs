//! A download: a reader that goes on after a broken transfer, and ends well only when the video is whole.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::api::{Api, StatusResponse};
use crate::error::{BoxError, Error, Result};
use crate::generation::{Status, Video};
use crate::http::{FileResponse, Validators, describe_io_error};
use crate::mp4::Boxes;
use crate::random;
use crate::redact::redact_url;
use crate::resume_budget::ResumeBudget;
use crate::retry;
use crate::retry::{FailedAttempt, RetryClass};
use crate::save::TempVideo;
use crate::url::Url;

/// A video on its way: a reader, made by [`Client::open`](crate::Client::open).
///
/// It goes on by itself where a transfer broke, and asks for a fresh URL once when the old one has expired. It reads to
/// its end (`Ok(0)`) only if all bytes have come, of one file, and are one whole MP4 file; anything else is an error,
/// which [`io::Error::downcast`] turns into an [`Error`].
///
/// To write it to a file that is whole or absent, hand it to [`save`](crate::save()).
///
/// # Example
///
/// ```
/// # let emulator = kling::emulator::Emulator::start();
/// # let client = emulator.client();
/// use std::io::Read;
/// use kling::VideoRequest;
///
/// let video = client.generate(&VideoRequest::new("A fox in the snow"))?;
/// let mut bytes = Vec::new();
/// client.open(&video)?.read_to_end(&mut bytes).expect("a whole video");
/// assert_eq!(&bytes[4..8], b"ftyp");
/// # Ok::<(), kling::Error>(())
/// ```
pub struct Download {
    api: Api,
    video: Video,
    body: Option<Box<dyn Read + Send + Sync>>,
    /// What is known of the file.
    total: Option<u64>,
    version: Validators,
    /// The bytes handed out: how many, their digest, and the boxes that they are.
    position: u64,
    digest: Digest,
    boxes: Boxes,
    /// What of `body` was handed out before, and is read again to see whether it is the same.
    again: Option<Again>,
    effort: ResumeBudget,
    ranges_refused: bool,
    asked_afresh: bool,
    end: Option<End>,
}

struct Again {
    left: u64,
    digest: Digest,
    /// What becomes known of the file if it is the same.
    total: Option<u64>,
    version: Validators,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Whole,
    /// The server has another file at this place than the one whose bytes were handed out.
    Changed,
    Broken,
}

impl Download {
    /// Connects, and reads no byte of the file yet.
    pub(crate) fn open(api: Api, video: Video) -> Result<Self> {
        let mut download = Download {
            api,
            video,
            body: None,
            total: None,
            version: Validators::default(),
            position: 0,
            digest: Digest::default(),
            boxes: Boxes::default(),
            again: None,
            effort: ResumeBudget::default(),
            ranges_refused: false,
            asked_afresh: false,
            end: None,
        };
        download.connect().map_err(|error| error.or_unfinished(&download.video.id))?;
        Ok(download)
    }

    /// The length of the file in bytes, if its server or the service tells it.
    #[expect(clippy::len_without_is_empty, reason = "an empty file is no video: reading it is an error")]
    pub fn len(&self) -> Option<u64> {
        self.total
    }

    fn read_next(&mut self, buf: &mut [u8]) -> Result<usize> {
        if buf.is_empty() || self.end == Some(End::Whole) {
            return Ok(0);
        }
        loop {
            if self.position > 0 && self.total == Some(self.position) && self.again.is_none() {
                return self.finish(true);
            }
            let Some(body) = &mut self.body else {
                self.connect()?;
                continue;
            };
            let most = self.again.as_ref().and_then(|again| usize::try_from(again.left).ok()).unwrap_or(usize::MAX);
            let window = buf.len().min(most);
            let asked = Instant::now();
            let n = match body.read(&mut buf[..window]) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.effort.is_too_slow(0, 0, asked.elapsed(), self.api.timeouts().stall);
                    self.broken(self.no_answer(describe_io_error(error)), None)?;
                    continue;
                }
            };
            if n == 0 {
                // A body without a length ends like this also when it was cut.
                if self.total.is_none() && self.again.is_none() && self.boxes.finish(None).is_ok() {
                    return self.finish(false);
                }
                self.broken(self.cut(), None)?;
                continue;
            }
            let new = if self.again.is_some() { 0 } else { n as u64 };
            if self.effort.is_too_slow(n as u64, new, asked.elapsed(), self.api.timeouts().stall) {
                self.broken(self.no_answer("it sends less than 1 KiB/s".into()), None)?;
                if new == 0 {
                    continue;
                }
            }
            if new == 0 {
                self.compare(&buf[..n])?;
                continue;
            }
            self.hand_out(&buf[..n])?;
            return Ok(n);
        }
    }

    /// Follows bytes that are handed out.
    fn hand_out(&mut self, bytes: &[u8]) -> Result<()> {
        self.boxes.update(bytes).map_err(|found| self.not_a_video(found))?;
        self.digest.add(bytes);
        self.position += bytes.len() as u64;
        match self.total {
            Some(total) if self.position > total => {
                Err(self.not_a_video(format!("it is longer than the {total} bytes announced")))
            }
            _ => Ok(()),
        }
    }

    /// Follows bytes that were handed out before: the same ones, unless the file has changed.
    fn compare(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(again) = &mut self.again else { return Ok(()) };
        again.digest.add(bytes);
        again.left -= bytes.len() as u64;
        if again.left > 0 {
            return Ok(());
        }
        if again.digest != self.digest {
            return Err(self.changed());
        }
        if let Some(same) = self.again.take() {
            (self.total, self.version) = (same.total, same.version);
        }
        Ok(())
    }

    fn finish(&mut self, length_is_known: bool) -> Result<usize> {
        let total = self.total.filter(|_| length_is_known);
        self.boxes.finish(total).map_err(|found| self.not_a_video(found))?;
        self.body = None;
        self.end = Some(End::Whole);
        Ok(0)
    }

    /// Asks for the file until a body comes.
    fn connect(&mut self) -> Result<()> {
        loop {
            match self.attempt() {
                Ok(body) => {
                    self.body = Some(body);
                    return Ok(());
                }
                Err(FailedAttempt { error, class: RetryClass::Transient, retry_after }) => {
                    self.broken(error, retry_after)?
                }
                Err(FailedAttempt { error, class: RetryClass::NotFound, .. }) if !self.asked_afresh => {
                    self.ask_afresh(error)?
                }
                Err(FailedAttempt { error, .. }) => return Err(error),
            }
        }
    }

    /// Counts a broken attempt, and pauses before the next.
    fn broken(&mut self, error: Error, retry_after: Option<Duration>) -> Result<()> {
        self.body = None;
        self.again = None;
        let Some(fruitless) = self.effort.after_a_break() else { return Err(error) };
        let base = self.api.retry_delay();
        match retry::delay(fruitless, u32::MAX, base, random::fraction(), retry_after) {
            Some(pause) => thread::sleep(pause),
            None => return Err(error),
        }
        Ok(())
    }

    /// Asks for the file once, from where it broke if its server can tell that it is still the same.
    fn attempt(&mut self) -> Result<Box<dyn Read + Send + Sync>, FailedAttempt> {
        let url = Url::parse(&self.video.url)
            .map_err(|reason| FailedAttempt::new(RetryClass::Permanent, self.no_answer(reason.into())))?;
        let can_go_on = self.version.is_strong() && !self.ranges_refused;
        let from = if can_go_on { self.position } else { 0 };
        let mut answer = self
            .api
            .http()
            .file(&url, from, &self.version)
            .map_err(|fault| FailedAttempt::new(fault.class, self.no_answer(fault.cause)))?;
        match answer.status {
            200 | 203 => {
                let total = answer.length.or(self.video.file_size);
                if self.position == 0 {
                    self.check_length(&mut answer)?;
                    self.total = total;
                    self.version = answer.validators;
                } else if answer.length.is_some_and(|length| length < self.position) {
                    return Err(FailedAttempt::new(RetryClass::Permanent, self.changed()));
                } else {
                    let (left, digest) = (self.position, Digest::default());
                    self.again = Some(Again { left, digest, total, version: answer.validators });
                }
                Ok(answer.body)
            }
            206 if from > 0 && self.goes_on(&answer) => {
                self.total = answer.range.map(|(_, total)| total);
                Ok(answer.body)
            }
            // The range was misunderstood, or cannot be had, or is of another file: all of it tells what there is.
            206 | 416 if from > 0 => {
                self.ranges_refused = true;
                Err(self.refused(RetryClass::Transient, &answer))
            }
            401 | 402 | 403 | 404 | 410 => Err(self.refused(RetryClass::NotFound, &answer)),
            408 | 409 | 425 | 429 | 500.. => Err(self.refused(RetryClass::Transient, &answer)),
            _ => Err(self.refused(RetryClass::Permanent, &answer)),
        }
    }

    /// Whether a 206 is the rest of the same file.
    fn goes_on(&self, answer: &FileResponse) -> bool {
        let fits = |(start, total)| start == self.position && self.total.is_none_or(|known| known == total);
        answer.range.is_some_and(fits) && answer.validators.matches(&self.version)
    }

    /// The URL has expired, or was wrong: the service may have another.
    fn ask_afresh(&mut self, refusal: Error) -> Result<()> {
        match self.api.status(&self.video.id, None) {
            Ok(StatusResponse { status: Status::Completed(video), .. }) => {
                self.asked_afresh = true;
                self.video = video;
                Ok(())
            }
            Ok(_) => Err(refusal),
            Err(FailedAttempt { error, class: RetryClass::Transient, retry_after }) => self.broken(error, retry_after),
            Err(setback) => Err(setback.error),
        }
    }

    /// The service and the file's server have to agree on the length, where both tell it.
    fn check_length(&self, answer: &mut FileResponse) -> Result<(), FailedAttempt> {
        match (answer.length, self.video.file_size) {
            (Some(length), Some(size)) if length != size => {
                // That it is a page tells more than its length does.
                let mut head = Vec::new();
                let _ = (&mut answer.body).take(8).read_to_end(&mut head);
                let mut boxes = Boxes::default();
                let found = boxes.update(&head).and_then(|()| if head.len() < 8 { boxes.finish(None) } else { Ok(()) });
                let found = found.err().unwrap_or(format!("it has {length} bytes, and the service says {size}"));
                Err(FailedAttempt::new(RetryClass::Permanent, self.not_a_video(found)))
            }
            _ => Ok(()),
        }
    }

    fn changed(&mut self) -> Error {
        self.end = Some(End::Changed);
        self.not_a_video("its server has another file there than before".to_owned())
    }

    fn cut(&self) -> Error {
        let known = self.boxes.finish(self.total).err();
        self.not_a_video(known.unwrap_or(format!("it ends after {} bytes", self.position)))
    }

    fn refused(&self, class: RetryClass, answer: &FileResponse) -> FailedAttempt {
        FailedAttempt {
            class,
            retry_after: answer.retry_after,
            error: Error::UnexpectedResponse {
                request: self.request(),
                status: answer.status,
                // Stores of files explain a refusal with the signature in question.
                body: String::new(),
                source: None,
            },
        }
    }

    fn request(&self) -> String {
        format!("GET {}", redact_url(&self.video.url))
    }

    fn no_answer(&self, cause: BoxError) -> Error {
        Error::NoResponse { request: self.request(), source: cause }
    }

    fn not_a_video(&self, found: String) -> Error {
        Error::NotAVideo { url: redact_url(&self.video.url), found }
    }
}

impl Read for Download {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if matches!(self.end, Some(End::Broken | End::Changed)) {
            return Err(io::Error::other("this download has ended with an error: open it again"));
        }
        self.read_next(buf).map_err(|error| {
            self.body = None;
            self.end.get_or_insert(End::Broken);
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

/// A fingerprint of bytes that does not depend on the pieces they come in (FNV-1a): good against a file that was
/// replaced, not against a forger, who could replace the file before it is read at all.
#[derive(Clone, Copy, PartialEq)]
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Digest(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }
}

/// How many times a download may be restarted because the file changed on the server.
const MAX_RESTARTS: u32 = 4;

/// Downloads a video to a temporary file beside `path`.
pub(crate) fn fetch<'a>(api: &Api, video: &Video, path: &'a Path) -> Result<TempVideo<'a>> {
    let mut restarts = 0;
    loop {
        let mut download = Download::open(api.clone(), video.clone())?;
        match TempVideo::write(&mut download, path) {
            // A file download can start over; only a reader that has already returned bytes cannot.
            Err(_) if download.end == Some(End::Changed) && restarts < MAX_RESTARTS => restarts += 1,
            written => return written.map_err(|error| error.or_unfinished(&video.id)),
        }
    }
}
