//! The campfire is generated once, on purpose; every other build finds it beside its receipt.

use kling::{Asset, Seconds, VideoRequest};

fn main() -> Result<(), kling::Error> {
    let campfire = VideoRequest::new("A campfire at night, seamless loop").duration(Seconds::Five);
    kling::build_script([Asset::new("assets/campfire.mp4", campfire)])
}
