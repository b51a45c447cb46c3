//! The server of a run: a create request, some polls, and a file on another port. A process of its own, so that neither
//! its CPU time nor its memory is that of a client.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// How a connection becomes a stream: as it is, or through TLS.
type Wrap = dyn Fn(TcpStream) -> io::Result<Box<dyn Stream>> + Send + Sync;

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A server process, which ends when this is dropped.
pub struct Server {
    pub origin: String,
    process: Child,
    /// Closed to end the process.
    input: Option<ChildStdin>,
}

impl Server {
    /// Starts a server that completes each generation at the last of `polls` polls, and sends a file of `bytes` bytes.
    pub fn start(scheme: &str, polls: u64, bytes: u64, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", scheme, &polls.to_string(), &bytes.to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut origin = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut origin)?;
        let input = process.stdin.take();
        Ok(Server { origin: origin.trim_end().to_owned(), process, input })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

/// What the server does with requests.
struct Script {
    polls: u64,
    bytes: u64,
    files: String,
    /// The polls of the current generation. Clients run one after the other.
    polled: AtomicU64,
}

/// Serves in this process, prints the origin, and returns when standard input is closed.
pub fn serve(args: &[String]) -> Result<(), Box<dyn Error>> {
    let [scheme, polls, bytes, folder] = args else { return Err("serve needs SCHEME POLLS BYTES FOLDER".into()) };
    let (api, files) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let origin = format!("{scheme}://{}", api.local_addr()?);
    let files_origin = format!("{scheme}://{}", files.local_addr()?);
    let script =
        Script { polls: polls.parse()?, bytes: bytes.parse()?, files: files_origin, polled: AtomicU64::new(0) };
    let script: &'static Script = Box::leak(Box::new(script));
    let wrap: &'static Wrap = Box::leak(wrap(scheme, Path::new(folder))?);
    for listener in [api, files] {
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // A client that closes its connection ends the conversation with an error.
                thread::spawn(move || wrap(connection).and_then(|stream| converse(stream, script)));
            }
        });
    }
    println!("{origin}");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn converse(stream: Box<dyn Stream>, script: &Script) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut first_line = String::new();
        stream.read_line(&mut first_line)?;
        let mut length = 0;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        io::copy(&mut (&mut stream).take(length), &mut io::sink())?;
        respond(&first_line, stream.get_mut(), script)?;
    }
}

/// Responds as the service's documentation shows it.
fn respond(first_line: &str, stream: &mut dyn Stream, script: &Script) -> io::Result<()> {
    if first_line.starts_with("GET /video.mp4") {
        return send_file(stream, script.bytes);
    }
    let status = if first_line.starts_with("POST") {
        script.polled.store(0, Ordering::Relaxed);
        r#""queued","video":null"#.to_owned()
    } else if script.polled.fetch_add(1, Ordering::Relaxed) + 1 < script.polls {
        r#""generating","video":null"#.to_owned()
    } else {
        let (files, bytes) = (&script.files, script.bytes);
        format!(
            r#""completed","video":{{"url":"{files}/video.mp4","content_type":"video/mp4","file_name":"video.mp4","file_size":{bytes}}}"#
        )
    };
    let id = "a248abc5-3122-45a9-a9ee-352e4642e01c:klingai/v2.5-turbo/pro/text-to-video";
    let body = format!(r#"{{"id":"{id}","status":{status},"error":null,"meta":null}}"#);
    let head = head("application/json", body.len() as u64);
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    stream.flush()
}

fn head(media_type: &str, length: u64) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Type: {media_type}\r\n\
         Content-Length: {length}\r\nConnection: keep-alive\r\n"
    )
}

/// Sends the boxes of an MP4 file, with zeros for the media.
fn send_file(stream: &mut dyn Stream, bytes: u64) -> io::Result<()> {
    let media = bytes.saturating_sub(24);
    let mut start = head("video/mp4", bytes).into_bytes();
    start.extend(b"ETag: \"a-fox\"\r\nLast-Modified: Tue, 24 Nov 2026 12:00:00 GMT\r\nAccept-Ranges: bytes\r\n\r\n");
    start.extend(b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x08moov\0\0\0\x01mdat");
    start.extend(media.to_be_bytes());
    stream.write_all(&start)?;
    let zeros = vec![0; 256 * 1024];
    let mut left = media.saturating_sub(16);
    while left > 0 {
        let n = left.min(zeros.len() as u64);
        stream.write_all(&zeros[..n as usize])?;
        left -= n;
    }
    stream.flush()
}

fn wrap(scheme: &str, folder: &Path) -> Result<Box<Wrap>, Box<dyn Error>> {
    match scheme {
        #[cfg(feature = "https")]
        "https" => tls(folder),
        "http" => {
            // Some clients also read the root certificates for http: the same short list.
            #[cfg(feature = "https")]
            drop(tls(folder)?);
            Ok(Box::new(|connection| {
                connection.set_nodelay(true)?;
                Ok(Box::new(connection))
            }))
        }
        _ => Err(format!("{scheme} is not supported; {} needs the feature https", folder.display()).into()),
    }
}

/// Makes an authority and a certificate, writes the authority to `ca.pem` for the clients, and serves with TLS.
#[cfg(feature = "https")]
fn tls(folder: &Path) -> Result<Box<Wrap>, Box<dyn Error>> {
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "the authority of the peers");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    std::fs::write(folder.join("ca.pem"), authority.pem())?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    let config = Arc::new(config);
    Ok(Box::new(move |connection| {
        connection.set_nodelay(true)?;
        let session = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(session, connection)))
    }))
}
