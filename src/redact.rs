//! Text that somebody else wrote, made fit to be shown: in errors, on terminals, in logs.

/// The first KiB, on one line, without what may be the signature of a URL.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
    // A terminal would obey an escape sequence, and show what follows a mark of direction backwards.
    let line = text.trim().replace(|c: char| c.is_control() || turns_text(c), " ");
    // Only what can stand in no URL ends one: a `'` can, and a backslash where JSON escapes (`\/`, `\u0026`).
    line.split_inclusive(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>')).map(unsigned).collect()
}

/// Whether this is a mark of direction (Unicode Standard Annex 9).
fn turns_text(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A word without the query of a URL, but with the marks that ended it.
fn unsigned(word: &str) -> String {
    let (url, query) = word.split_once('?').unwrap_or((word, ""));
    let hidden = query.trim_end_matches(|c: char| c != '=' && !c.is_alphanumeric());
    if hidden.is_empty() { word.to_owned() } else { format!("{url}?…{}", &query[hidden.len()..]) }
}

/// The part of a URL that may be shown: a signature stands in the query, a password before the `@`.
pub(crate) fn redact_url(url: &str) -> String {
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
    excerpt(shown.as_bytes())
}

/// A gateway that dumps the request into its error page would put the key into ours.
pub(crate) fn mask_key(body: &mut [u8], key: &[u8]) {
    // A key of a few letters, as a test may have one, would be found in words.
    if key.len() < 8 {
        return;
    }
    for at in 0..body.len().saturating_sub(key.len() - 1) {
        if body[at..].starts_with(key) {
            body[at..at + key.len()].fill(b'*');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_back_is_hidden() {
        let hidden = |body: &str, key: &str| {
            let mut body = body.as_bytes().to_vec();
            mask_key(&mut body, key.as_bytes());
            String::from_utf8(body).unwrap()
        };
        assert_eq!(hidden("bad key: Bearer sk-123456", "sk-123456"), "bad key: Bearer *********");
        assert_eq!(hidden("sk-123456sk-123456", "sk-123456"), "*".repeat(18));
        assert_eq!(hidden("short", "a-longer-key"), "short");
        assert_eq!(hidden("a fox", "a"), "a fox");
    }

    #[test]
    fn what_somebody_else_wrote_is_short_and_obeyed_by_no_terminal() {
        assert_eq!(excerpt(b" two\r\nlines \x1b[31m\n"), "two  lines  [31m");
        assert_eq!(excerpt("a\u{202e}4pm.b".as_bytes()), "a 4pm.b");
        assert_eq!(excerpt(b"\xff"), "\u{fffd}");
        assert_eq!(excerpt("x".repeat(5000).as_bytes()).len(), 1024);
    }

    #[test]
    fn the_query_of_a_url_is_not_shown() {
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
    fn what_may_be_secret_in_a_url_is_left_out() {
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
