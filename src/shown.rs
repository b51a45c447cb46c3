//! Text that somebody else wrote, made fit to be shown: in errors, on terminals, in logs.

/// The first KiB, on one line, without what may be the signature of a URL.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
    // A terminal would obey an escape sequence.
    let line = text.trim().replace(char::is_control, " ");
    let ends_a_word = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '\\');
    line.split_inclusive(ends_a_word).map(|word| unsigned(word, ends_a_word)).collect()
}

/// A word without the query of a URL, but with the character that ended it.
fn unsigned(word: &str, ends_a_word: impl Fn(char) -> bool) -> String {
    match word.split_once('?') {
        Some((url, query)) if query.contains('=') => {
            let end = query.chars().next_back().filter(|&c| ends_a_word(c));
            format!("{url}?…{}", end.map(String::from).unwrap_or_default())
        }
        _ => word.to_owned(),
    }
}

/// The part of a URL that may be shown: a signature stands in the query, a password before the `@`.
pub(crate) fn without_query(url: &str) -> String {
    let shown = url.split(['?', '#']).next().unwrap_or_default();
    match shown.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => shown.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_wrote_is_short_and_obeyed_by_no_terminal() {
        assert_eq!(excerpt(b" two\r\nlines \x1b[31m\n"), "two  lines  [31m");
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
        ];
        for (url, shown) in table {
            assert_eq!(without_query(url), shown);
        }
    }
}
