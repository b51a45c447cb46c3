//! Reads escaped text in every way: as it is, and with JSON, HTML and URL escapes resolved.

use std::ops::RangeInclusive;

/// The longest escape of one character: `&amp;amp;#x2d;`, and `\u002d` in a JSON string four times over, are shorter.
const MAX_ESCAPE_CHARS: usize = 24;

/// The named character references of HTML for visible ASCII: each name is followed by its character.
const ENTITIES: &str = "AMP& GT> Hat^ LT< QUOT\" UnderBar_ VerticalLine| amp& apos' ast* bsol\\ colon: comma, commat@ \
                        dollar$ equals= excl! grave` gt> lbrace{ lbrack[ lcub{ lowbar_ lpar( lsqb[ lt< midast* num# \
                        percnt% period. plus+ quest? quot\" rbrace} rbrack] rcub} rpar) rsqb] semi; sol/ verbar| vert|";

/// One reading at a place: the character, and the place of the next one.
pub(crate) type Reading = (char, usize);

/// Characters, each with the lengths of its readings: bit 1 for 1, and so on.
type Lengths = Vec<(char, u32)>;

/// The readings at each place of a text. A place usually has one: the character that stands there. It has more where
/// an escape begins, and where an escape is itself escaped.
pub(crate) struct Readings {
    /// For each place, the characters that it may stand for.
    places: Vec<Lengths>,
    /// For each place, the escapes after a `\\`, `%` or `&` that ends there.
    escapes: Vec<Vec<(char, Lengths)>>,
}

impl Readings {
    pub(crate) fn of(text: &[char]) -> Self {
        let places = text.iter().map(|&c| vec![(c, 1 << 1)]).collect();
        let mut readings = Readings { places, escapes: vec![Vec::new(); text.len() + 1] };
        // Backwards: an escape consists of the readings of later places.
        for at in (0..text.len()).rev() {
            readings.add_escapes(at);
        }
        readings
    }

    /// Returns the readings at a place.
    pub(crate) fn at(&self, at: usize) -> Vec<Reading> {
        let mut readings = Vec::new();
        for &(c, lengths) in self.places.get(at).into_iter().flatten() {
            readings.extend(ends(at, lengths).map(|end| (c, end)));
        }
        readings
    }

    /// Adds the escapes that begin at `at`. If an escape stands for the first character of another, as `%25` in
    /// `%252B`, the other is added as well.
    fn add_escapes(&mut self, at: usize) {
        let mut added = vec![(self.places[at][0].0, at + 1)];
        while let Some((c, end)) = added.pop() {
            let known = self.escapes[end].iter().find(|(first, _)| *first == c);
            let escaped = match (known, c) {
                (Some((_, escaped)), _) => escaped.clone(),
                (None, '\\') => self.after_backslash(end),
                (None, '%') => self.after_percent(end),
                (None, '&') => self.after_ampersand(end),
                _ => continue,
            };
            if known.is_none() {
                self.escapes[end].push((c, escaped.clone()));
            }
            for (c, lengths) in escaped {
                let lengths = self.add(at, c, lengths << (end - at));
                added.extend(ends(at, lengths).map(|end| (c, end)));
            }
        }
    }

    /// Adds readings of `c`, and returns the lengths of those that are new.
    fn add(&mut self, at: usize, c: char, lengths: u32) -> u32 {
        let lengths = lengths & ((2 << MAX_ESCAPE_CHARS) - 1);
        match self.places[at].iter_mut().find(|(found, _)| *found == c) {
            Some((_, found)) => {
                let new = lengths & !*found;
                *found |= new;
                new
            }
            None => {
                self.places[at].push((c, lengths));
                lengths
            }
        }
    }

    /// Reads `\u002d`, `\u{2d}`, `\x2d`, `\055`, `\/` and `\n`, given the place after the backslash.
    fn after_backslash(&self, at: usize) -> Lengths {
        let mut escaped = Escaped::after(at);
        for &(c, lengths) in self.places.get(at).into_iter().flatten() {
            match c {
                'b' | 'f' | 'n' | 'r' | 't' => escaped.found.push(('\n', lengths)),
                _ if c.is_ascii_punctuation() => escaped.found.push((c, lengths)),
                _ => {}
            }
        }
        for u in self.after(at, &['u', 'U']) {
            escaped.extend(self.numbers(u, 16, 4..=4));
            for brace in self.after(u, &['{']) {
                escaped.extend(self.closed(&self.numbers(brace, 16, 1..=6), '}'));
            }
        }
        for x in self.after(at, &['x']) {
            escaped.extend(self.numbers(x, 16, 2..=2));
        }
        escaped.extend(self.numbers(at, 8, 1..=3));
        escaped.found
    }

    /// Reads `%2d` and `%u002d`, given the place after the percent sign.
    fn after_percent(&self, at: usize) -> Lengths {
        let mut escaped = Escaped::after(at);
        escaped.extend(self.numbers(at, 16, 2..=2));
        for u in self.after(at, &['u']) {
            escaped.extend(self.numbers(u, 16, 4..=4));
        }
        escaped.found
    }

    /// Reads `&#45;`, `&#x2d;` and `&amp;`, given the place after the ampersand. Browsers do not need the semicolon.
    fn after_ampersand(&self, at: usize) -> Lengths {
        let mut codes = Vec::new();
        for hash in self.after(at, &['#']) {
            codes.extend(self.numbers(hash, 10, 1..=6));
            for x in self.after(hash, &['x', 'X']) {
                codes.extend(self.numbers(x, 16, 1..=6));
            }
        }
        for entity in ENTITIES.split(' ') {
            let (name, c) = entity.split_at(entity.len() - 1);
            let code = u32::from(c.as_bytes()[0]);
            codes.extend(self.after_name(at, name).into_iter().map(|end| (code, end)));
        }
        let mut escaped = Escaped::after(at);
        escaped.extend(self.closed(&codes, ';'));
        escaped.extend(codes);
        escaped.found
    }

