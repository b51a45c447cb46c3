//! Chapter 8: key, proxies, certificates, time limits, exit codes and Ctrl-C.
//!
//! # The API key
//!
//! The service explains how to get a key on [its page for beginners](https://docs.aimlapi.com/quickstart/setting-up).
//! Put it into the environment, and neither into the code nor into a command that others can see:
//!
//! | Variable | Meaning |
//! |---|---|
//! | `AIML_API_KEY`, else `AIMLAPI_API_KEY` | the key |
//! | `AIML_API_BASE`, else `AIMLAPI_API_BASE` | another server, such as the emulator |
//! | `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` | a proxy; never used for loopback |
//!
//! [`Client::from_env`] reads them. A value that cannot be used is an error that names its variable.
//!
//! The key is in no error, `Debug` output, receipt or file of this library. It goes to the API and to no other host. But
//! `ureq`, which does the HTTP, logs everything at the level TRACE: keep that off.
//!
//! # Certificates
//!
//! The feature `rustls`, on by default, trusts Mozilla's certificates, the same on every machine. Behind a company's
//! proxy that has a certificate of its own, choose `platform-verifier`: it trusts what the operating system trusts.
//! `native-tls` takes the TLS of the operating system as well.
//!
//! # Time limits
//!
//! [`Poll`] limits a wait, and [`Timeouts`] single requests. The create request has 60 s. Do not lower that much: if it
//! ends too early, its outcome is unknown.
//!
//! ```
//! use std::time::Duration;
//! use kling::{Client, Poll, Timeouts};
//!
//! let client = Client::builder("my-key") // or ClientBuilder::from_env()?
//!     .base_url("http://127.0.0.1:8080") // defaults to the service
//!     .poll(Poll { max_wait: Duration::from_secs(3600), ..Poll::default() })
//!     .timeouts(Timeouts { connect: Duration::from_secs(20), ..Timeouts::default() })
//!     .user_agent("trailer-maker/1.0")
//!     .build()?;
//! assert!(!format!("{client:?}").contains("my-key"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Exit codes
//!
//! A script that calls your program wants to know one thing: may it call again? [`Error::charged`] decides.
//!
//! ```
//! use kling::emulator::{Emulator, Step};
//! use kling::{Charged, Client, VideoRequest};
//!
//! fn run(client: &Client, prompt: &str) -> u8 {
//!     match client.generate(&VideoRequest::new(prompt)) {
//!         Ok(_) => 0,
//!         Err(error) => {
//!             eprintln!("error: {error:?}"); // with the id, and all causes
//!             match error.charged() {
//!                 Charged::No => 3,      // try again
//!                 Charged::Perhaps => 4, // look it up first
//!                 Charged::Yes => 5,     // resume it
//!             }
//!         }
//!     }
//! }
//!
//! let emulator = Emulator::builder().create([Step::Http(403), Step::Close]).start();
//! let client = emulator.client();
//! let codes = ["A fox", "An owl", "A hare"].map(|prompt| run(&client, prompt));
//! assert_eq!(codes, [3, 4, 0]);
//! ```
//!
//! # Ctrl-C
//!
//! A program that is interrupted loses the id, unless it has been printed or stored. Set a flag in the handler of the
//! signal, look at it at each tick, and say how to resume:
//!
//! ```
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::time::Duration;
//! use kling::emulator::{Emulator, Step};
//! use kling::{Update, VideoRequest};
//!
//! static INTERRUPTED: AtomicBool = AtomicBool::new(false);
//! // With the crate ctrlc:
//! // ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))?;
//!
//! let emulator = Emulator::script(vec![Step::Generating; 1000]);
//! let client = emulator.client();
//! let request = VideoRequest::new("A fox in the snow");
//! let tick = Duration::from_millis(1);
//! let mut id = String::new();
//! for event in client.generate_all([&request]).updates().tick(tick) {
//!     match event {
//!         // Until the generation exists, this id finds it: `Client::recover`.
//!         Some((_, Update::Sending { client_request_id })) => id = client_request_id,
//!         Some((_, Update::Created(generation))) => id = generation.to_string(),
//!         Some((_, update)) => println!("{update}"),
//!         None if INTERRUPTED.load(Ordering::Relaxed) => break,
//!         None => INTERRUPTED.store(true, Ordering::Relaxed), // you press Ctrl-C
//!     }
//! }
//! println!("stopped; to resume: my-program --resume {id}");
//! assert_eq!(emulator.creates()[0].generation_id, Some(id));
//! ```
//!
//! While a request is on its way, no tick comes. A poll has 30 s by default ([`Timeouts::poll`]): set it lower if Ctrl-C
//! must be faster. During a download, look at the flag in a reader of your own, and return an error: see
//! [`Client::download_with`](crate::Client::download_with). `examples/text_to_video.rs` is a complete program with these exit codes and Ctrl-C.
//!
//! Next: [machines](super::_9_machines).
//!
//! [`Client::from_env`]: crate::Client::from_env
//! [`Error::charged`]: crate::Error::charged
//! [`Poll`]: crate::Poll
//! [`Timeouts`]: crate::Timeouts
//! [`Timeouts::poll`]: crate::Timeouts::poll
