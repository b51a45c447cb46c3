//! Settings from the environment: the API key, the server, and proxies.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, thread};

use kling::emulator::Emulator;
use kling::{Client, Error};
use support::{RawServer, fox, in_child_process, millis, respond};

#[test]
fn a_missing_key_is_an_error() {
    let environment = [("AIML_API_KEY", ""), ("AIML_API_BASE", "http://127.0.0.1:9")];
    in_child_process(&environment, &env::temp_dir(), || {
        assert!(matches!(Client::from_env(), Err(Error::MissingKey)));
    });
}

#[test]
fn the_first_names_are_preferred_and_the_path_of_the_base_is_ignored() {
    let emulator = Emulator::start();
    let base = format!("{}/v1", emulator.base_url());
    let environment = [
        ("AIML_API_KEY", "first-key"),
        ("AIMLAPI_API_KEY", "second-key"),
        ("AIML_API_BASE", base.as_str()),
        ("AIMLAPI_API_BASE", "http://127.0.0.1:9"),
    ];
    in_child_process(&environment, &env::temp_dir(), || {
        let _ = Client::from_env().unwrap().create(&fox()).unwrap();
    });
    let create = emulator.creates().pop().expect("the child sent a create request");
    assert_eq!(create.header("authorization"), Some("Bearer first-key"));
    assert_eq!(create.target, "/v2/generate/video/kling/generation");
}

#[test]
fn the_second_names_are_used_if_the_first_are_empty() {
    let emulator = Emulator::start();
    let base = emulator.base_url();
    let environment = [
        ("AIML_API_KEY", ""),
        ("AIMLAPI_API_KEY", "second-key"),
        ("AIML_API_BASE", ""),
        ("AIMLAPI_API_BASE", base.as_str()),
    ];
    in_child_process(&environment, &env::temp_dir(), || {
        let _ = Client::from_env().unwrap().create(&fox()).unwrap();
    });
    assert_eq!(emulator.creates()[0].header("authorization"), Some("Bearer second-key"));
}

