//! The job with a plain socket and no HTTP library: the limit of what can be reached over http. It knows the server of
//! this run, and would get nothing from another one.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [job, origin, file, ..] = &args[..] else { return Ok(()) };
    let host = origin.strip_prefix("http://").ok_or("only http")?;
    let mut api = BufReader::new(TcpStream::connect(host)?);
    let path = "/v2/generate/video/kling/generation";
    let created = exchange(&mut api, &format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n"))?;
    let id = field(&created, "id").ok_or("no id")?;
    let poll = format!("GET {path}?generation_id={id} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let url = loop {
        if let Some(url) = field(&exchange(&mut api, &poll)?, "url") {
            break url.to_owned();
        }
    };
    let mut file: Box<dyn Write> = match job.as_str() {
        "save" => Box::new(File::create(file)?),
        "read" => Box::new(io::sink()),
        _ => return Ok(()),
    };
    let (host, path) = url.strip_prefix("http://").and_then(|url| url.split_once('/')).ok_or("no path")?;
    let mut socket = BufReader::new(TcpStream::connect(host)?);
    let mut left = send(&mut socket, &format!("GET /{path} HTTP/1.1\r\nhost: {host}\r\n\r\n"))?;
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let n = socket.read(&mut buffer)?;
        file.write_all(&buffer[..n])?;
        left = left.checked_sub(n).filter(|_| n > 0).ok_or("the file is cut")?;
    }
    Ok(())
}

fn exchange(socket: &mut BufReader<TcpStream>, request: &str) -> io::Result<String> {
    let mut body = vec![0; send(socket, request)?];
    socket.read_exact(&mut body)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Sends a request, reads the head of the response, and returns the length of its body.
fn send(socket: &mut BufReader<TcpStream>, request: &str) -> io::Result<usize> {
    socket.get_mut().write_all(request.as_bytes())?;
    let mut length = 0;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if socket.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    Ok(length)
}

/// Returns the value of a string field in the server's JSON.
fn field<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{name}\":\""))?;
    rest.split('"').next()
}
