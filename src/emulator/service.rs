//! The service: its state, and the handlers that play the scripts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::builder::EmulatorBuilder;
use super::clips::{Clip, Validators};
use super::logs::{self, LogEntry};
use super::recorded::RecordedRequest;
use super::response::Response;
use super::schema::{self, Edition, MODEL, Refusal};
use super::server::{AfterReply, Reply, Request};
use super::step::Step;
use crate::random;

/// The service, with the scripts that it plays.
pub(super) struct Service {
    pub(super) settings: EmulatorBuilder,
    state: Mutex<State>,
}

/// The requests received so far, and the generations that they created.
#[derive(Default)]
pub(super) struct State {
    pub(super) creates: Vec<RecordedRequest>,
    pub(super) polls: Vec<RecordedRequest>,
    pub(super) files: Vec<RecordedRequest>,
    /// The number of create requests that have played a step.
    create_steps: usize,
    log_reads: usize,
    generations: Vec<Generation>,
}

struct Generation {
    id: String,
    client_request_id: Option<String>,
    clip: &'static Clip,
    created: SystemTime,
    /// The number of log requests before it was created.
    log_reads: usize,
    polls: usize,
    /// The number of steps that polls have played, and when the last one began.
    steps: usize,
    step_began: Instant,
    files: usize,
    failed: Option<String>,
    finished: bool,
}

