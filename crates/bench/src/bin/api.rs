//! The API's bench: `cargo xtask bench api`.
//!
//! Writes acknowledged durably beside etcd's puts of as many bytes, a single write beside a raw
//! append and fdatasync, DescribeTasks beside nginx. `api WHARF [SECONDS-PER-ROUND [OPERATION
//! [CONNECTIONS]]]`; with an operation only that one, as a profiler likes it.

use serde_json::json;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wharf_bench::client::{Client, Key};
use wharf_bench::etcd::{self, Putter};
use wharf_bench::hosts::Hosts;
use wharf_bench::peers::{self, Wharf};
use wharf_bench::processes::version;
use wharf_bench::rounds::{Operation, Round, median, print_row, ratio, round};
use wharf_bench::trace::{Trace, Verdict};
use wharf_bench::{Error, Result};
use wharf_journal::{Append, EmbeddedJournal, Journal, Options};

const USAGE: &str = "usage: api WHARF [SECONDS-PER-ROUND [OPERATION [CONNECTIONS]]], OPERATION being RegisterTaskDefinition, \
     RunTask or DescribeTasks";
const CONNECTIONS: [usize; 3] = [1, 16, 200];
const ROUNDS: usize = 5;
const HOSTS: usize = 50;
const TRACED: usize = 200;

/// One call over and over on a connection.
struct Call {
    client: Client,
    operation: &'static str,
    body: Vec<u8>,
}

impl Operation for Call {
    async fn once(&mut self) -> Result<()> {
        let answer = self.client.call(self.operation, &self.body).await?;
        // RunTask tells with status 200 that it placed nothing.
        if self.operation == "RunTask" && answer.windows(13).any(|w| w == b"\"failures\":[{") {
            return Err(String::from_utf8_lossy(answer).into());
        }
        Ok(())
    }
}

/// A GET over and over on a connection.
struct Get(Client);

impl Operation for Get {
    async fn once(&mut self) -> Result<()> {
        self.0.get("/body").await.map(drop)
    }
}

fn definition(family: &str) -> serde_json::Value {
    json!({
        "family": family, "networkMode": "bridge",
        "containerDefinitions": [{
            "name": "app", "image": "hello:latest", "cpu": 64, "memory": 64, "essential": true,
            "environment": [{"name": "STAGE", "value": "bench"}],
        }],
    })
}

fn body(operation: &str, n: usize) -> Vec<u8> {
    match operation {
        "RunTask" => json!({"taskDefinition": "bench", "count": 1}),
        "DescribeClusters" => json!({}),
        _ => definition(&format!("bench-{n}")),
    }
    .to_string()
    .into_bytes()
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let wharf = PathBuf::from(arguments.next().ok_or(USAGE)?);
    let seconds: f64 = arguments.next().map_or(Ok(0.6), |text| text.parse())?;
    let time = Duration::from_secs_f64(seconds);
    for (program, argument) in [("etcd", "--version"), ("/usr/sbin/nginx", "-v")] {
        println!("{}", version(program, argument).unwrap_or_else(|| format!("{program}: missing")));
    }
    println!("{ROUNDS} interleaved rounds of {seconds} s a side; medians, ratios per round");
    if let Some(only) = arguments.next() {
        if only == "DescribeTasks" {
            return describe(&wharf, time).await;
        }
        let operations = ["RegisterTaskDefinition", "RunTask"].into_iter();
        let operation = operations.clone().find(|name| *name == only).ok_or(USAGE)?;
        let connections = arguments.next().map_or(Ok(200), |text| text.parse())?;
        return writes(&wharf, operation, connections, 700, time).await;
    }
    let directory = tempfile::tempdir()?;
    for operation in ["RegisterTaskDefinition", "RunTask"] {
        let bytes = check_syncs(&wharf, directory.path(), operation).await?;
        for connections in CONNECTIONS {
            writes(&wharf, operation, connections, bytes, time).await?;
        }
    }
    single_write(&wharf, time).await?;
    describe(&wharf, time).await?;
    beside_moto(time).await
}

