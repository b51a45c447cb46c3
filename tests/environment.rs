//! What is read from the environment: the key, the server, and proxies.

mod support;

use std::io::{BufRead, BufReader};

use kling::emulator::Emulator;
use kling::{Client, Error};
use support::{RawServer, fox, in_a_process_of_its_own, say};

/// Each test function runs its body in a process of its own.
fn with(name: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    in_a_process_of_its_own(name, environment, &std::env::temp_dir(), body);
}

#[test]
fn without_a_key_nothing_is_sent() {
    with("without_a_key_nothing_is_sent", &[("AIML_API_KEY", ""), ("AIML_API_BASE", "http://127.0.0.1:9")], || {
        assert!(matches!(Client::from_env(), Err(Error::MissingKey)));
    });
}

#[test]
fn the_first_key_and_the_first_base_count_and_the_path_of_a_base_does_not() {
    let emulator = Emulator::start();
    let base = format!("{}/v1", emulator.base_url());
    let environment = [
        ("AIML_API_KEY", "first-key"),
        ("AIMLAPI_API_KEY", "second-key"),
        ("AIML_API_BASE", base.as_str()),
        ("AIMLAPI_API_BASE", "http://127.0.0.1:9"),
    ];
    with("the_first_key_and_the_first_base_count_and_the_path_of_a_base_does_not", &environment, || {
        Client::from_env().unwrap().create(&fox()).unwrap();
    });
    let create = emulator.creates().pop().expect("the child has created");
    assert_eq!(create.header("authorization"), Some("Bearer first-key"));
    assert_eq!(create.target, "/v2/generate/video/kling/generation");
}

#[test]
fn the_second_names_count_where_the_first_are_empty() {
    let emulator = Emulator::start();
    let base = emulator.base_url();
    let environment = [
        ("AIML_API_KEY", ""),
        ("AIMLAPI_API_KEY", "second-key"),
        ("AIML_API_BASE", ""),
        ("AIMLAPI_API_BASE", base.as_str()),
    ];
    with("the_second_names_count_where_the_first_are_empty", &environment, || {
        Client::from_env().unwrap().create(&fox()).unwrap();
    });
    assert_eq!(emulator.creates()[0].header("authorization"), Some("Bearer second-key"));
}

#[test]
fn a_value_that_cannot_be_used_is_refused_and_not_shown() {
    let environment = [("AIML_API_KEY", "canary with spaces"), ("AIML_API_BASE", "http://127.0.0.1:9")];
    with("a_value_that_cannot_be_used_is_refused_and_not_shown", &environment, || {
        let error = Client::from_env().unwrap_err();
        assert!(matches!(error, Error::InvalidConfig { what: "AIML_API_KEY", .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("canary"));
    });
}

const DEAD_PROXY: [(&str, &str); 3] =
    [("ALL_PROXY", "http://127.0.0.1:9"), ("HTTPS_PROXY", "http://127.0.0.1:9"), ("HTTP_PROXY", "http://127.0.0.1:9")];

#[test]
fn loopback_never_goes_through_a_proxy() {
    with("loopback_never_goes_through_a_proxy", &DEAD_PROXY, || {
        let emulator = Emulator::start();
        let client = emulator.client();
        let video = client.generate(&fox()).unwrap();
        std::io::copy(&mut client.open(&video).unwrap(), &mut std::io::sink()).unwrap();
    });
}

#[test]
fn a_proxy_that_says_no_has_not_sent_the_create() {
    let proxy = RawServer::start(|mut stream| {
        let mut first = String::new();
        BufReader::new(&stream).read_line(&mut first).unwrap();
        assert_eq!(first, "CONNECT kling.invalid:443 HTTP/1.1\r\n");
        say(&mut stream, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    });
    let address = format!("http://127.0.0.1:{}", proxy.port);
    with("a_proxy_that_says_no_has_not_sent_the_create", &[("HTTPS_PROXY", &address)], || {
        let client = Emulator::start().client_builder().base_url("https://kling.invalid").build().unwrap();
        let error = client.create(&fox()).unwrap_err();
        assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
        assert!(format!("{error:?}").contains("403"), "{error:?}");
    });
    proxy.has_had(3, "tried three times");
}
