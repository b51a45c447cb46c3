//! Receipts that are torn, merged, linked or invalid never lead to a second payment.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use kling::asset::{State, ensure};
use kling::emulator::{Emulator, Step};
use kling::{Asset, Error, Seconds, VideoRequest};
use support::assets::{assert_current, campfire, events, generate, generate_impatiently, kept};
use support::{accepted, fox, only_id};

fn owl_at(asset: &Asset) -> Asset {
    Asset::new(asset.path(), VideoRequest::new("an owl").duration(Seconds::Ten))
}

#[test]
fn torn_receipts_are_never_paid_for_again() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    generate(&asset, &emulator).unwrap();
    let complete = fs::read(asset.receipt_path()).unwrap();
    // Every cut is tested where receipts are parsed.
    for cut in (1..=complete.len()).rev().step_by(5) {
        fs::write(asset.receipt_path(), &complete[..cut]).unwrap();
        match generate(&asset, &emulator) {
            Ok(()) => assert!(asset.state().unwrap().is_current(), "cut at {cut}"),
            Err(error @ Error::OutcomeUnknown { .. }) => {
                assert!(format!("{error:?}").contains("receipt is incomplete"), "cut at {cut}: {error:?}");
            }
            Err(error) => panic!("cut at {cut}: {error:?}"),
        }
        assert_eq!(emulator.creates().len(), 1, "cut at {cut}");
    }
}

#[test]
fn a_torn_second_request_is_kept_as_it_is() {
    let emulator = Emulator::builder().status([Step::Http(401)]).start();
    let (_folder, fox_asset) = campfire();
    let owl_asset = owl_at(&fox_asset);
    generate(&fox_asset, &emulator).unwrap_err();
    let first = fs::read(fox_asset.receipt_path()).unwrap();
    generate(&owl_asset, &emulator).unwrap_err();
    let both = fs::read(fox_asset.receipt_path()).unwrap();
    let second_id = emulator.creates()[1].header("x-client-request-id").unwrap().to_owned();
    let end_of_the_second = first.len() + both[first.len()..].iter().position(|byte| *byte == b'\n').unwrap();
    for cut in first.len() + 1..end_of_the_second {
        for asset in [&fox_asset, &owl_asset] {
            fs::write(asset.receipt_path(), &both[..cut]).unwrap();
            let error = generate(asset, &emulator).unwrap_err();
            let Error::OutcomeUnknown { client_request_id, .. } = &error else { panic!("cut at {cut}: {error:?}") };
            let has_id = String::from_utf8_lossy(&both[..cut]).contains(&format!("{second_id}\""));
            assert_eq!(client_request_id, if has_id { &second_id } else { "(lost)" }, "cut at {cut}");
            assert_eq!(fs::read(asset.receipt_path()).unwrap(), &both[..cut], "cut at {cut}: the receipt was changed");
        }
    }
    assert_eq!(emulator.creates().len(), 2);
}

/// Returns `false` under wine, which has no Git.
fn has_git() -> bool {
    !cfg!(windows) || Command::new("git").arg("--version").output().is_ok()
}

