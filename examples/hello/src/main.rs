//! The sample service's binary, which is two programs: `hello app` answers HTTP on port 8080 and
//! says what it runs in; `hello sidecar` watches over the app from its own container.
//!
//! Both end at once on SIGTERM. As process 1 of a container they must say so: the kernel ignores
//! a signal that process 1 has no handler for.

use signal_hook::consts::SIGTERM;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

fn main() -> std::io::Result<()> {
    signal_hook::flag::register_conditional_shutdown(SIGTERM, 0, Arc::new(AtomicBool::new(true)))?;
    match std::env::args().nth(1).as_deref() {
        None | Some("app") => app(),
        Some("sidecar") => sidecar(),
        Some(other) => {
            eprintln!("hello: unknown command {other:?}; use `hello app` or `hello sidecar`");
            std::process::exit(2)
        }
    }
}

/// Answers every request on `PORT` (8080 unless set) with one line that names the version and the
/// container's host name.
fn app() -> std::io::Result<()> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    println!("hello: listening on port {port}");
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || {
            if let Err(error) = answer(stream) {
                eprintln!("hello: a request failed: {error}");
            }
        });
    }
    Ok(())
}

/// One request after the other, until the client wants no other or is silent for too long.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut goes_on = true;
    while goes_on && !matches!(reader.fill_buf(), Ok([]) | Err(_)) {
        goes_on = answer_one(&mut reader, &mut stream)?;
    }
    Ok(())
}

/// Answers a request; whether the connection may carry another one.
fn answer_one(reader: &mut BufReader<TcpStream>, stream: &mut TcpStream) -> std::io::Result<bool> {
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut goes_on = request.trim_end().ends_with("HTTP/1.1");
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        let header_line = header.trim_end().to_ascii_lowercase();
        // Bodies aren't read: what stands behind such a head isn't the next request.
        let ends = ["connection: close", "content-length:", "transfer-encoding:"];
        goes_on &= !ends.iter().any(|end| header_line.starts_with(end));
        header.clear();
    }
    let version = std::env::var("VERSION").unwrap_or_else(|_| "1".to_owned());
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let body = format!("hello from {} (version {version})\n", host.trim());
    let length = body.len();
    let connection = if goes_on { "keep-alive" } else { "close" };
    let sent = if request.starts_with("HEAD ") { "" } else { &body };
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: {connection}\r\n\r\n{sent}"
    );
    stream.write_all(answer.as_bytes())?;
    println!("hello: {}", request.trim());
    Ok(goes_on)
}

/// Reports once a minute that it is there.
fn sidecar() -> std::io::Result<()> {
    println!("hello: sidecar started");
    loop {
        std::thread::sleep(Duration::from_secs(60));
        println!("hello: sidecar is alive");
    }
}
