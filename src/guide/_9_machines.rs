//! Chapter 9: job queues and tables, when one machine is not enough.
//!
//! One process can wait for hundreds of generations. Take more machines if the work must go on when one of them dies,
//! or if web servers take the orders. Nothing in this library has to know about them: an id is a string, and a
//! [`VideoRequest`] and a [`Video`] are JSON. Whatever stores text can hand a generation to another machine. What
//! creates, what waits and what downloads may be three processes:
//!
//! | Process | Takes | Stores |
//! |---|---|---|
//! | creates | a [`VideoRequest`] | the client request id, then the [`GenerationId`] |
//! | waits | the [`GenerationId`] | the [`Video`] |
//! | downloads | the [`Video`] | the file |
//!
//! # At least once is once too often
//!
//! A job queue runs each job *at least once*. If a worker dies, another one starts the job again. For waiting and
//! downloading that is right, since repeating them is free. For a create request it may be a second payment. So the job
//! writes down that it is about to send, and a later run looks that up first:
//!
//! ```
//! use std::error::Error;
//! use kling::emulator::{Emulator, Step};
//! use kling::{Charged, Client, Recovery, Video, VideoRequest};
//!
//! /// A row of a table. Each change of a field stands for a commit.
//! #[derive(Default)]
//! struct Job {
//!     attempts: u32,
//!     sent: Option<String>,       // a client request id, while its outcome is open
//!     generation: Option<String>, // a generation id
//!     video: Option<Video>,       // stored as JSON, by serde
//! }
//!
//! /// Takes the next step. A queue may call this again after any error or crash.
//! fn advance(client: &Client, job: &mut Job) -> Result<(), Box<dyn Error>> {
//!     if let Some(id) = &job.generation {
//!         job.video = Some(client.wait(&id.parse()?)?);
//!         return Ok(());
//!     }
//!     if let Some(sent) = &job.sent {
//!         match client.recover(sent)? {
//!             Recovery::Found(id) => job.generation = Some(id.to_string()),
//!             Recovery::NotCharged => job.sent = None,
//!             // After an hour, a person decides.
//!             Recovery::NotListed => return Err("look again in some minutes".into()),
//!         }
//!         return Ok(());
//!     }
//!     job.attempts += 1;
//!     let id = format!("job-42-{}", job.attempts);
//!     job.sent = Some(id.clone()); // committed before the request leaves
//!     let request = VideoRequest::new("A fox in the snow").client_request_id(id);
//!     match client.create(&request) {
//!         Ok(id) => job.generation = Some(id.to_string()),
//!         Err(error) => {
//!             if error.charged() == Charged::No {
//!                 job.sent = None;
//!             }
//!             return Err(error.into());
//!         }
//!     }
//!     Ok(())
//! }
//!
//! // The first request is refused, and the response to the second is lost.
//! let emulator = Emulator::builder().create([Step::Http(403), Step::Reset]).start();
//! let client = emulator.client();
//! let mut job = Job::default();
//! while job.video.is_none() {
//!     if let Err(error) = advance(&client, &mut job) {
//!         println!("the queue tries again later: {error}");
//!     }
//! }
//! let creates = emulator.creates();
//! assert_eq!(creates.iter().filter(|sent| sent.generation_id.is_some()).count(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A table
//!
//! If you have Postgres, a table is enough:
//!
//! ```sql
//! CREATE TABLE job (
//!     id          bigint PRIMARY KEY,
//!     request     jsonb NOT NULL,     -- a VideoRequest
//!     attempts    int NOT NULL DEFAULT 0,
//!     sent        text,
//!     generation  text,
//!     video       jsonb,              -- a Video
//!     failed      text,               -- why a person has to look at it
//!     taken_until timestamptz NOT NULL DEFAULT now()
//! );
//!
//! -- Takes one job that no other worker has, for 20 minutes.
//! UPDATE job SET taken_until = now() + interval '20 minutes'
//! WHERE id = (
//!     SELECT id FROM job
//!     WHERE video IS NULL AND failed IS NULL AND taken_until <= now()
//!     ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
//! )
//! RETURNING *;
//! ```
//!
//! Do not hold one transaction around the job. If the worker dies, the database rolls it back, and with it the
//! note that a request was sent. The 20 minutes must be longer than [`Poll::max_wait`](crate::Poll::max_wait).
//!
//! # An engine
//!
//! An engine brings schedules, limits, retries and a page that shows the jobs. Call `advance` from its handler.
//!
//! | You have | Take |
//! |---|---|
//! | one machine | none: [chapter 5](super::_5_batches), or [`asset::ensure`](crate::asset::ensure) |
//! | Postgres, and threads | [fang](https://docs.rs/fang) with its feature `blocking` |
//! | Tokio, with Postgres, SQLite or Redis | [apalis](https://github.com/apalis-dev/apalis) |
//! | several languages, long workflows | [Temporal](https://docs.temporal.io/design-patterns/fixed-count-retries) |
//!
//! For fang, a job is a type with a blocking method. `run_job` reads the row, calls `advance`, and writes the row:
//!
//! <!-- ignore: it needs fang, which is not a dependency. -->
//! ```ignore
//! #[typetag::serde]
//! impl fang::Runnable for RenderJob {
//!     fn run(&self, _: &dyn fang::Queueable) -> Result<(), fang::FangError> {
//!         run_job(self.id).map_err(|error| fang::FangError {
//!             description: error.to_string(),
//!         })
//!     }
//! }
//! ```
//!
//! In an async handler, such as one of apalis, a blocking call belongs on a thread of its own:
//!
//! <!-- ignore: it needs Tokio and apalis, which are not dependencies. -->
//! ```ignore
//! async fn render(job: RenderJob) -> Result<(), BoxDynError> {
//!     tokio::task::spawn_blocking(move || run_job(job.id)).await?
//! }
//! ```
//!
//! In Temporal, each of the three steps is an activity. Limit the one that creates to one attempt (`MaximumAttempts`), or
//! let it look up what it has sent, as above.
//!
//! [`VideoRequest`]: crate::VideoRequest
//! [`GenerationId`]: crate::GenerationId
//! [`Video`]: crate::Video
