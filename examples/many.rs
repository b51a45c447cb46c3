//! Generates many videos on one thread, with a live line for each, and resumes after an interruption.
//!
//! ```sh
//! cargo run --example many -- requests.json --output videos
//! ```
//!
//! The file holds a JSON array of requests, such as `[{"prompt": "A calm sea"}, {"prompt": "A wild sea"}]`. Each id is
//! written to `journal.jsonl` in the output directory the moment it exists. Start the program again after Ctrl-C, a
//! crash or an error: it resumes what exists, and pays only for what is missing. Keep one directory for each file.
//!
//! With `AIML_API_KEY` in the environment, the videos are real and cost money. Without it, this is a rehearsal against an
//! emulator of the service inside the program. It ends with the program, so a rehearsal cannot be resumed.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use kling::emulator::Emulator;
use kling::{Charged, Client, GenerationId, Poll, Recovery, Update, VideoRequest};
use serde::{Deserialize, Serialize};

/// Turns the requests in a file into videos, several at a time.
#[derive(Parser)]
struct Arguments {
    /// A JSON array of requests. Defaults to three calm, wild and frozen seas
    requests: Option<PathBuf>,
    /// The directory for the videos and the journal
    #[arg(short, long, default_value = "videos")]
    output: PathBuf,
    /// How many generations may run at once
    #[arg(long, default_value_t = 3)]
    max_in_flight: usize,
}

/// The last event of a request. Each line of the journal holds the index of a request and an event.
#[derive(Serialize, Deserialize)]
enum Event {
    /// A create request was about to be sent under this client request id.
    Sending(String),
    Created(GenerationId),
    /// The create request was refused, or the generation failed.
    NotCharged,
}

/// A file with the events of all requests, each synced before the next step is taken. Its first line names the server,
/// since an id is valid only there.
struct Journal(File);

impl Journal {
    /// Opens the journal, and returns the last event of each request that has one. Fails if another process has opened
    /// it: two would pay twice.
    fn open(path: &Path, server: &str) -> Result<(Self, BTreeMap<usize, Event>), Box<dyn Error>> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|error| format!("failed to lock {}: {error}", path.display()))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A power failure may have cut the last line. The step that it announced was not taken.
        let complete = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        file.set_len(complete.len() as u64)?;
        file.seek(SeekFrom::End(0))?;
        let mut journal = Journal(file);
        let mut lines = complete.lines();
        let unreadable = |error| format!("failed to read {}: {error}", path.display());
        match lines.next().map(serde_json::from_str::<String>).transpose().map_err(unreadable)? {
            None => journal.write(&server)?,
            Some(other) if other == server => {}
            Some(other) => {
                let path = path.display();
                return Err(format!("{path} belongs to {other}, not to {server}; choose another --output").into());
            }
        }
        let mut last = BTreeMap::new();
        for line in lines {
            let (index, event) = serde_json::from_str(line).map_err(unreadable)?;
            last.insert(index, event);
        }
        Ok((journal, last))
    }

    fn add(&mut self, index: usize, event: &Event) -> Result<(), Box<dyn Error>> {
        self.write(&(index, event))
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), Box<dyn Error>> {
        // One write for the entire line, so that a process that is killed leaves no partial one.
        self.0.write_all((serde_json::to_string(line)? + "\n").as_bytes())?;
        Ok(self.0.sync_data()?)
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Arguments { requests, output, max_in_flight } = Arguments::parse();
    let requests: Vec<VideoRequest> = match requests {
        Some(path) => read_requests(&path).map_err(|error| format!("failed to read {}: {error}", path.display()))?,
        None => ["calm", "wild", "frozen"].map(|sea| VideoRequest::new(format!("A {sea} sea"))).into(),
    };
    let emulator = Emulator::start();
    let client = match Client::from_env() {
        Err(kling::Error::MissingKey) => {
            println!("AIML_API_KEY is not set: this is a rehearsal, which makes test clips");
            let poll = Poll { interval: Duration::from_millis(300), ..Poll::default() };
            emulator.client_builder().poll(poll).build()?
        }
        client => client?,
    };
    fs::create_dir_all(&output)?;
    let (journal, mut last) = Journal::open(&output.join("journal.jsonl"), client.base_url())?;
    let missing = (0..requests.len()).filter(|index| !path_of(&output, *index).exists());
    let plan = plan(&client, missing.map(|index| (index, last.remove(&index))))?;
    run(&client, &requests, &plan, max_in_flight, journal, &output)
}

