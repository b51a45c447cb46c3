//! A stand-in for the service on a port of this machine: rehearse for nothing, and script what may go wrong.
//!
//! It needs the feature `emulator`, which adds no package. In `Cargo.toml`:
//!
//! ```toml
//! [dev-dependencies]
//! kling = { version = "0.1", features = ["emulator"] }
//! ```
//!
//! It validates requests as the service's schema does, serves both paths, `/v2/logs` and a real, playable test card
//! that fits the request, and records what it was asked. The file lies on another port than the API, as the service's
//! lies on another host. Each generation plays a script of [`Step`]s, all the same one unless told otherwise.
//!
//! # Example: a user's own test
//!
//! ```
//! use kling::emulator::{Emulator, Step};
//! use kling::{Client, VideoRequest};
//!
//! fn length_of_the_trailer(client: &Client) -> kling::Result<u64> {
//!     let video = client.generate(&VideoRequest::new("A trailer for a film about foxes"))?;
//!     Ok(video.file_size.unwrap_or(0))
//! }
//!
//! // The service is overloaded for a moment: nobody pays twice, and the trailer is made.
//! let emulator = Emulator::script([Step::Queued, Step::Http(503), Step::Completed]);
//! assert!(length_of_the_trailer(&emulator.client()).unwrap() > 0);
//! assert_eq!(emulator.creates().len(), 1);
//! assert_eq!(emulator.polls().len(), 3);
//! ```
//!
//! # What it does not reproduce
//!
//! - Nothing of it was compared with the live service: it is written from the service's documents.
//! - Time and price: a generation ends after so many polls, and costs the 120,000 credits of the documents' sample.
//! - The key: any bearer key is good. There is no credit to run out of, and no rate limit, unless a step says so.
//! - Models other than `klingai/v2.5-turbo/pro/text-to-video`, and what a prompt describes: the video is a test card.
//! - TLS, proxies and HTTP/2. `Transfer-Encoding: chunked` in a request is refused with 411. For a port that refuses
//!   connections, drop the emulator and keep its URL.
//! - Resets are made as Linux makes them; other systems may lose the bytes before a [`ResetAfter`](Step::ResetAfter).
//! - Prompts that the service's moderation would refuse.
//!
//! It is for tests and rehearsals on one machine: it is not hardened against hostile clients.

mod clips;
mod server;
mod service;
mod step;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use self::clips::Clip;
use self::server::{Reply, Request, Server, Then};
use self::service::{Answer, Edition, MODEL};
pub use self::step::Step;
use self::step::{play, whole};
use crate::builder::ClientBuilder;
use crate::client::Client;
use crate::poll::Poll;
use crate::random;
use crate::timeouts::Timeouts;

/// One request that the emulator received.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// `GET` or `POST`.
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body, if it is JSON; else null.
    pub body: Value,
    /// The generation that it is about. For a create: the one that it began, `None` if it was refused.
    pub generation_id: Option<String>,
}

impl RecordedRequest {
    fn new(request: &Request, generation_id: Option<String>) -> Self {
        RecordedRequest {
            method: request.method.clone(),
            target: request.target.clone(),
            headers: request.headers.clone(),
            body: serde_json::from_slice(&request.body).unwrap_or(Value::Null),
            generation_id,
        }
    }

    /// The value of the first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A service for rehearsals. It is shut down when it is dropped.
pub struct Emulator {
    api: Server,
    // Dropped after the API, whose answers name it.
    files: Server,
    service: Arc<Service>,
    client_timeout: Duration,
}

impl Emulator {
    /// Starts an emulator whose generations answer `queued`, then `generating`, then `completed`.
    ///
    /// # Panics
    ///
    /// If no port of loopback can be listened on; [`EmulatorBuilder::try_start`] returns that as an error.
    pub fn start() -> Self {
        Emulator::builder().start()
    }

    /// Starts an emulator whose generations answer with these steps, one a poll, and then `completed`.
    ///
    /// # Panics
    ///
    /// As [`start`](Emulator::start).
    pub fn script(steps: impl IntoIterator<Item = Step>) -> Self {
        Emulator::builder().status(steps).start()
    }

