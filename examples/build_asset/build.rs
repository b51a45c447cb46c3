//! Checks that the video is current. With `KLING_GENERATE=1`, generates it if it is not, which is charged.

use kling::{Asset, Seconds, VideoRequest};

fn main() -> Result<(), kling::Error> {
    let campfire = VideoRequest::new("A campfire at night, seamless loop").duration(Seconds::Five);
    kling::build_script([Asset::new("assets/campfire.mp4", campfire)])
}
