//! Whether the bytes that go by are one whole MP4 file.

/// The top-level boxes of a file (ISO/IEC 14496-12, 4.2), followed from byte to byte without keeping any.
#[derive(Debug, Default)]
pub(crate) struct Boxes {
    /// The bytes seen so far.
    seen: u64,
    /// The header of the box that begins; 16 bytes if its length is a long one.
    header: [u8; 16],
    filled: usize,
    /// What is left of the box that goes by.
    left: u64,
    /// The last box has no length: it ends with the file.
    open_ended: bool,
    /// The boxes without which nothing can be played.
    has_index: bool,
    has_media: bool,
    /// The media comes in any number of fragments.
    is_fragmented: bool,
}

impl Boxes {
    /// Follows the next bytes. The error says what they are instead of an MP4 file.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() && !self.open_ended {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len() as u64);
                self.left -= skipped;
                self.seen += skipped;
                bytes = &bytes[skipped as usize..];
            } else {
                self.header[self.filled] = bytes[0];
                self.filled += 1;
                self.seen += 1;
                bytes = &bytes[1..];
                self.read_header()?;
            }
        }
        self.seen += bytes.len() as u64;
        Ok(())
    }

    /// Reads the header as soon as it is there.
    fn read_header(&mut self) -> Result<(), String> {
        if self.filled < 8 {
            return Ok(());
        }
        let [l0, l1, l2, l3, n0, n1, n2, n3, long @ ..] = self.header;
        let name = [n0, n1, n2, n3];
        let is_first = self.seen == self.filled as u64;
        if is_first && name != *b"ftyp" {
            return Err(self.what_it_is_instead());
        }
        self.has_index |= name == *b"moov";
        self.has_media |= name == *b"mdat";
        self.is_fragmented |= name == *b"moof";
        let length = match u32::from_be_bytes([l0, l1, l2, l3]) {
            0 => {
                self.open_ended = true;
                return Ok(());
            }
            1 if self.filled < 16 => return Ok(()),
            1 => u64::from_be_bytes(long),
            short => short.into(),
        };
        self.left = length
            .checked_sub(self.filled as u64)
            .ok_or_else(|| format!("its box at byte {} is shorter than its header", self.seen - self.filled as u64))?;
        self.filled = 0;
        Ok(())
    }

    /// Whether the file may end here. Without a known length, a last box that has none, or fragments, could hide a cut.
    pub(crate) fn finish(&self, length: Option<u64>) -> Result<(), String> {
        if self.seen == 0 {
            Err("it is empty".to_owned())
        } else if self.seen < 8 {
            Err(self.what_it_is_instead())
        } else if (self.open_ended || self.is_fragmented) && length.is_none() {
            Err("nothing says where it ends".to_owned())
        } else if !self.open_ended && (self.left > 0 || self.filled > 0) {
            Err(format!("it ends after {} bytes, within a box", self.seen))
        } else if !(self.has_index && self.has_media) {
            Err(format!("it ends after {} bytes, without an index (moov) or without media (mdat)", self.seen))
        } else {
            Ok(())
        }
    }

    fn what_it_is_instead(&self) -> String {
        match self.header[0] {
            b'<' => "it is an HTML or XML page".to_owned(),
            b'{' | b'[' => "it is JSON".to_owned(),
            _ => "it does not begin like an MP4 file".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_box(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let length = 8 + content.len() as u32;
        [&length.to_be_bytes(), &name[..], content].concat()
    }

    fn a_long_box(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let length = 16 + content.len() as u64;
        [&1_u32.to_be_bytes(), &name[..], &length.to_be_bytes(), content].concat()
    }

    fn a_file() -> Vec<u8> {
        [a_box(b"ftyp", b"isom"), a_box(b"free", b""), a_long_box(b"mdat", &[7; 40]), a_box(b"moov", &[1; 20])].concat()
    }

    fn check(bytes: &[u8], piece: usize) -> Result<(), String> {
        let mut boxes = Boxes::default();
        bytes.chunks(piece).try_for_each(|piece| boxes.update(piece))?;
        boxes.finish(None)
    }

    #[test]
    fn a_whole_file_is_whole_in_pieces_of_any_size() {
        let file = a_file();
        for piece in 1..=file.len() {
            assert_eq!(check(&file, piece), Ok(()), "pieces of {piece}");
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_not_whole() {
        let file = a_file();
        for cut in 0..file.len() {
            assert!(check(&file[..cut], 5).is_err(), "cut at {cut}");
        }
        assert_eq!(
            check(&file[..20], 5),
            Err("it ends after 20 bytes, without an index (moov) or without media (mdat)".to_owned())
        );
    }

    #[test]
    fn what_is_no_video_is_named() {
        let table: [(&[u8], &str); 9] = [
            (b"", "it is empty"),
            (b"<!doctype html>", "it is an HTML or XML page"),
            (b"<p>", "it is an HTML or XML page"),
            (b"{\"error\":1}", "it is JSON"),
            (b"[]", "it is JSON"),
            (b"not found", "it does not begin like an MP4 file"),
            (b"\0", "it does not begin like an MP4 file"),
            (b"\0\0\0\x07ftyp", "its box at byte 0 is shorter than its header"),
            (b"\0\0\0\x08ftyp\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f", "its box at byte 8 is shorter than its header"),
        ];
        for (bytes, found) in table {
            assert_eq!(check(bytes, 3), Err(found.to_owned()));
        }
    }

    #[test]
    fn a_box_without_a_length_needs_a_file_with_one() {
        let file = [a_box(b"ftyp", b"isom"), a_box(b"moov", b""), b"\0\0\0\0mdat1234".to_vec()].concat();
        let mut boxes = Boxes::default();
        boxes.update(&file).unwrap();
        assert_eq!(boxes.finish(Some(file.len() as u64)), Ok(()));
        assert_eq!(boxes.finish(None), Err("nothing says where it ends".to_owned()));
    }

    #[test]
    fn fragments_need_a_file_with_a_length() {
        let file = [a_box(b"ftyp", b""), a_box(b"moov", b""), a_box(b"moof", b""), a_box(b"mdat", b"1")].concat();
        assert_eq!(check(&file, 5), Err("nothing says where it ends".to_owned()));
    }

    #[test]
    fn absurd_lengths_do_not_overflow() {
        let huge = [a_box(b"ftyp", b""), b"\0\0\0\x01mdat\xff\xff\xff\xff\xff\xff\xff\xff12".to_vec()].concat();
        assert_eq!(check(&huge, 4), Err("it ends after 26 bytes, within a box".to_owned()));
    }
}
