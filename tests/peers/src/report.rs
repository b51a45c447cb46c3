//! Markdown tables of ratios.

use std::error::Error;
use std::fs;
use std::process::Command;

use crate::measure::Samples;
use crate::peers::{Peer, UREQ, folder};

/// A table with a column for each client, and a row for each measure.
pub struct Table {
    columns: Vec<Peer>,
}

impl Table {
    /// Prints the head of a table.
    pub fn new(title: &str, columns: &[Peer]) -> Self {
        println!("\n### {title}\n");
        let names: Vec<_> = columns.iter().map(|peer| peer.name).collect();
        println!("| | {} |", names.join(" | "));
        println!("|---|{}", "---:|".repeat(columns.len()));
        Table { columns: columns.to_vec() }
    }

    /// Prints a row: how many times as much as with ureq. `measured` has one entry for each of `peers`; a client that is
    /// not among them was not measured.
    pub fn row(&self, label: &str, peers: &[Peer], measured: &[Samples]) {
        let found = |peer: &Peer| measured.get(peers.iter().position(|other| other == peer)?);
        let floor = found(&UREQ).map_or(f64::NAN, Samples::median);
        let cells =
            self.columns.iter().map(|peer| found(peer).map_or("–".to_owned(), |samples| cell(samples, floor)));
        println!("| {label} | {} |", cells.collect::<Vec<_>>().join(" | "));
        for (peer, samples) in peers.iter().zip(measured) {
            eprintln!("{label}: {}: {:?}", peer.name, samples.0);
        }
    }
}

fn cell(samples: &Samples, floor: f64) -> String {
    let ratio = samples.median() / floor;
    let digits = if ratio < 10.0 { 2 } else { 0 };
    if ratio < 0.005 {
        return "0.00".to_owned();
    }
    match (samples.spread() * 100.0).round() {
        0.0 => format!("{ratio:.digits$}"),
        percent => format!("{ratio:.digits$} ± {percent} %"),
    }
}

/// Returns the date and the versions of everything that is compared.
pub fn versions() -> Result<String, Box<dyn Error>> {
    let lock = fs::read_to_string(folder().join("Cargo.lock"))?;
    let locked = ["kling", "ureq", "reqwest", "tokio", "attohttpc"].map(|name| {
        let rest = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).map_or("", |(_, rest)| rest);
        format!("{name} {}", rest.split('"').next().unwrap_or_default())
    });
    let commands = [
        ("", "date", &["-u", "+%F"][..]),
        ("", "rustc", &["--version"]),
        ("requests ", "python3", &["-c", "import requests; print(requests.__version__)"]),
        ("", "curl", &["--version"]),
    ];
    let found = commands.iter().filter_map(|(name, program, args)| {
        let output = Command::new(program).args(*args).output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8_lossy(&output.stdout);
        Some(format!("{name}{}", text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")))
    });
    Ok(found.chain(locked).collect::<Vec<_>>().join(", "))
}
