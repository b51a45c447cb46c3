//! A build costs nothing unless somebody says so, and says what it would cost.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kling::emulator::{Emulator, Step};
use kling::{Asset, VideoRequest, build_script};
use support::in_a_process_of_its_own;
use tempfile::TempDir;

/// A package with two assets, whose build script is run in a process of its own.
struct Package {
    folder: TempDir,
    emulator: Emulator,
}

impl Package {
    fn new(emulator: Emulator) -> Self {
        Package { folder: tempfile::tempdir().unwrap(), emulator }
    }

    /// Runs the build script within the test `name`, and returns what it has printed, with its result.
    fn run(&self, name: &str, environment: &[(&str, &str)]) -> String {
        let base = self.emulator.base_url();
        let mut all = vec![
            ("CARGO_MANIFEST_DIR", self.folder.path().to_str().unwrap()),
            ("AIML_API_KEY", "canary-3f9a51c0"),
            ("AIML_API_BASE", base.as_str()),
        ];
        all.extend(environment);
        let assets = ["fox", "owl"].map(|name| Asset::new(format!("assets/{name}.mp4"), VideoRequest::new(name)));
        in_a_process_of_its_own(name, &all, self.folder.path(), || println!("{:?}", build_script(assets)))
    }
}

#[track_caller]
fn passes(said: &str) {
    assert!(said.lines().any(|line| line == "Ok(())"), "{said}");
}

const GENERATE: (&str, &str) = ("KLING_GENERATE", "1");

#[test]
fn nothing_is_generated_unless_it_is_allowed() {
    let package = Package::new(Emulator::script([]));
    let name = "nothing_is_generated_unless_it_is_allowed";
    let table: [(&[(&str, &str)], &str); 7] = [
        (&[], "generates nothing without KLING_GENERATE=1"),
        (&[("KLING_GENERATE", "")], "generates nothing without KLING_GENERATE=1"),
        (&[("KLING_GENERATE", "0")], "generates nothing without KLING_GENERATE=1"),
        (&[("KLING_GENERATE", "true")], "generates nothing without KLING_GENERATE=1"),
        (&[GENERATE, ("DOCS_RS", "1")], "DOCS_RS is set"),
        (&[GENERATE, ("DOCS_RS", "")], "docs.rs"),
        (&[GENERATE, ("CARGO_NET_OFFLINE", "true")], "CARGO_NET_OFFLINE is set"),
    ];
    for (environment, reason) in table {
        let said = package.run(name, environment);
        assert!(said.contains(reason), "{environment:?}: {said}");
        let command =
            format!("KLING_GENERATE=1 cargo build --manifest-path {}/Cargo.toml", package.folder.path().display());
        assert!(said.contains("to pay for 2 generations") && said.contains(&command), "{environment:?}: {said}");
    }
    // Cargo unpacks what it has packed, and builds it: what was paid for there would be lost.
    fs::write(package.folder.path().join("Cargo.toml.orig"), "").unwrap();
    let said = package.run(name, &[GENERATE]);
    assert!(said.contains("Cargo has packed") && !said.contains("KLING_GENERATE=1 cargo"), "{said}");
    assert_eq!(package.emulator.connections(), 0);
    assert!(!package.folder.path().join("assets").exists(), "a build that may not generate writes nothing");
}

#[test]
fn what_was_made_is_told_and_then_is_free() {
    let package = Package::new(Emulator::script([]));
    let name = "what_was_made_is_told_and_then_is_free";
    let said = package.run(name, &[GENERATE]);
    passes(&said);
    let asset = package.folder.path().join("assets/fox.mp4").display().to_string();
    for line in [
        "cargo::rerun-if-env-changed=KLING_GENERATE".to_owned(),
        format!("cargo::rerun-if-changed={asset}"),
        format!("cargo::rerun-if-changed={asset}.receipt.jsonl"),
        format!("cargo::warning={asset} was made for 120000 credits"),
        format!("{asset}: downloads"),
    ] {
        assert!(said.lines().any(|said| said == line), "{line}\n{said}");
    }
    assert!(said.contains(&format!("{asset}: created generation ")), "{said}");
    assert!(!said.contains("canary"), "{said}");
    assert_eq!(said.matches("rerun-if-env-changed").count(), 1, "{said}");

    let connections = package.emulator.connections();
    for environment in [&[][..], &[GENERATE], &[("DOCS_RS", "1")], &[("CARGO_NET_OFFLINE", "true")]] {
        let said = package.run(name, environment);
        passes(&said);
        assert!(said.contains(&format!("{asset} is a rehearsal, made at {}", package.emulator.base_url())), "{said}");
    }
    assert_eq!(package.emulator.connections(), connections);
}

#[test]
fn an_asset_that_fails_is_told_once_and_costs_the_other_nothing() {
    let failing = Emulator::builder().status([]).status_of(0, [Step::Failed("moderated".to_owned())]).start();
    let package = Package::new(failing);
    let name = "an_asset_that_fails_is_told_once_and_costs_the_other_nothing";
    let said = package.run(name, &[GENERATE]);
    assert!(said.contains("Err(cannot make 1 of the assets:\n"), "{said}");
    assert_eq!(said.matches("moderated").count(), 1, "{said}");
    assert_eq!(said.matches(" was made for ").count(), 1, "{said}");
    let said = package.run(name, &[]);
    assert!(said.contains("to pay for 1 generation,"), "{said}");
    passes(&package.run(name, &[GENERATE]));
    assert_eq!(package.emulator.creates().len(), 3);
}

