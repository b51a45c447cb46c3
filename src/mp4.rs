//! The structure of an MP4 file, checked while its bytes go by.

/// A box type: its four-letter name.
type Name = [u8; 4];

/// The boxes that real files have at their top level (ISO/IEC 14496-12, QuickTime, DASH). A file begins with one of
/// them, and is cut if it ends within one of them.
const TOP_LEVEL: [&Name; 21] = [
    b"ftyp", b"styp", b"moov", b"mdat", b"moof", b"mfra", b"free", b"skip", b"wide", b"uuid", b"sidx", b"ssix",
    b"meta", b"meco", b"pdin", b"emsg", b"prft", b"pnot", b"PICT", b"udta", b"imda",
];

/// The maximum length of a file, 800 times that of the documented sample. Bytes without end must not fill a disk.
const MAX_FILE_BYTES: u64 = 16 << 30;

/// Checks the length of a file against the maximum.
pub(crate) fn check_length(length: u64) -> Result<(), String> {
    if length > MAX_FILE_BYTES { Err("it is longer than 16 GiB".to_owned()) } else { Ok(()) }
}

/// The top-level boxes of a file (ISO/IEC 14496-12, 4.2). Their content is skipped, and nothing of it is kept.
#[derive(Debug, Default)]
pub(crate) struct Boxes {
    /// The number of bytes so far.
    seen: u64,
    /// The last box header, as far as it has arrived: 8 bytes, or 16 with a 64-bit length.
    header: [u8; 16],
    filled: usize,
    /// The number of bytes left in the current box, or in the current child of `moov`.
    left: u64,
    /// The number of bytes left in `moov`.
    moov_left: u64,
    /// The rest of the file is one box without a length, or not part of the video.
    is_open_ended: bool,
    /// The boxes without which nothing can be played.
    has_moov: bool,
    has_mdat: bool,
    /// The media may continue in any number of fragments.
    is_fragmented: bool,
    /// The last top-level box is `mfra`, which only the end of a fragmented file has.
    ends_with_mfra: bool,
}