fn read_requests(path: &Path) -> Result<Vec<VideoRequest>, Box<dyn Error>> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn path_of(output: &Path, index: usize) -> PathBuf {
    output.join(format!("{index}.mp4"))
}

/// The requests that have no video yet.
#[derive(Default)]
struct Plan {
    to_create: Vec<usize>,
    to_wait_for: Vec<(usize, GenerationId)>,
    /// Whether the outcome of some request is still unknown.
    is_incomplete: bool,
}

/// Decides for each request without a video whether to create its generation or to wait for it.
fn plan(client: &Client, missing: impl Iterator<Item = (usize, Option<Event>)>) -> Result<Plan, kling::Error> {
    let mut plan = Plan::default();
    for (index, last) in missing {
        match last {
            None | Some(Event::NotCharged) => plan.to_create.push(index),
            Some(Event::Created(id)) => plan.to_wait_for.push((index, id)),
            Some(Event::Sending(id)) => match client.recover(&id)? {
                Recovery::Found(id) => plan.to_wait_for.push((index, id)),
                Recovery::NotCharged => plan.to_create.push(index),
                Recovery::NotListed => {
                    println!("{index}: the service does not list {id} yet; start this again in some minutes");
                    plan.is_incomplete = true;
                }
            },
        }
    }
    Ok(plan)
}

/// Carries out the plan, and records each id before the next step is taken.
fn run(
    client: &Client,
    requests: &[VideoRequest],
    Plan { to_create, to_wait_for, is_incomplete }: &Plan,
    max_in_flight: usize,
    mut journal: Journal,
    output: &Path,
) -> Result<ExitCode, Box<dyn Error>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    let tick = Duration::from_millis(200);
    let resumed = client.wait_all(to_wait_for.iter().map(|(_, id)| id)).updates().tick(tick);
    let resumed = resumed.map(|event| event.map(|(n, update)| (to_wait_for[n].0, update)));
    let created = client.generate_all(to_create.iter().map(|index| &requests[*index])).max_in_flight(max_in_flight);
    let created = created.updates().tick(tick).map(|event| event.map(|(n, update)| (to_create[n], update)));
    let lines = Lines::new(requests)?;
    // Printed at the end, below the live lines.
    let mut errors = Vec::new();
    for event in resumed.chain(created) {
        // The id of a generation that exists is stored in any case.
        let has_id = matches!(event, Some((_, Update::Created(_))));
        if interrupted.load(Ordering::Relaxed) && !has_id {
            println!("stopped; start this again to resume");
            return Ok(ExitCode::from(130));
        }
        let Some((index, update)) = event else { continue };
        lines.show(index, &update);
        match update {
            Update::Sending { client_request_id } => journal.add(index, &Event::Sending(client_request_id))?,
            Update::Created(id) => journal.add(index, &Event::Created(id))?,
            Update::Finished(Ok(video)) => {
                errors.extend(client.download_new(&video, path_of(output, index)).err().map(|error| (index, error)));
            }
            Update::Finished(Err(error)) => {
                if error.charged() == Charged::No {
                    journal.add(index, &Event::NotCharged)?;
                }
                errors.push((index, error));
            }
            _ => {}
        }
    }
    let made = (0..requests.len()).filter(|index| path_of(output, *index).exists()).count();
    println!("{made} of {} videos are in {}", requests.len(), output.display());
    for (index, error) in &errors {
        eprintln!("{index}: {error:?}");
    }
    Ok(if *is_incomplete || !errors.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A line for each request on the terminal.
struct Lines(Vec<ProgressBar>);

impl Lines {
    fn new(requests: &[VideoRequest]) -> Result<Self, Box<dyn Error>> {
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("{prefix:24!} {wide_msg}")?;
        let line = |request: &VideoRequest| {
            let prompt = request.get_prompt().to_owned();
            all.add(ProgressBar::new_spinner().with_style(style.clone()).with_prefix(prompt))
        };
        Ok(Lines(requests.iter().map(line).collect()))
    }

    fn show(&self, index: usize, update: &Update) {
        match update {
            Update::Finished(_) => self.0[index].finish_with_message(update.to_string()),
            _ => self.0[index].set_message(update.to_string()),
        }
    }
}
