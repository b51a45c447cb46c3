use kling::{Client, VideoRequest};

fn main() -> kling::Result<()> {
    let client = Client::from_env()?;
    let video = client.generate(&VideoRequest::new("A raccoon in a forest"))?;
    client.download(&video, "raccoon.mp4")?;
    Ok(())
}
