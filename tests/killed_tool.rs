//! A small tool that writes down each id before it matters can be killed at any instant, and pays for nothing twice.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use fastrand::Rng;
use kling::emulator::{Emulator, Step};
use kling::{Charged, Client, GenerationId, Poll, Recovery, Update, VideoRequest};
use serde::{Deserialize, Serialize};
use support::{accepted, millis};

// The tool begins here: 60 lines at most.

/// What happened to a request last. A line of the journal is its index and this.
#[derive(Serialize, Deserialize)]
enum Event {
    Sending(String),
    Created(GenerationId),
    NotCharged,
}

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Generates a video for each request in a JSON file, three at once. Returns `false` if some have to be tried again.
fn tool(client: &Client, requests: &Path, directory: &Path) -> Result<bool> {
    let requests: Vec<VideoRequest> = serde_json::from_slice(&fs::read(requests)?)?;
    let path_of = |index: usize| directory.join(format!("{index}.mp4"));
    let mut journal = File::options().append(true).create(true).open(directory.join("journal.jsonl"))?;
    let mut note = |index: usize, event: Event| -> Result<()> {
        journal.write_all((serde_json::to_string(&(index, event))? + "\n").as_bytes())?;
        Ok(journal.sync_data()?)
    };
    let mut left: BTreeMap<usize, Event> = (0..requests.len()).map(|index| (index, Event::NotCharged)).collect();
    for line in fs::read_to_string(directory.join("journal.jsonl"))?.lines() {
        let (index, event) = serde_json::from_str(line)?;
        left.insert(index, event);
    }
    left.retain(|index, _| !path_of(*index).exists());

    let (mut to_create, mut to_wait_for) = (Vec::new(), Vec::new());
    for (index, event) in left {
        match event {
            Event::NotCharged => to_create.push(index),
            Event::Created(id) => to_wait_for.push((index, id)),
            Event::Sending(id) => match look_up(client, &id)? {
                Recovery::Found(id) => to_wait_for.push((index, id)),
                Recovery::NotCharged | Recovery::NotListed => to_create.push(index),
            },
        }
    }
    let resumed = client.wait_all(to_wait_for.iter().map(|(_, id)| id)).updates();
    let resumed = resumed.map(|(n, update)| (to_wait_for[n].0, update));
    let created = client.generate_all(to_create.iter().map(|index| &requests[*index])).max_in_flight(3).updates();
    let mut is_done = true;
    for (index, update) in resumed.chain(created.map(|(n, update)| (to_create[n], update))) {
        println!("{index}: {update}");
        match update {
            Update::Sending { client_request_id } => note(index, Event::Sending(client_request_id))?,
            Update::Created(id) => note(index, Event::Created(id))?,
            Update::Finished(Ok(video)) => drop(client.download(&video, path_of(index))?),
            Update::Finished(Err(error)) => {
                is_done = false;
                if error.charged() == Charged::No {
                    note(index, Event::NotCharged)?;
                }
            }
            _ => {}
        }
    }
    Ok(is_done)
}

// The tool ends here.

/// Looks up a request again and again, because the process that sent it may have been killed a moment ago. With the
/// service, this takes as long as a generation, and a person decides about a request that is never listed.
fn look_up(client: &Client, client_request_id: &str) -> Result<Recovery> {
    for _ in 0..20 {
        let recovery = client.recover(client_request_id)?;
        if recovery != Recovery::NotListed {
            return Ok(recovery);
        }
        thread::sleep(millis(5));
    }
    Ok(Recovery::NotListed)
}

const CHILD: &str = "KLING_TEST_TOOL";

/// Starts the tool in a process of its own, which ends with success once all videos are there.
fn start(test: &str, emulator: &Emulator, directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(CHILD, emulator.base_url())
        .current_dir(directory)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn run_tool(base_url: &str) {
    let poll = Poll { interval: millis(2), ..Poll::default() };
    let client = Client::builder("rehearsal-key").base_url(base_url).poll(poll).build().unwrap();
    let is_done = tool(&client, Path::new("requests.json"), Path::new(".")).unwrap();
    std::process::exit(if is_done { 0 } else { 4 });
}

fn kill_and_start_again(test: &str, kills: usize, seed: u64) {
    if let Ok(base_url) = std::env::var(CHILD) {
        run_tool(&base_url);
    }
    let directory = tempfile::tempdir().unwrap();
    let requests: Vec<_> = (0..12).map(|n| VideoRequest::new(format!("Sheep number {n}"))).collect();
    fs::write(directory.path().join("requests.json"), serde_json::to_string(&requests).unwrap()).unwrap();
    // Some responses to create requests are lost, and some polls fail.
    let create = [Step::Queued, Step::Close, Step::Http(429), Step::Reset, Step::Queued, Step::Truncate(5)];
    let emulator = Emulator::builder().create(create).status([Step::Queued, Step::Http(502), Step::Generating]).start();
    let mut rng = Rng::with_seed(seed);
    for _ in 0..kills {
        let mut child = start(test, &emulator, directory.path());
        thread::sleep(millis(rng.u64(..80)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // Each lost response takes one more run.
    let done = (0..5).any(|_| start(test, &emulator, directory.path()).wait().unwrap().success());
    assert!(done, "seed {seed}: the tool does not end");
    for n in 0..12 {
        let length = File::open(directory.path().join(format!("{n}.mp4"))).unwrap().metadata().unwrap().len();
        assert!(length > 0, "seed {seed}: video {n}");
    }
    assert_eq!(accepted(&emulator), 12, "seed {seed}: paid for twice");
}

#[test]
fn a_tool_that_is_killed_pays_for_nothing_twice() {
    kill_and_start_again("a_tool_that_is_killed_pays_for_nothing_twice", 10, 1);
}

#[test]
#[ignore = "takes a minute"]
fn a_tool_that_is_killed_200_times_pays_for_nothing_twice() {
    kill_and_start_again("a_tool_that_is_killed_200_times_pays_for_nothing_twice", 200, 2);
}
