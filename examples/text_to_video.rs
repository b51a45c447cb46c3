//! Turns a prompt into a video file, and shows the progress of both waiting and downloading.
//!
//! ```sh
//! cargo run --example text_to_video -- "A fox in the snow" --output fox.mp4
//! ```
//!
//! With `AIML_API_KEY` in the environment, the video is real and costs money. Without it, this is a rehearsal against an
//! emulator of the service.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, iter};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use kling::emulator::Emulator;
use kling::{AspectRatio, Client, Error, Poll, Seconds, Status, Video, VideoRequest};

/// Turns a prompt into a video file.
#[derive(Parser)]
struct Arguments {
    /// What the video shows
    #[arg(default_value = "A cheerful white raccoon running through a sequoia forest")]
    prompt: String,
    /// The file to write. Defaults to video.mp4, or the next free name
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
    // Check the path before paying: an existing file may be a paid video, and is never replaced.
    let output = output.unwrap_or_else(free_name);
    if output.exists() {
        return Err(format!("{} exists; name another file with --output", output.display()).into());
    }
    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder)?;
    }

    let emulator = Emulator::start();
    let client = match Client::from_env() {
        Err(Error::MissingKey) => {
            println!("AIML_API_KEY is not set: this is a rehearsal, which costs nothing and makes a test clip");
            let poll = Poll { interval: Duration::from_secs(1), ..Poll::default() };
            emulator.client_builder().poll(poll).build()?
        }
        client => client?,
    };
    let video = generate(&client, &request)?;
    let bytes = download(&client, &video, &output)?;
    let cost = video.usage.map_or("unknown cost".to_owned(), |usage| usage.to_string());
    println!("{}: {bytes} bytes, {cost}", output.display());
    Ok(())
}

/// Creates a generation and waits for it. Prints its id first: any process can resume the generation with it.
fn generate(client: &Client, request: &VideoRequest) -> Result<Video, Error> {
    let started = Instant::now();
    let id = client.create(request)?;
    println!("created {id}");
    for update in client.watch(&id) {
        let status = update?;
        println!("{:6.1} s  {status}", started.elapsed().as_secs_f32());
        match status {
            Status::Completed(video) => return Ok(video),
            Status::Failed(failure) => return Err(Error::Failed { id, failure }),
            _ => {}
        }
    }
    unreachable!("a watch ends with a finished status or an error")
}

/// Saves the video while a progress bar counts its bytes.
fn download(client: &Client, video: &Video, output: &Path) -> Result<u64, Error> {
    let download = client.open(video)?;
    let style = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}");
    let bar = ProgressBar::new(download.len().unwrap_or(0)).with_style(style.expect("a valid template"));
    let bytes = kling::save(bar.wrap_read(download), output)?;
    bar.finish_and_clear();
    Ok(bytes)
}

/// Returns the next unused file name, so that no paid video is replaced.
fn free_name() -> PathBuf {
    let numbered = (2..).map(|n| PathBuf::from(format!("video-{n}.mp4")));
    let mut names = iter::once(PathBuf::from("video.mp4")).chain(numbered);
    names.find(|name| !name.exists()).expect("some name is unused")
}
