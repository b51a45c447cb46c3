//! TLS failures: a real TLS server with valid and invalid certificates.
//!
//! With the feature `platform-verifier`, the test's own certificate authority is trusted via `SSL_CERT_FILE`. With
//! `rustls` alone that authority is unknown, so the valid certificate is rejected as well.
#![cfg(any(feature = "rustls", feature = "native-tls"))]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;

use kling::emulator::Emulator;
use kling::{Error, GenerationId, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use support::{RawServer, cause, fox, in_child_process};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Without a name of its own, it would have the default name of its certificates, and they would look self-signed.
    params.distinguished_name.push(DnType::CommonName, "an authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Starts a service behind TLS. Its certificate is for this name, and valid until the beginning of this year.
fn service(authority: &Authority, name: &str, last_year: i32) -> RawServer {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(last_year, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    RawServer::start(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        let response = "HTTP/1.1 201 Created\r\nContent-Length: 30\r\n\r\n{\"id\":\"a:b\",\"status\":\"queued\"}";
        // A client that does not trust the certificate closes the connection in the handshake.
        if stream.read(&mut [0; 4096]).is_ok() {
            let _ = stream.write_all(response.as_bytes());
            let _ = stream.read(&mut [0; 4096]);
        }
    })
}

#[test]
fn untrusted_servers_receive_no_request_and_are_not_retried() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let environment = [("SSL_CERT_FILE", ca.to_str().unwrap())];
    in_child_process(&environment, folder.path(), || {
        let trusted = authority();
        fs::write(std::env::var_os("SSL_CERT_FILE").unwrap(), trusted.pem()).unwrap();

        let good = service(&trusted, "localhost", 2100);
        let created = create_on(&good);
        if cfg!(any(feature = "platform-verifier", feature = "native-tls")) {
            assert_eq!(created.unwrap().as_str(), "a:b");
        } else {
            assert!(matches!(created, Err(Error::NotSent { .. })), "{created:?}");
            let printed = format!("{:?}", created.unwrap_err());
            assert!(printed.contains("enable the feature platform-verifier of kling"), "{printed}");
        }

        let plain = RawServer::responding(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let table = [
            ("expired", service(&trusted, "localhost", 2021)),
            ("for another name", service(&trusted, "elsewhere.example", 2100)),
            ("of an unknown authority", service(&authority(), "localhost", 2100)),
            ("a plain port", plain),
        ];
        for (fault, server) in table {
            let error = create_on(&server).unwrap_err();
            assert!(matches!(error, Error::NotSent { .. }), "{fault}: {error:?}");
            server.assert_connections(1, &format!("{fault}: {error:?}"));

            let client = client_of(&server);
            let error = client.wait(&"some:id".parse().unwrap()).unwrap_err();
            assert!(matches!(cause(&error), Error::NoResponse { .. }), "{fault}: {error:?}");
            server.assert_connections(2, &format!("{fault}: the wait ends at once"));

            let emulator = Emulator::script([]);
            let mut video = emulator.client().generate(&fox()).unwrap();
            video.url = format!("https://localhost:{}/output.mp4", server.port);
            let error = emulator.client().open(&video).unwrap_err();
            assert!(matches!(cause(&error), Error::NoResponse { .. }), "{fault}: {error:?}");
            server.assert_connections(3, &format!("{fault}: the download ends at once"));
            println!("{fault}: {error:?}");
        }
    });
}

fn client_of(server: &RawServer) -> kling::Client {
    let base_url = format!("https://localhost:{}", server.port);
    Emulator::start().client_builder().base_url(base_url).build().unwrap()
}

fn create_on(server: &RawServer) -> Result<GenerationId> {
    client_of(server).create(&fox())
}
