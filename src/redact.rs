//! Makes untrusted text safe to display: truncated, on one line, without secrets or terminal escapes.

use std::error::Error;
use std::sync::OnceLock;

use crate::key_search::{KeySearch, is_bidi_control};

/// The text that is shown in place of the API key.
const REDACTED: &str = "[redacted]";

/// The maximum length of an excerpt: enough for any documented response, and for a person to read.
const MAX_EXCERPT_BYTES: usize = 1024;

/// The number of bytes that are read for an excerpt. More than are shown, so that a key cut at the excerpt's end is
/// still found, and text follows where a long URL query was left out.
const MAX_READ_BYTES: usize = 2 * MAX_EXCERPT_BYTES;

/// Prepares the text of servers for display, without the API key. Cheap enough to be made once per client.
///
/// Only text that is shown or recorded is redacted. Data, such as ids and URLs that are requested, must stay as it is:
/// a key may be a word that also stands in an id.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    key: String,
    /// Prepared when a text is shown for the first time: a job without faults shows none.
    search: OnceLock<KeySearch>,
}

impl Redactor {
    /// Creates a redactor for this key. A key of fewer than 8 characters is not searched for: it would be found in
    /// ordinary words.
    pub(crate) fn new(key: &str) -> Self {
        Redactor { key: key.to_owned(), search: OnceLock::new() }
    }

    /// Returns the first KiB of a text on one line, without the API key and without URL queries, which may be
    /// signatures.
    pub(crate) fn excerpt(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_READ_BYTES)]);
        let text = self.mask_key(text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}'));
        // A terminal would obey an escape sequence, and show the text after a bidi control backwards.
        let line = text.replace(|c: char| c.is_control() || is_bidi_control(c), " ");
        // A URL ends only at a character that cannot occur in one: a `'` can, and a backslash where JSON escapes (`\/`,
        // `\u0026`).
        let words = line.split_inclusive(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>'));
        truncated(words.map(redact_query).collect())
    }

    /// Returns the part of a URL that may be shown: the query may be a signature, and a password stands before the `@`.
    pub(crate) fn url(&self, url: &str) -> String {
        let bare = url.split(['?', '#']).next().unwrap_or_default();
        // Not "://": a reference may leave out the scheme.
        let shown = match bare.split_once("//") {
            Some((scheme, rest)) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let host = authority.rsplit('@').next().unwrap_or_default();
                format!("{scheme}//{host}{path}")
            }
            None => bare.to_owned(),
        };
        self.excerpt(shown.as_bytes())
    }

    /// Redacts the text of a cause. A cause without the key keeps its type.
    pub(crate) fn cause(&self, cause: Box<dyn Error + Send + Sync>) -> Box<dyn Error + Send + Sync> {
        let text = cause.to_string();
        let shown = self.excerpt(text.as_bytes());
        if shown == text { cause } else { shown.into() }
    }

    fn mask_key(&self, text: &str) -> String {
        let chars: Vec<char> = text.chars().collect();
        let (mut masked, mut end) = (String::with_capacity(text.len()), 0);
        for found in self.search.get_or_init(|| KeySearch::new(&self.key)).find(&chars) {
            masked.extend(&chars[end..found.start]);
            masked += REDACTED;
            end = found.end;
        }
        masked.extend(&chars[end..]);
        masked
    }
}

/// Returns the part of a URL that may be shown, where no API key is known.
pub(crate) fn redact_url(url: &str) -> String {
    Redactor::default().url(url)
}

/// Returns a word without the query of a URL, but with the punctuation that follows it.
fn redact_query(word: &str) -> String {
    let (url, query) = word.split_once('?').unwrap_or((word, ""));
    let hidden = query.trim_end_matches(|c: char| c != '=' && !c.is_alphanumeric());
    if hidden.is_empty() { word.to_owned() } else { format!("{url}?…{}", &query[hidden.len()..]) }
}

