//! A team's year with two assets, in real Git repositories, with real Cargo builds.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use kling::emulator::Emulator;
use kling::{Asset, VideoRequest};
use support::assets::claim_from_service;
use support::{accepted, millis, run};
use tempfile::TempDir;

const LIBRARY: &str = env!("CARGO_MANIFEST_DIR");

/// Two developers, each with a clone of one repository, and a server that plays the service.
struct Story {
    folder: TempDir,
    service: Emulator,
}

/// A clone of the repository.
#[derive(Clone, Copy)]
struct Developer<'a>(&'a Story, &'static str);

impl Story {
    fn begin() -> Self {
        let story = Story { folder: tempfile::tempdir().unwrap(), service: Emulator::start() };
        let ann = story.developer("ann");
        fs::create_dir_all(ann.path("src")).unwrap();
        fs::create_dir_all(ann.path(".cargo")).unwrap();
        let manifest = "[package]\nname = \"trailer\"\nversion = \"0.1.0\"\nedition = \"2024\"\ndescription = \"t\"\n\
                        license = \"MIT\"\nrepository = \"https://example.com/trailer\"\n\
                        include = [\"/src\", \"/build.rs\", \"/assets\"]\n\n\
                        [build-dependencies]\n\
                        kling = { version = \"0.1\", default-features = false, features = [\"emulator\"] }\n\n[workspace]\n";
        ann.write("Cargo.toml", manifest);
        fs::copy(Path::new(LIBRARY).join("examples/build_asset/Cargo.lock"), ann.path("Cargo.lock")).unwrap();
        ann.write(".cargo/config.toml", &format!("[patch.crates-io]\nkling = {{ path = {LIBRARY:?} }}\n"));
        ann.write("src/main.rs", "fn main() {}\n");
        ann.write(".gitignore", "target\n");
        ann.write(".gitattributes", "*.receipt.jsonl merge=union -text\n");
        ann.declare(&[("fox", "a fox"), ("owl", "an owl")]);
        ann.git(&["init", "-q", "-b", "main"]);
        story
    }

    fn developer(&self, name: &'static str) -> Developer<'_> {
        Developer(self, name)
    }
}

impl Developer<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.0.folder.path().join(self.1).join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes a build script with these assets, each with its prompt.
    fn declare(&self, assets: &[(&str, &str)]) {
        let assets: String = assets
            .iter()
            .map(|(name, prompt)| format!("Asset::new(\"assets/{name}.mp4\", VideoRequest::new({prompt:?})), "))
            .collect();
        let script = format!(
            "use kling::{{Asset, VideoRequest}};\n\
             fn main() -> Result<(), kling::Error> {{ kling::build_script([{assets}]) }}\n"
        );
        self.write("build.rs", &script);
    }

    fn asset(&self, name: &str) -> Asset {
        Asset::new(self.path(&format!("assets/{name}.mp4")), VideoRequest::new("any"))
    }

