//! The balancer's bench: `cargo xtask bench balancer`.
//!
//! What a request costs the proxy beside haproxy, nginx and envoy, each in turn on a core of its own;
//! waits at half of what each can carry; how soon a change of the API is seen in answers; and a
//! thousand listeners. `balancer WHARF [SECONDS-PER-ROUND [PART]]`, PART being http1, tls, http2, effect
//! or scale; with one only that, as a profiler likes it. What proxies cost is the processor's time of
//! their processes, the thread that writes the access log included.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wharf_bench::balancer::{
    Api, Certificate, Kind, ORIGIN, Proxy, Trust, connect_h2, connect_plain, connect_tls, field,
    paced, scale, serve, settle_in, start,
};
use wharf_bench::rounds::{Operation, Round, median, round};
use wharf_bench::{Error, Result};

const USAGE: &str = "usage: balancer WHARF [SECONDS-PER-ROUND [http1|tls|http2|effect|scale]]";
const ROUNDS: usize = 7;
/// Requests at a time: so many connections, or HTTP/2 streams on so many connections.
const AT_ONCE: usize = 32;
const H2_CONNECTIONS: usize = 4;
/// Changes of a rule, and how many a second.
const CHANGES: usize = 500;
const PER_SECOND: u32 = 50;
const FIRST_PORT: u16 = 8080;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let wharf = PathBuf::from(arguments.next().ok_or(USAGE)?);
    let seconds: f64 = arguments.next().map_or(Ok(1.0), |text| text.parse())?;
    let part = arguments.next();
    // Before there is any thread.
    settle_in()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(bench(&wharf, Duration::from_secs_f64(seconds), part.as_deref()))
}

async fn bench(wharf: &Path, time: Duration, part: Option<&str>) -> Result<()> {
    let directory = tempfile::tempdir()?;
    serve(SocketAddr::from((Ipv4Addr::UNSPECIFIED, ORIGIN.port())))?;
    let wants = |name: &str| part.is_none_or(|part| part == name);
    if part.is_some_and(|part| !["http1", "tls", "http2", "effect", "scale"].contains(&part)) {
        return Err(USAGE.into());
    }
    if wants("scale") {
        print_scale(directory.path()).await?;
    }
    if part == Some("scale") {
        return Ok(());
    }
    let certificate = Certificate::make(directory.path())?;
    let trust = Trust::of(&certificate.path)?;
    let mut proxies = Vec::new();
    for (kind, port) in Kind::ALL.into_iter().zip((FIRST_PORT..).step_by(2)) {
        if part == Some("effect") && kind != Kind::Wharf {
            continue;
        }
        proxies.extend(start(kind, wharf, directory.path(), &certificate, port).await?);
    }
    println!(
        "{ROUNDS} interleaved rounds of {} s a side, 1 KiB, {AT_ONCE} requests at a time; medians, \
         ratios per round",
        time.as_secs_f64()
    );
    if wants("http1") {
        println!("HTTP/1.1, {AT_ONCE} connections");
        let mut sides = Vec::new();
        for proxy in &proxies {
            let mut clients = Vec::new();
            for _ in 0..AT_ONCE {
                clients.push(connect_plain(&proxy.plain, &proxy.host, "/").await?);
            }
            sides.push(Side { proxy, clients, seen: Vec::new() });
        }
        compare(sides, time).await?;
    }
    if wants("tls") {
        println!("HTTP/1.1 over TLS, {AT_ONCE} connections");
        let mut sides = Vec::new();
        for proxy in &proxies {
            let mut clients = Vec::new();
            for _ in 0..AT_ONCE {
                clients.push(connect_tls(&proxy.secure, &proxy.host, "/", &trust).await?);
            }
            sides.push(Side { proxy, clients, seen: Vec::new() });
        }
        compare(sides, time).await?;
    }
    if wants("http2") {
        println!("HTTP/2 over TLS, {AT_ONCE} streams on {H2_CONNECTIONS} connections");
        let mut sides = Vec::new();
        for proxy in &proxies {
            let mut clients = Vec::new();
            for _ in 0..H2_CONNECTIONS {
                let streams = AT_ONCE / H2_CONNECTIONS;
                let (at, host) = (&proxy.secure, &proxy.host);
                clients.extend(connect_h2(at, host, "/", &trust, streams).await?);
            }
            sides.push(Side { proxy, clients, seen: Vec::new() });
        }
        compare(sides, time).await?;
    }
    if wants("effect") {
        effect(&proxies).await?;
    }
    Ok(())
}

/// A proxy with the clients that it has, and what they saw.
struct Side<'a, O> {
    proxy: &'a Proxy,
    clients: Vec<O>,
    seen: Vec<Seen>,
}

/// A round of a side: as fast as it goes, and at half of that.
struct Seen {
    cpu_us: f64,
    full: Round,
    half_cpu_us: f64,
    half: Round,
}

impl<O: Operation> Side<'_, O> {
    async fn measure(&mut self, time: Duration) -> Result<()> {
        let process = &self.proxy.process;
        let cost = |before: u64, after: u64, round: &Round| {
            after.saturating_sub(before) as f64 / 1e3 / round.waits.len() as f64
        };
        let before = process.cpu_ns()?;
        let full = round(&mut self.clients, time).await?;
        let cpu_us = cost(before, process.cpu_ns()?, &full);
        let before = process.cpu_ns()?;
        let half = paced(&mut self.clients, full.per_second / 2.0, time).await?;
        let half_cpu_us = cost(before, process.cpu_ns()?, &half);
        self.seen.push(Seen { cpu_us, full, half_cpu_us, half });
        Ok(())
    }

    fn median(&self, value: impl Fn(&Seen) -> f64) -> f64 {
        median(self.seen.iter().map(value).collect())
    }
}

