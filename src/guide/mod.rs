//! A guide in nine short chapters. It contains documentation only.
//!
//! Read the chapters in order, or enter where the picture leads you.
//!
//! 1. [Polling](_1_polling): the three kinds of requests, and why the first one is not repeated.
//! 2. [Errors](_2_errors): what each one means for your money, and what to do next.
//! 3. [Waiting](_3_waiting): deadlines, missed polls and `Retry-After`.
//! 4. [Downloads](_4_downloads): files that are complete or absent.
//! 5. [Batches](_5_batches): many generations on one thread, and a journal of their ids.
//! 6. [Build scripts](_6_build_scripts): a video that is generated once for everybody, and its receipt.
//! 7. [Testing](_7_testing): the emulator, and scripts of faults.
//! 8. [Production](_8_production): key, proxies, certificates, time limits, exit codes and Ctrl-C.
//! 9. [Machines](_9_machines): job queues and tables, when one machine is not enough.
//!
//! # The picture
//!
//! A video comes into being from top to bottom. Each branch to the right is something that can happen on the way.
//!
//! ```text
//! VideoRequest
//!   |
//!   |  create: one POST request. Only this one costs money.
//!   |
//!   +-- not sent, or refused ----> not charged: remove the cause, try again
//!   |
//!   +-- the response is lost ----> OutcomeUnknown: perhaps charged
//!   |                                |
//!   |                                |  recover: look it up in the logs
//!   |                                |
//!   |                                +--> Found(id): continue below
//!   |                                +--> NotCharged: try again
//!   |                                +--> NotListed: look again later
//!   v
//! GenerationId: store it. From here on, everything can be repeated for free.
//!   |
//!   |  wait: a GET request every 10 s
//!   |        queued -> generating -> completed
//!   |
//!   +-- a poll fails ------------> a missed poll: retried after 10 s
//!   |
//!   +-- failed ------------------> Failed: change the request
//!   |
//!   +-- max_wait has passed, or
//!   |   the poll was refused ----> Unfinished: charged; wait for the id again
//!   v
//! Video
//!   |
//!   |  download: GET requests to another host
//!   |
//!   +-- the transfer breaks -----> resumed at the first missing byte
//!   |
//!   +-- disk full, or the file
//!   |   server stays away -------> Unfinished: charged; download it again
//!   v
//! complete file
//! ```
//!
//! # Running the examples
//!
//! Every example, except for build scripts and job queues, runs against an emulator of the service: offline, without a
//! key, and for free. Make a new package with
//!
//! ```toml
//! [dependencies]
//! kling = { path = "../kling", features = ["emulator"] } # a clone
//! ```
//!
//! and paste the example into this `main`:
//!
//! ```
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // The example goes here.
//!     Ok(())
//! }
//! ```
//!
//! Most examples print little. Their assertions say what happens, and if one did not hold, the example would panic.
//!
//! To use the real service, replace the emulator's client by `kling::Client::from_env()?`. The rest stays as it is.

pub mod _1_polling;
pub mod _2_errors;
pub mod _3_waiting;
pub mod _4_downloads;
pub mod _5_batches;
pub mod _6_build_scripts;
pub mod _7_testing;
pub mod _8_production;
pub mod _9_machines;