/// Merges two receipts, and their common ancestor, with Git.
fn merge_union(ours: &Path, base: &str, theirs: &Path) -> String {
    let ancestor = ours.with_extension("base");
    fs::write(&ancestor, base).unwrap();
    let mut git = Command::new("git");
    let output = git.args(["merge-file", "-p", "--union"]).args([ours, &ancestor, theirs]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn merged_receipts_are_current_where_the_file_fits() {
    if !has_git() {
        return;
    }
    // Both branches have generated the same request, or two requests for one path.
    for same_request in [true, false] {
        let emulator = Emulator::script([]);
        let ((_here, ours), (_there, theirs)) = (campfire(), campfire());
        let theirs = if same_request { theirs } else { owl_at(&theirs) };
        generate(&ours, &emulator).unwrap();
        generate(&theirs, &emulator).unwrap();
        let connections = emulator.connections();
        for merged in [
            merge_union(&ours.receipt_path(), "", &theirs.receipt_path()),
            merge_union(&theirs.receipt_path(), "", &ours.receipt_path()),
        ] {
            for asset in [&ours, &theirs] {
                fs::write(asset.receipt_path(), &merged).unwrap();
                assert!(asset.state().unwrap().is_current(), "{merged}");
                assert_current(asset);
            }
            if !same_request {
                // The other request's file is not taken for this one's.
                let wrong = Asset::new(theirs.path(), fox());
                assert!(matches!(wrong.state().unwrap(), State::InProgress { .. }), "{merged}");
            }
        }
        assert_eq!(emulator.connections(), connections);
    }
}

#[test]
fn a_receipt_that_two_branches_have_extended_is_current() {
    if !has_git() {
        return;
    }
    let emulator = Emulator::script([]);
    let ((_here, ours), (_there, theirs)) = (campfire(), campfire());
    generate(&ours, &emulator).unwrap();
    let base = fs::read_to_string(ours.receipt_path()).unwrap();
    fs::copy(ours.receipt_path(), theirs.receipt_path()).unwrap();
    fs::copy(ours.path(), theirs.path()).unwrap();
    // We change the request, and change it back; they change it, too.
    generate(&owl_at(&ours), &emulator).unwrap();
    generate(&ours, &emulator).unwrap();
    let longer = Asset::new(theirs.path(), fox().aspect_ratio(kling::AspectRatio::Portrait));
    generate(&longer, &emulator).unwrap();
    for merged in [
        merge_union(&ours.receipt_path(), &base, &theirs.receipt_path()),
        merge_union(&theirs.receipt_path(), &base, &ours.receipt_path()),
    ] {
        for asset in [&ours, &longer] {
            fs::write(asset.receipt_path(), &merged).unwrap();
            assert!(asset.state().unwrap().is_current(), "{merged}");
        }
    }
    assert_eq!(emulator.creates().len(), 3);
}

#[test]
fn a_merged_attempt_with_an_unknown_outcome_is_not_paid_for_again() {
    if !has_git() {
        return;
    }
    let emulator = Emulator::builder().create([Step::Queued, Step::Close]).logs_lag(9).start();
    let ((_here, ours), (_there, theirs)) = (campfire(), campfire());
    generate(&ours, &emulator).unwrap();
    generate(&theirs, &emulator).unwrap_err();
    let merged = merge_union(&ours.receipt_path(), "", &theirs.receipt_path());
    fs::write(ours.receipt_path(), &merged).unwrap();
    assert_current(&ours);
    // Where the file is missing, the generation that exists is resumed.
    fs::write(theirs.receipt_path(), &merged).unwrap();
    generate(&theirs, &emulator).unwrap();
    assert_current(&theirs);
    assert_eq!(emulator.creates().len(), 2);
}

#[test]
fn merged_refusals_are_told_apart() {
    if !has_git() {
        return;
    }
    let emulator = Emulator::builder().create(vec![Step::Http(403); 2]).start();
    let ((_here, ours), (_there, theirs)) = (campfire(), campfire());
    generate(&ours, &emulator).unwrap_err();
    generate(&theirs, &emulator).unwrap_err();
    // Without their ids, the two events would be equal, and Git would write them once.
    fs::write(ours.receipt_path(), merge_union(&ours.receipt_path(), "", &theirs.receipt_path())).unwrap();
    assert_eq!(events(&ours), ["requested", "refused", "requested", "refused"]);
    assert_eq!(ours.state().unwrap(), State::Missing);
}

#[test]
fn invalid_receipts_are_named_and_never_paid_for_again() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    generate(&asset, &emulator).unwrap();
    let valid = fs::read_to_string(asset.receipt_path()).unwrap();
    let table = [
        ("NULs", "\0".repeat(100) + "\n"),
        ("NULs at the end", valid.clone() + "\0\0\0\n"),
        ("another version", valid.clone() + "{\"refunded\":{}}\n"),
        ("a line of 10 MB", valid.replace("fox", &"x".repeat(10_000_000))),
        ("a conflict", format!("<<<<<<< HEAD\n{valid}=======\n{valid}>>>>>>> theirs\n")),
        ("a video", String::from_utf8_lossy(&fs::read(asset.path()).unwrap()).into_owned()),
    ];
    for (case, text) in table {
        fs::write(asset.receipt_path(), text).unwrap();
        // No client is needed.
        let error = support::assets::only_failure(ensure([&asset], || Err(Error::MissingKey)).unwrap_err());
        let printed = format!("{error:?}");
        assert!(matches!(error, Error::Io { .. } | Error::OutcomeUnknown { .. }), "{case}: {printed}");
        assert_eq!(printed.contains("too long for a receipt"), case.contains("10 MB"), "{case}: {printed}");
        assert!(!printed.contains("delete") && !printed.contains("pay"), "{case}: {printed}");
        assert_eq!(emulator.creates().len(), 1, "{case}");
    }
    for (case, text) in [
        ("CRLF", valid.replace('\n', "\r\n")),
        ("a byte order mark", format!("\u{feff}{valid}")),
        ("a blank last line", valid.clone() + "\n"),
        ("no final newline", valid.trim_end().to_owned()),
    ] {
        fs::write(asset.receipt_path(), &text).unwrap();
        assert!(asset.state().unwrap().is_current(), "{case}");
        // It is appended to as well.
        generate(&owl_at(&asset), &emulator).unwrap();
        generate(&asset, &emulator).unwrap();
        assert_current(&asset);
    }
    fs::write(asset.receipt_path(), valid).unwrap();
    assert_current(&asset);
    assert_eq!(accepted(&emulator), 5);
}

#[test]
fn no_receipt_contains_the_api_key() {
    const KEY: &str = "canary/3f9a51c0+&<>=";
    for step in [Step::EchoAuthorization(403), Step::EchoAuthorizationEscaped(403)] {
        let emulator = Emulator::builder().create([step]).start();
        let (_folder, asset) = campfire();
        let connect = || kling::Client::builder(KEY).base_url(emulator.base_url()).build();
        let error = ensure([&asset], connect).unwrap_err();
        let receipt = fs::read_to_string(asset.receipt_path()).unwrap();
        assert_eq!(events(&asset), ["requested", "refused"]);
        for text in [receipt, format!("{error:?}")] {
            assert!(text.contains("with status 403") && text.contains("[redacted]"), "{text}");
            assert!(!text.contains("canary") && !text.contains("3f9a51c0"), "{text}");
        }
    }
}

#[test]
#[cfg(unix)]
fn links_to_one_receipt_do_not_wait_for_each_other() {
    let hard: fn(&Path, &Path) -> std::io::Result<()> = |target, link| fs::hard_link(target, link);
    let soft: fn(&Path, &Path) -> std::io::Result<()> = |target, link| std::os::unix::fs::symlink(target, link);
    for link in [hard, soft] {
        let emulator = Emulator::start();
        let (folder, first) = campfire();
        let second = Asset::new(folder.path().join("second.mp4"), VideoRequest::new("an owl"));
        fs::write(first.receipt_path(), "").unwrap();
        link(&first.receipt_path(), &second.receipt_path()).unwrap();
        // Poll::max_wait is 1,000 s.
        let error = support::assets::only_failure(ensure([&first, &second], || Ok(emulator.client())).unwrap_err());
        assert!(matches!(error, Error::AssetNotCurrent { .. }), "{error:?}");
        assert!(format!("{error:?}").contains("has the same receipt as"), "{error:?}");
        assert_current(&first);
        assert_eq!(emulator.creates().len(), 1);
    }
}

#[test]
#[cfg(unix)]
fn a_pipe_instead_of_a_receipt_is_not_waited_for() {
    let (_folder, asset) = campfire();
    assert!(Command::new("mkfifo").arg(asset.receipt_path()).status().unwrap().success());
    assert!(matches!(asset.state(), Err(Error::Io { .. })));
    assert!(matches!(generate(&asset, &Emulator::start()), Err(Error::Io { .. })));
}

#[test]
#[cfg(unix)]
fn a_receipt_or_file_that_cannot_be_looked_at_is_not_missing() {
    let emulator = Emulator::start();
    for path in [Asset::receipt_path, |asset: &Asset| asset.path().to_owned()] {
        let (_folder, asset) = campfire();
        let path = path(&asset);
        std::os::unix::fs::symlink(&path, &path).unwrap();
        for error in [asset.state().unwrap_err(), generate(&asset, &emulator).unwrap_err()] {
            assert!(matches!(&error, Error::Io { path: at, .. } if *at == path), "{error:?}");
        }
    }
    assert_eq!(emulator.connections(), 0);
}

/// Moves the time of the request in a receipt back.
fn backdate(asset: &Asset, seconds: u64) {
    let text = fs::read_to_string(asset.receipt_path()).unwrap();
    let (before, rest) = text.split_once(r#""at":"#).unwrap();
    let (at, after) = rest.split_at(rest.find(',').unwrap());
    let at = at.parse::<u64>().unwrap() - seconds;
    fs::write(asset.receipt_path(), format!("{before}\"at\":{at}{after}")).unwrap();
}

#[test]
fn a_lost_create_request_is_given_up_by_a_person_and_not_too_early() {
    const MINUTE: u64 = 60;
    const DAY: u64 = 24 * 60 * MINUTE;
    let emulator = Emulator::builder().create([Step::Close]).logs_lag(99).start();
    let (_folder, asset) = campfire();
    generate(&asset, &emulator).unwrap_err();
    let delete = format!("delete {}", asset.receipt_path().display());
    let mut age = 0;
    for (older, advice, may_delete) in [
        (0, "run this again in some minutes", false),
        (30 * MINUTE, "run this again in some minutes", false),
        (60 * MINUTE, "check that AIML_API_KEY is the API key that it was sent with", true),
        (6 * DAY, "check that AIML_API_KEY is the API key that it was sent with", true),
        (8 * DAY, "sent 8 days ago, and its outcome can no longer be looked up", true),
    ] {
        backdate(&asset, older - age);
        age = older;
        let error = generate(&asset, &emulator).unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
        let printed = format!("{error:?}");
        assert!(printed.contains(advice), "{age} s: {printed}");
        assert_eq!(printed.contains(&delete), may_delete, "{age} s: {printed}");
        assert_eq!(printed.contains("charge you twice"), may_delete, "{age} s: {printed}");
    }
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn a_generation_counts_as_deleted_only_after_days() {
    const DAY: u64 = 24 * 3600;
    let emulator = Emulator::builder().file(vec![Step::Http(410); 9999]).start();
    let (_folder, asset) = campfire();
    let delete = format!("delete {}", asset.receipt_path().display());
    for (days, may_delete) in [(0, false), (6, false), (2, true)] {
        if days > 0 {
            backdate(&asset, days * DAY);
        }
        let error = generate_impatiently(&asset, &emulator).unwrap_err();
        assert_eq!(error.generation_id(), Some(&only_id(&emulator)));
        let printed = format!("{error:?}");
        assert_eq!(printed.contains(&delete), may_delete, "{days} more days: {printed}");
        assert_eq!(printed.contains("the generation is 8 days old"), may_delete, "{days} more days: {printed}");
        assert!(matches!(asset.state().unwrap(), State::InProgress { .. }));
    }
    assert_eq!(events(&asset), ["requested", "created"]);
}

#[test]
fn a_file_that_may_be_right_is_not_given_up() {
    let file = [vec![Step::Completed], vec![Step::Http(410); 9999]].concat();
    let emulator = Emulator::builder().status([]).file(file).start();
    let (_folder, fox_asset) = campfire();
    let owl_asset = Asset::new(fox_asset.path(), VideoRequest::new("an owl"));
    generate(&fox_asset, &emulator).unwrap();
    generate(&owl_asset, &emulator).unwrap();
    // Both videos have the same length, and the service has deleted both.
    fs::remove_file(kept(&fox_asset, &emulator, 0)).unwrap();
    let error = generate_impatiently(&fox_asset, &emulator).unwrap_err();
    let second = emulator.creates()[1].header("x-client-request-id").unwrap().to_owned();
    let advice = format!(
        "the file has the length of this video; if it is this video, delete the lines of {second} from {}",
        fox_asset.receipt_path().display()
    );
    assert!(format!("{error:?}").contains(&advice), "{error:?}");
    let receipt = fs::read_to_string(fox_asset.receipt_path()).unwrap();
    let kept: String = receipt.split_inclusive('\n').filter(|line| !line.contains(&second)).collect();
    fs::write(fox_asset.receipt_path(), kept).unwrap();
    assert_current(&fox_asset);
}