/// A copy of the example that can be built anywhere.
fn copy_of_the_example(folder: &Path) {
    let library = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = library.join("examples/build_asset");
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::create_dir_all(folder.join("assets")).unwrap();
    for file in ["build.rs", "Cargo.lock", "src/main.rs", "assets/campfire.mp4", "assets/campfire.mp4.receipt.jsonl"] {
        fs::copy(example.join(file), folder.join(file)).unwrap();
    }
    let manifest = fs::read_to_string(example.join("Cargo.toml")).unwrap();
    // A package that is packed names a version of what it depends on; here, the version of this clone.
    let manifest = manifest.replace(r#"{ path = "../.." }"#, "\"0.1\"");
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    let patch = format!("[patch.crates-io]\nkling = {{ path = {:?} }}\n", library.to_str().unwrap());
    fs::create_dir_all(folder.join(".cargo")).unwrap();
    fs::write(folder.join(".cargo/config.toml"), patch).unwrap();
}

fn cargo(folder: &Path, target: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(folder).env("CARGO_TARGET_DIR", folder.join(target));
    for variable in ["KLING_GENERATE", "AIML_API_KEY", "AIML_API_BASE", "DOCS_RS", "CARGO_NET_OFFLINE", "CI"] {
        command.env_remove(variable);
    }
    command
}

#[track_caller]
fn builds(mut command: Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    text
}

#[track_caller]
fn stops(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "runs a dozen real cargo builds, which takes minutes"]
fn cargo_builds_pay_once_and_only_when_they_are_told_to() {
    let emulator = Emulator::start();
    let folder = tempfile::tempdir().unwrap();
    let example = folder.path();
    copy_of_the_example(example);
    let generate = |target: &str, arguments: &[&str]| {
        let mut command = cargo(example, target, arguments);
        command
            .env("KLING_GENERATE", "1")
            .env("AIML_API_KEY", "canary-3f9a51c0")
            .env("AIML_API_BASE", emulator.base_url());
        command
    };

    // Current: free with any profile and target, offline, on docs.rs, in a package.
    let host = builds(cargo(example, "target", &["--version", "--verbose"]));
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned();
    builds(cargo(example, "target", &["build", "--offline"]));
    builds(cargo(example, "target", &["build", "--offline", "--release"]));
    builds(cargo(example, "target", &["build", "--offline", "--target", &host]));
    for (variable, value) in [("DOCS_RS", "1"), ("CARGO_NET_OFFLINE", "true"), ("KLING_GENERATE", "1")] {
        let mut command = cargo(example, "target", &["build", "--offline"]);
        command.env(variable, value);
        builds(command);
    }
    builds(cargo(example, "target", &["clean"]));
    builds(cargo(example, "target", &["run", "--offline"]));
    assert_eq!(emulator.connections(), 0);

    // Changed: the build stops, and says what changed and what would pay for it.
    let script = fs::read_to_string(example.join("build.rs")).unwrap();
    fs::write(example.join("build.rs"), script.replace("campfire at night", "bonfire at night")).unwrap();
    let complaint = stops(cargo(example, "target", &["build", "--offline"]));
    assert!(
        complaint.contains(r#"prompt: "A campfire at night, seamless loop" → "A bonfire at night, seamless loop""#)
    );
    for (variable, value) in [("DOCS_RS", "1"), ("CARGO_NET_OFFLINE", "true")] {
        let mut command = generate("target", &["build", "--offline"]);
        command.env(variable, value);
        stops(command);
    }
    assert_eq!(emulator.connections(), 0);

    // Four builds at once, each with a target folder of its own.
    let targets = ["target", "target-1", "target-2", "target-3"];
    let children: Vec<Child> = targets
        .map(|target| {
            generate(target, &["build", "--offline"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
        })
        .into();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(emulator.creates().len(), 1);
    builds(cargo(example, "target", &["build", "--offline"]));

    // The steps of a long wait are seen while they happen.
    let said =
        |output: &str, step: &str| output.lines().any(|line| line.contains("campfire.mp4: ") && line.ends_with(step));
    fs::write(example.join("build.rs"), script.replace("campfire at night", "campfire at dawn")).unwrap();
    let output = builds(generate("target", &["build", "--offline", "-vv"]));
    assert!(said(&output, ": queued") && said(&output, ": downloads"), "{output}");
    assert_eq!(emulator.creates().len(), 2);

    // Packed with its asset, it builds; without the receipt it stops, and pays for nothing.
    builds(generate("target", &["package", "--offline", "--allow-dirty"]));
    let manifest = fs::read_to_string(example.join("Cargo.toml")).unwrap();
    let without = manifest.replace("\"/assets\"", "\"/assets/*.mp4\"");
    assert_ne!(manifest, without);
    fs::write(example.join("Cargo.toml"), without).unwrap();
    let complaint = stops(generate("target", &["package", "--offline", "--allow-dirty"]));
    assert!(complaint.contains("Cargo has packed"), "{complaint}");
    assert_eq!(emulator.creates().len(), 2);

    // The key is in none of Cargo's files.
    let found = Command::new("grep").args(["-r", "-l", "canary-3f9a51c0", "."]).current_dir(example).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}
