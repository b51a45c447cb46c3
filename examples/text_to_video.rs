//! A prompt becomes a video file: `cargo run --example text_to_video -- "A fox in the snow" --output fox.mp4`.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use kling::emulator::Emulator;
use kling::{Client, Error, Poll, Status, VideoRequest};

fn main() -> Result<(), Error> {
    let (prompt, output) = arguments();
    let rehearsal = Emulator::start();
    let client = match Client::from_env() {
        Err(Error::MissingKey) => {
            println!("AIML_API_KEY is not set: this is a rehearsal, which costs nothing and makes a test card");
            let poll = Poll { interval: Duration::from_secs(1), ..Poll::default() };
            rehearsal.client_builder().poll(poll).build()?
        }
        client => client?,
    };

    let started = Instant::now();
    let id = client.create(&VideoRequest::new(prompt))?;
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
                println!("{output}: {bytes} bytes for {cost}");
            }
            Status::Failed(failure) => return Err(Error::Failed { id, failure }),
            _ => {}
        }
    }
    Ok(())
}

/// The prompt, and where the video goes to.
fn arguments() -> (String, String) {
    let mut output = "video.mp4".to_owned();
    let mut words = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--output" | "-o" => output = arguments.next().expect("a file name after --output"),
            _ => words.push(argument),
        }
    }
    if words.is_empty() {
        words.push("A cheerful white raccoon running through a sequoia forest".to_owned());
    }
    (words.join(" "), output)
}
