//! The search for the API key, or a part of it, in text that a server has sent, in whatever encoding.

use std::ops::Range;

use crate::decode::Readings;

/// The number of consecutive characters that count as a part of the key. Fewer also stand in ordinary words, and leave
/// too much of a key to guess. A shorter key is not searched for.
const MIN_KEY_CHARS: usize = 8;

/// The number of base64 characters that count as a part of the key. Wherever eight bytes stand, ten of the characters
/// that encode them depend on no other byte.
const MIN_BASE64_CHARS: usize = 10;

/// The alphabet of base64 (RFC 4648, 4). The one for URLs has `-` and `_` in its last two places.
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The forms of one key that are searched for: as it is, in hexadecimal, and in base64 at each of three alignments.
#[derive(Clone, Default)]
pub(crate) struct KeySearch {
    /// The characters of all forms, one form after the other.
    symbols: Vec<Symbol>,
    /// The places in `symbols` of each character in lower case, by its code.
    places: Vec<Vec<usize>>,
}

#[derive(Clone)]
struct Symbol {
    form: Form,
    is_last: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Plain,
    Hex,
    Base64,
}

impl Form {
    fn min_run(self) -> usize {
        match self {
            Form::Plain => MIN_KEY_CHARS,
            Form::Hex => 2 * MIN_KEY_CHARS,
            Form::Base64 => MIN_BASE64_CHARS,
        }
    }

    /// Returns `true` for a character that may stand between two others of this form: a hex dump has separators.
    fn skips(self, c: char) -> bool {
        is_invisible(c) || (self == Form::Hex && matches!(c, ' ' | ':'))
    }
}

/// Consecutive characters of one form that were found in the text.
#[derive(Clone, Copy)]
struct Run {
    length: usize,
    /// Where the run begins in the text.
    start: usize,
}

impl KeySearch {
    pub(crate) fn new(key: &str) -> Self {
        let mut search = KeySearch::default();
        if key.chars().count() < MIN_KEY_CHARS {
            return search;
        }
        search.add(Form::Plain, key);
        search.add(Form::Hex, &key.bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
        for alignment in 0..3 {
            search.add(Form::Base64, &base64(key.as_bytes(), alignment));
        }
        search
    }

    fn add(&mut self, form: Form, text: &str) {
        for c in text.chars() {
            let place = self.symbols.len();
            self.symbols.push(Symbol { form, is_last: false });
            let mut spellings = vec![c.to_ascii_lowercase()];
            match (form, c) {
                (Form::Base64, '+') => spellings.push('-'),
                (Form::Base64, '/') => spellings.push('_'),
                _ => {}
            }
            for c in spellings {
                let code = c as usize;
                self.places.resize_with(self.places.len().max(code + 1), Vec::new);
                self.places[code].push(place);
            }
        }
        if let Some(last) = self.symbols.last_mut() {
            last.is_last = true;
        }
    }

    /// Returns the parts of the text that stand for at least eight characters of the key in a row, in order.
    pub(crate) fn find(&self, text: &[char]) -> Vec<Range<usize>> {
        if self.symbols.is_empty() {
            return Vec::new();
        }
        let mut is_key = vec![false; text.len()];
        let readings = Readings::of(text);
        // The runs that end before each place of the text, by the symbol that continues them.
        let mut runs: Vec<Vec<(usize, Run)>> = vec![Vec::new(); text.len() + 1];
        for at in 0..text.len() {
            let open = std::mem::take(&mut runs[at]);
            for (c, end) in readings.at(at) {
                for &(next, run) in open.iter().filter(|(next, _)| self.symbols[*next].form.skips(c)) {
                    keep_longer(&mut runs[end], next, run);
                }
                for &place in self.places.get(c.to_ascii_lowercase() as usize).into_iter().flatten() {
                    let run = match place_of(&open, place) {
                        Ok(at) => open[at].1.extended(),
                        Err(_) => Run { length: 1, start: at },
                    };
                    let Symbol { form, is_last } = self.symbols[place];
                    if run.length >= form.min_run() {
                        is_key[run.start..end].fill(true);
                    }
                    if !is_last {
                        keep_longer(&mut runs[end], place + 1, run);
                    }
                }
            }
        }
        ranges(&is_key)
    }
}

impl Run {
    fn extended(&self) -> Run {
        Run { length: self.length + 1, ..*self }
    }
}

/// Returns the place in `runs` of the run that a symbol continues, or the place for it.
fn place_of(runs: &[(usize, Run)], next: usize) -> Result<usize, usize> {
    runs.binary_search_by_key(&next, |(next, _)| *next)
}

fn keep_longer(runs: &mut Vec<(usize, Run)>, next: usize, run: Run) {
    match place_of(runs, next) {
        Ok(at) if runs[at].1.length < run.length => runs[at].1 = run,
        Ok(_) => {}
        Err(at) => runs.insert(at, (next, run)),
    }
}

/// Returns the ranges of the places that are marked.
fn ranges(marks: &[bool]) -> Vec<Range<usize>> {
    let (mut ranges, mut start) = (Vec::new(), 0);
    for run in marks.chunk_by(bool::eq) {
        let end = start + run.len();
        if run[0] {
            ranges.push(start..end);
        }
        start = end;
    }
    ranges
}

/// Encodes bytes that follow `alignment` unknown ones, without the characters that also depend on their neighbors.
fn base64(bytes: &[u8], alignment: usize) -> String {
    let padded = [&vec![0; alignment], bytes, &[0]].concat();
    let (first, last) = ((alignment * 8).div_ceil(6), (alignment + bytes.len()) * 8 / 6);
    let sextet = |at: usize| {
        let (byte, shift) = (at * 6 / 8, 10 - at * 6 % 8);
        let bits = u16::from_be_bytes([padded[byte], padded[byte + 1]]);
        char::from(BASE64[usize::from(bits >> shift) % 64])
    };
    (first..last).map(sextet).collect()
}

/// Returns `true` for a character that is not seen, so that the text on both sides of it reads as one.
fn is_invisible(c: char) -> bool {
    c.is_control() || is_bidi_control(c) || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// Returns `true` for the characters of the Unicode property Bidi_Control.
pub(crate) fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_leaves_out_what_depends_on_other_bytes() {
        for (alignment, expected) in [(0, "////"), (1, "///"), (2, "///")] {
            assert_eq!(base64(&[255; 3], alignment), expected, "{alignment}");
        }
    }
}
