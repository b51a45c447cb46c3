//! What a client costs before it runs: its crates, a cold build, and the size of the program.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::measure::{Samples, run};
use crate::peers::{Profile, build, folder, program_path};

/// Returns the number of crates that are built for a client, besides the client itself.
pub fn crates(package: &str) -> Result<f64, Box<dyn Error>> {
    let tree = ["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}", "--package"];
    let output = Command::new("cargo").current_dir(folder()).args(tree).arg(package).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // A crate whose dependencies were listed before is marked.
    let crates: BTreeSet<_> = text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    Ok(crates.len() as f64 - 1.0)
}

/// Returns the CPU seconds of cold release builds, and the size of the stripped program.
pub fn release(packages: &[&str], rounds: usize) -> Result<(Vec<Samples>, Vec<Samples>), Box<dyn Error>> {
    each(
        packages,
        rounds,
        |package| Ok(build(package, Profile::Release, &[], "cold")),
        |package| Ok(fs::metadata(program_path("cold", Profile::Release, package))?.len() as f64),
    )
}

/// Returns the CPU seconds of cold debug builds with the client as a build script.
pub fn build_dependency(packages: &[&str], rounds: usize) -> Result<Vec<Samples>, Box<dyn Error>> {
    let command = |package: &str| {
        let mut command = Command::new("cargo");
        command.current_dir(build_script_package(package)?).args(["build", "--quiet", "--offline"]);
        command.arg("--target-dir").arg(folder().join("target/cold"));
        Ok(command)
    };
    Ok(each(packages, rounds, command, |_| Ok(0.0))?.0)
}

fn each(
    packages: &[&str],
    rounds: usize,
    command: impl Fn(&str) -> Result<Command, Box<dyn Error>>,
    size: impl Fn(&str) -> Result<f64, Box<dyn Error>>,
) -> Result<(Vec<Samples>, Vec<Samples>), Box<dyn Error>> {
    let mut samples = (vec![Samples::default(); packages.len()], vec![Samples::default(); packages.len()]);
    for _ in 0..rounds {
        for (index, package) in packages.iter().enumerate() {
            let cold = folder().join("target/cold");
            if cold.exists() {
                fs::remove_dir_all(cold)?;
            }
            let cpu = run(&mut command(package)?)?.cpu;
            eprintln!("cold build of {package}: {cpu:.1} s");
            samples.0[index].0.push(cpu);
            samples.1[index].0.push(size(package)?);
        }
    }
    Ok(samples)
}

/// Makes a package whose build script is the client, and returns its folder. It is as deep as that of the client, so that
/// relative paths hold.
fn build_script_package(package: &str) -> Result<PathBuf, Box<dyn Error>> {
    let client = match package.split_once("with-") {
        Some((_, client)) => client,
        None => "floor",
    };
    let source = folder().join("clients").join(client);
    let made = folder().join("target").join(format!("build-script-{client}"));
    fs::create_dir_all(&made)?;
    let manifest = fs::read_to_string(source.join("Cargo.toml"))?.replace("[dependencies]", "[build-dependencies]");
    let (manifest, _) = manifest.split_once("[[bin]]").ok_or("no program")?;
    let manifest = format!("{manifest}[lib]\npath = \"lib.rs\"\n\n[workspace]\n");
    fs::write(made.join("Cargo.toml"), manifest)?;
    fs::write(made.join("lib.rs"), "")?;
    fs::copy(source.join("main.rs"), made.join("build.rs"))?;
    fs::copy(folder().join("Cargo.lock"), made.join("Cargo.lock"))?;
    Ok(made)
}
