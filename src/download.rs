//! A download: a reader that goes on after a broken transfer, and ends well only when the video is whole.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::api::{Api, Polled};
use crate::error::{Cause, Error, Result};
use crate::generation::{Status, Video};
use crate::http::{FileAnswer, Url, read_cause};
use crate::mp4::Boxes;
use crate::poll;
use crate::random;
use crate::save::save;
use crate::setback::{Nature, Setback};
use crate::shown::{excerpt, without_query};

/// The number of attempts in a row without a byte worth having that end a download.
const FRUITLESS: u32 = 5;

/// The number of attempts that end a download in any case: a server that gives a byte and hangs up would keep it for
/// ever.
const ATTEMPTS: u32 = 100;

/// A transfer below this many bytes a second is a broken one: at this speed the documented sample file of 20 MB takes
/// more than five hours.
const LOWEST_SPEED: f64 = 1024.0;

/// A video on its way: a reader, made by [`Client::open`](crate::Client::open).
///
/// It goes on by itself where a transfer broke, with a range request, and asks for a fresh URL once when the old one
/// has expired. It reads to its end (`Ok(0)`) only if all bytes have come and are one whole MP4 file; anything else is
/// an error, which [`io::Error::downcast`] turns into an [`Error`].
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
    /// What the first good answer said of the file.
    total: Option<u64>,
    etag: Option<String>,
    body: Option<Box<dyn Read + Send + Sync>>,
    /// The bytes handed out.
    position: u64,
    /// The bytes of `body` to pass over, because they were handed out already.
    skip: u64,
    boxes: Boxes,
    speed: Speed,
    attempts: u32,
    /// The attempts since the last byte worth having, and the same when this one began.
    fruitless: u32,
    fruitless_before: u32,
    ranges_refused: bool,
    asked_afresh: bool,
    end: Option<End>,
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
            total: None,
            etag: None,
            body: None,
            position: 0,
            skip: 0,
            boxes: Boxes::default(),
            speed: Speed::default(),
            attempts: 0,
            fruitless: 0,
            fruitless_before: 0,
            ranges_refused: false,
            asked_afresh: false,
            end: None,
        };
        download.connect().map_err(|error| error.about(&download.video.id))?;
        Ok(download)
    }

    /// The length of the file in bytes, if the server tells it.
    #[allow(clippy::len_without_is_empty)] // An empty file is no video: reading it is an error.
    pub fn len(&self) -> Option<u64> {
        self.total
    }

    fn read_next(&mut self, buf: &mut [u8]) -> Result<usize> {
        match self.end {
            Some(End::Whole) => return Ok(0),
            Some(_) => return Err(self.not_a_video("the download has ended with an error before".to_owned())),
            None if buf.is_empty() => return Ok(0),
            None => {}
        }
        loop {
            let Some(body) = &mut self.body else {
                self.connect()?;
                continue;
            };
            let most = match self.skip {
                0 => buf.len(),
                skip => usize::try_from(skip).map_or(buf.len(), |skip| skip.min(buf.len())),
            };
            let asked = Instant::now();
            match body.read(&mut buf[..most]) {
                Ok(0) => {
                    if let Some(end) = self.at_the_end_of_a_body()? {
                        self.end = Some(end);
                        return Ok(0);
                    }
                }
                Ok(n) => {
                    let stall = self.api.limits().stall;
                    if self.speed.is_too_low(n, asked.elapsed(), stall) {
                        self.body = None;
                        self.fruitless = self.fruitless_before;
                        self.broken(self.no_answer("it sends less than 1 KiB/s".into()), None)?;
                    }
                    if self.skip > 0 {
                        self.skip -= n as u64;
                        continue;
                    }
                    self.take(&buf[..n])?;
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.body = None;
                    self.broken(self.no_answer(read_cause(error)), None)?;
                }
            }
        }
    }

    /// Follows bytes that are handed out.
    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.boxes.follow(bytes).map_err(|found| self.not_a_video(found))?;
        self.position += bytes.len() as u64;
        if self.total.is_some_and(|total| self.position > total) {
            return Err(self.not_a_video(format!("it is longer than the {} bytes announced", self.total.unwrap_or(0))));
        }
        if self.body.is_some() {
            self.fruitless = 0;
        }
        Ok(())
    }

    /// A body has ended without an error, which a body without a length also does when it was cut.
    fn at_the_end_of_a_body(&mut self) -> Result<Option<End>> {
        self.body = None;
        match self.total {
            Some(total) if self.skip == 0 && self.position == total => {
                self.boxes.end(true).map_err(|found| self.not_a_video(found))?;
                return Ok(Some(End::Whole));
            }
            None if self.skip == 0 && self.boxes.end(false).is_ok() => return Ok(Some(End::Whole)),
            _ => {}
        }
        let found = match (self.total, self.boxes.end(false)) {
            (None, Err(found)) => found,
            _ => format!("it ends after {} bytes", self.position),
        };
        self.broken(self.not_a_video(found), None)?;
        Ok(None)
    }

    /// Asks for the file until a body comes.
    fn connect(&mut self) -> Result<()> {
        loop {
            self.attempts += 1;
            self.fruitless_before = self.fruitless;
            self.speed = Speed::default();
            match self.attempt() {
                Ok(body) => {
                    self.body = Some(body);
                    return Ok(());
                }
                Err(Setback { error, nature: Nature::Passing, retry_after }) => self.broken(error, retry_after)?,
                Err(Setback { error, nature: Nature::Missing, .. }) if !self.asked_afresh => self.ask_afresh(error)?,
                Err(Setback { error, .. }) => return Err(error),
            }
        }
    }

    /// Counts a broken attempt, and pauses before the next.
    fn broken(&mut self, error: Error, retry_after: Option<Duration>) -> Result<()> {
        self.fruitless += 1;
        let tries = if self.attempts < ATTEMPTS { self.fruitless } else { FRUITLESS };
        let base = self.api.limits().backoff;
        match poll::retry_pause(tries, FRUITLESS, base, random::fraction(), retry_after) {
            Some(pause) => thread::sleep(pause),
            None => return Err(error),
        }
        Ok(())
    }

    /// Asks for the file once, from where it broke.
    fn attempt(&mut self) -> Result<Box<dyn Read + Send + Sync>, Setback> {
        let url = Url::parse(&self.video.url).map_err(|reason| self.lasting(self.no_answer(reason.into())))?;
        let from = if self.ranges_refused { 0 } else { self.position };
        let mut answer = self
            .api
            .http()
            .file(&url, from, self.etag.as_deref())
            .map_err(|fault| Setback::new(fault.nature, self.no_answer(fault.cause)))?;
        let same_etag = match (&self.etag, &answer.etag) {
            (Some(known), Some(found)) => Some(known == found),
            _ => None,
        };
        match (answer.status, answer.range) {
            (200, _) if self.position == 0 => {
                self.total = answer.length.or(self.video.file_size);
                self.etag = answer.etag;
                self.check_length(&mut answer.body)?;
                Ok(answer.body)
            }
            // A server without ranges sends all of it again.
            (200, _) if same_etag.unwrap_or(self.total.is_some() && answer.length == self.total) => {
                self.skip = self.position;
                Ok(answer.body)
            }
            (206, Some((start, total)))
                if from > 0
                    && start == from
                    && same_etag != Some(false)
                    && self.total.is_none_or(|known| known == total) =>
            {
                self.skip = 0;
                self.total = Some(total);
                Ok(answer.body)
            }
            (200, _) => {
                self.end = Some(End::Changed);
                Err(self.lasting(self.not_a_video("the server has another file there than before".to_owned())))
            }
            // The range was misunderstood or cannot be had: without it, the answer tells what file there is now.
            (206 | 416, _) if from > 0 => {
                self.ranges_refused = true;
                Err(self.setback(Nature::Passing, answer))
            }
            (401 | 402 | 403 | 404 | 410, _) => Err(self.setback(Nature::Missing, answer)),
            (408 | 409 | 425 | 429 | 500.., _) => Err(self.setback(Nature::Passing, answer)),
            _ => Err(self.setback(Nature::Lasting, answer)),
        }
    }

    /// The URL has expired, or was wrong: the service may have another.
    fn ask_afresh(&mut self, refusal: Error) -> Result<()> {
        match self.api.status(&self.video.id, self.api.limits().poll) {
            Ok(Polled { status: Status::Completed(video), .. }) => {
                self.asked_afresh = true;
                self.video = video;
                Ok(())
            }
            Ok(_) => Err(refusal),
            Err(Setback { error, nature: Nature::Passing, retry_after }) => self.broken(error, retry_after),
            Err(setback) => Err(setback.error),
        }
    }

    /// The service and the file's server have to agree on the length, where both tell it.
    fn check_length(&self, body: &mut dyn Read) -> Result<(), Setback> {
        match (self.total, self.video.file_size) {
            (Some(total), Some(size)) if total != size => {
                let mut head = Vec::new();
                // That it is a page tells more than its length does.
                let _ = body.take(8).read_to_end(&mut head);
                let mut boxes = Boxes::default();
                let found = boxes.follow(&head).and_then(|()| if head.len() < 8 { boxes.end(true) } else { Ok(()) });
                let found = found.err().unwrap_or(format!("it has {total} bytes, and the service says {size}"));
                Err(self.lasting(self.not_a_video(found)))
            }
            _ => Ok(()),
        }
    }

    fn setback(&self, nature: Nature, answer: FileAnswer) -> Setback {
        let mut body = Vec::new();
        // What can be read of a refusal is enough to show.
        let _ = answer.body.take(1024).read_to_end(&mut body);
        Setback {
            nature,
            retry_after: answer.retry_after,
            error: Error::UnexpectedAnswer {
                request: self.request(),
                status: answer.status,
                body: excerpt(&body),
                source: None,
            },
        }
    }

    fn lasting(&self, error: Error) -> Setback {
        Setback::new(Nature::Lasting, error)
    }

    fn request(&self) -> String {
        format!("GET {}", self.shown_url())
    }

    fn shown_url(&self) -> String {
        without_query(&self.video.url)
    }

    fn no_answer(&self, cause: Cause) -> Error {
        Error::NoAnswer { request: self.request(), source: cause }
    }

    fn not_a_video(&self, found: String) -> Error {
        Error::NotAVideo { url: self.shown_url(), found }
    }
}

impl Read for Download {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_next(buf).map_err(|error| {
            self.body = None;
            self.end.get_or_insert(End::Broken);
            io::Error::other(error.about(&self.video.id))
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

/// The speed over a window of time, counting only the time spent waiting for bytes.
#[derive(Default)]
struct Speed {
    bytes: f64,
    waited: Duration,
}

impl Speed {
    fn is_too_low(&mut self, bytes: usize, waited: Duration, window: Duration) -> bool {
        self.bytes += bytes as f64;
        self.waited += waited;
        if self.waited < window {
            return false;
        }
        let too_low = self.bytes < LOWEST_SPEED * self.waited.as_secs_f64();
        *self = Speed::default();
        too_low
    }
}

/// Downloads a video to a file that is whole or absent.
pub(crate) fn download(api: &Api, video: &Video, path: &Path) -> Result<u64> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut download = Download::open(api.clone(), video.clone())?;
        match save(&mut download, path) {
            // Only a reader has to keep to the file that it began with.
            Err(_) if download.end == Some(End::Changed) && tries < FRUITLESS => {}
            saved => return saved.map_err(|error| error.about(&video.id)),
        }
    }
}
