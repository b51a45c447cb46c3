//! What is shown of foreign text is short, obeyed by no terminal, and holds no secret of a URL.

#![no_main]

mod fit;

use fit::assert_fit;
use kling::fuzzing::{excerpt, redact_url};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "SECRET";

/// What may stand in the query of a URL as it is (RFC 3986, 3.4), without the letters of the secret.
const IN_A_QUERY: &[u8] = b"=&?/'!$()*+,;:@%-._~0123456789abcdefghijklmnopqrstuvwxyz";

fuzz_target!(|bytes: &[u8]| {
    assert_fit(&excerpt(bytes));
    let bare = redact_url(&String::from_utf8_lossy(bytes));
    assert_fit(&bare);
    assert!(!bare.contains(['?', '#']), "{bare:?}");

    let query: String =
        bytes.iter().map(|&byte| char::from(IN_A_QUERY[usize::from(byte) % IN_A_QUERY.len()])).collect();
    let url = format!("https://cdn.example/v.mp4?{query}={SECRET}");
    // As it is, and as it comes in the JSON of PHP, Go and Java.
    for url in [
        url.clone(),
        url.replace('/', "\\/"),
        url.replace('&', "\\u0026"),
        url.replace('&', "\\u0026").replace('=', "\\u003d").replace('\'', "\\u0027"),
    ] {
        assert_no_secret(&excerpt(url.as_bytes()));
    }
    assert_no_secret(&redact_url(&url));

    // A user name ends at the first of these.
    let user = query.replace(['/', '?', '@'], "");
    for scheme in ["https:", ""] {
        assert_no_secret(&redact_url(&format!("{scheme}//{user}:{SECRET}@cdn.example/v.mp4?{query}")));
    }
});

fn assert_no_secret(shown: &str) {
    assert!(!shown.contains(SECRET), "{shown:?}");
}
