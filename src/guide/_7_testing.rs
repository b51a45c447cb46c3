//! Chapter 7: the emulator, and scripts of faults.
//!
//! Your tests should not cost money, need a network, or take minutes. The feature `emulator` contains a small server
//! that behaves like the service. It runs inside the test, on a loopback port, and adds no package:
//!
//! ```toml
//! [dev-dependencies]
//! kling = { path = "../kling", features = ["emulator"] } # a clone
//! ```
//!
//! Let your code take a [`Client`] instead of making one, and it can be tested:
//!
//! ```
//! use kling::emulator::{Emulator, Step};
//! use kling::{Client, Seconds, VideoRequest};
//!
//! /// What you want to test.
//! fn render_trailer(client: &Client) -> kling::Result<u64> {
//!     let request = VideoRequest::new("A film about foxes").duration(Seconds::Ten);
//!     let video = client.generate(&request)?;
//!     Ok(video.file_size.unwrap_or(0))
//! }
//!
//! // The service is overloaded for a moment. Nobody notices, and nobody pays twice.
//! let emulator = Emulator::script([Step::Queued, Step::Http(503), Step::Completed]);
//! assert!(render_trailer(&emulator.client())? > 0);
//!
//! // The emulator records what it receives.
//! assert_eq!(emulator.creates().len(), 1);
//! assert_eq!(emulator.polls().len(), 3);
//! let body = &emulator.creates()[0].body;
//! assert_eq!(body["prompt"], "A film about foxes");
//! assert_eq!(body["duration"], 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Scripts
//!
//! A script is a list of steps, one for each request. There is one for create requests, one for the polls of each
//! generation, one for files and one for logs. After the last step, everything goes well.
//!
//! | To rehearse | Script |
//! |---|---|
//! | no credit | `.create([Step::Http(403)])` |
//! | a lost response, charged | `.create([Step::Reset])` |
//! | a lost request, not charged | `.create([Step::ResetUnread])` |
//! | an account that allows 2 at once | `.max_concurrent(2)` |
//! | a gateway that fails | `.status([Step::Html(502)])` |
//! | a prompt that is rejected later | `.status([Step::failed("moderated")])` |
//! | a status that is new to us | `.status([Step::other_status("waiting")])` |
//! | a broken download | `.file([Step::ResetAfter(10_000)])` |
//! | a web page instead of a video | `.file([Step::body("<html>")])` |
//! | logs that list it late | `.create([Step::Reset]).logs_lag(1)` |
//!
//! ```
//! use kling::emulator::{Emulator, Step};
//! use kling::{Error, Recovery, VideoRequest};
//!
//! // A lost response looks the same as a lost request. Only the logs know.
//! for (step, accepted) in [(Step::Reset, true), (Step::ResetUnread, false)] {
//!     let emulator = Emulator::builder().create([step]).start();
//!     let client = emulator.client();
//!     let error = client.create(&VideoRequest::new("A fox")).unwrap_err();
//!     let Error::OutcomeUnknown { client_request_id, .. } = error else {
//!         panic!("{error}");
//!     };
//!     let found = client.recover(&client_request_id)?;
//!     assert_eq!(matches!(found, Recovery::Found(_)), accepted);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A process of its own
//!
//! To test an entire program, or one in another language, run the emulator beside it:
//!
//! ```sh
//! cargo run --example emulator -- --port 8080
//! AIML_API_BASE=http://127.0.0.1:8080 AIML_API_KEY=rehearsal my-program
//! ```
//!
//! The emulator was written from the service's documents, and not compared with the live service. Its module lists what
//! it does not reproduce.
//!
//! Next: [production](super::_8_production).
//!
//! [`Client`]: crate::Client
