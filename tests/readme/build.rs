use kling::{Asset, VideoRequest};

fn main() -> Result<(), kling::Error> {
    kling::build_script([Asset::new("assets/campfire.mp4", VideoRequest::new("A campfire at night, seamless loop"))])
}
