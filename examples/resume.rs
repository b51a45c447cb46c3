//! Creates a generation, keeps its id in a file, and goes on with it from there: in another process, on another day.

use std::fs;
use std::path::Path;

use kling::emulator::Emulator;
use kling::{Client, GenerationId, VideoRequest};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // With a key: let client = Client::from_env()?;
    let emulator = Emulator::start();
    let folder = std::env::temp_dir().join("kling-resume");
    fs::create_dir_all(&folder)?;
    let note = folder.join("raccoon.id");

    begin(&emulator.client(), &note)?;
    // Here the program may end, or the machine be switched off.
    go_on(&emulator.client(), &note, &folder.join("raccoon.mp4"))?;

    assert_eq!(emulator.creates().len(), 1, "nothing was paid twice");
    Ok(())
}

fn begin(client: &Client, note: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let id = client.create(&VideoRequest::new("A cheerful white raccoon running through a sequoia forest"))?;
    fs::write(note, id.as_str())?;
    println!("{}: {id}", note.display());
    Ok(())
}

fn go_on(client: &Client, note: &Path, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let id: GenerationId = fs::read_to_string(note)?.trim().parse()?;
    let video = client.wait(&id)?;
    let bytes = client.download(&video, path)?;
    println!("{}: {bytes} bytes", path.display());
    Ok(())
}