impl Service {
    pub(super) fn new(settings: EmulatorBuilder) -> Self {
        Service { settings, state: Mutex::default() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles a request to the API. `files` is the origin of the file server.
    pub(super) fn api(&self, request: &Request, files: &str) -> Reply {
        let path = request.path();
        let method_not_allowed =
            |allowed| Response::error(405, path, "Method not allowed").with("Allow", allowed).complete();
        if request.header("transfer-encoding").is_some() {
            let reply = Response::error(411, path, "A Content-Length is required").complete();
            // The body is unread.
            return Reply { then: AfterReply::Close, ..reply };
        }
        match (request.method.as_str(), path, Edition::of(path)) {
            ("POST", _, Some(_)) => self.create(request),
            ("GET", _, Some(edition)) => self.status(request, edition, files),
            ("GET", "/v2/logs", _) => self.logs(request),
            (_, "/v2/logs", _) => method_not_allowed("GET"),
            (_, _, Some(_)) => method_not_allowed("GET, POST"),
            _ => Response::error(404, path, "No such path").complete(),
        }
    }

    fn create(&self, request: &Request) -> Reply {
        let mut state = self.state();
        let checked = schema::check_create(request);
        let body = match checked.and_then(|body| state.check_concurrency(self.settings.max_concurrent).map(|()| body)) {
            Ok(body) => body,
            Err(refusal) => {
                state.creates.push(RecordedRequest::new(request, None));
                return refuse(request, refusal);
            }
        };
        let step = self.settings.create.get(state.create_steps).unwrap_or(&Step::Queued);
        state.create_steps += 1;
        let id = step.accepts_a_create().then(|| state.begin(request, &body));
        state.creates.push(RecordedRequest::new(request, id.clone()));
        let id = id.unwrap_or_default();
        let status = if let Step::OtherStatus(status) = step { status } else { "queued" };
        // The one status that both editions name, and not 201.
        let mut due = Response::json(200, &schema::pending(&id, status)).with("X-Inference-Id", id);
        if let Some(id) = schema::client_request_id(request) {
            due = due.with("X-Client-Request-Id", id);
        }
        step.apply(due, request)
    }

    fn status(&self, request: &Request, edition: Edition, files: &str) -> Reply {
        let id = request.query("generation_id");
        let mut state = self.state();
        state.polls.push(RecordedRequest::new(request, id.clone()));
        if let Err(refusal) = schema::check_key(request) {
            return refuse(request, refusal);
        }
        let Some(id) = id else {
            return refuse(request, (400, "generation_id: Required".to_owned()));
        };
        let Some(index) = state.generations.iter().position(|generation| generation.id == id) else {
            return refuse(request, (404, "No such generation".to_owned()));
        };
        let generation = &mut state.generations[index];
        let step = generation.poll(self.settings.script_of(index), self.settings.pace);
        let due = match (&generation.failed, step) {
            (Some(message), _) => schema::failed(&id, message),
            (None, Step::Queued) => schema::pending(&id, "queued"),
            (None, Step::Generating) => schema::pending(&id, "generating"),
            (None, Step::OtherStatus(status)) => schema::pending(&id, status),
            (None, _) => {
                // The query stands for the signature of a real file's URL.
                let signature = generation.polls;
                let url = format!("{files}/generations/{index}/output.mp4?signature=rehearsal-{signature}");
                let length = generation.clip.bytes.len() as u64;
                let file_size = self.settings.file_size_offset.map(|offset| length.saturating_add_signed(offset));
                schema::completed(&id, edition, &url, generation.clip.seconds, file_size)
            }
        };
        step.apply(Response::json(200, &due).with("X-Inference-Id", id), request)
    }

    fn logs(&self, request: &Request) -> Reply {
        if let Err(refusal) = schema::check_key(request) {
            return refuse(request, refusal);
        }
        let mut state = self.state();
        let reads = state.log_reads;
        state.log_reads += 1;
        let step = self.settings.logs.get(reads).unwrap_or(&Step::Completed);
        let newest_first = state.generations.iter().enumerate().rev();
        let entries = newest_first.flat_map(|(index, generation)| self.log_entries(index, generation, reads));
        step.apply(Response::json(200, &logs::page(entries, request)), request)
    }

    /// Returns the entries of a generation that the log request after `reads` others lists, newest first.
    fn log_entries<'a>(
        &self,
        index: usize,
        generation: &'a Generation,
        reads: usize,
    ) -> impl Iterator<Item = LogEntry<'a>> + use<'a> {
        let first_read = generation.log_reads.saturating_add(self.settings.logs_lag);
        let fallback = self.settings.logs_fallback;
        let outcome = LogEntry {
            created: generation.created.checked_sub(self.settings.logs_age).unwrap_or(SystemTime::UNIX_EPOCH),
            // The logs know how a script ends, whether or not the generation was polled so far.
            failed: self.settings.script_of(index).iter().any(|step| matches!(step, Step::Failed(_))),
            generation_id: Some(&generation.id),
            client_request_id: generation.client_request_id.as_deref(),
        };
        let failed_first = LogEntry { failed: true, generation_id: None, ..outcome.clone() };
        let outcome = (reads >= first_read.saturating_add(fallback.unwrap_or(0))).then_some(outcome);
        let failed_first = (fallback.is_some() && reads >= first_read).then_some(failed_first);
        outcome.into_iter().chain(failed_first)
    }

    /// Handles a request to the file server.
    pub(super) fn file(&self, request: &Request) -> Reply {
        let index = request.path().strip_prefix("/generations/").and_then(|rest| rest.strip_suffix("/output.mp4"));
        let index = index.and_then(|index| index.parse::<usize>().ok());
        let mut state = self.state();
        let State { files, generations, .. } = &mut *state;
        let generation = index.and_then(|index| generations.get_mut(index));
        files.push(RecordedRequest::new(request, generation.as_ref().map(|generation| generation.id.clone())));
        if request.header("authorization").is_some() {
            return refuse(request, (400, "This is another host: it must never see the key".to_owned()));
        }
        let Some(generation) = generation.filter(|_| request.method == "GET") else {
            return refuse(request, (404, "No such file".to_owned()));
        };
        let step = self.settings.file.get(generation.files).unwrap_or(&Step::Completed);
        generation.files += 1;
        if *step == Step::OtherFile {
            generation.clip = generation.clip.other();
        }
        step.apply(self.file_response(step, generation.clip, request), request)
    }

    fn file_response(&self, step: &Step, clip: &Clip, request: &Request) -> Response {
        let weak = if self.settings.weak_etags { "W/" } else { "" };
        let validators = Validators {
            etag: self.settings.etags.then(|| format!("{weak}{}", clip.etag())),
            last_modified: self.settings.last_modified.then(|| clip.last_modified()),
            last_modified_on_206: self.settings.last_modified_on_206,
        };
        match (step, request.header("range").filter(|_| self.settings.ranges)) {
            (Step::WrongRange, Some(range)) => {
                let first: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
                clip.respond(Some(&format!("bytes={}-", first.saturating_add(1))), None, &validators)
            }
            (_, range) => clip.respond(range, request.header("if-range"), &validators),
        }
    }
}

impl State {
    /// Creates a generation, and returns its id.
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
        self.generations.push(Generation {
            id: id.clone(),
            client_request_id: schema::client_request_id(request),
            clip: Clip::fitting(body),
            created: SystemTime::now(),
            log_reads: self.log_reads,
            polls: 0,
            steps: 0,
            step_began: Instant::now(),
            files: 0,
            failed: None,
            finished: false,
        });
        id
    }

    fn check_concurrency(&self, max_concurrent: usize) -> Result<(), Refusal> {
        let in_flight = self.generations.iter().filter(|generation| !generation.finished).count();
        if in_flight < max_concurrent {
            return Ok(());
        }
        Err((429, format!("Too many generations in flight: this account may have {max_concurrent}")))
    }
}

impl Generation {
    /// Returns the step that the next poll plays: the last one again, if that began less than `pace` ago.
    fn poll<'a>(&mut self, script: &'a [Step], pace: Duration) -> &'a Step {
        self.polls += 1;
        if self.steps == 0 || self.step_began.elapsed() >= pace {
            self.steps += 1;
            self.step_began = Instant::now();
        }
        let step = script.get(self.steps - 1);
        self.finished |= matches!(step, None | Some(Step::Completed | Step::Failed(_)));
        if let Some(Step::Failed(message)) = step {
            self.failed = Some(message.clone());
        }
        step.unwrap_or(&Step::Completed)
    }
}

fn refuse(request: &Request, (status, message): Refusal) -> Reply {
    Response::error(status, request.path(), &message).complete()
}
