//! Serves a configuration that stands in a file, without a server: `serve FILE [DIRECTORY]`. For
//! comparing the balancer with others. The file is an `Update` in JSON, as the server would send it.

use std::path::PathBuf;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wharf_balancer::Options;
use wharf_model::load_balancing::{Report, Update};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let file = arguments.next().ok_or("usage: serve FILE [DIRECTORY]")?;
    let directory = arguments.next().unwrap_or_else(|| std::env::temp_dir().join("wharf-serve"));
    let update: Update = serde_json::from_slice(&std::fs::read(file)?)?;
    let mut options = Options::new(&directory);
    options.access_logs = Some(directory.join("access-logs"));
    // WORKERS=1 pins the comparison to one core.
    options.workers = std::env::var("WORKERS").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let (updates, receiver) = mpsc::channel(1);
    let (sender, mut reports) = mpsc::channel::<Report>(16);
    updates.send(Update { complete: true, ..update }).await?;
    tokio::spawn(async move {
        while let Some(report) = reports.recv().await {
            eprintln!("{report:?}");
        }
    });
    let shutdown = CancellationToken::new();
    let ending = shutdown.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            ending.cancel();
        }
    });
    Ok(wharf_balancer::run(options, receiver, sender, shutdown).await?)
}