    /// Returns the ends of the readings of any of these characters at a place.
    fn after(&self, at: usize, any_of: &[char]) -> Vec<usize> {
        let readings = self.at(at).into_iter();
        readings.filter(|(c, _)| any_of.contains(c)).map(|(_, end)| end).collect()
    }

    /// Returns the ends of the readings of these characters in a row.
    fn after_name(&self, at: usize, name: &str) -> Vec<usize> {
        let mut ends = vec![at];
        for c in name.chars() {
            let mut longer = Vec::new();
            for end in ends {
                longer.extend(self.after(end, &[c]));
            }
            ends = longer;
        }
        ends
    }

    /// Returns the codes that the closing character follows, with the place after it.
    fn closed(&self, codes: &[(u32, usize)], close: char) -> Vec<(u32, usize)> {
        let mut closed = Vec::new();
        for &(code, end) in codes {
            closed.extend(self.after(end, &[close]).into_iter().map(|end| (code, end)));
        }
        closed
    }

    /// Returns the numbers at a place and their ends, for each permitted count of digits.
    fn numbers(&self, at: usize, radix: u32, digits: RangeInclusive<usize>) -> Vec<(u32, usize)> {
        let (mut numbers, mut open) = (Vec::new(), vec![(0, at)]);
        for count in 1..=*digits.end() {
            let mut longer = Vec::new();
            for (number, end) in open {
                for (c, end) in self.at(end) {
                    if let Some(digit) = c.to_digit(radix).filter(|_| end - at < MAX_ESCAPE_CHARS) {
                        longer.push((number * radix + digit, end));
                    }
                }
            }
            if digits.contains(&count) {
                numbers.extend(&longer);
            }
            open = longer;
        }
        numbers
    }
}

/// Returns the ends of the readings of these lengths at a place.
fn ends(at: usize, lengths: u32) -> impl Iterator<Item = usize> {
    (1..=MAX_ESCAPE_CHARS).filter(move |length| lengths & 1 << length != 0).map(move |length| at + length)
}

/// The characters that an escape may stand for, and the lengths of the text after the character that begins it.
struct Escaped {
    at: usize,
    found: Lengths,
}

impl Escaped {
    fn after(at: usize) -> Self {
        Escaped { at, found: Vec::new() }
    }

    fn extend(&mut self, codes: Vec<(u32, usize)>) {
        for (code, end) in codes {
            if let Some(c) = char::from_u32(code).filter(|_| end - self.at <= MAX_ESCAPE_CHARS) {
                self.found.push((c, 1 << (end - self.at)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_as_the_characters_that_they_stand_for() {
        let table = [
            ("+", '+'),
            (r"\u002b", '+'),
            (r"\u002B", '+'),
            (r"\u{2b}", '+'),
            (r"\x2b", '+'),
            (r"\053", '+'),
            (r"\/", '/'),
            (r"\\", '\\'),
            (r"\n", '\n'),
            (r"\\u002b", '+'),
            (r"\\\\u002b", '+'),
            ("%2B", '+'),
            ("%252b", '+'),
            ("%25252B", '+'),
            ("%u002B", '+'),
            ("&amp;", '&'),
            ("&amp", '&'),
            ("&#43;", '+'),
            ("&#043;", '+'),
            ("&#43", '+'),
            ("&#x2B;", '+'),
            ("&#X2b", '+'),
            ("&plus;", '+'),
            ("&amp;#43;", '+'),
            ("&amp;amp;", '&'),
            ("&amp;plus;", '+'),
            (r"\u0026#x2b;", '+'),
            (r"%26%2343%3B", '+'),
            (r"&#37;2B", '+'),
            (r"%5Cu002b", '+'),
            (r"\u00\u0032b", '+'),
        ];
        for (text, expected) in table {
            let chars: Vec<char> = text.chars().collect();
            let readings = Readings::of(&chars);
            assert!(readings.at(0).contains(&(expected, chars.len())), "{text}");
        }
    }

    #[test]
    fn text_without_escapes_has_one_reading() {
        for text in ["a", "-2b", "u002b", "#43;", "%", "%2", "%zz", r"\", r"\u00", r"\q", "&", "&#", "&#;", "&nothing;"]
        {
            let chars: Vec<char> = text.chars().collect();
            assert_eq!(Readings::of(&chars).at(0), [(chars[0], 1)], "{text}");
        }
        assert_eq!(Readings::of(&[]).at(0).len(), 0);
    }

    #[test]
    fn nesting_is_limited() {
        for (text, most) in [("\\", MAX_ESCAPE_CHARS), ("%25", MAX_ESCAPE_CHARS), ("&amp;", MAX_ESCAPE_CHARS)] {
            let chars: Vec<char> = text.repeat(50).chars().collect();
            let readings = Readings::of(&chars);
            assert!((2..=most).contains(&readings.at(0).len()), "{text}");
        }
        // The `u` and the brace are long escapes themselves.
        let escaped = |hex: &str| format!("%{}{hex}", "25".repeat(10));
        let text = format!("{}\\{}{}2b}}", "x".repeat(9), escaped("75"), escaped("7b"));
        let readings = Readings::of(&text.chars().collect::<Vec<_>>());
        assert!(readings.at(9).iter().all(|(_, end)| *end <= 9 + MAX_ESCAPE_CHARS));
    }
}