impl Boxes {
    /// Checks the next bytes. The error describes what they are instead of an MP4 file.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() && !self.is_open_ended {
            let n = if self.left > 0 {
                let skipped = self.left.min(bytes.len() as u64);
                self.left -= skipped;
                skipped
            } else {
                self.header[self.filled] = bytes[0];
                self.filled += 1;
                1
            };
            self.seen += n;
            bytes = &bytes[n as usize..];
            if self.moov_left > 0 {
                self.moov_left -= n;
                self.read_child_header();
            } else if self.filled >= 8 {
                self.read_header()?;
            }
        }
        self.seen += bytes.len() as u64;
        check_length(self.seen)
    }

    /// Reads the header of a top-level box once it is complete.
    fn read_header(&mut self) -> Result<(), String> {
        let [l0, l1, l2, l3, n0, n1, n2, n3, long @ ..] = self.header;
        let name = [n0, n1, n2, n3];
        let length = match u32::from_be_bytes([l0, l1, l2, l3]) {
            0 => None,
            1 if self.filled < 16 => return Ok(()),
            1 => Some(u64::from_be_bytes(long)),
            short => Some(short.into()),
        };
        let start = self.seen - self.filled as u64;
        if start == 0 && !TOP_LEVEL.contains(&&name) {
            return Err(self.describe_start());
        }
        match length.map(|length| length.checked_sub(self.filled as u64)) {
            Some(Some(left)) => self.left = left,
            None => self.is_open_ended = true,
            // Some programs append data of their own to a video.
            Some(None) if self.is_playable() => self.is_open_ended = true,
            Some(None) => return Err(format!("its box at byte {start} is shorter than its header")),
        }
        self.filled = 0;
        if name == *b"moov" {
            self.moov_left = std::mem::take(&mut self.left);
        }
        self.has_moov |= name == *b"moov";
        self.has_mdat |= name == *b"mdat";
        self.is_fragmented |= name == *b"moof";
        self.ends_with_mfra = name == *b"mfra";
        Ok(())
    }

    /// Reads the header of a child of `moov` once it is complete. `mvex` announces fragments before the first of them.
    fn read_child_header(&mut self) {
        if self.moov_left == 0 {
            (self.left, self.filled) = (0, 0);
        } else if self.filled == 8 {
            let [l0, l1, l2, l3, n0, n1, n2, n3, ..] = self.header;
            self.is_fragmented |= [n0, n1, n2, n3] == *b"mvex";
            // A malformed or 64-bit length does not matter here: the end of `moov` is known.
            let length = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
            self.left = length.checked_sub(8).unwrap_or(u64::MAX).min(self.moov_left);
            self.filled = 0;
        }
    }

    /// Checks that the file may end here.
    ///
    /// `is_framed` is `true` if the end is known from elsewhere, such as a `Content-Length`. Otherwise, only complete
    /// boxes prove that nothing is missing. If it is known, bytes that belong to no box may follow a complete video.
    pub(crate) fn finish(&self, is_framed: bool) -> Result<(), String> {
        let is_within_box = self.left > 0 || self.filled > 0 || self.moov_left > 0;
        let proves_its_end = !self.is_open_ended && !is_within_box && (!self.is_fragmented || self.ends_with_mfra);
        if self.seen == 0 {
            Err("it is empty".to_owned())
        } else if self.seen < 8 {
            Err(self.describe_start())
        } else if is_within_box && !self.is_within_foreign_data() {
            Err(format!("it ends after {} bytes, within a box", self.seen))
        } else if !self.is_playable() {
            Err(format!("it ends after {} bytes, without an index (moov) or without media (mdat)", self.seen))
        } else if !is_framed && !proves_its_end {
            Err(format!("it ends after {} bytes, and nothing shows that this is its end", self.seen))
        } else {
            Ok(())
        }
    }

    fn is_playable(&self) -> bool {
        self.has_moov && self.has_mdat
    }

    /// Returns `true` if the last header, as far as it has arrived, is not one of an MP4 file.
    fn is_within_foreign_data(&self) -> bool {
        let end = if self.left > 0 { 8 } else { self.filled.clamp(4, 8) };
        let name = &self.header[4..end];
        let is_known = !name.is_empty() && TOP_LEVEL.iter().any(|known| known.starts_with(name));
        self.moov_left == 0 && !is_known
    }

    /// Describes a file by its first bytes.
    fn describe_start(&self) -> String {
        let start = &self.header[..self.filled.min(8)];
        let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
        match (text.first(), start) {
            (Some(b'<'), _) => "it is an HTML or XML page".to_owned(),
            (Some(b'{' | b'['), _) => "it is JSON".to_owned(),
            (_, [0x1f, 0x8b, ..]) => "it is compressed with gzip".to_owned(),
            _ => "it does not begin like an MP4 file".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_box(name: &Name, content: &[u8]) -> Vec<u8> {
        let length = 8 + content.len() as u32;
        [&length.to_be_bytes(), &name[..], content].concat()
    }

    fn a_long_box(name: &Name, content: &[u8]) -> Vec<u8> {
        let length = 16 + content.len() as u64;
        [&1_u32.to_be_bytes(), &name[..], &length.to_be_bytes(), content].concat()
    }

    /// Returns boxes with these names. Their content is empty, but for a `mvex` in `moov+`.
    fn boxes(names: &str) -> Vec<u8> {
        let a_named_box = |name: &str| match name {
            "moov+" => a_box(b"moov", &[a_box(b"mvhd", &[0; 9]), a_box(b"mvex", b""), a_box(b"trak", b"")].concat()),
            _ => a_box(name.as_bytes().first_chunk().unwrap(), b""),
        };
        names.split(' ').flat_map(a_named_box).collect()
    }

    fn check(bytes: &[u8], piece: usize, is_framed: bool) -> Result<(), String> {
        let mut boxes = Boxes::default();
        bytes.chunks(piece).try_for_each(|piece| boxes.update(piece))?;
        boxes.finish(is_framed)
    }

    #[test]
    fn a_complete_file_is_accepted_in_pieces_of_any_size() {
        let start = [a_box(b"ftyp", b"isom"), a_box(b"free", b""), a_long_box(b"mdat", &[7; 40])].concat();
        // A `moov` may hold children without a length, with a wrong one, and stray bytes.
        for moov in [&[1; 20][..], &[0; 20], &[255; 20], b"\0\0\0\x09trak1\0\0\0\0", b"\0\0\0\x01trak\0\0"] {
            let file = [&start[..], &a_box(b"moov", moov), &a_box(b"free", b"")].concat();
            for piece in 1..=file.len() {
                assert_eq!(check(&file, piece, false), Ok(()), "pieces of {piece}, {}", moov.escape_ascii());
            }
        }
    }

    #[test]
    fn a_cut_file_is_rejected() {
        let file = [a_box(b"ftyp", b"isom"), a_long_box(b"mdat", &[7; 40]), a_box(b"moov", &[1; 20])].concat();
        for cut in 0..file.len() {
            assert!(check(&file[..cut], 5, true).is_err(), "cut at {cut}");
        }
        assert_eq!(check(&file[..20], 5, true), Err("it ends after 20 bytes, within a box".to_owned()));
        let found = "it ends after 12 bytes, without an index (moov) or without media (mdat)";
        assert_eq!(check(&file[..12], 5, true), Err(found.to_owned()));
    }

    #[test]
    fn other_files_are_described() {
        let table: [(&[u8], &str); 15] = [
            (b"", "it is empty"),
            (b"<!doctype html>", "it is an HTML or XML page"),
            (b"\xef\xbb\xbf<?xml version='1.0'?>", "it is an HTML or XML page"),
            (b"\r\n  <html>", "it is an HTML or XML page"),
            (b"<p>", "it is an HTML or XML page"),
            (b"{\"error\":1}", "it is JSON"),
            (b"[]", "it is JSON"),
            (b"not found", "it does not begin like an MP4 file"),
            (b"\0", "it does not begin like an MP4 file"),
            (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "it is compressed with gzip"),
            (b"\0\0\0\x08ftyp", "it ends after 8 bytes, without an index (moov) or without media (mdat)"),
            (b"\0\0\0\x07ftyp", "its box at byte 0 is shorter than its header"),
            (b"\0\0\0\x08ftyp\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f", "its box at byte 8 is shorter than its header"),
            (b"The free world", "it ends after 14 bytes, within a box"),
            (b"<!--free of charge-->", "it ends after 21 bytes, within a box"),
        ];
        for (bytes, found) in table {
            assert_eq!(check(bytes, 3, true), Err(found.to_owned()), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn odd_files_are_accepted_as_far_as_their_end_is_certain() {
        let zeros = [0; 99];
        let text = b"TAG a title that a tagging program has appended";
        let playable = boxes("ftyp moov mdat");
        let fragments = boxes("ftyp moov+ moof mdat moof mdat");
        let with = |file: &[u8], rest: &[u8]| [file, rest].concat();
        let table = [
            // file, accepted if nothing else shows its end, accepted if the transfer does
            (playable.clone(), true, true),
            (boxes("mdat moov"), true, true),
            (boxes("wide mdat moov"), true, true),
            (boxes("free ftyp mdat moov"), true, true),
            (boxes("skip free ftyp moov mdat"), true, true),
            (boxes("styp sidx ftyp moov mdat"), true, true),
            (boxes("ftyp uuid pdin moov free mdat xyz1 udta"), true, true),
            (boxes("ftyp moov mdat mdat mdat"), true, true),
            (fragments.clone(), false, true),
            (boxes("ftyp mdat moov+"), false, true),
            (boxes("ftyp moov+ sidx moof mdat mfra"), true, true),
            (with(&boxes("ftyp moov"), b"\0\0\0\0mdat1234"), false, true),
            (with(&boxes("ftyp mdat"), b"\0\0\0\0moov1234"), false, true),
            (with(&playable, b"\0"), false, true),
            (with(&playable, b"1234567"), false, true),
            (with(&playable, &zeros), false, true),
            (with(&playable, text), false, true),
            (with(&playable, b"\0\0\0\x05a box shorter than its header"), false, true),
            (with(&boxes("ftyp moov"), b"\0\0\0\x05a box shorter than its header"), false, false),
            (with(&playable, b"\0\0\0\x01data\0\0"), false, true),
            (with(&fragments, &zeros), false, true),
            (with(&fragments, b"1234567"), false, true),
            // Files whose own store has cut them.
            (with(&playable, b"\0\0\0\x20mdat1234"), false, false),
            (with(&playable, b"\0\0\0\x01mdat\0\0"), false, false),
            (with(&fragments, b"\0\0\0\x20moof1234"), false, false),
            (with(&fragments, b"\0\0\0\x20moo"), false, false),
            (with(&boxes("ftyp mdat"), b"\0\0\0\x20moov1234"), false, false),
            (with(&boxes("ftyp mdat"), b"\0\0\0\x20moov\0\0\0\x10trak"), false, false),
            (boxes("ftyp moov"), false, false),
            (boxes("styp sidx moof mdat"), false, false),
            (with(&boxes("ftyp mdat"), &zeros), false, false),
            (with(&boxes("ftyp moov"), text), false, false),
        ];
        for (file, alone, framed) in table {
            for piece in [1, 7, 1000] {
                assert_eq!(check(&file, piece, false).is_ok(), alone, "{}", file.escape_ascii());
                assert_eq!(check(&file, piece, true).is_ok(), framed, "{}", file.escape_ascii());
            }
        }
    }

    #[test]
    fn a_file_without_end_is_rejected() {
        let mut boxes = Boxes { seen: MAX_FILE_BYTES - 1, left: u64::MAX, ..Boxes::default() };
        assert_eq!(boxes.update(&[0]), Ok(()));
        assert_eq!(boxes.update(&[0]), Err("it is longer than 16 GiB".to_owned()));
    }

    #[test]
    fn absurd_lengths_do_not_overflow() {
        for name in [b"mdat", b"moov"] {
            let length = b"\xff\xff\xff\xff\xff\xff\xff\xff";
            let file = [&boxes("ftyp"), &b"\0\0\0\x01"[..], name, length, b"12"].concat();
            assert_eq!(check(&file, 4, true), Err("it ends after 26 bytes, within a box".to_owned()));
        }
    }
}
