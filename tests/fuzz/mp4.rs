//! The check of a file does not depend on its division into pieces, and agrees with a simpler check of well-formed files.

#![no_main]

use kling::fuzzing::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u8>, bool, &[u8])| {
    let (sizes, is_framed, file) = input;
    let verdict = check([file], is_framed);
    assert_eq!(check(file.chunks(1), is_framed), verdict);
    assert_eq!(check(pieces(file, &sizes), is_framed), verdict);

    // A known end proves more than boxes alone.
    assert!(verdict.is_err() || check([file], true).is_ok());
    if let Some(names) = complete_boxes(file) {
        let has = |name: &[u8; 4]| names.contains(&name);
        let is_playable = has(b"moov") && has(b"mdat");
        if names.first() == Some(&b"ftyp") {
            assert_eq!(check([file], true).is_ok(), is_playable, "{names:?}");
        }
        assert!(verdict.is_err() || is_playable, "{names:?}");
    }
});

/// Divides a file into pieces of these sizes, including empty ones, and the rest.
fn pieces<'a>(mut file: &'a [u8], sizes: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for &size in sizes {
        let (piece, rest) = file.split_at(file.len().min(size.into()));
        pieces.push(piece);
        file = rest;
    }
    pieces.push(file);
    pieces
}

/// Returns the names of the top-level boxes, if each of them is complete and has a length.
fn complete_boxes(mut file: &[u8]) -> Option<Vec<&[u8; 4]>> {
    let mut names = Vec::new();
    while !file.is_empty() {
        let (length, rest) = file.split_first_chunk::<4>()?;
        let (name, rest) = rest.split_first_chunk::<4>()?;
        let left = match u32::from_be_bytes(*length) {
            1 => u64::from_be_bytes(*rest.first_chunk()?).checked_sub(16)?.checked_add(8)?,
            short => u64::from(short).checked_sub(8)?,
        };
        names.push(name);
        file = rest.get(usize::try_from(left).ok()?..)?;
    }
    Some(names)
}