    fn git(&self, arguments: &[&str]) -> String {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
        run(Command::new("git").args(identity).args(arguments).current_dir(self.path("")), true)
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    fn cargo(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO"));
        for variable in ["KLING_GENERATE", "KLING_DENY_REHEARSALS", "AIML_API_KEY", "AIML_API_BASE", "DOCS_RS"] {
            command.env_remove(variable);
        }
        // One target folder for all, so that the library is built once.
        command.args(arguments).arg("--offline").current_dir(self.path(""));
        command.env("CARGO_TARGET_DIR", self.0.folder.path().join("target").join(self.1));
        command.env("PWD", self.path("").components().as_path()).envs(environment.iter().copied());
        command
    }

    #[track_caller]
    fn builds(&self, environment: &[(&str, &str)]) -> String {
        run(&mut self.cargo(&["build", "-vv"], environment), true)
    }

    /// Runs a build that stops, and returns the build script's error.
    #[track_caller]
    fn stops(&self, environment: &[(&str, &str)]) -> String {
        let output = run(&mut self.cargo(&["build"], environment), false);
        let (_, error) = output.split_once("Error: ").unwrap_or_else(|| panic!("{output}"));
        let lines = error.lines().map(|line| line.strip_prefix("  ").unwrap_or(line));
        lines.take_while(|line| !line.starts_with("warning: ")).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    /// Returns the environment of somebody who pays.
    fn pays(&self, mode: &'static str) -> [(&'static str, String); 3] {
        [
            ("KLING_GENERATE", mode.to_owned()),
            ("AIML_API_KEY", "canary-3f9a51c0".to_owned()),
            ("AIML_API_BASE", self.0.service.base_url()),
        ]
    }

    #[track_caller]
    fn builds_paying(&self, mode: &'static str) -> String {
        let environment = self.pays(mode);
        self.builds(&environment.each_ref().map(|(name, value)| (*name, value.as_str())))
    }
}

const PAY: &str = "generation costs money and is disabled unless KLING_GENERATE=1 is set (`rehearse` makes test clips for \
                   free); to pay for";
const FETCH: &str = "a build fetches nothing unless KLING_GENERATE is set; to resume 1 generation without paying again, \
                     set AIML_API_KEY and run\n  KLING_GENERATE=fetch cargo build -vv --features kling/rustls";

#[test]
#[ignore = "runs some forty real cargo builds, which takes minutes"]
fn a_team_pays_once_for_each_request() {
    let story = Story::begin();
    let ann = story.developer("ann");
    rehearse(ann);
    pay(ann);
    change_and_change_back(ann);
    clone_offline(&story);
    rename(ann);
    lose_and_damage(ann);
    merge_two_who_have_paid(&story);
    interrupt(ann);
    package(ann);
    let mut grep = Command::new("grep");
    let found = grep.args(["-r", "-l", "canary-3f9a51c0", "."]).current_dir(&story.folder).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the key is in none of Cargo's or Git's files");
}

fn rehearse(ann: Developer<'_>) {
    assert_eq!(
        ann.stops(&[]),
        format!(
            "assets/fox.mp4 is not current: it has not been generated yet\n\
             assets/owl.mp4 is not current: it has not been generated yet\n\
             {PAY} 2 generations, set AIML_API_KEY and run\n  KLING_GENERATE=1 cargo build -vv --features kling/rustls"
        )
    );
    // Without TLS, and without a server that needs none.
    assert_eq!(
        ann.stops(&[("KLING_GENERATE", "1"), ("AIML_API_KEY", "canary-3f9a51c0")]),
        "invalid KLING_GENERATE: the service needs TLS, which this build of kling leaves out; add `--features kling/rustls`"
    );
    let output = ann.builds(&[("KLING_GENERATE", "rehearse")]);
    assert!(output.contains("this run will make 2 test clips"), "{output}");
    ann.builds(&[]);
    let denied = ann.stops(&[("KLING_DENY_REHEARSALS", "1")]);
    assert!(denied.starts_with("assets/fox.mp4 is not current: KLING_DENY_REHEARSALS is set, and these"), "{denied}");
    assert_eq!(ann.0.service.connections(), 0);
    fs::remove_dir_all(ann.path("assets")).unwrap();
}

fn pay(ann: Developer<'_>) {
    let output = ann.builds_paying("1:assets/owl.mp4,assets/fox.mp4");
    assert!(output.contains("this run will make 2 test clips"), "a server on loopback charges nothing: {output}");
    assert_eq!(accepted(&ann.0.service), 2);
    // `cargo build` twice runs nothing twice.
    ann.builds(&[]);
    let again = run(&mut ann.cargo(&["build", "-v"], &[]), true);
    assert!(again.contains("Fresh trailer"), "{again}");
}

fn change_and_change_back(ann: Developer<'_>) {
    ann.declare(&[("fox", "a fox at night"), ("owl", "an owl")]);
    assert!(ann.stops(&[]).contains("prompt: \"a fox\" → \"a fox at night\""));
    ann.builds_paying("1");
    assert_eq!(accepted(&ann.0.service), 3);
    ann.declare(&[("fox", "a fox"), ("owl", "an owl")]);
    ann.builds_paying("fetch");
    assert_eq!(accepted(&ann.0.service), 3);
    // From here on, the receipts are those of the service.
    for name in ["fox", "owl"] {
        claim_from_service(&ann.asset(name), &ann.0.service);
    }
    ann.builds(&[("KLING_DENY_REHEARSALS", "1")]);
    ann.commit("Two assets");
}

fn clone_offline(story: &Story) {
    let bob = story.developer("bob");
    fs::create_dir(bob.path("")).unwrap();
    bob.git(&["clone", "-q", "../ann", "."]);
    let before = story.service.connections();
    for arguments in [&["build"][..], &["build", "--release"], &["check"], &["doc", "--no-deps"]] {
        run(&mut bob.cargo(arguments, &[("CARGO_NET_OFFLINE", "true"), ("DOCS_RS", "1")]), true);
    }
    assert_eq!(story.service.connections(), before);
    assert_eq!(bob.git(&["status", "--porcelain"]), "");
}

fn rename(ann: Developer<'_>) {
    ann.declare(&[("fox", "a fox"), ("night", "an owl")]);
    let pointed_out = "assets/night.mp4 is not current: its request was already generated as assets/owl.mp4; instead of \
                       paying again, rename assets/owl.mp4 to assets/night.mp4, and assets/owl.mp4.receipt.jsonl to \
                       assets/night.mp4.receipt.jsonl";
    assert_eq!(ann.stops(&[]), pointed_out);
    let environment = ann.pays("1");
    let paying = ann.stops(&environment.each_ref().map(|(name, value)| (*name, value.as_str())));
    assert_eq!(paying, pointed_out);
    ann.git(&["mv", "assets/owl.mp4", "assets/night.mp4"]);
    ann.git(&["mv", "assets/owl.mp4.receipt.jsonl", "assets/night.mp4.receipt.jsonl"]);
    ann.builds(&[]);
    ann.commit("Rename the owl");
    assert_eq!(accepted(&ann.0.service), 3);
}

fn lose_and_damage(ann: Developer<'_>) {
    let fox = ann.path("assets/fox.mp4");
    let video = fs::read(&fox).unwrap();
    let paid = "was already paid for, but";
    fs::remove_file(&fox).unwrap();
    let lost = ann.stops(&[]);
    assert!(lost.ends_with(&format!(
        "{paid} its video is missing; restore it from version control (whoever generated it may not have committed it), \
         or fetch it again\n{FETCH}"
    )), "{lost}");
    fs::write(&fox, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n").unwrap();
    let pointer = ann.stops(&[]);
    assert!(pointer.contains(&format!(
        "{paid} the file is not its video; restore it from version control (`git lfs pull`, if it is stored there), or \
         fetch it again\nassets/fox.mp4 will be replaced\n{FETCH}"
    )), "{pointer}");
    fs::write(&fox, [&video[..], b"\0\0\0\x0cfreeedit"].concat()).unwrap();
    assert!(ann.stops(&[]).contains("the file is a complete video, but not the one that was generated"));
    ann.git(&["checkout", "--", "assets/fox.mp4"]);
    ann.builds(&[]);
}

fn merge_two_who_have_paid(story: &Story) {
    let (ann, bob) = (story.developer("ann"), story.developer("bob"));
    bob.git(&["pull", "-q"]);
    for developer in [ann, bob] {
        developer.git(&["checkout", "-q", "-b", developer.1]);
        developer.declare(&[("fox", "a fox"), ("night", "an owl"), ("cat", "a cat")]);
        developer.builds_paying("1");
        developer.commit("A cat");
    }
    // Each has paid, since neither could know of the other.
    assert_eq!(accepted(&story.service), 5);
    ann.git(&["fetch", "-q", "../bob", "bob"]);
    ann.git(&["merge", "-q", "-m", "Merge", "FETCH_HEAD"]);
    let receipt = fs::read_to_string(ann.asset("cat").receipt_path()).unwrap();
    assert_eq!(receipt.matches("requested").count(), 2, "{receipt}");
    ann.builds(&[]);
    assert_eq!(accepted(&story.service), 5);
}

fn interrupt(ann: Developer<'_>) {
    ann.declare(&[("fox", "a fox"), ("night", "an owl"), ("cat", "a cat"), ("dog", "a dog")]);
    let environment = ann.pays("1");
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut build = ann.cargo(&["build"], &environment).stderr(Stdio::null()).spawn().unwrap();
    while accepted(&ann.0.service) < 6 {
        thread::sleep(millis(1));
    }
    build.kill().unwrap();
    build.wait().unwrap();
    ann.builds_paying("1");
    assert_eq!(accepted(&ann.0.service), 6);
}

fn package(ann: Developer<'_>) {
    ann.commit("A dog");
    run(&mut ann.cargo(&["package"], &[]), true);
    // Without the receipts, the copy stops, whatever is permitted.
    let manifest = fs::read_to_string(ann.path("Cargo.toml")).unwrap();
    ann.write("Cargo.toml", &manifest.replace("\"/assets\"", "\"/assets/*.mp4\""));
    let environment = ann.pays("1");
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let output = run(&mut ann.cargo(&["package", "--allow-dirty"], &environment), false);
    assert!(output.contains("this is a copy that Cargo has made"), "{output}");
    assert_eq!(accepted(&ann.0.service), 6);
}
