//! Turns a prompt into a video file, and shows the progress of both waiting and downloading.
//!
//! ```sh
//! cargo run --example text_to_video -- "A fox in the snow" --output fox.mp4
//! ```
//!
//! With `AIML_API_KEY` in the environment, the video is real and costs money. Without it, this is a rehearsal against an
//! emulator of the service. An existing file is never replaced. Ctrl-C stops the wait, and prints the command that
//! resumes it.
//!
//! Exit codes for scripts: 0 for a video, 2 for invalid arguments, 3 if nothing was charged, 4 if the request may have
//! been charged, 5 if a generation exists that can be resumed, 130 after Ctrl-C.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, iter};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use kling::emulator::Emulator;
use kling::{AspectRatio, Charged, Client, Error, Poll, Seconds, Update, Video, VideoRequest};

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

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:?}");
            let id = match &error {
                Error::OutcomeUnknown { client_request_id, .. } => Some(client_request_id.as_str()),
                Error::Unfinished { id, .. } => Some(id.as_str()),
                _ => None,
            };
            if let Some(id) = id {
                eprintln!("to go on, run\n  cargo run --example resume -- {id}");
            }
            ExitCode::from(match error.charged() {
                Charged::No => 3,
                Charged::Perhaps => 4,
                Charged::Yes => 5,
            })
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Error> {
    let Arguments { prompt, output, aspect_ratio, duration } = arguments;
    // Check the path before paying.
    if let Some(path) = output.as_ref().filter(|path| path.exists()) {
        eprintln!("error: {} exists; name another file with --output", path.display());
        return Ok(ExitCode::from(2));
    }
    let mut request = VideoRequest::new(prompt);
    if let Some(ratio) = aspect_ratio {
        request = request.aspect_ratio(ratio);
    }
    if let Some(seconds) = duration {
        request = request.duration(seconds);
    }
    let emulator = Emulator::start();
    let client = match Client::from_env() {
        Err(Error::MissingKey) => {
            println!("AIML_API_KEY is not set: this is a rehearsal, which makes a test clip");
            let poll = Poll { interval: Duration::from_millis(300), ..Poll::default() };
            emulator.client_builder().poll(poll).build()?
        }
        client => client?,
    };
    let Some(video) = generate(&client, &request)? else { return Ok(ExitCode::from(130)) };
    let saved = match output {
        Some(path) => save(&client, &video, &path).map(|bytes| (path, bytes)),
        None => save_to_free_name(&client, &video),
    };
    // The generation is paid for, so an error about the file must carry the id.
    let (path, bytes) = saved.map_err(|error| Error::Unfinished { id: video.id.clone(), source: Box::new(error) })?;
    let cost = match video.usage {
        _ if !emulator.creates().is_empty() => "not charged".to_owned(),
        Some(usage) => usage.to_string(),
        None => "unknown cost".to_owned(),
    };
    println!("{}: {bytes} bytes, {cost}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// Creates a generation and waits for it, printing each update. Returns `None` after Ctrl-C.
fn generate(client: &Client, request: &VideoRequest) -> Result<Option<Video>, Error> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    // Failing to set the handler is no reason to stop: Ctrl-C then ends the program.
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    let started = Instant::now();
    let mut id = None;
    for event in client.generate_all([request]).updates().tick(Duration::from_millis(200)) {
        match event.map(|(_, update)| update) {
            Some(Update::Finished(outcome)) => return outcome.map(Some),
            Some(update) => {
                println!("{:6.1} s  {update}", started.elapsed().as_secs_f32());
                if let Update::Created(generation) = update {
                    id = Some(generation);
                }
            }
            None => {} // a tick: nothing has happened, but the flag is checked below
        }
        if interrupted.load(Ordering::Relaxed) {
            match &id {
                Some(id) => {
                    println!("stopped; the generation keeps running, and is charged; to resume it, run");
                    println!("  cargo run --example resume -- {id}");
                }
                None => println!("stopped; nothing was charged"),
            }
            return Ok(None);
        }
    }
    unreachable!("`Finished` is always the last update")
}

/// Saves the video under the first free name. Tries the next one if another program takes the name in the meantime.
fn save_to_free_name(client: &Client, video: &Video) -> Result<(PathBuf, u64), Error> {
    let numbered = (2..).map(|n| PathBuf::from(format!("video-{n}.mp4")));
    for path in iter::once(PathBuf::from("video.mp4")).chain(numbered).filter(|path| !path.exists()) {
        match save(client, video, &path) {
            Ok(bytes) => return Ok((path, bytes)),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("some name is free")
}

/// Saves the video while a progress bar counts its bytes. Fails if the file exists.
fn save(client: &Client, video: &Video, path: &Path) -> Result<u64, Error> {
    let download = client.open(video)?;
    let style = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}");
    let bar = ProgressBar::new(download.len().unwrap_or(0)).with_style(style.expect("a valid template"));
    let bytes = kling::save_new(bar.wrap_read(download), path)?;
    bar.finish_and_clear();
    Ok(bytes)
}
