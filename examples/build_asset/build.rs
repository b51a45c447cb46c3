//! Checks that the campfire is current. `KLING_GENERATE=1` permits to generate it; no other build costs anything.

use kling::{Asset, Seconds, VideoRequest};

fn main() -> Result<(), kling::Error> {
    let campfire = VideoRequest::new("A campfire at night, seamless loop").duration(Seconds::Five);
    kling::build_script([Asset::new("assets/campfire.mp4", campfire)])
}