/// A server with a task definition and hosts.
async fn server(wharf: &Path, directory: &Path) -> Result<(Wharf, Hosts)> {
    let server = Wharf::start(wharf, directory).await?;
    server.client().await?.json("RegisterTaskDefinition", definition("bench")).await?;
    let hosts = Hosts::connect(&server.address, &server.key, HOSTS).await?;
    Ok((server, hosts))
}

async fn calls(server: &Wharf, operation: &'static str, connections: usize) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    for n in 0..connections {
        let client = server.client().await?;
        calls.push(Call { client, operation, body: body(operation, n) });
    }
    Ok(calls)
}

/// Traces a server; answers the bytes that one call writes to the journal.
async fn check_syncs(wharf: &Path, directory: &Path, operation: &'static str) -> Result<usize> {
    let directory = tempfile::tempdir_in(directory)?;
    let (server, _hosts) = server(wharf, directory.path()).await?;
    let traced = async |operation| -> Result<Verdict> {
        let mut call = calls(&server, operation, 1).await?.pop().ok_or("no connection")?;
        let trace = Trace::attach(server.process.pid(), directory.path())?;
        for _ in 0..TRACED {
            call.once().await?;
        }
        trace.judge()
    };
    let written = traced(operation).await?;
    let control = traced("DescribeClusters").await?;
    let bytes = written.written / written.acknowledged.max(1);
    println!(
        "{operation}: {} of {} acknowledgements traced came after a write and its fdatasync \
         ({bytes} bytes each); DescribeClusters, as control: {} of {}",
        written.synced, written.acknowledged, control.synced, control.acknowledged
    );
    if (written.synced, written.acknowledged) != (TRACED, TRACED) || control.synced > 0 {
        return Err(Error::from("an acknowledgement came without a sync, or the check is blind"));
    }
    Ok(bytes)
}

async fn writes(
    wharf: &Path,
    operation: &'static str,
    connections: usize,
    bytes: usize,
    time: Duration,
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (server, _hosts) = server(wharf, directory.path()).await?;
    let (_etcd, address) = etcd::start(directory.path())?;
    let mut ours = calls(&server, operation, connections).await?;
    let mut theirs = Vec::new();
    for n in 0..connections {
        theirs.push(Putter::connect(&address, n.to_string(), bytes).await?);
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        a.push(round(&mut ours, time).await?);
        b.push(round(&mut theirs, time).await?);
    }
    println!("  {connections} connections");
    print_row(operation, &a);
    print_row(&format!("etcd put of {bytes} bytes"), &b);
    println!(
        "    wharf / etcd: {:.2}x the writes per second, p99 {:.2}x",
        ratio(&a, &b, |round| round.per_second),
        ratio(&a, &b, |round| round.wait_ms(0.99)),
    );
    Ok(())
}

/// A raw append + fdatasync, over and over on this thread.
fn raw(file: &File, offset: &mut u64, bytes: &[u8], time: Duration) -> Result<Round> {
    let (start, mut waits) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        let begun = Instant::now();
        file.write_all_at(bytes, *offset)?;
        file.sync_data()?;
        *offset += bytes.len() as u64;
        waits.push(begun.elapsed());
    }
    Ok(Round::ended(start, waits))
}

/// An append to the journal, over and over.
struct AppendOne(EmbeddedJournal, u64);

impl Operation for AppendOne {
    async fn once(&mut self) -> Result<()> {
        self.1 += 1;
        let writes = vec![(format!("key/{}", self.1 % 100).into(), Some(vec![b'x'; 1000].into()))];
        self.0.append(Append { writes, ..Append::default() }).await?;
        Ok(())
    }
}

