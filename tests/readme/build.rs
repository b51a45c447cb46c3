use kling::{Asset, VideoRequest};

fn main() -> Result<(), kling::Error> {
    let campfire = VideoRequest::new("A campfire at night, seamless loop");
    kling::build_script([Asset::new("assets/campfire.mp4", campfire)])
}
