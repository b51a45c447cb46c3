//! The assets of a package compared with their receipts: why a build stops, and what a run would do.

use std::path::Path;

use super::advice::{Advice, Remedy};
use super::kept::{self, Fate};
use super::nearby::check_not_renamed;
use super::state::{Asset, State};
use crate::charged::Charged;
use crate::error::{Error, Result};
use crate::generation::Usage;

/// The assets of a package, compared with their receipts.
#[derive(Default)]
pub(super) struct Survey<'a> {
    /// The assets that are not current, and why.
    pub(super) stopped: Vec<(&'a Asset, String)>,
    /// The assets that have to be paid for.
    pub(super) to_pay: Vec<&'a Asset>,
    /// The assets whose generation exists.
    pub(super) to_fetch: Vec<&'a Asset>,
    /// The current assets that an emulator has generated.
    pub(super) rehearsals: Vec<&'a Asset>,
    /// The fates of the files that would be moved or replaced.
    effects: Vec<String>,
    pub(super) charged: Option<Charged>,
    /// The last generation whose cost is known: when it was requested, and its cost.
    last_cost: Option<(u64, Usage)>,
}

impl<'a> Survey<'a> {
    pub(super) fn new(assets: &[&'a Asset]) -> Self {
        let mut survey = Survey::default();
        for &asset in assets {
            if let Err(error) = survey.add(asset, assets) {
                survey.charged = survey.charged.max(Some(error.charged()));
                let reason = match error {
                    Error::AssetNotCurrent { reason, .. } => reason,
                    error => format!("{error:?}"),
                };
                survey.stopped.push((asset, reason));
            }
        }
        survey
    }

    /// Adds an asset. The error is why only a person can make it current.
    fn add(&mut self, asset: &'a Asset, all: &[&Asset]) -> Result<()> {
        let (finding, journal) = asset.inspect()?;
        for attempt in &journal.attempts {
            // A rehearsal says nothing about the price.
            let is_known = attempt.cost() != Usage::default() && attempt.emulator_url().is_none();
            if is_known && self.last_cost.is_none_or(|(at, _)| at <= attempt.requested_at()) {
                self.last_cost = Some((attempt.requested_at(), attempt.cost()));
            }
        }
        if let State::Current(origin) = &finding.state {
            self.rehearsals.extend(Some(asset).filter(|_| origin.is_rehearsal()));
            return Ok(());
        }
        asset.request.validate()?;
        let advice = Advice::new(asset, &finding, &journal);
        if matches!(finding.state, State::Missing | State::Stale { .. } | State::Untracked) {
            check_not_renamed(asset, &finding.state, all, None)?;
        }
        let reason = advice.reason(&finding.state);
        let charged = finding.state.charged();
        let remedy = advice.remedy(&finding.state);
        if remedy == Remedy::Person {
            return Err(asset.not_current(reason, charged));
        }
        let client_request_id = advice.attempt.map_or("", |attempt| &attempt.client_request_id);
        let fate = kept::fate(asset, &journal, None, client_request_id)?;
        let may_be_the_video = advice.attempt.is_some_and(|attempt| attempt.is_open());
        if fate == Fate::StaysUnrecorded && !may_be_the_video {
            kept::check(asset, &fate)?;
        }
        self.effects.extend(effect(asset.path(), &fate));
        self.charged = self.charged.max(Some(charged));
        self.stopped.push((asset, reason));
        match remedy {
            Remedy::Generate => self.to_pay.push(asset),
            _ => self.to_fetch.push(asset),
        }
        Ok(())
    }

    /// Returns what a run would do, as `pay for 2 generations and resume 1 generation without paying again`; `None` if it
    /// would do nothing.
    pub(super) fn purpose(&self, is_rehearsal: bool) -> Option<String> {
        let count = |assets: &[&Asset], noun: &str| match assets.len() {
            1 => format!("1 {noun}"),
            more => format!("{more} {noun}s"),
        };
        let last_cost = || self.last_cost.map(|(_, cost)| format!(" (the last one cost {cost})")).unwrap_or_default();
        let make = match self.to_pay.as_slice() {
            [] => None,
            assets if is_rehearsal => Some(format!("make {}", count(assets, "test clip"))),
            assets => Some(format!("pay for {}{}", count(assets, "generation"), last_cost())),
        };
        let resume = match self.to_fetch.as_slice() {
            [] => None,
            assets => Some(format!("resume {} without paying again", count(assets, "generation"))),
        };
        match (make, resume) {
            (Some(make), Some(resume)) => Some(format!("{make} and {resume}")),
            (make, resume) => make.or(resume),
        }
    }

    /// Returns the fates of the files that would be moved or replaced, one per line.
    pub(super) fn effects(&self) -> String {
        self.effects.iter().map(|effect| format!("\n{effect}")).collect()
    }
}

fn effect(path: &Path, fate: &Fate) -> Option<String> {
    match fate {
        Fate::Kept(previous) => Some(format!("{} will be kept as {}", path.display(), previous.display())),
        Fate::Replaced => Some(format!("{} will be replaced", path.display())),
        Fate::Absent | Fate::StaysForRehearsal | Fate::StaysUnrecorded => None,
    }
}
