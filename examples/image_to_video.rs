//! Generates a video with another model of the service: it takes an image, and animates it.
//!
//! ```sh
//! cargo run --example image_to_video -- "The fox turns its head" --image https://example.com/fox.jpg
//! ```
//!
//! The model and its field `image_url` were read in the service's documents, and not tried:
//! <https://docs.aimlapi.com/api-references/video-models/kling-ai/v2.5-turbo-pro-image-to-video>
//!
//! With `AIML_API_KEY` in the environment, the video is real and costs money. The emulator does not reproduce this
//! model: without a key, the program prints the request and sends nothing. An existing file is never replaced.

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use kling::{Client, Seconds, VideoRequest};

/// Turns an image into a video file.
#[derive(Parser)]
struct Arguments {
    /// What happens in the video
    prompt: String,
    /// The URL of the image that the video begins with
    #[arg(long)]
    image: String,
    /// The file to write
    #[arg(short, long, default_value = "animated.mp4")]
    output: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { prompt, image, output } = Arguments::parse();
    // A field without a method of its own is a parameter. This model has no `aspect_ratio`: the image determines it.
    let request = VideoRequest::new(prompt)
        .model("klingai/v2.5-turbo/pro/image-to-video")
        .param("image_url", image)
        .duration(Seconds::Five);

    let client = match Client::from_env() {
        Err(kling::Error::MissingKey) => {
            println!("AIML_API_KEY is not set. This request would be sent:");
            println!("{}", serde_json::to_string_pretty(&request)?);
            return Ok(());
        }
        client => client?,
    };
    // Check the path before paying.
    if output.exists() {
        return Err(format!("{} exists; name another file with --output", output.display()).into());
    }
    // The id is printed before the wait, so that an interrupted program does not lose it.
    let id = client.create(&request)?;
    println!("created {id}");
    let video = client.wait(&id)?;
    let bytes = client.download_new(&video, &output)?;
    println!("{}: {bytes} bytes", output.display());
    Ok(())
}
