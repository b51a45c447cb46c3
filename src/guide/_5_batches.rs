//! Chapter 5: many generations on one thread, and a journal of their ids.
//!
//! The service does the work, and we only wait. So one thread is enough for many generations.
//! [`Client::generate_all`] creates them and polls each at its own interval. It is an iterator: everything happens on
//! the thread that iterates.
//!
//! At most 4 generations are *in flight* at once, that is created and not finished. [`max_in_flight`] changes this. If
//! the account allows fewer, the service refuses with 429, and the rest waits until one has finished.
//!
//! # One outcome for each
//!
//! ```
//! use kling::VideoRequest;
//! use kling::emulator::{Emulator, Step};
//!
//! // The second generation fails.
//! let emulator = Emulator::builder().status_of(1, [Step::failed("moderated")]).start();
//! let client = emulator.client();
//! let requests = ["calm", "wild", "frozen"].map(|sea| {
//!     VideoRequest::new(format!("A {sea} sea"))
//! });
//!
//! let mut videos = vec![None; requests.len()];
//! for (index, outcome) in client.generate_all(&requests) {
//!     match outcome {
//!         Ok(video) => videos[index] = Some(video),
//!         Err(error) => eprintln!("request {index}: {error}"),
//!     }
//! }
//! let made: Vec<bool> = videos.iter().map(Option::is_some).collect();
//! assert_eq!(made, [true, false, true]);
//! ```
//!
//! The items come in the order in which the generations finish. A failure does not affect the others.
//!
//! # Everything that happens
//!
//! A program that shows progress wants more than the outcomes. [`updates`] yields an [`Update`] for each event:
//!
//! | Update | Meaning | What a program does |
//! |---|---|---|
//! | `Sending` | A create request leaves next. | Writes the client request id down. |
//! | `Retrying` | It was not accepted, and is sent again. | Shows it. |
//! | `Created` | The generation exists, and is paid for. | Writes the id down. |
//! | `Status` | A poll was successful. | Shows it. |
//! | `Missed` | A poll failed, and is retried. | Shows it. |
//! | `Finished` | The video, or the error. | Downloads it. |
//!
//! Between two events the thread sleeps. With [`tick`], the iterator also yields `None` while nothing happens, so that
//! the loop can redraw a line, or stop.
//!
//! # A journal
//!
//! A process can be killed at any time, and the ids must survive it. If each video has a path of its own, take
//! [`asset::Ensure`](crate::asset::Ensure): its receipts are such a journal, with locks. Otherwise, write each id to a file
//! before it matters. The next run reads the file, and pays for nothing twice:
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::fs::{self, File};
//! use std::io::Write;
//! use kling::emulator::Emulator;
//! use kling::{Recovery, Update, VideoRequest};
//!
//! let emulator = Emulator::start();
//! let client = emulator.client();
//! let requests = ["calm", "wild"].map(|sea| VideoRequest::new(format!("A {sea} sea")));
//! let path = std::env::temp_dir().join(format!("seas-{}.txt", std::process::id()));
//!
//! // The first run dies before it writes down the id of the second generation.
//! let mut journal = File::create(&path)?;
//! for (index, update) in client.generate_all(&requests).updates() {
//!     if emulator.creates().len() == 2 {
//!         break;
//!     }
//!     match update {
//!         Update::Sending { client_request_id: id } => {
//!             writeln!(journal, "{index} sent {id}")?;
//!         }
//!         Update::Created(id) => writeln!(journal, "{index} created {id}")?,
//!         _ => continue,
//!     }
//!     journal.sync_data()?; // the request leaves after this
//! }
//!
//! // The second run. The last line about a request counts.
//! let mut last = BTreeMap::new();
//! let text = fs::read_to_string(&path)?;
//! for line in text.lines() {
//!     let (index, event) = line.split_once(' ').ok_or("not a journal")?;
//!     last.insert(index, event);
//! }
//! let mut ids = Vec::new();
//! for event in last.into_values() {
//!     match event.split_once(' ').ok_or("not a journal")? {
//!         ("created", id) => ids.push(id.parse()?),
//!         (_, id) => match client.recover(id)? {
//!             Recovery::Found(id) => ids.push(id),
//!             Recovery::NotCharged => println!("{id}: create it again"),
//!             Recovery::NotListed => println!("{id}: look again in some minutes"),
//!         },
//!     }
//! }
//! let finished = client.wait_all(&ids).filter(|(_, outcome)| outcome.is_ok()).count();
//!
//! assert_eq!(finished, 2);
//! assert_eq!(emulator.creates().len(), 2); // each paid once
//! # fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/many.rs` is a complete program with such a journal, a live line for each video, and Ctrl-C.
//!
//! Next: [build scripts](super::_6_build_scripts).
//!
//! [`Client::generate_all`]: crate::Client::generate_all
//! [`max_in_flight`]: crate::Batch::max_in_flight
//! [`updates`]: crate::Batch::updates
//! [`tick`]: crate::BatchUpdates::tick
//! [`Update`]: crate::Update
