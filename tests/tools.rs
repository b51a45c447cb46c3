//! The examples whose output is promised: the emulator with scripts, the list of assets, and those in the README.

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::{env, fs};

use kling::asset::ensure;
use kling::emulator::{Emulator, Step};
use kling::{Asset, Client, Error, Poll, VideoRequest};
use support::assets::{claim_from_service, generate};
use support::{fox, millis};

/// Returns a command for an example. `cargo test` builds the examples; `cargo test --test tools` runs those of the last
/// build.
fn example(name: &str) -> Command {
    let test = env::current_exe().unwrap();
    let profile: &Path = test.parent().and_then(Path::parent).unwrap();
    Command::new(profile.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX)))
}

/// An emulator in a process of its own.
struct Process(Child, String);

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let mut child = example("emulator").args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let base_url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
        Process(child, base_url)
    }

    fn client(&self) -> Client {
        let poll = Poll { interval: millis(5), ..Poll::default() };
        Client::builder("rehearsal-key").base_url(&self.1).poll(poll).build().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn scripts_of_the_emulator_are_played() {
    let process =
        Process::start(&["--create", "403,queued", "--status", "queued,503,failed:too dark", "--file", "cut:1000"]);
    let client = process.client();
    assert!(matches!(client.generate(&fox()), Err(Error::Refused { status: 403, .. })));
    let error = client.generate(&fox()).unwrap_err();
    assert!(matches!(&error, Error::Failed { failure, .. } if failure.message.contains("too dark")), "{error:?}");
    let process = Process::start(&["--status", "completed", "--file", "cut:1000"]);
    let video = process.client().generate(&fox()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Some(process.client().download(&video, folder.path().join("fox.mp4")).unwrap()), video.file_size);
}

#[test]
fn a_step_lasts_as_long_as_the_pace() {
    let emulator = Emulator::builder().status([Step::Queued]).pace(millis(100)).start();
    emulator.client().generate(&fox()).unwrap();
    assert!(emulator.polls().len() > 2, "{} polls", emulator.polls().len());
}

#[test]
fn a_step_that_does_not_exist_is_explained() {
    for (arguments, message) in [
        (["--create", "forbidden"], "`forbidden` is neither a step nor an HTTP status; see --help"),
        (["--file", "cut"], "needs a number of bytes, as in `cut:1000`"),
        (["--file", "throttle:1h"], "`h` is not a unit of time; use ms, s or m"),
        (["--pace", "soon"], "`soon` is not a time such as 10s or 500ms"),
    ] {
        let output = example("emulator").args(arguments).output().unwrap();
        assert!(!output.status.success());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(message), "{stderr}");
    }
    let help = example("emulator").arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("cut:BYTES") && help.contains("--status queued,503,failed:moderated"), "{help}");
}

#[test]
fn the_readme_shows_what_text_to_video_prints() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = example("text_to_video");
    command.arg("A raccoon runs through a forest").current_dir(folder.path());
    for key in ["AIML_API_KEY", "AIMLAPI_API_KEY"] {
        command.env_remove(key);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // Times and ids differ from run to run.
    let without_numbers = |line: &str| {
        let differs =
            |word: &str| word.parse::<f32>().is_ok() || word.contains("-to-video") || word.starts_with("kling-");
        line.split_whitespace().filter(|word| !differs(word)).collect::<Vec<_>>().join(" ")
    };
    let printed: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(without_numbers).collect();
    let readme = include_str!("../README.md");
    let shown = readme.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(shown.lines().map(without_numbers).collect::<Vec<_>>(), printed);
}

#[test]
fn the_request_for_another_model_is_printed_without_a_key() {
    let mut command = example("image_to_video");
    command.args(["The fox turns its head", "--image", "https://example.com/fox.jpg"]);
    for key in ["AIML_API_KEY", "AIMLAPI_API_KEY"] {
        command.env_remove(key);
    }
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let (_, request) = output.split_once('\n').unwrap();
    let request: serde_json::Value = serde_json::from_str(request).unwrap();
    assert_eq!(request["model"], "klingai/v2.5-turbo/pro/image-to-video");
    assert_eq!(request["image_url"], "https://example.com/fox.jpg");
}

fn list(folder: &Path) -> (Output, String) {
    let output = example("assets").arg(folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace(folder.to_str().unwrap(), "assets");
    (output, text)
}

#[test]
fn assets_are_listed_with_their_cost() {
    let emulator = Emulator::start();
    let folder = tempfile::tempdir().unwrap();
    let asset = |name: &str| Asset::new(folder.path().join(format!("{name}.mp4")), VideoRequest::new(name));
    let [fox, owl, cat] = ["fox", "owl", "cat"].map(asset);
    ensure([&fox, &owl], || Ok(emulator.client())).unwrap();
    claim_from_service(&owl, &emulator);
    let (output, text) = list(folder.path());
    assert!(output.status.success(), "{text}");
    assert!(text.contains(&format!("bytes, free, a test clip, from {}\n", emulator.base_url())), "{text}");
    assert!(text.contains("bytes, 120000 credits, from the service\n"), "{text}");
    assert!(text.contains("2 of 2 assets are current: "), "{text}");
    assert!(text.ends_with(" bytes, 120000 credits\n"), "{text}");

    fs::remove_file(fox.path()).unwrap();
    let refusing = Emulator::builder().create([Step::Http(403)]).start();
    generate(&cat, &refusing).unwrap_err();
    let (output, text) = list(folder.path());
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("paid for, but its video is missing: ") && text.contains(" missing\n"), "{text}");
    assert!(text.contains("1 of 3 assets are current: "), "{text}");
    let missing: PathBuf = folder.path().join("nowhere");
    assert!(!list(&missing).0.status.success());
}
