//! Excerpts of untrusted text are short, harmless to a terminal, and contain neither the API key nor URL queries.

#![no_main]

mod fit;

use fit::assert_fit;
use kling::fuzzing::{excerpt, redact_url};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "SECRET";

/// The characters that may stand in the query of a URL (RFC 3986, 3.4), without the letters of the secret.
const IN_A_QUERY: &[u8] = b"=&?/'!$()*+,;:@%-._~0123456789abcdefghijklmnopqrstuvwxyz";

fuzz_target!(|bytes: &[u8]| {
    assert_fit(&excerpt(bytes, ""));
    let bare = redact_url(&String::from_utf8_lossy(bytes));
    assert_fit(&bare);
    assert!(!bare.contains(['?', '#']), "{bare:?}");
    assert_key_is_masked(bytes);

    let query: String =
        bytes.iter().map(|&byte| char::from(IN_A_QUERY[usize::from(byte) % IN_A_QUERY.len()])).collect();
    let url = format!("https://cdn.example/v.mp4?{query}={SECRET}");
    // As it is, and as it stands in the JSON of PHP, Go and Java.
    for url in [
        url.clone(),
        url.replace('/', "\\/"),
        url.replace('&', "\\u0026"),
        url.replace('&', "\\u0026").replace('=', "\\u003d").replace('\'', "\\u0027"),
    ] {
        assert_no_secret(&excerpt(url.as_bytes(), ""));
    }
    assert_no_secret(&redact_url(&url));

    // A user name ends at the first of these.
    let user = query.replace(['/', '?', '@'], "");
    for scheme in ["https:", ""] {
        assert_no_secret(&redact_url(&format!("{scheme}//{user}:{SECRET}@cdn.example/v.mp4?{query}")));
    }
});

/// Takes a key from the first bytes, an encoding of each of its characters from the next ones, and text from the rest.
fn assert_key_is_masked(bytes: &[u8]) {
    let Some((key, rest)) = bytes.split_at_checked(16) else { return };
    let key: String = key.iter().map(|byte| char::from(b'!' + byte % 94)).collect();
    let (encodings, text) = rest.split_at(rest.len().min(key.len()));
    let encodings = encodings.iter().chain(std::iter::repeat(&0));
    let encoded: Vec<String> = key.chars().zip(encodings).map(|(c, &how)| encoded(c, how)).collect();

    let text = String::from_utf8_lossy(text);
    let shown = excerpt(format!("{}{text}", encoded.concat()).as_bytes(), &key);
    assert_fit(&shown);
    for part in encoded.windows(8) {
        assert!(!shown.contains(&part.concat()), "{key}: {encoded:?}: {shown:?}");
    }
    // Text that does not contain one character of the key does not change.
    let text = text.replace(|c: char| c.is_ascii() && !c.is_ascii_whitespace(), "_");
    if !key.contains('_') {
        assert_eq!(excerpt(text.as_bytes(), &key), excerpt(text.as_bytes(), ""), "{key}");
    }
}

/// Encodes a character, and then the first character of its encoding again, for each digit of `how` to the base of 6.
fn encoded(c: char, how: u8) -> String {
    let code = u32::from(c);
    let escape = match how % 6 {
        1 => format!("\\u{code:04x}"),
        2 => format!("\\x{code:02X}"),
        3 => format!("&#{code};"),
        4 => format!("&#x{code:x}"),
        5 => format!("%{code:02x}"),
        _ => return c.to_string(),
    };
    let (lead, rest) = escape.split_at(1);
    lead.chars().map(|lead| encoded(lead, how / 6)).collect::<String>() + rest
}

fn assert_no_secret(shown: &str) {
    assert!(!shown.contains(SECRET), "{shown:?}");
}
