//! Many videos on one thread: `cargo run --example many -- "A calm sea" "A wild sea"`, or `-- @prompts.txt`, one a line.

use std::fs;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use kling::emulator::Emulator;
use kling::{Client, Error, Poll, VideoRequest};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prompts = prompts()?;
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

    let started = Instant::now();
    let mut table = vec![String::new(); prompts.len()];
    let mut batch = client.generate_all(&requests).in_flight(4);
    while let Some((index, outcome)) = batch.next() {
        let saved = outcome.and_then(|video| {
            let file = format!("video-{index}.mp4");
            let bytes = client.download(&video, &file)?;
            let cost = video.usage.map_or("cost unknown".to_owned(), |usage| usage.to_string());
            Ok(format!("{file}: {bytes} bytes, {:.1} s, {cost}", started.elapsed().as_secs_f32()))
        });
        table[index] = saved.unwrap_or_else(|error| format!("{error:?}"));
        for (other, bar) in bars.iter().enumerate() {
            bar.set_message(batch.status(other).map_or(table[other].clone(), ToString::to_string));
        }
        bars[index].finish();
    }
    drop(lines);
    for (prompt, line) in prompts.iter().zip(table) {
        println!("{prompt}: {line}");
    }
    Ok(())
}

/// From the arguments, or from a file with one a line.
fn prompts() -> std::io::Result<Vec<String>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    Ok(match arguments.first().and_then(|first| first.strip_prefix('@')) {
        Some(file) => fs::read_to_string(file)?.lines().map(str::to_owned).collect(),
        None if arguments.is_empty() => ["A calm sea", "A wild sea", "A frozen sea"].map(str::to_owned).into(),
        None => arguments,
    })
}
