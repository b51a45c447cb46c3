//! Chapter 3: deadlines, missed polls and `Retry-After`.
//!
//! [`Poll`] has two settings. `interval` is the pause between two polls, 10 s unless you set it. `max_wait` is the time
//! limit of the wait, 1,000 s unless you set it. Both defaults are those of the service's [own
//! sample](https://docs.aimlapi.com/api-references/video-models/kling-ai/v2.5-turbo-pro-text-to-video).
//!
//! The first poll is sent at once, and the last one when `max_wait` has passed. The clock is monotonic: setting the
//! computer's time changes nothing.
//!
//! # A failed poll is a missed poll
//!
//! The network is gone for a moment, or a gateway responds with 502. That says nothing about the generation, which runs
//! at the service all the while. So the poll counts as *missed*, and is retried after the next pause.
//!
//! A server that is busy may send `Retry-After`, the pause that it would like. It can only lengthen the pause, and never
//! beyond the deadline:
//!
//! ```
//! use std::time::Duration;
//! use kling::emulator::{Emulator, Step};
//! use kling::{Poll, Update, VideoRequest};
//!
//! // The first poll fails. The second is to be sent in a day.
//! let script = [Step::Http(502), Step::http_retry_after(503, "86400")];
//! let emulator = Emulator::script(script);
//! let poll = Poll {
//!     interval: Duration::from_millis(5),
//!     max_wait: Duration::from_millis(50),
//! };
//! let client = emulator.client_builder().poll(poll).build()?;
//!
//! let id = client.create(&VideoRequest::new("A fox in the snow"))?;
//! let mut seen = Vec::new();
//! for update in client.watch(&id).updates() {
//!     seen.push(match update {
//!         Update::Missed(_) => "missed",
//!         Update::Status(_) => "status",
//!         Update::Finished(Ok(_)) => "finished",
//!         update => return Err(update.to_string().into()),
//!     });
//! }
//! // The third poll was sent at the deadline, and not in a day.
//! assert_eq!(seen, ["missed", "missed", "status", "finished"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Missed polls are those with no response, with a response that cannot be read, and with the statuses 408, 409, 425,
//! 429 and 5xx. A 404 is a missed poll for the first 60 s: a new generation may not be known to each machine of the
//! service yet. After that, it ends the wait.
//!
//! Other refusals and redirects end the wait at once. A key that was revoked (401) is still revoked in 10 s.
//!
//! # A deadline does not stop the generation
//!
//! The service has no way to cancel. When `max_wait` has passed, the error is [`Unfinished`], and its cause is
//! [`DeadlineExceeded`]. The generation keeps running, and is charged unless it fails. Wait again: now, tomorrow, or on another machine.
//!
//! ```
//! use std::time::Duration;
//! use kling::emulator::{Emulator, Step};
//! use kling::{Error, Poll, VideoRequest};
//!
//! let emulator = Emulator::script(vec![Step::Generating; 20]);
//! let poll = Poll { interval: Duration::from_millis(5), max_wait: Duration::ZERO };
//! let impatient = emulator.client_builder().poll(poll).build()?;
//!
//! let request = VideoRequest::new("A fox in the snow");
//! let Err(Error::Unfinished { id, source }) = impatient.generate(&request) else {
//!     panic!("it takes longer than that");
//! };
//! assert!(matches!(*source, Error::DeadlineExceeded { poll_count: 1, .. }));
//!
//! // Store the id. Any process can wait for it later.
//! let text = id.to_string();
//! let video = emulator.client().wait(&text.parse()?)?;
//! assert_eq!(video.id, id);
//! assert_eq!(emulator.creates().len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To stop a wait earlier, for example on Ctrl-C, iterate over [`Watch::updates`] with [`tick`] and `break`: see
//! [chapter 8](super::_8_production).
//!
//! Next: [downloads](super::_4_downloads).
//!
//! [`Poll`]: crate::Poll
//! [`Unfinished`]: crate::Error::Unfinished
//! [`DeadlineExceeded`]: crate::Error::DeadlineExceeded
//! [`Watch::updates`]: crate::Watch::updates
//! [`tick`]: crate::WatchUpdates::tick