async fn compare<O: Operation>(mut sides: Vec<Side<'_, O>>, time: Duration) -> Result<()> {
    for side in &mut sides {
        round(&mut side.clients, time / 4).await?;
    }
    for _ in 0..ROUNDS {
        for side in &mut sides {
            side.measure(time).await?;
        }
    }
    println!(
        "             CPU/request      rate      p50      p99 | at half: CPU/request  p50      p99"
    );
    for side in &sides {
        println!(
            "    {:<8} {:>8.1} µs {:>9.0}/s {:>5.2} ms {:>5.2} ms | {:>15.1} µs {:>5.2} ms {:>5.2} ms",
            side.proxy.kind.name(),
            side.median(|seen| seen.cpu_us),
            side.median(|seen| seen.full.per_second),
            side.median(|seen| seen.full.wait_ms(0.5)),
            side.median(|seen| seen.full.wait_ms(0.99)),
            side.median(|seen| seen.half_cpu_us),
            side.median(|seen| seen.half.wait_ms(0.5)),
            side.median(|seen| seen.half.wait_ms(0.99)),
        );
    }
    let Some((ours, theirs)) = sides.split_first() else { return Ok(()) };
    for peer in theirs {
        let ratio = |value: fn(&Seen) -> f64| {
            median(ours.seen.iter().zip(&peer.seen).map(|(a, b)| value(a) / value(b)).collect())
        };
        println!(
            "    wharf / {:<8} CPU {:.2}x, at half {:.2}x, p99 at half {:.2}x",
            peer.proxy.kind.name(),
            ratio(|seen| seen.cpu_us),
            ratio(|seen| seen.half_cpu_us),
            ratio(|seen| seen.half.wait_ms(0.99)),
        );
    }
    Ok(())
}

/// How soon what a call of the API says is what clients see.
async fn effect(proxies: &[Proxy]) -> Result<()> {
    let wharf = proxies.iter().find(|proxy| proxy.kind == Kind::Wharf).ok_or("no wharf")?;
    let (server, listener) = wharf.server.as_ref().ok_or("no server")?;
    let mut api = Api::connect(server).await?;
    let condition = [
        ("Conditions.member.1.Field", "path-pattern"),
        ("Conditions.member.1.Values.member.1", "/version"),
    ];
    let mut rule = vec![("ListenerArn", listener.as_str()), ("Priority", "1")];
    rule.extend(condition);
    rule.extend(ACTION);
    rule.push((BODY, "0"));
    let arn = field(&api.call("CreateRule", &rule).await?, "RuleArn")?;
    let (seen, mut news) = tokio::sync::mpsc::unbounded_channel();
    let client = connect_plain(&wharf.plain, &wharf.host, "/version").await?;
    let looking = tokio::spawn(look(client, seen));
    let mut took = Vec::new();
    let mut called = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    for number in 1..=CHANGES {
        ticks.tick().await;
        let start = Instant::now();
        let body = number.to_string();
        let mut change = vec![("RuleArn", arn.as_str()), (BODY, body.as_str())];
        change.extend(ACTION);
        api.call("ModifyRule", &change).await?;
        called.push(start.elapsed());
        loop {
            let (version, at): (usize, Instant) = news.recv().await.ok_or("nobody looks")?;
            if version >= number {
                took.push(at.saturating_duration_since(start));
                break;
            }
        }
    }
    looking.abort();
    println!("ModifyRule, {CHANGES} changes at {PER_SECOND} a second");
    for (name, mut waits) in [("the call itself", called), ("from the call to answers by it", took)]
    {
        waits.sort_unstable();
        println!("    {name:<32} {}", quantiles(&waits));
    }
    Ok(())
}

const ACTION: [(&str, &str); 3] = [
    ("Actions.member.1.Type", "fixed-response"),
    ("Actions.member.1.FixedResponseConfig.StatusCode", "200"),
    ("Actions.member.1.FixedResponseConfig.ContentType", "text/plain"),
];
const BODY: &str = "Actions.member.1.FixedResponseConfig.MessageBody";

/// Asks every half a millisecond, and tells what is new.
async fn look(
    mut client: wharf_bench::balancer::H1<tokio::net::TcpStream>,
    seen: tokio::sync::mpsc::UnboundedSender<(usize, Instant)>,
) -> Result<()> {
    let mut last = None;
    loop {
        let answer = client.ask().await?;
        let version = std::str::from_utf8(answer.body)?.parse().ok();
        if let Some(version) = version.filter(|_| version != last) {
            last = Some(version);
            seen.send((version, Instant::now())).map_err(|_| Error::from("nobody listens"))?;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn print_scale(directory: &Path) -> Result<()> {
    let load = scale(directory).await?;
    let (listeners, targets) = load.size;
    println!("{listeners} listeners and as many rules, {targets} targets");
    println!("    loaded, all sockets open           {:>7.0} ms", ms(load.loaded));
    println!("    all targets healthy after further  {:>7.0} ms", ms(load.checked));
    for (kind, waits) in load.changes {
        println!("    {kind:<32} {}", quantiles(&waits));
    }
    Ok(())
}

fn quantiles(sorted: &[Duration]) -> String {
    let at = |part: f64| {
        let index = (sorted.len().saturating_sub(1) as f64 * part) as usize;
        sorted.get(index).map_or(f64::NAN, |wait| ms(*wait))
    };
    format!("p50 {:>7.2} ms   p99 {:>7.2} ms   longest {:>7.2} ms", at(0.5), at(0.99), at(1.0))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
