//! Many videos on one thread: `cargo run --example many -- "A calm sea" "A wild sea"`, or `-- @prompts.txt`, one a
//! line.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use kling::emulator::Emulator;
use kling::{Client, Error, Poll, VideoRequest};

/// Turns prompts into video files, all at once.
#[derive(Parser)]
struct Arguments {
    /// What each video shows; or @FILE, which has one prompt a line
    #[arg(default_values = ["A calm sea", "A wild sea", "A frozen sea"])]
    prompts: Vec<String>,
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let Arguments { prompts } = Arguments::parse();
    let prompts = match prompts[0].strip_prefix('@') {
        Some(file) => lines_of(file)?,
        None => prompts,
    };
    let rehearsal = Emulator::start();
    let client = match Client::from_env() {
        Err(Error::MissingKey) => {
            println!("AIML_API_KEY is not set: this is a rehearsal, which costs nothing and makes test cards");
            let poll = Poll { interval: Duration::from_millis(300), ..Poll::default() };
            rehearsal.client_builder().poll(poll).build()?
        }
        client => client?,
    };
    let requests: Vec<_> = prompts.iter().map(VideoRequest::new).collect();

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
    let started = Instant::now();
    let mut table = vec![String::new(); prompts.len()];
    let mut failed = 0;
    let mut batch = client.generate_all(&requests).max_in_flight(4);
    while let Some((index, outcome)) = batch.next() {
        let saved = outcome.and_then(|video| {
            let file = free_name();
            let bytes = client.download(&video, &file)?;
            let cost = video.usage.map_or("cost unknown".to_owned(), |usage| usage.to_string());
            Ok(format!("{file}: {bytes} bytes, {:.1} s, {cost}", started.elapsed().as_secs_f32()))
        });
        failed += usize::from(saved.is_err());
        table[index] = saved.unwrap_or_else(|error| format!("{error:?}"));
        // Between two items the batch knows how far the others are; what has ended shows its line of the table.
        for (other, bar) in bars.iter().enumerate() {
            bar.set_message(batch.status(other).map_or(table[other].clone(), ToString::to_string));
        }
        bars[index].finish();
    }
    drop(lines);
    for (prompt, line) in prompts.iter().zip(table) {
        println!("{prompt}: {line}");
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The next file: none is replaced that may have been paid for.
fn free_name() -> String {
    let mut names = (0..).map(|n| format!("video-{n}.mp4"));
    names.find(|name| !Path::new(name).exists()).expect("some name is free")
}

/// One prompt a line, without the empty ones.
fn lines_of(file: &str) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(file).map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))?;
    Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}
