//! What one run of a command costs, and the median of several.

use std::error::Error;
use std::process::{Command, Stdio};

use wait4::Wait4;

/// The cost of one run.
pub struct Usage {
    /// User and system time of the process and of its children, in seconds.
    pub cpu: f64,
    /// The peak of its resident memory, in bytes.
    pub memory: f64,
}

/// Runs a command, and returns its cost. Fails if the command fails.
pub fn run(command: &mut Command) -> Result<Usage, Box<dyn Error>> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let usage = child.map_err(|error| format!("{command:?}: {error}"))?.wait4()?;
    if !usage.status.success() {
        return Err(format!("{command:?}: {}", usage.status).into());
    }
    let cpu = (usage.rusage.utime + usage.rusage.stime).as_secs_f64();
    Ok(Usage { cpu, memory: usage.rusage.maxrss as f64 })
}

/// Runs a program under valgrind, and returns the number of instructions in user space. Unlike seconds, they hardly
/// depend on what else the machine does.
pub fn instructions(program: &Command) -> Result<f64, Box<dyn Error>> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program.get_program());
    command.args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let count = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    count.filter(|_| output.status.success()).ok_or_else(|| format!("{command:?}: {text}").into())
}

/// Returns `true` if a program can be started.
pub fn is_there(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// The results of several runs.
#[derive(Clone, Default)]
pub struct Samples(pub Vec<f64>);

impl Samples {
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
    }

    /// Returns half of the distance between the extremes, as a share of the median.
    pub fn spread(&self) -> f64 {
        let most = self.0.iter().copied().fold(f64::MIN, f64::max);
        let least = self.0.iter().copied().fold(f64::MAX, f64::min);
        (most - least) / 2.0 / self.median()
    }
}
