//! Embeds a video, prints its duration and size, and writes it to a file.
//!
//! The asset in this repository is a rehearsal: a test clip that the emulator generated at no cost.

use std::fs;

static CAMPFIRE: &[u8] = include_bytes!("../assets/campfire.mp4");

fn main() -> std::io::Result<()> {
    let moov = child(CAMPFIRE, b"moov").expect("an MP4 file has an index");
    let mvhd = child(moov, b"mvhd").expect("an index has a header");
    let (units_per_second, units) = (number(mvhd, 12), number(mvhd, 16));
    let tkhd = child(moov, b"trak").and_then(|trak| child(trak, b"tkhd")).expect("a video has a track");
    // Width and height are fixed-point numbers, 16.16, at the end of the track's header.
    let (width, height) = (number(tkhd, tkhd.len() - 8) >> 16, number(tkhd, tkhd.len() - 4) >> 16);
    let seconds = f64::from(units) / f64::from(units_per_second);
    println!("{} bytes, {seconds} s, {width}x{height}", CAMPFIRE.len());

    let path = std::env::temp_dir().join(format!("campfire-{}.mp4", std::process::id()));
    fs::write(&path, CAMPFIRE)?;
    println!("{}", path.display());
    assert_eq!((seconds, width, height), (5.0, 1920, 1080));
    Ok(())
}

/// Returns the content of the first box with this name (ISO/IEC 14496-12, 4.2).
fn child<'a>(mut boxes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    while boxes.len() >= 8 {
        let (this, rest) = boxes.split_at_checked(number(boxes, 0) as usize)?;
        if this.get(4..8)? == name {
            return this.get(8..);
        }
        boxes = rest;
    }
    None
}

/// Reads a big-endian number of four bytes.
fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