    /// An emulator with scripts for creates, statuses and files.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder {
            create: Vec::new(),
            status: vec![Step::Queued, Step::Generating],
            status_of: HashMap::new(),
            file: Vec::new(),
            ranges: true,
            etags: true,
            logs: Vec::new(),
            logs_lag: 0,
            client_timeout: Duration::from_secs(5),
            port: 0,
        }
    }

    /// The scheme, host and port of the API, for any client.
    pub fn base_url(&self) -> String {
        self.api.origin()
    }

    /// A client of this emulator, which polls every 5 ms.
    pub fn client(&self) -> Client {
        self.client_builder().build().expect("the emulator's own URL and key are valid")
    }

    /// The settings of [`client`](Emulator::client), to be changed before it is built.
    pub fn client_builder(&self) -> ClientBuilder {
        let poll = Poll { interval: Duration::from_millis(5), max_wait: Duration::from_secs(60) };
        let timeouts = Timeouts {
            connect: self.client_timeout,
            create: self.client_timeout,
            poll: self.client_timeout,
            stall: self.client_timeout,
        };
        Client::builder("rehearsal-key")
            .base_url(self.base_url())
            .poll(poll)
            .timeouts(timeouts)
            .retry_delay(Duration::from_millis(1))
    }

    /// The creates so far, refused ones too.
    pub fn creates(&self) -> Vec<RecordedRequest> {
        self.service.state().creates.clone()
    }

    /// The status requests so far.
    pub fn polls(&self) -> Vec<RecordedRequest> {
        self.service.state().polls.clone()
    }

    /// The requests for files so far.
    pub fn files(&self) -> Vec<RecordedRequest> {
        self.service.state().files.clone()
    }

    /// How many connections were made to the API so far.
    pub fn connections(&self) -> usize {
        self.api.connections()
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("api", &self.api.origin()).field("files", &self.files.origin()).finish()
    }
}

/// The scripts of an [`Emulator`], made by [`Emulator::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct EmulatorBuilder {
    create: Vec<Step>,
    status: Vec<Step>,
    status_of: HashMap<usize, Vec<Step>>,
    file: Vec<Step>,
    ranges: bool,
    etags: bool,
    logs: Vec<Step>,
    logs_lag: usize,
    client_timeout: Duration,
    port: u16,
}

impl EmulatorBuilder {
    /// Sets the answers to the first creates, one each. All later ones are accepted.
    pub fn create(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.create = steps.into_iter().collect();
        self
    }

    /// Sets the answers to the first polls of each generation. All later ones say `completed`. Defaults to `queued`,
    /// `generating`.
    pub fn status(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.status = steps.into_iter().collect();
        self
    }

    /// Sets the script of one generation, by its place among the accepted ones, from 0 on; it plays this one instead.
    pub fn status_of(mut self, generation: usize, steps: impl IntoIterator<Item = Step>) -> Self {
        self.status_of.insert(generation, steps.into_iter().collect());
        self
    }

    /// Sets the answers to the first requests for the file of each generation. All later ones get it.
    pub fn file(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.file = steps.into_iter().collect();
        self
    }

    /// Sets whether files can be had from the middle on; if not, a `Range` is answered with 200 and all of the file.
    /// Defaults to true.
    pub fn ranges(mut self, ranges: bool) -> Self {
        self.ranges = ranges;
        self
    }

    /// Sets whether files have an `ETag`, by which a client can tell whether one has changed. Defaults to true.
    pub fn etags(mut self, etags: bool) -> Self {
        self.etags = etags;
        self
    }

    /// Sets the answers to the first looks into `/v2/logs`. All later ones get the rows.
    pub fn logs(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.logs = steps.into_iter().collect();
        self
    }

    /// Sets how many looks into `/v2/logs` after a create do not show it yet: the service may show a generation only
    /// when it has ended. Defaults to 0.
    pub fn logs_lag(mut self, looks: usize) -> Self {
        self.logs_lag = looks;
        self
    }

    /// Sets how long a client of [`Emulator::client`] waits for a connection, an answer, or the next byte of a file,
    /// so that a test of [`Step::Stall`] is short. Defaults to 5 s.
    pub fn client_timeout(mut self, timeout: Duration) -> Self {
        self.client_timeout = timeout;
        self
    }

