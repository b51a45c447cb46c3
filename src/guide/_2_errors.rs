//! Chapter 2: what each error means for your money, and what to do next.
//!
//! First find out whether the generation was charged. [`Error::charged`] returns it for every error.
//!
//! | [`Charged`] | What to do |
//! |---|---|
//! | `No` | Do what the error says, and send the request again. |
//! | `Perhaps` | Look it up before you pay again. |
//! | `Yes` | The generation exists. Resume it with its id. |
//!
//! ```
//! use kling::emulator::{Emulator, Step};
//! use kling::{Charged, VideoRequest};
//!
//! // The first request is refused, the response to the second is lost,
//! // and the third is accepted, but its first poll is refused.
//! let create = [Step::Http(403), Step::Close, Step::Completed];
//! let emulator = Emulator::builder().create(create).status([Step::Http(401)]).start();
//! let client = emulator.client();
//!
//! let charged = ["A fox", "An owl", "A hare"].map(|prompt| {
//!     client.generate(&VideoRequest::new(prompt)).unwrap_err().charged()
//! });
//! assert_eq!(charged, [Charged::No, Charged::Perhaps, Charged::Yes]);
//! ```
//!
//! # The table
//!
//! | Error | Charged | What happened | What to do next |
//! |---|---|---|---|
//! | [`MissingKey`] | no | The API key is missing. | Set `AIML_API_KEY`. |
//! | [`InvalidConfig`] | no | A setting cannot be used. | Correct what the message names. |
//! | [`InvalidRequest`] | no | A field is not valid. Nothing was sent. | Correct the field. |
//! | [`NotSent`] | no | The create request did not reach the service. | Check the connection, try again. |
//! | [`Refused`] | no | The service refused the create request. | See below. |
//! | [`Failed`] | no[^free] | The generation ended without a video. | Change the request. |
//! | [`OutcomeUnknown`] | perhaps | The response was lost. | [`recover`], before you try again. |
//! | [`UnknownGeneration`] | perhaps | The service does not know the id. | Check the id and the API key. |
//! | [`Unfinished`] | yes | The generation exists, the video was not received. | [`wait`] for the id again. |
//! | [`AssetNotCurrent`] | see its field | A file and its receipt differ. | Follow the message. |
//! | [`AssetsNotMade`] | the worst of its errors | Some assets could not be made. | See the error of each. |
//! | [`Io`] | perhaps | A file could not be written. | Free some space, [`download`] again. |
//!
//! [^free]: If [`Failure::is_free`] returns `false`, the service does not document whether it charges: perhaps.
//!
//! `DeadlineExceeded`, `NoResponse`, `UnexpectedResponse`, `NotAVideo` and the `Refused` of a poll are not in the table:
//! they are causes. A [`Client`] returns them inside [`Unfinished`] or [`OutcomeUnknown`], which say what they mean.
//!
//! # A refused request
//!
//! A status of 4xx, except 408 and 409, means that the service has read the create request and does not want it. The
//! service lists the statuses in [its documentation](https://docs.aimlapi.com/errors-and-messages/general-info).
//!
//! | Status | Usual reason |
//! |---|---|
//! | 400, 422 | A field is wrong. The message names it. |
//! | 401 | The API key is missing or wrong. |
//! | 402, 403 | The account has no credit. |
//! | 404 | The model does not exist. |
//! | 429 | Too many requests. `retry_after` holds the pause that the service wants. |
//!
//! # One fact a line
//!
//! `Display` prints the error. `Debug` prints its causes as well, each on a line of its own. A `main` that returns a
//! `Result` prints `Debug`, so its user sees all of them.
//!
//! ```
//! use kling::emulator::{Emulator, Step};
//! use kling::{Error, VideoRequest};
//!
//! let emulator = Emulator::script([Step::Generating, Step::Http(401)]);
//! let error = emulator.client().generate(&VideoRequest::new("A fox")).unwrap_err();
//!
//! let Error::Unfinished { id, source } = &error else { panic!("it was refused") };
//! assert!(matches!(**source, Error::Refused { status: 401, .. }));
//! assert_eq!(error.generation_id(), Some(id));
//! let text = format!("{error:?}");
//! assert!(text.starts_with(&format!("generation {id} exists, but its video was not")));
//! assert!(text.lines().nth(1).is_some_and(|line| line.contains("401")));
//! ```
//!
//! Next: [waiting](super::_3_waiting).
//!
//! [`Client`]: crate::Client
//! [`Charged`]: crate::Charged
//! [`Error::charged`]: crate::Error::charged
//! [`Failure::is_free`]: crate::Failure::is_free
//! [`MissingKey`]: crate::Error::MissingKey
//! [`InvalidConfig`]: crate::Error::InvalidConfig
//! [`InvalidRequest`]: crate::Error::InvalidRequest
//! [`NotSent`]: crate::Error::NotSent
//! [`Refused`]: crate::Error::Refused
//! [`Failed`]: crate::Error::Failed
//! [`OutcomeUnknown`]: crate::Error::OutcomeUnknown
//! [`UnknownGeneration`]: crate::Error::UnknownGeneration
//! [`Unfinished`]: crate::Error::Unfinished
//! [`AssetNotCurrent`]: crate::Error::AssetNotCurrent
//! [`AssetsNotMade`]: crate::Error::AssetsNotMade
//! [`Io`]: crate::Error::Io
//! [`recover`]: crate::Client::recover
//! [`wait`]: crate::Client::wait
//! [`download`]: crate::Client::download