async fn single_write(wharf: &Path, time: Duration) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (server, _hosts) = server(wharf, directory.path()).await?;
    let mut register = calls(&server, "RegisterTaskDefinition", 1).await?;
    let mut run = calls(&server, "RunTask", 1).await?;
    let journal = EmbeddedJournal::open(&directory.path().join("journal"), Options::default())?;
    let mut append = vec![AppendOne(journal, 0)];
    let (file, mut offset) = (File::create(directory.path().join("raw"))?, 0);
    let mut rounds: [Vec<Round>; 4] = Default::default();
    for _ in 0..ROUNDS * 2 {
        let part = time / 3;
        let bytes = vec![b'x'; 1000];
        rounds[0].push(tokio::task::block_in_place(|| raw(&file, &mut offset, &bytes, part))?);
        rounds[1].push(round(&mut append, part).await?);
        rounds[2].push(round(&mut register, part).await?);
        rounds[3].push(round(&mut run, part).await?);
    }
    println!("a single write");
    let names = ["raw append + fdatasync, 1000 bytes", "journal append, 1000 bytes"];
    let names = names.into_iter().chain(["RegisterTaskDefinition", "RunTask"]);
    for (name, all) in names.zip(&rounds) {
        print_row(name, all);
        println!("    {:<34} {:>8.2}x raw at p50", "", ratio(all, &rounds[0], |r| r.wait_ms(0.5)));
    }
    Ok(())
}

async fn describe(wharf: &Path, time: Duration) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (server, _hosts) = server(wharf, directory.path()).await?;
    let mut client = server.client().await?;
    let answer = client.json("RunTask", json!({"taskDefinition": "bench", "count": 1})).await?;
    let arn = answer["tasks"][0]["taskArn"].as_str().ok_or("no task")?.to_owned();
    let input = json!({"tasks": [arn]}).to_string().into_bytes();
    let same = client.call("DescribeTasks", &input).await?.to_owned();
    let (nginx, address) = peers::nginx(directory.path(), &same)?;
    println!("DescribeTasks of one task, {} bytes; CPU of the server per request", same.len());
    for connections in CONNECTIONS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..connections {
            let (client, body) = (server.client().await?, input.clone());
            ours.push(Call { client, operation: "DescribeTasks", body });
            theirs.push(Get(Client::connect(&address, &server.key).await?));
        }
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let cpu = server.process.cpu_ns()?;
            let rate = round(&mut ours, time).await?;
            a.push(((server.process.cpu_ns()? - cpu) as f64 / rate.waits.len() as f64, rate));
            let cpu = nginx.cpu_ns()?;
            let rate = round(&mut theirs, time).await?;
            b.push(((nginx.cpu_ns()? - cpu) as f64 / rate.waits.len() as f64, rate));
        }
        let cpu = |all: &[(f64, Round)]| median(all.iter().map(|(ns, _)| ns / 1e3).collect());
        let ratio = median(a.iter().zip(&b).map(|(a, b)| a.0 / b.0).collect());
        let rate = |all: &[(f64, Round)]| median(all.iter().map(|a| a.1.per_second).collect());
        println!(
            "  {connections} connections: wharf {:.1} µs ({:.0}/s), nginx {:.1} µs ({:.0}/s): {ratio:.2}x",
            cpu(&a),
            rate(&a),
            cpu(&b),
            rate(&b),
        );
    }
    Ok(())
}

async fn beside_moto(time: Duration) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let Some((_moto, address, version)) = peers::moto(directory.path()).await? else {
        println!("moto: not installed (pip install 'moto[server]', or set MOTO_SERVER)");
        return Ok(());
    };
    let text = |text: &str| text.to_owned();
    let key = Key::new(text("AKIABENCH"), text("secret"), text("us-east-1"));
    println!("{version}, in memory and without checking signatures, for scale");
    let mut rounds = Vec::new();
    for _ in 0..3 {
        // Its server closes every connection after an answer.
        let (start, mut waits) = (Instant::now(), Vec::new());
        while start.elapsed() < time {
            let begun = Instant::now();
            let mut client = Client::connect(&address, &key).await?;
            client.call("RegisterTaskDefinition", &body("", waits.len() % 10)).await?;
            waits.push(begun.elapsed());
        }
        rounds.push(Round::ended(start, waits));
    }
    print_row("RegisterTaskDefinition, 1 client", &rounds);
    Ok(())
}
