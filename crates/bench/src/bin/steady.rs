//! Steady requests that must all be answered: `steady ADDRESS HOST RATE COUNT [CERTIFICATES]`.
//!
//! RATE requests a second for HOST at ADDRESS (over TLS, if there is a file of certificates to trust),
//! COUNT of them at least and until the standard input ends. The pace is kept whatever the answers
//! are. Nothing is tried again: a connection that is closed before the answer is a failure, and so is
//! every status but 200. What was seen is printed at the end as JSON; `going` stands on a line before.

use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use wharf_bench::balancer::{H1, Pace, Trust, secure};
use wharf_bench::rounds::Round;
use wharf_bench::{Error, Result};

const CONNECTIONS: usize = 16;
/// A connection is replaced after so many requests: new ones must be taken, too.
const PER_CONNECTION: usize = 500;
/// As patient as an ordinary client.
const PATIENCE: Duration = Duration::from_secs(10);
/// Failures that are told in full.
const TOLD: usize = 20;
/// Bodies that are told apart.
const BODIES: usize = 10_000;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

struct Asked {
    address: String,
    host: String,
    trust: Option<Trust>,
}

/// What one connection after the other saw.
#[derive(Default)]
struct Seen {
    waits: Vec<Duration>,
    failures: Vec<(Duration, String)>,
    bodies: BTreeMap<String, u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next =
        || arguments.next().ok_or("usage: steady ADDRESS HOST RATE COUNT [CERTIFICATES]");
    let (address, host) = (next()?, next()?);
    let (rate, count): (f64, u64) = (next()?.parse()?, next()?.parse()?);
    let trust = arguments.next().map(PathBuf::from).map(|path| Trust::of(&path)).transpose()?;
    let asked = Arc::new(Asked { address, host, trust });
    let start = Instant::now();
    let pace = Pace::begin(rate);
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|_| tokio::spawn(one(Arc::clone(&asked), Arc::clone(&pace), start)))
        .collect();
    until(&pace, 10).await;
    println!("going");
    let mut ignored = Vec::new();
    tokio::io::stdin().read_to_end(&mut ignored).await?;
    until(&pace, count).await;
    pace.end();
    let mut all = Seen::default();
    for task in tasks {
        let seen = task.await?;
        all.waits.extend(seen.waits);
        all.failures.extend(seen.failures);
        for (body, count) in seen.bodies {
            *all.bodies.entry(body).or_default() += count;
        }
    }
    print(start, all);
    Ok(())
}

/// Waits until so many have begun.
async fn until(pace: &Pace, count: u64) {
    while pace.begun() < count {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn print(start: Instant, mut seen: Seen) {
    seen.failures.sort();
    let failed = seen.failures.len();
    let told = seen.failures.into_iter().take(TOLD);
    let told: Vec<_> =
        told.map(|(after, what)| json!({"seconds": after.as_secs_f64(), "what": what})).collect();
    let count = seen.waits.len() + failed;
    let round = Round::ended(start, seen.waits);
    println!(
        "{}",
        json!({
            "count": count, "failed": failed, "failures": told, "bodies": seen.bodies,
            "per_second": round.per_second, "p50_ms": round.wait_ms(0.5),
            "p99_ms": round.wait_ms(0.99), "longest_ms": round.wait_ms(1.0),
        })
    );
}

async fn one(asked: Arc<Asked>, pace: Arc<Pace>, start: Instant) -> Seen {
    let mut seen = Seen::default();
    let (mut client, mut left) = (None, 0);
    while let Some(due) = pace.next().await {
        if left == 0 {
            (client, left) = (None, PER_CONNECTION);
        }
        left -= 1;
        let asking = ask(&asked, &mut client, &mut seen.bodies);
        let answered = tokio::time::timeout(PATIENCE, asking).await;
        match answered.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}").into())) {
            Ok(()) => seen.waits.push(due.elapsed()),
            Err(error) => {
                client = None;
                seen.failures.push((start.elapsed(), error.to_string()));
            }
        }
    }
    seen
}

async fn ask(
    asked: &Asked,
    client: &mut Option<H1<Box<dyn Stream>>>,
    bodies: &mut BTreeMap<String, u64>,
) -> Result<()> {
    let mut asking = match client.take() {
        Some(client) => client,
        None => H1::new(connect(asked).await?, &asked.host, "/"),
    };
    let answer = asking.ask().await?;
    let body = String::from_utf8_lossy(answer.body).into_owned();
    let (status, closes) = (answer.status, answer.closes);
    if status != 200 {
        return Err(format!("{status}: {body}").into());
    }
    if bodies.len() < BODIES || bodies.contains_key(&body) {
        *bodies.entry(body).or_default() += 1;
    }
    *client = (!closes).then_some(asking);
    Ok(())
}

async fn connect(asked: &Asked) -> Result<Box<dyn Stream>> {
    let Some(trust) = &asked.trust else {
        let stream = TcpStream::connect(&asked.address).await;
        let stream = stream.map_err(|error| Error::from(format!("no connection: {error}")))?;
        stream.set_nodelay(true)?;
        return Ok(Box::new(stream));
    };
    Ok(Box::new(secure(&asked.address, &asked.host, trust, "http/1.1").await?))
}