    /// Sets the port of the API. Defaults to a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    fn script_of(&self, generation: usize) -> &[Step] {
        self.status_of.get(&generation).unwrap_or(&self.status)
    }

    /// Starts the emulator.
    ///
    /// # Panics
    ///
    /// If the port cannot be listened on.
    pub fn start(self) -> Emulator {
        self.try_start().expect("a port of loopback can be listened on")
    }

    /// Starts the emulator.
    ///
    /// # Errors
    ///
    /// What the operating system says if the port cannot be listened on.
    pub fn try_start(self) -> io::Result<Emulator> {
        let client_timeout = self.client_timeout;
        let port = self.port;
        let service = Arc::new(Service { plan: self, state: Mutex::default() });
        let files = Server::start(0, {
            let service = Arc::clone(&service);
            Arc::new(move |request| service.file(request))
        })?;
        let api = Server::start(port, {
            let service = Arc::clone(&service);
            let files = files.origin();
            Arc::new(move |request| service.api(request, &files))
        })?;
        Ok(Emulator { api, files, service, client_timeout })
    }
}

/// What plays the scripts, and remembers.
struct Service {
    plan: EmulatorBuilder,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    creates: Vec<RecordedRequest>,
    /// Without those that the schema refused: they play no step.
    creates_played: usize,
    polls: Vec<RecordedRequest>,
    files: Vec<RecordedRequest>,
    generations: Vec<Generation>,
    by_id: HashMap<String, usize>,
    looks: usize,
}

struct Generation {
    id: String,
    client_request_id: Option<String>,
    clip: &'static Clip,
    polls: usize,
    files: usize,
    failed: Option<String>,
    /// The number of looks into the logs when it was created.
    looks: usize,
}

impl Service {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request to the API.
    fn api(&self, request: &Request, files: &str) -> Reply {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        if request.header("transfer-encoding").is_some() {
            let reply = whole(&Answer::refusal(411, path, "A Content-Length is required"));
            return Reply { then: Then::Close, ..reply };
        }
        match (request.method.as_str(), path, Edition::of(path)) {
            ("POST", _, Some(_)) => self.create(request, path),
            ("GET", _, Some(edition)) => self.status(request, path, query, edition, files),
            ("GET", "/v2/logs", _) => self.logs(request, path, query),
            (_, "/v2/logs", _) => whole(&Answer::refusal(405, path, "Method not allowed").with("Allow", "GET")),
            (_, _, Some(_)) => whole(&Answer::refusal(405, path, "Method not allowed").with("Allow", "GET, POST")),
            _ => whole(&Answer::refusal(404, path, "No such path")),
        }
    }

    fn create(&self, request: &Request, path: &str) -> Reply {
        let mut state = self.state();
        let body = match service::check_key(request.header("authorization"))
            .and_then(|()| service::check(request.header("content-type"), &request.body))
        {
            Ok(body) => body,
            Err((status, message)) => {
                state.creates.push(RecordedRequest::new(request, None));
                return whole(&Answer::refusal(status, path, &message));
            }
        };
        let step = self.plan.create.get(state.creates_played).cloned().unwrap_or(Step::Queued);
        state.creates_played += 1;
        let id = step.accepts_a_create().then(|| state.begin(request, &body));
        state.creates.push(RecordedRequest::new(request, id.clone()));
        let id = id.unwrap_or_default();
        let word = if let Step::OtherStatus(word) = &step { word } else { "queued" };
        let mut due = Answer::json(201, &service::underway(&id, word)).with("X-Inference-Id", id);
        if let Some(id) = service::client_request_id(request.header("x-client-request-id")) {
            due = due.with("X-Client-Request-Id", id);
        }
        play(&step, due, path)
    }

    fn status(&self, request: &Request, path: &str, query: &str, edition: Edition, files: &str) -> Reply {
        let id = parameter(query, "generation_id");
        let mut state = self.state();
        state.polls.push(RecordedRequest::new(request, id.clone()));
        if let Err((status, message)) = service::check_key(request.header("authorization")) {
            return whole(&Answer::refusal(status, path, &message));
        }
        let Some(id) = id else {
            return whole(&Answer::refusal(400, path, "generation_id: Required"));
        };
        let Some(&number) = state.by_id.get(&id) else {
            return whole(&Answer::refusal(404, path, "No such generation"));
        };
        let generation = &mut state.generations[number];
        let step = self.plan.script_of(number).get(generation.polls).cloned().unwrap_or(Step::Completed);
        generation.polls += 1;
        if let Step::Failed(message) = &step {
            generation.failed = Some(message.clone());
        }
        let due = match (&generation.failed, &step) {
            (Some(message), _) => service::failed(&id, message),
            (None, Step::Queued) => service::underway(&id, "queued"),
            (None, Step::Generating) => service::underway(&id, "generating"),
            (None, Step::OtherStatus(word)) => service::underway(&id, word),
            // The query stands for the signature of a real file's URL.
            (None, _) => {
                let poll = generation.polls;
                let url = format!("{files}/generations/{number}/output.mp4?signature=rehearsal-{poll}");
                service::completed(&id, edition, &url, generation.clip)
            }
        };
        play(&step, Answer::json(200, &due).with("X-Inference-Id", id), path)
    }

