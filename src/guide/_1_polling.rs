//! Chapter 1: the three kinds of requests, and why the first one is not repeated.
//!
//! The service needs minutes for a video. No connection should stay open for so long, so the job is split into three
//! kinds of requests:
//!
//! 1. A *create request*, a POST, hands in the prompt. The response is an id, and the generation runs without us.
//! 2. A *poll*, a GET with the id, reads the status. It is sent again and again, until the status is `completed`.
//! 3. A *download*, a GET to another host, fetches the file.
//!
//! A client that works like this is called a polling client. The service describes its side on [the page of this
//! model](https://docs.aimlapi.com/api-references/video-models/kling-ai/v2.5-turbo-pro-text-to-video).
//!
//! # By hand
//!
//! ```
//! use std::{thread, time::Duration};
//! use kling::emulator::Emulator;
//! use kling::{Status, VideoRequest};
//!
//! // With an API key: let client = kling::Client::from_env()?;
//! let emulator = Emulator::start();
//! let client = emulator.client();
//!
//! // 1. Create. This is what costs money: a real program stores the id now.
//! let id = client.create(&VideoRequest::new("A fox in the snow"))?;
//!
//! // 2. Poll. The real service is polled every 10 s.
//! let video = loop {
//!     match client.status(&id)? {
//!         Status::Completed(video) => break video,
//!         Status::Failed(failure) => return Err(failure.to_string().into()),
//!         status => println!("{status}"),
//!     }
//!     thread::sleep(Duration::from_millis(10));
//! };
//!
//! // 3. Download.
//! let path = std::env::temp_dir().join(format!("fox-1-{}.mp4", std::process::id()));
//! let bytes = client.download(&video, &path)?;
//!
//! assert_eq!(video.file_size, Some(bytes));
//! assert_eq!(emulator.creates().len(), 1);
//! assert_eq!(emulator.polls().len(), 3);
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Client::wait`] is the loop in the middle, with a deadline, and it survives polls that fail: see
//! [chapter 3](super::_3_waiting). [`Client::generate`] is `create` followed by `wait`.
//!
//! # Why a create request is not repeated
//!
//! A connection breaks before the response has arrived. Two things may have happened, and to the client they look the
//! same:
//!
//! ```text
//! client                      service
//!   |                            |
//!   |--- POST ----- x            |     The request was lost: not charged.
//!   |                            |
//!   |--- POST ------------------>|     The request was accepted: charged,
//!   |            x --- response -|     and the id is lost.
//! ```
//!
//! A GET can be repeated in both cases: reading a status twice changes nothing. RFC 9110 calls such a request
//! [idempotent](https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2). A POST is not.
//!
//! Some services that take money accept an *idempotency key*, by which they recognize a request that they have seen
//! before. This one documents none: each accepted POST is a new generation, and a new payment.
//!
//! So this library sends a create request again only if the service certainly did not accept it: either no byte of its
//! body was sent, or the response was 429, "too many requests". In all other cases the caller gets
//! [`Error::OutcomeUnknown`]. It holds the *client request id*, a name that the request carried. The service writes it
//! to its logs, and [`Client::recover`] looks for it there:
//!
//! ```
//! use kling::emulator::{Emulator, Step};
//! use kling::{Error, Recovery, VideoRequest};
//!
//! // The service accepts the request, and the connection breaks.
//! let emulator = Emulator::builder().create([Step::Reset]).start();
//! let client = emulator.client();
//! let lost = client.create(&VideoRequest::new("A fox in the snow"));
//! let Err(Error::OutcomeUnknown { client_request_id, .. }) = lost else {
//!     panic!("the response was lost");
//! };
//!
//! // Do not create again. Look it up.
//! let Recovery::Found(id) = client.recover(&client_request_id)? else {
//!     panic!("the logs list it");
//! };
//! let video = client.wait(&id)?;
//!
//! assert_eq!(video.id, id);
//! assert_eq!(emulator.creates().len(), 1); // paid once
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The logs may list the request late, since a generation appears there when it has finished. If they do not list it after
//! an hour, it was probably never accepted. After seven days they have forgotten it. Only a person can then decide to pay
//! again.
//!
//! The same rule holds for your own code: never put [`create`] or [`generate`] into a
//! loop that repeats whatever has failed. First find out what was charged: see
//! [chapter 2](super::_2_errors).
//!
//! [`create`]: crate::Client::create
//! [`generate`]: crate::Client::generate
//! [`Client::wait`]: crate::Client::wait
//! [`Client::generate`]: crate::Client::generate
//! [`Client::recover`]: crate::Client::recover
//! [`Error::OutcomeUnknown`]: crate::Error::OutcomeUnknown
