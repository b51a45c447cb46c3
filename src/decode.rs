//! The readings of escaped text: each character as it stands, and as the escapes of JSON, HTML and URLs stand for it.

/// The longest escape of one character: `&amp;amp;#x2d;`, and `\u002d` in a JSON string four times over, are shorter.
const MAX_ESCAPE_CHARS: usize = 24;

/// The named character references of HTML for visible ASCII: each name is followed by its character.
const ENTITIES: &str = "AMP& GT> Hat^ LT< QUOT\" UnderBar_ VerticalLine| amp& apos' ast* bsol\\ colon: comma, commat@ \
                        dollar$ equals= excl! grave` gt> lbrace{ lbrack[ lcub{ lowbar_ lpar( lsqb[ lt< midast* num# \
                        percnt% period. plus+ quest? quot\" rbrace} rbrack] rcub} rpar) rsqb] semi; sol/ verbar| vert|";

/// A character that the text may stand for at some place, and the place where the next character begins.
pub(crate) type Reading = (char, usize);

/// The readings at each place of a text. A place usually has one: the character that stands there. It has more where
/// an escape begins, and where an escape is itself escaped.
pub(crate) struct Readings<'a> {
    text: &'a [char],
    escapes: Vec<Vec<Reading>>,
}

impl<'a> Readings<'a> {
    pub(crate) fn of(text: &'a [char]) -> Self {
        let mut readings = Readings { text, escapes: vec![Vec::new(); text.len()] };
        // Backwards: an escape consists of the readings of later places.
        for at in (0..text.len()).rev() {
            readings.add_escapes(at);
        }
        readings
    }

    /// Returns the readings at a place.
    pub(crate) fn at(&self, at: usize) -> impl Iterator<Item = Reading> {
        let literal = self.text.get(at).map(|&c| (c, at + 1));
        literal.into_iter().chain(self.escapes.get(at).into_iter().flatten().copied())
    }

    /// Adds the escapes that begin at `at`. One that stands for the beginning of another, as `%25` in `%252B`, adds that
    /// one as well.
    fn add_escapes(&mut self, at: usize) {
        let mut lead = Some((self.text[at], at + 1));
        let mut next = 0;
        while let Some((c, end)) = lead {
            let escaped = match c {
                '\\' => self.after_backslash(end),
                '%' => self.after_percent(end),
                '&' => self.after_ampersand(end),
                _ => Vec::new(),
            };
            for (code, end) in escaped {
                let Some(c) = char::from_u32(code) else { continue };
                if end - at <= MAX_ESCAPE_CHARS && !self.escapes[at].contains(&(c, end)) {
                    self.escapes[at].push((c, end));
                }
            }
            lead = self.escapes[at].get(next).copied();
            next += 1;
        }
    }

    /// Reads `\u002d`, `\u{2d}`, `\x2d`, `\055`, `\/` and `\n`, given the place after the backslash.
    fn after_backslash(&self, at: usize) -> Vec<(u32, usize)> {
        let mut escaped = Vec::new();
        for (c, end) in self.at(at) {
            match c {
                'u' | 'U' => {
                    escaped.extend(self.numbers(end, 16, 4..=4));
                    for brace in self.ends(end, '{') {
                        escaped.extend(self.closed(self.numbers(brace, 16, 1..=8), '}'));
                    }
                }
                'x' => escaped.extend(self.numbers(end, 16, 2..=2)),
                '0'..='7' => escaped.extend(self.numbers(at, 8, 1..=3)),
                'b' | 'f' | 'n' | 'r' | 't' => escaped.push(('\n'.into(), end)),
                _ if c.is_ascii_punctuation() => escaped.push((c.into(), end)),
                _ => {}
            }
        }
        escaped
    }

    /// Reads `%2d` and `%u002d`, given the place after the percent sign.
    fn after_percent(&self, at: usize) -> Vec<(u32, usize)> {
        let mut escaped = self.numbers(at, 16, 2..=2);
        for end in self.ends(at, 'u') {
            escaped.extend(self.numbers(end, 16, 4..=4));
        }
        escaped
    }

    /// Reads `&#45;`, `&#x2d;` and `&amp;`, given the place after the ampersand. Browsers do not need the semicolon.
    fn after_ampersand(&self, at: usize) -> Vec<(u32, usize)> {
        let mut escaped = Vec::new();
        for hash in self.ends(at, '#') {
            escaped.extend(self.numbers(hash, 10, 1..=8));
            for x in [self.ends(hash, 'x'), self.ends(hash, 'X')].concat() {
                escaped.extend(self.numbers(x, 16, 1..=8));
            }
        }
        for entity in ENTITIES.split(' ') {
            let (name, c) = entity.split_at(entity.len() - 1);
            let ends =
                name.chars().fold(vec![at], |ends, c| ends.into_iter().flat_map(|at| self.ends(at, c)).collect());
            escaped.extend(ends.into_iter().flat_map(|end| c.chars().map(move |c| (c.into(), end))));
        }
        let closed = self.closed(escaped.clone(), ';');
        escaped.extend(closed);
        escaped
    }

    /// Returns the ends of the readings of `c` at a place.
    fn ends(&self, at: usize, c: char) -> Vec<usize> {
        self.at(at).filter(|(found, _)| *found == c).map(|(_, end)| end).collect()
    }

    /// Returns those of the escapes that a closing character follows, with the end of that character.
    fn closed(&self, escapes: Vec<(u32, usize)>, close: char) -> Vec<(u32, usize)> {
        let closed = |(code, end)| self.ends(end, close).into_iter().map(move |end| (code, end));
        escapes.into_iter().flat_map(closed).collect()
    }

    /// Returns the numbers at a place, for each permitted count of digits.
    fn numbers(&self, at: usize, radix: u32, digits: std::ops::RangeInclusive<usize>) -> Vec<(u32, usize)> {
        let (mut numbers, mut open) = (Vec::new(), vec![(0_u32, at)]);
        for count in 1..=*digits.end() {
            let mut longer = Vec::new();
            for (number, at) in open {
                let digits = self.at(at).filter_map(|(c, end)| Some((c.to_digit(radix)?, end)));
                longer.extend(digits.map(|(digit, end)| (number.saturating_mul(radix).saturating_add(digit), end)));
            }
            if digits.contains(&count) {
                numbers.extend(longer.iter().copied());
            }
            open = longer;
        }
        numbers
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
            assert!(readings.at(0).any(|reading| reading == (expected, chars.len())), "{text}");
        }
    }

    #[test]
    fn text_without_escapes_has_one_reading() {
        for text in ["a", "-2b", "u002b", "#43;", "%", "%2", "%zz", r"\", r"\u00", r"\q", "&", "&#", "&#;", "&nothing;"]
        {
            let chars: Vec<char> = text.chars().collect();
            assert_eq!(Readings::of(&chars).at(0).collect::<Vec<_>>(), [(chars[0], 1)], "{text}");
        }
        assert_eq!(Readings::of(&[]).at(0).count(), 0);
    }

    #[test]
    fn nesting_is_limited() {
        for (text, most) in [("\\", MAX_ESCAPE_CHARS), ("%25", MAX_ESCAPE_CHARS), ("&amp;", MAX_ESCAPE_CHARS)] {
            let chars: Vec<char> = text.repeat(1000).chars().collect();
            let readings = Readings::of(&chars);
            assert!(readings.at(0).count() <= most, "{text}");
        }
    }
}