    fn logs(&self, request: &Request, path: &str, query: &str) -> Reply {
        if let Err((status, message)) = service::check_key(request.header("authorization")) {
            return whole(&Answer::refusal(status, path, &message));
        }
        let number = |name, default| parameter(query, name).and_then(|value| value.parse().ok()).unwrap_or(default);
        let (limit, offset): (usize, usize) = (number("limit", 20).clamp(1, 100), number("offset", 0));
        let model = parameter(query, "model");
        let mut state = self.state();
        let looks = state.looks;
        state.looks += 1;
        let step = self.plan.logs.get(looks).cloned().unwrap_or(Step::Completed);
        // The logs know how a script ends, whether or not anybody has polled so far.
        let will_fail = |number| self.plan.script_of(number).iter().any(|step| matches!(step, Step::Failed(_)));
        let rows: Vec<Value> = state
            .generations
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, generation)| looks >= generation.looks + self.plan.logs_lag)
            .filter(|_| model.as_deref().is_none_or(|model| model == MODEL))
            .map(|(number, generation)| {
                let (status, credits) = if will_fail(number) { ("failed", 0) } else { ("succeeded", 120_000) };
                json!({
                    "created": "2026-01-01T00:00:00.000Z",
                    "status": status,
                    "origin": "api",
                    "model": MODEL,
                    "cost": { "usd": 0.0, "credits": credits },
                    "tokens": { "input": 0, "output": 0, "total": 0 },
                    "request_id": generation.id.split(':').next(),
                    "inference_id": generation.id,
                    "client_request_id": generation.client_request_id,
                })
            })
            .collect();
        let total = rows.len();
        let page: Vec<Value> = rows.into_iter().skip(offset).take(limit).collect();
        let has_more = offset + page.len() < total;
        let pagination = json!({ "limit": limit, "offset": offset, "total": total, "has_more": has_more });
        play(&step, Answer::json(200, &json!({ "data": page, "pagination": pagination })), path)
    }

    /// Answers a request for a file.
    fn file(&self, request: &Request) -> Reply {
        let path = request.target.split('?').next().unwrap_or_default();
        let number = path
            .strip_prefix("/generations/")
            .and_then(|rest| rest.strip_suffix("/output.mp4"))
            .and_then(|number| number.parse::<usize>().ok());
        let mut state = self.state();
        let generation = number.and_then(|number| state.generations.get_mut(number));
        let asked = RecordedRequest::new(request, generation.as_ref().map(|generation| generation.id.clone()));
        if request.header("authorization").is_some() {
            state.files.push(asked);
            return whole(&Answer::refusal(400, path, "This is another host: it must never see the key"));
        }
        let Some(generation) = generation.filter(|_| request.method == "GET") else {
            state.files.push(asked);
            return whole(&Answer::refusal(404, path, "No such file"));
        };
        let step = self.plan.file.get(generation.files).cloned().unwrap_or(Step::Completed);
        generation.files += 1;
        if step == Step::OtherFile {
            generation.clip = generation.clip.other();
        }
        let clip = generation.clip;
        state.files.push(asked);
        let range = request.header("range").filter(|_| self.plan.ranges);
        let mut due = match (&step, range) {
            (Step::WrongRange, Some(range)) => {
                let first = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
                clip.answer(Some(&format!("bytes={}-", first + 1)), None)
            }
            _ => clip.answer(range, request.header("if-range")),
        };
        due.headers.retain(|(name, _)| self.plan.etags || *name != "ETag");
        play(&step, due, path)
    }
}

impl State {
    fn begin(&mut self, request: &Request, body: &Value) -> String {
        let (a, b) = (random::bits(), random::bits());
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}:{MODEL}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 48 & 0xfff,
            b & 0xffff_ffff_ffff
        );
        self.by_id.insert(id.clone(), self.generations.len());
        self.generations.push(Generation {
            id: id.clone(),
            client_request_id: service::client_request_id(request.header("x-client-request-id")),
            clip: Clip::fitting(body),
            polls: 0,
            files: 0,
            failed: None,
            looks: self.looks,
        });
        id
    }
}

/// The value of a parameter of a query, decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(known, _)| *known == name)?.1;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            b'+' => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}
