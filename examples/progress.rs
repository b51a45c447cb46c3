//! Shows a spinner while the video is generated, and a progress bar while it is downloaded. Neither needs a callback.
//!
//! ```sh
//! cargo run --example progress
//! ```

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use kling::emulator::{Emulator, Step};
use kling::{Error, Poll, Status, VideoRequest};

fn main() -> Result<(), Error> {
    // With an API key: let client = Client::from_env()?;
    let emulator = Emulator::script([Step::Queued, Step::Queued, Step::Generating, Step::Generating]);
    let poll = Poll { interval: Duration::from_millis(300), ..Poll::default() };
    let client = emulator.client_builder().poll(poll).build()?;

    let id = client.create(&VideoRequest::new("A cheerful white raccoon running through a sequoia forest"))?;

    // Waiting is an iterator: `break` to stop, and resume later with the id.
    let spinner = ProgressBar::new_spinner()
        .with_style(ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}").expect("a valid template"));
    spinner.enable_steady_tick(Duration::from_millis(100));
    let mut finished = None;
    for update in client.watch(&id) {
        let status = update?;
        spinner.set_message(status.to_string());
        match status {
            Status::Completed(video) => finished = Some(video),
            Status::Failed(failure) => return Err(Error::Failed { id, failure }),
            _ => {}
        }
    }
    spinner.finish();
    let video = finished.expect("a watch ends with a finished status or an error");

    // A download is a reader of known length.
    let download = client.open(&video)?;
    let bar = ProgressBar::new(download.len().unwrap_or(0))
        .with_style(ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}").expect("a valid template"));
    let path = std::env::temp_dir().join("kling-progress.mp4");
    let bytes = kling::save(bar.wrap_read(download), &path)?;
    bar.finish();
    println!("{}: {bytes} bytes", path.display());

    assert_eq!(bar.position(), bytes);
    assert_eq!(emulator.polls().len(), 5);
    Ok(())
}
