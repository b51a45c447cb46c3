//! Generates many videos on one thread, with a status line for each and a table at the end.
//!
//! ```sh
//! cargo run --example many -- "A calm sea" "A wild sea"
//! cargo run --example many -- @prompts.txt   # one prompt per line
//! ```
//!
//! With `AIML_API_KEY` in the environment, the videos are real and cost money. Without it, this is a rehearsal against
//! an emulator of the service.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use kling::emulator::Emulator;
use kling::{Client, Error, Poll, Video, VideoRequest};

/// Turns prompts into video files, several at a time.
#[derive(Parser)]
struct Arguments {
    /// What each video shows, or @FILE, which contains one prompt per line
    #[arg(default_values = ["A calm sea", "A wild sea", "A frozen sea"])]
    prompts: Vec<String>,
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let Arguments { prompts } = Arguments::parse();
    let prompts = match prompts[0].strip_prefix('@') {
        Some(file) => read_lines(file)?,
        None => prompts,
    };
    let emulator = Emulator::start();
    let client = match Client::from_env() {
        Err(Error::MissingKey) => {
            println!("AIML_API_KEY is not set: this is a rehearsal, which costs nothing and makes test clips");
            let poll = Poll { interval: Duration::from_millis(300), ..Poll::default() };
            emulator.client_builder().poll(poll).build()?
        }
        client => client?,
    };
    let table = generate(&client, &prompts)?;
    let failed = table.iter().any(Result::is_err);
    for (prompt, result) in prompts.iter().zip(table) {
        println!("{prompt}: {}", result.unwrap_or_else(|error| format!("{error:?}")));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Generates and saves a video for each prompt. Returns a line about each file, or the error.
fn generate(client: &Client, prompts: &[String]) -> Result<Vec<Result<String, Error>>, Box<dyn std::error::Error>> {
    let lines = MultiProgress::new();
    let style = ProgressStyle::with_template("{elapsed:>4} {prefix:24!} {msg}")?;
    let bars: Vec<_> = prompts
        .iter()
        .map(|prompt| lines.add(ProgressBar::new_spinner().with_style(style.clone()).with_prefix(prompt.clone())))
        .collect();
    for bar in &bars {
        bar.set_message("waiting");
        bar.enable_steady_tick(Duration::from_secs(1));
    }
    let requests: Vec<_> = prompts.iter().map(VideoRequest::new).collect();
    let started = Instant::now();
    let mut table: Vec<_> = prompts.iter().map(|_| Ok(String::new())).collect();
    let mut batch = client.generate_all(&requests).max_in_flight(4);
    while let Some((index, outcome)) = batch.next() {
        let saved = outcome.and_then(|video| save(client, &video));
        let seconds = started.elapsed().as_secs_f32();
        table[index] = saved.map(|line| format!("{line}, after {seconds:.1} s"));
        match &table[index] {
            Ok(line) => bars[index].finish_with_message(line.clone()),
            Err(error) => bars[index].finish_with_message(error.to_string()),
        }
        // Between two items, the batch knows the status of the others.
        for (index, bar) in bars.iter().enumerate() {
            if let Some(status) = batch.status(index) {
                bar.set_message(status.to_string());
            }
        }
    }
    Ok(table)
}

fn save(client: &Client, video: &Video) -> Result<String, Error> {
    let file = free_name();
    let bytes = client.download(video, &file)?;
    let cost = video.usage.map_or("unknown cost".to_owned(), |usage| usage.to_string());
    Ok(format!("{file}: {bytes} bytes, {cost}"))
}

/// Returns the next unused file name, so that no paid video is replaced.
fn free_name() -> String {
    let mut names = (0..).map(|n| format!("video-{n}.mp4"));
    names.find(|name| !Path::new(name).exists()).expect("some name is unused")
}

/// Returns the lines of a file that are not blank.
fn read_lines(file: &str) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(file).map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))?;
    Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}
