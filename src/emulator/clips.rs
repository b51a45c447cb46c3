//! The test clips that are served as videos: each shows on every frame that no video was generated.

use serde_json::Value;

use super::response::Response;

/// A test clip.
#[derive(Debug, PartialEq)]
pub(super) struct Clip {
    ratio: &'static str,
    pub(super) seconds: u8,
    pub(super) bytes: &'static [u8],
}

impl Clip {
    /// Returns the clip that fits the body of a create request. Defaults to 16:9 and 5 s.
    pub(super) fn fitting(request: &Value) -> &'static Clip {
        let ratio = request["aspect_ratio"].as_str().unwrap_or("16:9");
        let seconds = if request["duration"] == "10" || request["duration"].as_f64() == Some(10.0) { 10 } else { 5 };
        CLIPS.iter().find(|clip| clip.ratio == ratio && clip.seconds == seconds).unwrap_or(&CLIPS[0])
    }

    /// Returns a different clip, for a file that changes on its server.
    pub(super) fn other(&'static self) -> &'static Clip {
        CLIPS.iter().find(|clip| *clip != self).unwrap_or(self)
    }

    pub(super) fn etag(&self) -> String {
        format!("\"{}-{}\"", self.ratio, self.seconds)
    }

    /// Returns a date that differs from clip to clip.
    pub(super) fn last_modified(&self) -> String {
        let hour = CLIPS.iter().position(|clip| clip == self).unwrap_or_default();
        format!("Wed, 01 Jan 2025 {hour:02}:00:00 GMT")
    }

    /// Responds to a request for the file or for a range of it (RFC 9110, 14).
    pub(super) fn respond(&self, range: Option<&str>, if_range: Option<&str>, validators: &Validators) -> Response {
        let total = self.bytes.len();
        let respond = |status, bytes: &[u8]| {
            validators.add_to(Response::new(status, "video/mp4", bytes).with("Accept-Ranges", "bytes"))
        };
        let range = range.filter(|_| if_range.is_none_or(|if_range| validators.match_if_range(if_range)));
        let range = range.and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            let last = if last.is_empty() { total.checked_sub(1)? } else { last.parse().ok()? };
            // A range that ends before it begins counts as absent.
            let first = first.parse::<usize>().ok().filter(|first| *first <= last || *first >= total)?;
            Some((first, last.min(total.checked_sub(1)?)))
        });
        match range {
            None => respond(200, self.bytes),
            Some((first, last)) if first <= last => {
                respond(206, &self.bytes[first..=last]).with("Content-Range", format!("bytes {first}-{last}/{total}"))
            }
            Some(_) => respond(416, b"").with("Content-Range", format!("bytes */{total}")),
        }
    }
}

/// The validators that the responses for a file carry (RFC 9110, 8.8).
#[derive(Clone, Debug)]
pub(super) struct Validators {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// Whether a 206 carries `Last-Modified`, too.
    pub(super) last_modified_on_206: bool,
}

impl Validators {
    /// Returns `true` if an `If-Range` names the current file. A weak ETag never does (RFC 9110, 13.1.5).
    fn match_if_range(&self, if_range: &str) -> bool {
        // A weak one begins with `W/`, and so equals neither a strong ETag nor a date.
        let current = if if_range.starts_with('"') { &self.etag } else { &self.last_modified };
        current.as_deref() == Some(if_range)
    }

    fn add_to(&self, mut response: Response) -> Response {
        if let Some(etag) = &self.etag {
            response = response.with("ETag", etag);
        }
        if let Some(date) = self.last_modified.as_ref().filter(|_| response.status != 206 || self.last_modified_on_206)
        {
            response = response.with("Last-Modified", date);
        }
        response
    }
}

// The recipe of the six files:
//
// #!/bin/bash
// # Makes the six test cards: bash recipe.sh FOLDER (Debian 12's ffmpeg 5.1 and fonts-dejavu-core).
// set -eu
// out=$1 font=/usr/share/fonts/truetype/dejavu/DejaVuSans
// mkdir -p "$out"
// text() { # WORDS SIZE COLOUR BELOW_MIDDLE [-Bold | Mono]: one centred line
//   echo "drawtext=fontfile=$font${5-}.ttf:text='$1':fontsize=$2:fontcolor=0x$3:x=(w-tw)/2:y=h/2+$4-th/2"
// }
// card() { # NAME WIDTH HEIGHT RATIO SECONDS
//   local i=0 c bars= still clock dot
//   for c in e9c46a f4a261 e07a5f b56576 6d6a94 4f86a6 43a096 8ab17d; do
//     bars+="drawbox=x=iw*$i/8:y=ih-120:w=iw/8:h=120:c=0x$c:t=fill,"; i=$((i + 1))
//   done
//   still="drawgrid=w=120:h=120:t=2:c=0x293643,$bars $(text ● 800 35475a -180),$(text ● 784 222f3c -180),
//     $(text kling 134 f6f1e7 -238 -Bold),$(text rehearsal 66 e9c46a -125),
//     $(text 'served by the emulator\:' 44 f6f1e7 180 -Bold),
//     $(text 'no video was generated, nothing was paid' 42 f6f1e7 244),$(text "${4/:/\\:}, $5 s" 42 9fb3c4 340)"
//   clock=$(text "%{eif\:floor(n/24)\:d}.%{eif\:floor(mod(n\,24)/2.4)\:d} of $5 s" 42 f6f1e7 -45 Mono)
//   dot="drawtext=fontfile=$font.ttf:text=●:fontsize=64:fontcolor=0xe9c46a:
//     x=w/2-32+2*floor(128*sin(PI*n/24)):y=h/2-180-24-2*floor(128*cos(PI*n/24))"
//   ffmpeg -nostdin -v error -y -f lavfi -i "color=0x1c2733:s=$2x$3:r=24:d=$5,format=rgb24,$still" \
//     -f lavfi -i "color=0x1c2733@0.8:s=$2x120:r=24:d=$5,format=rgba" -filter_complex \
//     "[0][1]overlay=x=2*floor(W*n/$5/48):y=H-120:format=rgb,$clock,$dot,scale=out_color_matrix=bt709,format=yuv420p" \
//     -c:v libx264 -preset veryslow -crf 32 -bf 0 -refs 4 -g 300 -threads 1 -bsf:v filter_units=remove_types=6 \
//     -x264-params no-deblock=1:no-psy=1:weightp=0:chroma-qp-offset=-3 \
//     -colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv \
//     -map_metadata -1 -fflags +bitexact -flags:v +bitexact -movflags +faststart "$out/$1-$5.mp4"
// }
// for s in 5 10; do
//   card landscape 1920 1080 16:9 $s; card portrait 1080 1920 9:16 $s; card square 1080 1080 1:1 $s
// done
static CLIPS: [Clip; 6] = [
    Clip { ratio: "16:9", seconds: 5, bytes: include_bytes!("clips/landscape-5.mp4") },
    Clip { ratio: "16:9", seconds: 10, bytes: include_bytes!("clips/landscape-10.mp4") },
    Clip { ratio: "9:16", seconds: 5, bytes: include_bytes!("clips/portrait-5.mp4") },
    Clip { ratio: "9:16", seconds: 10, bytes: include_bytes!("clips/portrait-10.mp4") },
    Clip { ratio: "1:1", seconds: 5, bytes: include_bytes!("clips/square-5.mp4") },
    Clip { ratio: "1:1", seconds: 10, bytes: include_bytes!("clips/square-10.mp4") },
];
