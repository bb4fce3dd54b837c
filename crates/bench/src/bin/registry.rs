//! The bench of the image registry: `cargo xtask bench registry`.
//!
//! Blobs pushed and pulled by plain HTTP, to wharf and to Debian's docker-registry in turns, on the same
//! disk; nginx serves the same bytes from a file, for what a pulled byte costs. `registry WHARF [ROUNDS
//! [MIB]]`: so many rounds, with blobs of so many MiB. The client is in this process and costs both the
//! same.

use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wharf_bench::Result;
use wharf_bench::client::{Client, dial};
use wharf_bench::peers::{Wharf, nginx};
use wharf_bench::processes::{Process, free_address, version};
use wharf_bench::rounds::median;

const DEFAULT_ROUNDS: usize = 7;
const DEFAULT_MIB: usize = 16;
/// Blobs that are pushed and pulled at the same time.
const AT_ONCE: usize = 4;
/// Pulls at the same time that memory is measured under.
const MANY: usize = 64;
const GB: f64 = 1e9;

/// A registry, or whatever serves the same bytes.
struct Peer {
    name: &'static str,
    address: String,
    /// A header with its line's end, or nothing.
    authorization: String,
    process: Process,
}

/// One answer: its status and its head.
struct Answer {
    status: u16,
    head: String,
    bytes: usize,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn expect(self, status: u16) -> Result<Self> {
        match self.status == status {
            true => Ok(self),
            false => Err(self.head.into()),
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().ok_or("usage: registry WHARF [ROUNDS [MIB]]")?;
    let rounds = arguments.next().map_or(Ok(DEFAULT_ROUNDS), |text| text.parse())?;
    let mib = arguments.next().map_or(Ok(DEFAULT_MIB), |text| text.parse())?;
    let directory = tempfile::tempdir()?;
    let ours = wharf(Path::new(&program), directory.path()).await?;
    let theirs = docker_registry(directory.path()).await?;
    println!("{AT_ONCE} blobs of {mib} MiB at once, {rounds} rounds");
    let mut pushes = [Vec::new(), Vec::new()];
    let mut pulls = [Vec::new(), Vec::new()];
    let mut costs = [Vec::new(), Vec::new(), Vec::new()];
    let file = content(mib, usize::MAX);
    let (process, address) = nginx(directory.path(), &file)?;
    drop(dial(&address).await?);
    let origin = Peer { name: "nginx", address, authorization: String::new(), process };
    for round in 0..rounds {
        for (n, peer) in [Some(&ours), theirs.as_ref()].into_iter().enumerate() {
            let Some(peer) = peer else { continue };
            let blobs: Vec<Vec<u8>> =
                (0..AT_ONCE).map(|blob| content(mib, round * AT_ONCE + blob)).collect();
            pushes[n].push(push_round(peer, &blobs).await?);
            let paths: Vec<String> = blobs.iter().map(|blob| path_of(blob)).collect();
            let (speed, cost) = pull_round(peer, &paths).await?;
            pulls[n].push(speed);
            costs[n].push(cost);
        }
        let paths = vec!["/body".to_owned(); AT_ONCE];
        costs[2].push(pull_round(&origin, &paths).await?.1);
    }
    let names = [Some(&ours), theirs.as_ref()];
    for (n, peer) in names.iter().enumerate().filter_map(|(n, peer)| Some((n, (*peer)?))) {
        println!(
            "    {:<16} push {:>7.0} MB/s   pull {:>7.0} MB/s   {:>6.2} CPU s a GB pulled",
            peer.name,
            median(pushes[n].clone()) / 1e6,
            median(pulls[n].clone()) / 1e6,
            median(costs[n].clone()),
        );
    }
    println!("    {:<16} {:>46.2} CPU s a GB pulled", origin.name, median(costs[2].clone()));
    let ratio = |a: &[f64], b: &[f64]| median(a.iter().zip(b).map(|(a, b)| a / b).collect());
    println!("    CPU per GB pulled, wharf / nginx: {:.2}x", ratio(&costs[0], &costs[2]));
    let our_memory = memory_of_many(&ours, &content(mib, 0)).await?;
    println!("    wharf: {our_memory} KiB more at {MANY} pulls at once");
    let Some(theirs) = theirs else { return Ok(()) };
    println!("    push, wharf / docker-registry: {:.2}x", ratio(&pushes[0], &pushes[1]));
    println!("    pull, wharf / docker-registry: {:.2}x", ratio(&pulls[0], &pulls[1]));
    let their_memory = memory_of_many(&theirs, &content(mib, 0)).await?;
    println!(
        "    docker-registry: {their_memory} KiB more at {MANY} pulls at once; ratio {:.2}x",
        our_memory as f64 / their_memory.max(1) as f64
    );
    Ok(())
}

/// Bytes that no compression and no earlier blob helps with.
fn content(mib: usize, seed: usize) -> Vec<u8> {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(mib << 20);
    while bytes.len() < mib << 20 {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

fn digest_of(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

fn path_of(blob: &[u8]) -> String {
    format!("/v2/bench/blobs/{}", digest_of(blob))
}

async fn wharf(program: &Path, directory: &Path) -> Result<Peer> {
    let server = Wharf::start(program, directory).await?;
    let mut client =
        Client::connect(&server.address, &server.key.clone().of_service("ecr")).await?;
    let target = |operation: &str| format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
    let input = json!({"repositoryName": "bench"}).to_string();
    client.call_target(&target("CreateRepository"), input.as_bytes()).await?;
    let answer = client.call_target(&target("GetAuthorizationToken"), b"{}").await?;
    let answer: serde_json::Value = serde_json::from_slice(answer)?;
    let token = answer["authorizationData"][0]["authorizationToken"].as_str().ok_or("no token")?;
    let authorization = format!("authorization: Basic {token}\r\n");
    Ok(Peer { name: "wharf", address: server.address, authorization, process: server.process })
}

/// Debian's registry on a directory of its own; `None` if it isn't installed.
async fn docker_registry(directory: &Path) -> Result<Option<Peer>> {
    let Some(version) = version("docker-registry", "--version") else {
        println!("docker-registry is not installed: wharf alone");
        return Ok(None);
    };
    println!("{version}");
    let address = free_address()?;
    let config = json!({
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": directory.join("docker-registry")}},
        "http": {"addr": address},
        "log": {"level": "warn"},
    });
    let path = directory.join("docker-registry.yml");
    std::fs::write(&path, config.to_string())?;
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&path);
    let process = Process::start(&mut command, &directory.join("docker-registry.log"))?;
    drop(dial(&address).await?);
    let authorization = String::new();
    Ok(Some(Peer { name: "docker-registry", address, authorization, process }))
}

/// Pushes all blobs at once; bytes a second.
async fn push_round(peer: &Peer, blobs: &[Vec<u8>]) -> Result<f64> {
    let digests: Vec<String> = blobs.iter().map(|blob| digest_of(blob)).collect();
    let begun = Instant::now();
    let pushes = blobs.iter().zip(&digests).map(|(blob, digest)| push(peer, blob, digest));
    futures_util::future::try_join_all(pushes).await?;
    Ok(bytes_of(blobs) / begun.elapsed().as_secs_f64())
}

fn bytes_of(blobs: &[Vec<u8>]) -> f64 {
    blobs.iter().map(Vec::len).sum::<usize>() as f64
}

/// As docker does it: begin, the bytes, the end.
async fn push(peer: &Peer, blob: &[u8], digest: &str) -> Result<()> {
    let mut stream = dial(&peer.address).await?;
    let answer = request(peer, &mut stream, "POST", "/v2/bench/blobs/uploads/", b"").await?;
    let answer = answer.expect(202)?;
    let location = path_in(answer.header("location").ok_or("no location")?);
    let answer = request(peer, &mut stream, "PATCH", &location, blob).await?.expect(202)?;
    let location = path_in(answer.header("location").ok_or("no location")?);
    let separator = if location.contains('?') { '&' } else { '?' };
    let end = format!("{location}{separator}digest={digest}");
    request(peer, &mut stream, "PUT", &end, b"").await?.expect(201)?;
    Ok(())
}

/// A location without its scheme and host.
fn path_in(location: &str) -> String {
    let path = location.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
    path.map_or_else(|| location.to_owned(), |(_, path)| format!("/{path}"))
}

/// Pulls all paths at once; bytes a second, and the server's CPU seconds a GB.
async fn pull_round(peer: &Peer, paths: &[String]) -> Result<(f64, f64)> {
    let (begun, cpu) = (Instant::now(), peer.process.cpu_ns()?);
    let pulls = futures_util::future::try_join_all(paths.iter().map(|path| pull(peer, path)));
    let bytes = pulls.await?.into_iter().sum::<usize>() as f64;
    let took = begun.elapsed().as_secs_f64();
    let cpu = (peer.process.cpu_ns()? - cpu) as f64 / 1e9;
    Ok((bytes / took, cpu / (bytes / GB)))
}

async fn pull(peer: &Peer, path: &str) -> Result<usize> {
    let mut stream = dial(&peer.address).await?;
    Ok(request(peer, &mut stream, "GET", path, b"").await?.expect(200)?.bytes)
}

/// How much more the server holds, at its most, while many pull.
async fn memory_of_many(peer: &Peer, blob: &[u8]) -> Result<u64> {
    push_round(peer, std::slice::from_ref(&blob.to_vec())).await?;
    let before = resident_kib(&peer.process)?;
    let paths = vec![path_of(blob); MANY];
    let pulls = futures_util::future::try_join_all(paths.iter().map(|path| pull(peer, path)));
    let mut pulls = std::pin::pin!(pulls);
    let mut most = before;
    loop {
        tokio::select! {
            ended = &mut pulls => {
                ended?;
                return Ok(most.saturating_sub(before));
            }
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {
                most = most.max(resident_kib(&peer.process)?);
            }
        }
    }
}

fn resident_kib(process: &Process) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
    Ok(number.parse()?)
}

/// One request; of the answer's body only its length is kept.
async fn request(
    peer: &Peer,
    stream: &mut TcpStream,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<Answer> {
    let Peer { address, authorization, .. } = peer;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\n{authorization}\
         content-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut buffer = Vec::with_capacity(256 << 10);
    let end = loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err("the server closed the connection".into());
        }
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).ok_or("no status")?;
    let mut answer = Answer { status, head, bytes: buffer.len() - end };
    let length = answer.header("content-length").map_or(Ok(0), str::parse)?;
    while answer.bytes < length {
        buffer.clear();
        match stream.read_buf(&mut buffer).await? {
            0 => return Err("the server closed the connection".into()),
            read => answer.bytes += read,
        }
    }
    Ok(answer)
}
