//! A download: a reader that goes on after a broken transfer, and ends well only when the video is whole.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::api::{Api, Polled};
use crate::effort::Effort;
use crate::error::{Cause, Error, Result};
use crate::generation::{Status, Video};
use crate::http::{FileAnswer, Url, Version, read_cause};
use crate::mp4::Boxes;
use crate::random;
use crate::retry;
use crate::save::save_if;
use crate::setback::{Nature, Setback};
use crate::shown::without_query;

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
    version: Version,
    /// The bytes handed out: how many, their digest, and the boxes that they are.
    position: u64,
    digest: Digest,
    boxes: Boxes,
    /// What of `body` was handed out before, and is read again to see whether it is the same.
    again: Option<Again>,
    effort: Effort,
    ranges_refused: bool,
    asked_afresh: bool,
    end: Option<End>,
}

struct Again {
    left: u64,
    digest: Digest,
    /// What becomes known of the file if it is the same.
    total: Option<u64>,
    version: Version,
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
            version: Version::default(),
            position: 0,
            digest: Digest::default(),
            boxes: Boxes::default(),
            again: None,
            effort: Effort::default(),
            ranges_refused: false,
            asked_afresh: false,
            end: None,
        };
        download.connect().map_err(|error| error.about(&download.video.id))?;
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
                    self.effort.is_too_slow(0, 0, asked.elapsed(), self.api.limits().stall);
                    self.broken(self.no_answer(read_cause(error)), None)?;
                    continue;
                }
            };
            if n == 0 {
                // A body without a length ends like this also when it was cut.
                if self.total.is_none() && self.again.is_none() && self.boxes.end(None).is_ok() {
                    return self.finish(false);
                }
                self.broken(self.cut(), None)?;
                continue;
            }
            let new = if self.again.is_some() { 0 } else { n as u64 };
            if self.effort.is_too_slow(n as u64, new, asked.elapsed(), self.api.limits().stall) {
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
        self.boxes.follow(bytes).map_err(|found| self.not_a_video(found))?;
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
        self.boxes.end(total).map_err(|found| self.not_a_video(found))?;
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
                Err(Setback { error, nature: Nature::Passing, retry_after }) => self.broken(error, retry_after)?,
                Err(Setback { error, nature: Nature::Missing, .. }) if !self.asked_afresh => self.ask_afresh(error)?,
                Err(Setback { error, .. }) => return Err(error),
            }
        }
    }

    /// Counts a broken attempt, and pauses before the next.
    fn broken(&mut self, error: Error, retry_after: Option<Duration>) -> Result<()> {
        self.body = None;
        self.again = None;
        let Some(fruitless) = self.effort.after_a_break() else { return Err(error) };
        let base = self.api.limits().backoff;
        match retry::pause(fruitless, u32::MAX, base, random::fraction(), retry_after) {
            Some(pause) => thread::sleep(pause),
            None => return Err(error),
        }
        Ok(())
    }

    /// Asks for the file once, from where it broke if its server can tell that it is still the same.
    fn attempt(&mut self) -> Result<Box<dyn Read + Send + Sync>, Setback> {
        let url = Url::parse(&self.video.url)
            .map_err(|reason| Setback::new(Nature::Lasting, self.no_answer(reason.into())))?;
        let can_go_on = self.version.is_known() && !self.ranges_refused;
        let from = if can_go_on { self.position } else { 0 };
        let mut answer = self
            .api
            .http()
            .file(&url, from, &self.version)
            .map_err(|fault| Setback::new(fault.nature, self.no_answer(fault.cause)))?;
        match answer.status {
            200 | 203 => {
                let total = answer.length.or(self.video.file_size);
                if self.position == 0 {
                    self.check_length(&mut answer)?;
                    self.total = total;
                    self.version = answer.version;
                } else if answer.length.is_some_and(|length| length < self.position) {
                    return Err(Setback::new(Nature::Lasting, self.changed()));
                } else {
                    let (left, digest) = (self.position, Digest::default());
                    self.again = Some(Again { left, digest, total, version: answer.version });
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
                Err(self.refused(Nature::Passing, &answer))
            }
            401 | 402 | 403 | 404 | 410 => Err(self.refused(Nature::Missing, &answer)),
            408 | 409 | 425 | 429 | 500.. => Err(self.refused(Nature::Passing, &answer)),
            _ => Err(self.refused(Nature::Lasting, &answer)),
        }
    }

    /// Whether a 206 is the rest of the same file.
    fn goes_on(&self, answer: &FileAnswer) -> bool {
        let fits = |(start, total)| start == self.position && self.total.is_none_or(|known| known == total);
        answer.range.is_some_and(fits) && answer.version.is_the_same(&self.version)
    }

    /// The URL has expired, or was wrong: the service may have another.
    fn ask_afresh(&mut self, refusal: Error) -> Result<()> {
        match self.api.status(&self.video.id, None) {
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
    fn check_length(&self, answer: &mut FileAnswer) -> Result<(), Setback> {
        match (answer.length, self.video.file_size) {
            (Some(length), Some(size)) if length != size => {
                // That it is a page tells more than its length does.
                let mut head = Vec::new();
                let _ = (&mut answer.body).take(8).read_to_end(&mut head);
                let mut boxes = Boxes::default();
                let found = boxes.follow(&head).and_then(|()| if head.len() < 8 { boxes.end(None) } else { Ok(()) });
                let found = found.err().unwrap_or(format!("it has {length} bytes, and the service says {size}"));
                Err(Setback::new(Nature::Lasting, self.not_a_video(found)))
            }
            _ => Ok(()),
        }
    }

    fn changed(&mut self) -> Error {
        self.end = Some(End::Changed);
        self.not_a_video("its server has another file there than before".to_owned())
    }

    fn cut(&self) -> Error {
        let known = self.boxes.end(self.total).err();
        self.not_a_video(known.unwrap_or(format!("it ends after {} bytes", self.position)))
    }

    fn refused(&self, nature: Nature, answer: &FileAnswer) -> Setback {
        Setback {
            nature,
            retry_after: answer.retry_after,
            error: Error::UnexpectedAnswer {
                request: self.request(),
                status: answer.status,
                // Stores of files explain a refusal with the signature in question.
                body: String::new(),
                source: None,
            },
        }
    }

    fn request(&self) -> String {
        format!("GET {}", without_query(&self.video.url))
    }

    fn no_answer(&self, cause: Cause) -> Error {
        Error::NoAnswer { request: self.request(), source: cause }
    }

    fn not_a_video(&self, found: String) -> Error {
        Error::NotAVideo { url: without_query(&self.video.url), found }
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

/// How often a file that changes on its server is begun anew.
const BEGINNINGS: u32 = 5;

/// Downloads a video to a file that is whole or absent.
pub(crate) fn download(api: &Api, video: &Video, path: &Path, may_be_placed: &dyn Fn() -> Result<()>) -> Result<u64> {
    let mut beginnings = 1;
    loop {
        let mut download = Download::open(api.clone(), video.clone())?;
        match save_if(&mut download, path, may_be_placed) {
            // Only a reader has to keep to the file that it began with.
            Err(_) if download.end == Some(End::Changed) && beginnings < BEGINNINGS => beginnings += 1,
            saved => return saved.map_err(|error| error.about(&video.id)),
        }
    }
}
