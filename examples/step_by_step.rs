//! Create, then ask in a loop written out by hand, as the service's own documents tell it.

use std::thread;
use std::time::Duration;

use kling::emulator::Emulator;
use kling::{AspectRatio, Error, Seconds, Status, VideoRequest};

fn main() -> Result<(), Error> {
    // With a key: let client = Client::from_env()?; and a pause of 10 s.
    let emulator = Emulator::start();
    let client = emulator.client();
    let pause = Duration::from_millis(10);

    // 1. One POST creates a generation. This is what costs money, so its id is worth keeping.
    let request = VideoRequest::new("A cheerful white raccoon running through a sequoia forest")
        .aspect_ratio(AspectRatio::Landscape)
        .duration(Seconds::Five)
        .negative_prompt("blur, text")
        .cfg_scale(0.9);
    let id = client.create(&request)?;
    println!("created {id}");

    // 2. GETs ask how far it is. `client.wait(&id)` is this loop, with a deadline and patience for failed polls.
    let video = loop {
        match client.status(&id)? {
            Status::Completed(video) => break video,
            Status::Failed(failure) => return Err(Error::Failed { id, failure }),
            status => println!("{status}"),
        }
        thread::sleep(pause);
    };

    // 3. The file lies on another host, and not for ever.
    let path = std::env::temp_dir().join("kling-step-by-step.mp4");
    let bytes = client.download(&video, &path)?;
    println!("{}: {bytes} bytes", path.display());

    assert_eq!(emulator.creates().len(), 1);
    assert_eq!(emulator.polls().len(), 3);
    assert_eq!(video.file_size, Some(bytes));
    Ok(())
}
