//! Creates a generation and polls it in a hand-written loop, like the service's own documentation.
//!
//! ```sh
//! cargo run --example step_by_step
//! ```

use std::thread;
use std::time::Duration;

use kling::emulator::Emulator;
use kling::{AspectRatio, Error, Seconds, Status, VideoRequest};

fn main() -> Result<(), Error> {
    // With an API key: let client = Client::from_env()?; and an interval of 10 s.
    let emulator = Emulator::start();
    let client = emulator.client();
    let interval = Duration::from_millis(10);

    // 1. One POST request creates a generation. This is what costs money, so store the id.
    let request = VideoRequest::new("A cheerful white raccoon running through a sequoia forest")
        .aspect_ratio(AspectRatio::Landscape)
        .duration(Seconds::Five)
        .negative_prompt("blur, text")
        .cfg_scale(0.9);
    let id = client.create(&request)?;
    println!("created {id}");

    // 2. GET requests poll its status. `client.wait(&id)` is this loop with a deadline, and it retries failed polls.
    let video = loop {
        match client.status(&id)? {
            Status::Completed(video) => break video,
            Status::Failed(failure) => return Err(Error::Failed { id, failure }),
            status => println!("{status}"),
        }
        thread::sleep(interval);
    };

    // 3. The file is on another host, for a limited time.
    let path = std::env::temp_dir().join("kling-step-by-step.mp4");
    let bytes = client.download(&video, &path)?;
    println!("{}: {bytes} bytes", path.display());

    assert_eq!(emulator.creates().len(), 1);
    assert_eq!(emulator.polls().len(), 3);
    assert_eq!(video.file_size, Some(bytes));
    Ok(())
}
