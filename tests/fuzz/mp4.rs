//! The check of a file has the same result for any division into pieces, and the one of a simpler check of all bytes.

#![no_main]

use kling::fuzzing::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u8>, Option<u64>, &[u8])| {
    let (sizes, length, file) = input;
    let verdict = check([file], length);
    assert_eq!(check(file.chunks(1), length), verdict);
    assert_eq!(check(pieces(file, &sizes), length), verdict);
    assert_eq!(verdict.is_ok(), is_whole(file, length.is_some()), "{verdict:?}");
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

fn is_whole(mut file: &[u8], length_is_known: bool) -> bool {
    let (mut names, mut open_ended) = (Vec::new(), false);
    while let Some((&[l0, l1, l2, l3, name @ ..], rest)) = file.split_first_chunk::<8>() {
        names.push(name);
        let left = match u32::from_be_bytes([l0, l1, l2, l3]) {
            0 => {
                open_ended = true;
                Some(rest.len() as u64)
            }
            1 => rest.first_chunk().and_then(|long| u64::from_be_bytes(*long).checked_sub(16)).map(|left| 8 + left),
            short => u64::from(short).checked_sub(8),
        };
        match left.and_then(|left| rest.get(usize::try_from(left).ok()?..)) {
            Some(next) => file = next,
            None => return false,
        }
    }
    file.is_empty()
        && names.first() == Some(b"ftyp")
        && names.contains(b"moov")
        && names.contains(b"mdat")
        && (length_is_known || !(open_ended || names.contains(b"moof")))
}