#[test]
fn an_invalid_key_is_reported_by_its_variable_and_never_printed() {
    let environment = [("AIML_API_KEY", "canary with spaces"), ("AIML_API_BASE", "http://127.0.0.1:9")];
    in_child_process(&environment, &env::temp_dir(), || {
        let error = Client::from_env().unwrap_err();
        assert!(matches!(error, Error::InvalidConfig { what: "AIML_API_KEY", .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("canary"));
    });
}

#[test]
#[cfg_attr(not(any(feature = "rustls", feature = "native-tls")), ignore = "needs TLS")]
fn a_proxy_variable_that_cannot_be_read_is_named_and_its_password_is_not_printed() {
    let unreadable = [
        ("HTTPS_PROXY", "http://user:canary#ss@127.0.0.1:3128"),
        ("https_proxy", "http://user:canary/ss@127.0.0.1:3128"),
        ("ALL_PROXY", "http://127.0.0.1:canary"),
        ("HTTP_PROXY", "quic://canary@127.0.0.1"),
        #[cfg(not(feature = "socks-proxy"))]
        ("all_proxy", "socks5://canary@127.0.0.1:1080"),
    ];
    for (variable, value) in unreadable {
        let environment = [(variable, value), ("KLING_TEST_VARIABLE", variable)];
        in_child_process(&environment, &env::temp_dir(), || {
            let variable = env::var("KLING_TEST_VARIABLE").unwrap();
            let error = Client::new("a-key").unwrap_err();
            // On Windows, the names of variables ignore case.
            let variable = if cfg!(windows) { variable.to_uppercase() } else { variable };
            assert!(error.to_string().starts_with(&format!("invalid {variable}: ")), "{error}");
            let is_socks = env::var(variable).unwrap().starts_with("socks");
            assert_eq!(error.to_string().contains("needs the feature socks-proxy"), is_socks, "{error}");
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        });
    }
}

const CLOSED_PROXY: [(&str, &str); 3] =
    [("ALL_PROXY", "http://127.0.0.1:9"), ("HTTPS_PROXY", "http://127.0.0.1:9"), ("HTTP_PROXY", "http://127.0.0.1:9")];

#[test]
fn requests_to_loopback_never_use_a_proxy() {
    in_child_process(&CLOSED_PROXY, &env::temp_dir(), || {
        let emulator = Emulator::start();
        let client = emulator.client();
        let video = client.generate(&fox()).unwrap();
        std::io::copy(&mut client.open(&video).unwrap(), &mut std::io::sink()).unwrap();
    });
}

#[test]
#[cfg_attr(not(any(feature = "rustls", feature = "native-tls")), ignore = "needs TLS")]
fn create_requests_that_a_proxy_refuses_are_not_sent() {
    let proxy = RawServer::start(|mut stream| {
        let mut first = String::new();
        BufReader::new(&stream).read_line(&mut first).unwrap();
        assert_eq!(first, "CONNECT kling.invalid:443 HTTP/1.1\r\n");
        respond(&mut stream, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    });
    let address = format!("http://127.0.0.1:{}", proxy.port);
    in_child_process(&[("HTTPS_PROXY", &address)], &env::temp_dir(), || {
        let client = Emulator::start().client_builder().base_url("https://kling.invalid").build().unwrap();
        let error = client.create(&fox()).unwrap_err();
        assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
        let printed = format!("{error:?}");
        assert!(printed.contains("403; the connection goes through the proxy in HTTPS_PROXY"), "{error:?}");
    });
    proxy.assert_connections(3, "three attempts");
}

#[test]
#[cfg_attr(not(any(feature = "rustls", feature = "native-tls")), ignore = "needs TLS")]
fn hosts_in_no_proxy_are_reached_without_a_proxy() {
    for no_proxy in ["", "other.test", "other.test, kling.invalid"] {
        in_child_process(&[("HTTPS_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", no_proxy)], &env::temp_dir(), || {
            let client = Emulator::start().client_builder().base_url("https://api.kling.invalid").build().unwrap();
            let error = format!("{:?}", client.create(&fox()).unwrap_err());
            let is_used = !env::var("NO_PROXY").unwrap().contains("kling.invalid");
            assert_eq!(error.contains("; the connection goes through the proxy in HTTPS_PROXY"), is_used, "{error}");
        });
    }
}

#[test]
#[cfg(feature = "socks-proxy")]
fn requests_go_through_a_socks_proxy() {
    use std::io::Read;
    use std::net::{IpAddr, TcpStream};

    /// Accepts a connection to an IPv4 address (RFC 1928), and returns the address and the port.
    fn accept(stream: &mut TcpStream) -> (IpAddr, u16) {
        let (mut greeting, mut request) = ([0; 2], [0; 10]);
        stream.read_exact(&mut greeting).unwrap();
        stream.read_exact(&mut vec![0; greeting[1].into()]).unwrap();
        stream.write_all(&[5, 0]).unwrap();
        stream.read_exact(&mut request).unwrap();
        let [5, 1, 0, 1, address @ .., high, low] = request else { panic!("{request:?}") };
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
        (address.into(), u16::from_be_bytes([high, low]))
    }

    let (send, receive) = mpsc::channel();
    let proxy = RawServer::start(move |mut stream| {
        let address = accept(&mut stream);
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        send.send((address, first)).unwrap();
    });
    let address = format!("socks5://127.0.0.1:{}", proxy.port);
    in_child_process(&[("ALL_PROXY", &address)], &env::temp_dir(), || {
        // An address that is reserved for documentation: nobody has it.
        let client = Emulator::start().client_builder().base_url("https://192.0.2.1").build().unwrap();
        let error = client.create(&fox()).unwrap_err();
        assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
    });
    const TLS_HANDSHAKE: u8 = 22;
    let expected = (([192, 0, 2, 1].into(), 443), [TLS_HANDSHAKE]);
    assert_eq!(receive.iter().take(3).collect::<Vec<_>>(), vec![expected; 3], "three attempts");
}

#[test]
#[cfg_attr(not(any(feature = "rustls", feature = "native-tls")), ignore = "needs TLS")]
fn a_proxy_that_responds_byte_by_byte_does_not_hold_up_a_request() {
    let proxy = RawServer::start(|mut stream| {
        // Each byte arrives within the time limit of a read, and the header never ends.
        for byte in b"HTTP/1.1 200 OK\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            thread::sleep(millis(5));
        }
    });
    let address = format!("http://127.0.0.1:{}", proxy.port);
    in_child_process(&[("HTTPS_PROXY", &address)], &env::temp_dir(), || {
        let emulator = Emulator::builder().client_timeout(millis(100)).start();
        let client = emulator.client_builder().base_url("https://kling.invalid").build().unwrap();
        let (send, receive) = mpsc::channel();
        thread::spawn(move || drop(send.send(client.create(&fox()))));
        let error = receive.recv_timeout(Duration::from_secs(60)).expect("the request ends").unwrap_err();
        assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
    });
}
