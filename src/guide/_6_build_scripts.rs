//! Chapter 6: a video that is generated once for everybody, and its receipt.
//!
//! A game needs a campfire. The video belongs into the repository, like a picture. But where does it come from, and is
//! it still the one that the code describes? Declare it in `build.rs`:
//!
//! <!-- no_run: without its video, it stops. tests/readme.rs runs such a build script. -->
//! ```no_run
//! use kling::{Asset, VideoRequest};
//!
//! fn main() -> Result<(), kling::Error> {
//!     let request = VideoRequest::new("A campfire at night, seamless loop");
//!     kling::build_script([Asset::new("assets/campfire.mp4", request)])
//! }
//! ```
//!
//! In `Cargo.toml`, the library is a build dependency only. The program itself does not contain it:
//!
//! ```toml
//! [build-dependencies]
//! kling = { path = "../kling" } # a clone
//! ```
//!
//! The program uses the file with `include_bytes!("../assets/campfire.mp4")`.
//!
//! # Who pays, and when
//!
//! One developer, once, on purpose:
//!
//! ```sh
//! AIML_API_KEY=<your key> KLING_GENERATE=1 cargo build -vv
//! git add assets && git commit
//! ```
//!
//! On Windows, the command looks different. A build that stops prints it.
//!
//! All other builds only compare the request and the length of the file with the receipt. They need no key and no
//! network, and they cost nothing. If something differs, the build stops. The message says what differs, how many
//! generations it takes, and which command pays for them.
//!
//! | `KLING_GENERATE` | Effect |
//! |---|---|
//! | not set | Nothing is sent. A build stops at an asset that is missing or changed. |
//! | `1` | Pays for missing and changed assets, and fetches those that exist. |
//! | `fetch` | Resumes and fetches what exists, and never pays. |
//! | `rehearse` | Makes test clips, offline and for free. |
//! | `1:assets/campfire.mp4` | Limits any of the three to some assets, separated by commas. |
//!
//! A new prompt is a new generation. The previous video stays beside the new one, under a name with a part of its id.
//!
//! # A rehearsal
//!
//! Before you pay, run it once with an emulator inside the build script:
//!
//! ```sh
//! KLING_GENERATE=rehearse cargo build -vv --features kling/emulator
//! ```
//!
//! The receipt names the emulator, and each build prints a warning, so that a test clip is not taken for the real video.
//! To replace it by the real one, delete both files, and build with your key. In CI and releases,
//! `KLING_DENY_REHEARSALS=1` stops the build at a test clip.
//!
//! # The receipt
//!
//! Beside `campfire.mp4` lies `campfire.mp4.receipt.jsonl`: a text file with one event a line. Each line is written, and
//! synced to the disk, before the step that it records. It looks like this, with the long ids cut and the first line
//! broken:
//!
//! ```text
//! {"requested":{"at":1795365855,"client_request_id":"kling-58f7…",
//!   "request":{"model":"klingai/…","prompt":"A campfire at night, …"}}}
//! {"created":{"client_request_id":"kling-58f7…","id":"beeb3192-…"}}
//! {"completed":{"client_request_id":"kling-58f7…","file_size":20235536,…}}
//! ```
//!
//! | Line | Meaning | If the build is killed after it |
//! |---|---|---|
//! | `requested` | A create request is about to leave. | The next one looks it up in the service's logs. |
//! | `created` | The generation exists, and is paid for. | The next one resumes it. |
//! | `completed` | The file is in its place. | Nothing is left to do. |
//! | `refused`, `failed` | It was not charged. | The next one may try again. |
//! | `ended` | It ended without a video, perhaps charged. | A person has to decide. |
//!
//! Commit the receipt with the file. When two branches are merged, keep the lines of both: put
//! `*.receipt.jsonl merge=union` into `.gitattributes`, and git does so.
//!
//! # The same in a program
//!
//! [`asset::ensure`] is what the build script calls, for any other program:
//!
//! ```
//! use kling::emulator::Emulator;
//! use kling::{Asset, VideoRequest, asset};
//!
//! let emulator = Emulator::start();
//! let path = std::env::temp_dir().join(format!("fire-{}.mp4", std::process::id()));
//! let campfire = Asset::new(&path, VideoRequest::new("A campfire at night"));
//!
//! asset::ensure([&campfire], || Ok(emulator.client()))?;
//! asset::ensure([&campfire], || panic!("it is current, so no client is needed"))?;
//! assert_eq!(emulator.creates().len(), 1);
//!
//! let receipt = std::fs::read_to_string(campfire.receipt_path())?;
//! for (line, event) in receipt.lines().zip(["requested", "created", "completed"]) {
//!     assert!(line.starts_with(&format!("{{\"{event}\":")));
//! }
//!
//! // Another prompt is another video: the receipt shows what differs.
//! let bonfire = Asset::new(&path, VideoRequest::new("A bonfire at night"));
//! let asset::State::Stale { differences } = bonfire.state()? else {
//!     panic!("the prompts differ");
//! };
//! assert_eq!(differences[0].field, "prompt");
//! # std::fs::remove_file(campfire.receipt_path())?;
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Ensure`] also yields everything that happens, for a program that shows the progress of many assets:
//!
//! ```
//! use kling::asset::Ensure;
//! use kling::emulator::Emulator;
//! use kling::{Asset, Update, VideoRequest};
//!
//! let emulator = Emulator::start();
//! let folder = std::env::temp_dir().join(format!("fires-{}", std::process::id()));
//! let assets = ["campfire", "bonfire"].map(|fire| {
//!     let path = folder.join(format!("{fire}.mp4"));
//!     Asset::new(path, VideoRequest::new(format!("A {fire}")))
//! });
//! let mut made = 0;
//! for (index, update) in Ensure::new(&assets).updates(|| Ok(emulator.client()))? {
//!     println!("{}: {update}", assets[index].path().display());
//!     made += usize::from(matches!(update, Update::Finished(Ok(_))));
//! }
//! assert_eq!(made, 2);
//! # std::fs::remove_dir_all(folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Next: [testing](super::_7_testing).
//!
//! [`asset::ensure`]: crate::asset::ensure
//! [`Ensure`]: crate::asset::Ensure
