//! Builds in the places where Cargo builds a package: members of a workspace, packages, vendored copies.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kling::emulator::Emulator;
use support::{accepted, run};
use tempfile::TempDir;

const LIBRARY: &str = env!("CARGO_MANIFEST_DIR");

/// A workspace whose path has to be quoted. Each of its two members has an asset.
struct Workspace {
    folder: TempDir,
    service: Emulator,
}

impl Workspace {
    fn new() -> Self {
        let workspace = Workspace { folder: tempfile::tempdir().unwrap(), service: Emulator::start() };
        workspace.write("Cargo.toml", "[workspace]\nmembers = [\"game\", \"trailer\"]\nresolver = \"3\"\n");
        workspace.write(".gitignore", "target\n");
        for member in ["game", "trailer"] {
            let manifest = format!(
                "[package]\nname = \"{member}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
                 include = [\"/src\", \"/build.rs\", \"/assets\"]\n\n[build-dependencies]\n\
                 kling = {{ version = \"0.1\", default-features = false, features = [\"emulator\"] }}\n"
            );
            let script = format!(
                "use kling::{{Asset, VideoRequest}};\nfn main() -> Result<(), kling::Error> {{\n    \
                 kling::build_script([Asset::new(\"assets/{member}.mp4\", VideoRequest::new(\"a {member}\"))])\n}}\n"
            );
            workspace.write(&format!("{member}/Cargo.toml"), &manifest);
            workspace.write(&format!("{member}/build.rs"), &script);
            let video = format!("pub static VIDEO: &[u8] = include_bytes!(\"../assets/{member}.mp4\");\n");
            workspace.write(&format!("{member}/src/lib.rs"), &video);
        }
        workspace.copy_lock("Cargo.lock");
        workspace
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("my games").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// Copies the versions that are downloaded already.
    fn copy_lock(&self, name: &str) {
        fs::copy(Path::new(LIBRARY).join("examples/build_asset/Cargo.lock"), self.path(name)).unwrap();
    }

    /// Returns a command that runs in a directory of the workspace.
    fn command(&self, program: &str, directory: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        for variable in
            ["KLING_GENERATE", "KLING_DENY_REHEARSALS", "DOCS_RS", "CARGO_NET_OFFLINE", "CARGO_BUILD_TARGET_DIR"]
        {
            command.env_remove(variable);
        }
        let directory = self.path(directory);
        command.args(arguments).env("PWD", directory.components().as_path()).current_dir(directory);
        command
            .env("AIML_API_KEY", "canary-3f9a51c0")
            .env("AIML_API_BASE", self.service.base_url())
            .env("CARGO_TARGET_DIR", self.folder.path().join("target elsewhere"));
        command
    }

    fn cargo(&self, directory: &str, arguments: &[&str]) -> Command {
        let patch = format!("patch.crates-io.kling.path={LIBRARY:?}");
        let mut command = self.command(env!("CARGO"), directory, arguments);
        command.args(["--offline", "--config", &patch]);
        command
    }
}

#[test]
#[ignore = "runs some thirty real cargo builds, which takes minutes"]
fn a_package_is_built_wherever_cargo_builds_it() {
    let workspace = Workspace::new();
    members_print_a_command_that_can_be_pasted(&workspace);
    unchanged_builds_run_nothing(&workspace);
    cargos_own_variables_count(&workspace);
    #[cfg(unix)]
    copies_build_and_generate_nothing(&workspace);
}

fn members_print_a_command_that_can_be_pasted(workspace: &Workspace) {
    let command = |manifest: &str| format!("KLING_GENERATE=1 cargo build -vv{manifest}\n");
    let absolute = format!(" --manifest-path '{}'", workspace.path("trailer/Cargo.toml").display());
    for (directory, arguments, printed) in [
        ("trailer", &["check"][..], command("")),
        ("trailer/src", &["check"], command(&absolute)),
        ("", &["check", "-p", "trailer"], command(" --manifest-path trailer/Cargo.toml")),
        ("", &["check", "--manifest-path", "trailer/Cargo.toml"], command(" --manifest-path trailer/Cargo.toml")),
    ] {
        let output = run(&mut workspace.cargo(directory, arguments), false);
        assert!(output.contains("Error: assets/trailer.mp4 is not current: it has not been generated yet"), "{output}");
        if cfg!(unix) {
            assert!(output.contains(&printed), "{printed}\n{output}");
        }
    }
    let output = run(&mut workspace.cargo("", &["check", "--keep-going"]), false);
    assert!(output.contains("Error: assets/game.mp4") && output.contains("Error: assets/trailer.mp4"), "{output}");
    assert_eq!(workspace.service.connections(), 0);

    // The command for Windows, and the one that is needed if the variable is set.
    let windows = ["build", "-vv", "-p", "game", "--config", "env.KLING_GENERATE='1'"];
    run(&mut workspace.cargo("", &windows), true);
    assert_eq!(accepted(&workspace.service), 1);
    let dotted = "env.KLING_GENERATE.value='1'";
    let forced = ["build", "-p", "trailer", "--config", dotted, "--config", "env.KLING_GENERATE.force=true"];
    run(workspace.cargo("", &forced).env("KLING_GENERATE", "fetch"), true);
    assert_eq!(accepted(&workspace.service), 2);
}

/// Builds with each mode until nothing is left to do. The build after a generation runs the script again, because the
/// video is newer than the script's last run.
fn unchanged_builds_run_nothing(workspace: &Workspace) {
    for mode in ["", "1", "fetch", "rehearse", "0"] {
        let build = || run(workspace.cargo("", &["build", "-v"]).env("KLING_GENERATE", mode), true);
        build();
        let again = build();
        assert!(again.contains("Fresh game") && again.contains("Fresh trailer"), "{mode}: {again}");
    }
    let connections = workspace.service.connections();
    fs::remove_dir_all(workspace.path("game/assets")).unwrap();
    let build = || run(workspace.cargo("", &["build", "-v"]).env("KLING_GENERATE", "rehearse"), true);
    build();
    build();
    let again = build();
    assert!(again.contains("Fresh game"), "{again}");
    assert_eq!(workspace.service.connections(), connections);
}

/// Sets the variables in `[env]` of Cargo's configuration.
fn cargos_own_variables_count(workspace: &Workspace) {
    fs::remove_dir_all(workspace.path("game/assets")).unwrap();
    let build = |value: &str, succeeds| {
        workspace.write(".cargo/config.toml", &format!("[env]\nKLING_GENERATE = {value}\n"));
        run(&mut workspace.cargo("", &["build", "-p", "game"]), succeeds)
    };
    let relative = build("{ value = \"1\", relative = true }", false);
    assert!(relative.contains("/1 permits nothing, because the known values are"), "{relative}");
    build("\"rehearse\"", true);
    fs::remove_dir_all(workspace.path("game/assets")).unwrap();
    build("\"0\"", false);
    build("{ value = \"1\", force = true }", true);
    assert_eq!(accepted(&workspace.service), 3);
    // The light build: TLS only where it is needed.
    fs::remove_dir_all(workspace.path(".cargo")).unwrap();
    let script = fs::read_to_string(workspace.path("game/build.rs")).unwrap();
    workspace.write("game/build.rs", &script.replace("a game", "a long game"));
    let service = |arguments: &[&str]| {
        let mut command = workspace.cargo("", arguments);
        run(command.env("KLING_GENERATE", "1").env("AIML_API_BASE", "https://127.0.0.1:1"), false)
    };
    let light = service(&["build", "-p", "game"]);
    assert!(light.contains("which this build of kling leaves out; add `--features kling/rustls`"), "{light}");
    let with_tls = service(&["build", "-p", "game", "--features", "kling/rustls"]);
    assert!(with_tls.contains("was not sent, so nothing was charged"), "{with_tls}");
    workspace.write("game/build.rs", &script);
}

/// Packages a member, and builds the package as a vendored dependency.
#[cfg(unix)]
fn copies_build_and_generate_nothing(workspace: &Workspace) {
    let connections = workspace.service.connections();
    run(workspace.cargo("game", &["package", "--allow-dirty"]).env("KLING_GENERATE", "1"), true);
    let archive = workspace.folder.path().join("target elsewhere/package/game-0.1.0.crate");
    let manifest = "[package]\nname = \"app\"\nedition = \"2024\"\n[workspace]\n\
                    [dependencies]\ngame = { path = \"vendor/game-0.1.0\" }\n";
    workspace.write("../app/Cargo.toml", manifest);
    workspace.write("../app/vendor/.gitignore", "");
    run(&mut workspace.command("tar", "../app/vendor", &["xzf", archive.to_str().unwrap()]), true);
    workspace.write("../app/src/main.rs", "fn main() { assert!(game::VIDEO.len() > 1000); }\n");
    workspace.copy_lock("../app/Cargo.lock");
    let runs = |succeeds| run(workspace.cargo("../app", &["run"]).env("KLING_GENERATE", "1"), succeeds);
    runs(true);
    // A copy without its video stops, whatever is permitted.
    fs::remove_file(workspace.path("../app/vendor/game-0.1.0/assets/game.mp4")).unwrap();
    let output = runs(false);
    assert!(output.contains("its video is missing; restore it from version control"), "{output}");
    assert!(output.contains("this is a copy that Cargo has made") && !output.contains(" cargo build"), "{output}");
    assert_eq!(workspace.service.connections(), connections);
}
