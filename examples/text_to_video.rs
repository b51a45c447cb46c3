//! A prompt becomes a video file: `cargo run --example text_to_video -- "A fox in the snow" --output fox.mp4`.

use std::fs;
use std::iter;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use kling::emulator::Emulator;
use kling::{AspectRatio, Client, Error, Poll, Seconds, Status, VideoRequest};

/// Turns a prompt into a video file.
#[derive(Parser)]
struct Arguments {
    /// What the video shows
    #[arg(default_value = "A cheerful white raccoon running through a sequoia forest")]
    prompt: String,
    /// The file to write; video.mp4, or the next name that is free, unless it is given
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// 16:9, 9:16 or 1:1
    #[arg(long)]
    aspect_ratio: Option<AspectRatio>,
    /// 5 or 10 seconds
    #[arg(long)]
    duration: Option<Seconds>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { prompt, output, aspect_ratio, duration } = Arguments::parse();
    let mut request = VideoRequest::new(prompt);
    if let Some(ratio) = aspect_ratio {
        request = request.aspect_ratio(ratio);
    }
    if let Some(seconds) = duration {
        request = request.duration(seconds);
    }
    // Before anything is paid for: no file is replaced that may have been paid for, and its folder is there.
    let output = output.unwrap_or_else(free_name);
    if output.exists() {
        return Err(format!("{} is there: name another file with --output", output.display()).into());
    }
    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder)?;
    }

    let rehearsal = Emulator::start();
    let client = match Client::from_env() {
        Err(Error::MissingKey) => {
            println!("AIML_API_KEY is not set: this is a rehearsal, which makes a test card and charges nothing");
            let poll = Poll { interval: Duration::from_secs(1), ..Poll::default() };
            rehearsal.client_builder().poll(poll).build()?
        }
        client => client?,
    };

    let started = Instant::now();
    let id = client.create(&request)?;
    println!("created {id}");
    for update in client.watch(&id) {
        let status = update?;
        println!("{:6.1} s  {status}", started.elapsed().as_secs_f32());
        match status {
            Status::Completed(video) => {
                let download = client.open(&video)?;
                let bar = ProgressBar::new(download.len().unwrap_or(0)).with_style(
                    ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}").unwrap(),
                );
                let bytes = kling::save(bar.wrap_read(download), &output)?;
                bar.finish_and_clear();
                let cost =
                    video.usage.map_or("a cost that the service did not tell".to_owned(), |usage| usage.to_string());
                println!("{}: {bytes} bytes for {cost}", output.display());
            }
            Status::Failed(failure) => return Err(Error::Failed { id, failure }.into()),
            _ => {}
        }
    }
    Ok(())
}

fn free_name() -> PathBuf {
    let numbered = (2..).map(|n| PathBuf::from(format!("video-{n}.mp4")));
    let mut names = iter::once(PathBuf::from("video.mp4")).chain(numbered);
    names.find(|name| !name.exists()).expect("some name is free")
}