/// Cuts a text to the length of an excerpt, between two characters.
fn truncated(mut text: String) -> String {
    let mut end = text.len().min(MAX_EXCERPT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    fn excerpt(bytes: &[u8]) -> String {
        Redactor::default().excerpt(bytes)
    }

    const KEY: &str = "sk-Abc+de/f&12";

    fn masked(text: &str) -> String {
        Redactor::new(KEY).excerpt(text.as_bytes())
    }

    #[test]
    fn a_cause_with_the_key_is_replaced_and_another_keeps_its_type() {
        let redactor = Redactor::new(KEY);
        let cause = |text: &str| redactor.cause(Box::new(std::io::Error::other(text.to_owned())));
        assert!(cause("the connection was reset").is::<std::io::Error>());
        let masked = cause(&format!("invalid header {KEY}"));
        assert!(!masked.is::<std::io::Error>());
        assert_eq!(masked.to_string(), "invalid header [redacted]");
    }

    #[test]
    fn an_excerpt_ends_between_two_characters() {
        let text = format!("x{}", "é".repeat(600));
        assert_eq!(excerpt(text.as_bytes()), text[..1023]);
    }

    #[test]
    fn the_key_is_masked_in_every_encoding() {
        for encoded in [
            KEY,
            "SK-ABC+DE/F&12",
            r"sk-Abc+de\/f&12",
            r"sk-Abc\u002bde\/f\u002612",
            r"sk\x2dAbc\x2Bde\57f\u{26}12",
            r"sk\\u002dAbc\\u002bde\\/f\\u002612",
            r"\\\\u0073k-Abc+de/f&12",
            "sk-Abc+de/f&amp;12",
            "sk&#45;Abc&#x2B;de&#x2f;f&amp;12",
            "sk&#45Abc&plus;de&sol;f&AMP12",
            "sk&amp;#45;Abc&amp;plus;de/f&amp;amp;12",
            "sk-Abc%2Bde%2Ff%2612",
            "%73%6b%2d%41%62%63%2b%64%65%2f%66%26%31%32",
            "sk-Abc%252Bde%25252Ff%u002612",
            "sk-Abc%26plus;de&#37;2Ff\\u002612",
            // `Bearer KEY`, `user:KEY` and `me:KEY` in base64, the last one for URLs and in two lines.
            "QmVhcmVyIHNrLUFiYytkZS9mJjEy",
            "dXNlcjpzay1BYmMrZGUvZiYxMg==",
            "bWU6c2stQWJj\r\nK2RlL2YmMTI",
            r"bWU6c2stQWJj\nK2RlL2YmMTI",
            "736b2d4162632b64652f66263132",
            "73 6B 2D 41 62 63 2B 64 65 2F 66 26 31 32",
            "sk-\u{200b}Abc+\u{202e}de/f&\n12",
            "s\0k\0-\0A\0b\0c\0+\0d\0e\0/\0f\0&\x001\x002\0",
        ] {
            let shown = masked(&format!("key {encoded} is wrong"));
            let rest = shown.replace(REDACTED, "");
            assert!(shown.contains(REDACTED) && rest.len() < 24 && !rest.contains("Abc"), "{encoded}: {shown}");
        }
        assert_eq!(masked("Bearer sk-Abc+de/f&12sk-Abc+de/f&12."), "Bearer [redacted].");
    }

    #[test]
    fn a_part_of_the_key_is_masked() {
        let table = [
            ("key sk-Abc+d", "key [redacted]"),
            ("key sk-Abc+", "key sk-Abc+"),
            ("c+de/f&1 at the beginning", "[redacted] at the beginning"),
            ("the middle k-Abc+de.", "the middle [redacted]."),
            ("sk-Abc+xde/f&12", "sk-Abc+xde/f&12"),
            ("sk-Abc%2Bd%2", "[redacted]%2"),
            ("hex 736b2d4162632b64", "hex [redacted]"),
            ("hex 736b2d4162632b", "hex 736b2d4162632b"),
        ];
        for (text, shown) in table {
            assert_eq!(masked(text), shown);
        }
        // Cut by the end of the excerpt, wherever that falls.
        for start in 990..1024 {
            let shown = masked(&format!("{}{KEY} and more", "x".repeat(start)));
            assert!(!shown.contains("sk"), "{start}: {shown}");
        }
    }

    #[test]
    fn a_short_key_is_not_masked() {
        assert_eq!(Redactor::new("a fox").excerpt(b"a fox"), "a fox");
        assert_eq!(Redactor::new("").excerpt(b"text"), "text");
        assert_eq!(Redactor::new("12345678").excerpt(b"12345678"), REDACTED);
    }

    /// Encodes a character in one of the ways in which a server may echo it.
    fn encoded(rng: &mut Rng, c: char, depth: u32) -> String {
        let code = u32::from(c);
        let escape = match rng.u32(..10) {
            0 => format!("\\u{code:04x}"),
            1 => format!("\\u{code:04X}"),
            2 => format!("\\x{code:02x}"),
            3 => format!("&#{code};"),
            4 => format!("&#x{code:X};"),
            5 => format!("%{code:02X}"),
            6 => format!("%{code:02x}"),
            7 if c == '&' => "&amp;".to_owned(),
            8 if c.is_ascii_punctuation() => format!("\\{c}"),
            _ => return c.to_string(),
        };
        // Escape the escape: encoders replace the character that begins it.
        let (lead, rest) = escape.split_at(1);
        if depth == 0 {
            escape
        } else {
            lead.chars().map(|lead| encoded(rng, lead, depth - 1)).collect::<String>() + rest
        }
    }

    fn any_key(rng: &mut Rng) -> String {
        (0..rng.usize(8..48)).map(|_| rng.char('!'..='~')).collect()
    }

    /// Returns `true` if the text contains eight characters of the key in a row.
    fn shows(text: &str, key: &str) -> bool {
        let (text, key) = (text.to_lowercase(), key.to_lowercase());
        (0..=key.len() - 8).any(|at| text.contains(&key[at..at + 8]))
    }

    #[test]
    fn random_encodings_of_random_keys_are_masked() {
        let mut rng = Rng::with_seed(7);
        for _ in 0..60 {
            let key = any_key(&mut rng);
            let pieces: Vec<String> = key.chars().map(|c| encoded(&mut rng, c, 2)).collect();
            // Cut at either end, and by the end of the excerpt.
            let kept = &pieces[rng.usize(..=pieces.len() - 8)..];
            let padding = if rng.bool() { rng.usize(..20) } else { rng.usize(900..1024) };
            let text = format!("{} {} {}", "x".repeat(padding), kept.concat(), "y".repeat(rng.usize(..20)));
            let shown = Redactor::new(&key).excerpt(text.as_bytes()).to_lowercase();
            for window in kept.windows(8) {
                assert!(!shown.contains(&window.concat().to_lowercase()), "{key}: {text}: {shown}");
            }
            assert!(!shows(&shown, &key), "{key}: {text}: {shown}");
        }
    }

    #[test]
    fn random_keys_in_base64_and_hexadecimal_are_masked() {
        let mut rng = Rng::with_seed(7);
        for _ in 0..200 {
            let key = any_key(&mut rng);
            let credentials = format!("{}{key}{}", "u:".repeat(rng.usize(..4)), "x".repeat(rng.usize(..4)));
            let text = match rng.u32(..4) {
                0 => credentials.bytes().map(|byte| format!("{byte:02X}")).collect(),
                n => base64(credentials.as_bytes(), if n == 1 { b"-_" } else { b"+/" }),
            };
            let shown = Redactor::new(&key).excerpt(format!("token {text}, refused").as_bytes());
            assert!(shown.contains(REDACTED) && shown.starts_with("token ") && shown.ends_with(", refused"), "{shown}");
            let rest = shown.len() - "token , refused".len() - REDACTED.len();
            let others = credentials.len() - key.len();
            assert!(rest <= 2 * others + 6, "{key}: {text}: {shown}");
        }
    }

    fn base64(bytes: &[u8], last: &[u8; 2]) -> String {
        let alphabet: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*last).collect();
        let sextets = |chunk: &[u8]| -> String {
            let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            (0..=chunk.len()).map(|n| char::from(alphabet[(bits >> (18 - 6 * n)) as usize % 64])).collect()
        };
        bytes.chunks(3).map(sextets).collect()
    }

    #[test]
    fn text_without_the_key_is_unchanged() {
        let mut rng = Rng::with_seed(7);
        for _ in 0..200 {
            let key = any_key(&mut rng);
            let redactor = Redactor::new(&key);
            let words: Vec<String> = (0..rng.usize(1..12))
                .map(|_| {
                    let at = rng.usize(..=key.len() - 7);
                    let part = key[at..at + 7].replace(['?', '"', '<', '>'], "-");
                    let word =
                        rng.choice(["generating", "https://h/v.mp4", r"\u0026\/", "&amp;", "%2B", "żółw", "5.5"]);
                    if rng.bool() { part } else { word.unwrap().to_owned() }
                })
                .collect();
            let text = words.join(" | ");
            assert_eq!(redactor.excerpt(text.as_bytes()), text, "{key}");
        }
    }

    #[test]
    fn hostile_text_is_read_only_as_far_as_it_can_be_shown() {
        // A text of these has as many readings as there can be: to read all of it would take minutes.
        for text in ["\\", "&amp;"] {
            let shown = Redactor::new(KEY).excerpt(text.repeat(1 << 18).as_bytes());
            assert_eq!(shown.len(), MAX_EXCERPT_BYTES);
        }
    }

    #[test]
    fn excerpts_are_short_and_without_terminal_escapes() {
        assert_eq!(excerpt(b" two\r\nlines \x1b[31m\n"), "two  lines  [31m");
        assert_eq!(excerpt("a\u{202e}4pm.b".as_bytes()), "a 4pm.b");
        assert_eq!(excerpt(b"\xff"), "\u{fffd}");
        assert_eq!(excerpt("\u{feff}<p>\n".as_bytes()), "<p>");
        assert_eq!(excerpt("ż".repeat(5000).as_bytes()), "ż".repeat(512));
        assert_eq!(excerpt("x".repeat(5000).as_bytes()).len(), 1024);
    }

    #[test]
    fn excerpts_omit_url_queries() {
        let table = [
            (r#"{"url":"https://h/v.mp4?sig=s&x=1","a":"b?"}"#, r#"{"url":"https://h/v.mp4?…","a":"b?"}"#),
            (r#"{"url":"https:\/\/h\/v.mp4?sig=s"}"#, r#"{"url":"https:\/\/h\/v.mp4?…"}"#),
            ("<a href='/v.mp4?sig=s'>why?</a>", "<a href='/v.mp4?…'>why?</a>"),
            ("cut https://h/v.mp4?sig=s", "cut https://h/v.mp4?…"),
            // As JavaScript, PHP, Go and Java write it.
            ("https://h/v.mp4?name=UTF-8''v.mp4&sig=s", "https://h/v.mp4?…"),
            (r#"{"url":"https:\/\/h\/v.mp4?path=a\/b&sig=s"}"#, r#"{"url":"https:\/\/h\/v.mp4?…"}"#),
            (r#"{"url":"https://h/v.mp4?a=b\u0026sig=s"}"#, r#"{"url":"https://h/v.mp4?…"}"#),
            (r#"{"url":"https://h/v.mp4?sig\u003ds"}"#, r#"{"url":"https://h/v.mp4?…"}"#),
            ("Really?! Why???", "Really?! Why???"),
        ];
        for (text, shown) in table {
            assert_eq!(excerpt(text.as_bytes()), shown);
        }
    }

    #[test]
    fn urls_are_shown_without_credentials_and_query() {
        let table = [
            ("https://h/v.mp4?sig=s#f", "https://h/v.mp4"),
            ("https://user:word@h:8/v.mp4", "https://h:8/v.mp4"),
            ("https://h", "https://h"),
            ("/relative?sig=s", "/relative"),
            ("//user:word@h/v.mp4", "//h/v.mp4"),
            ("https://h/\u{1b}[31m", "https://h/ [31m"),
        ];
        for (url, shown) in table {
            assert_eq!(redact_url(url), shown);
        }
        assert_eq!(redact_url(&format!("https://h/{}", "x".repeat(5000))).len(), 1024);
    }
}
