//! The balancer's connection to the server: one signed websocket, made again whenever it ends.
//! Meanwhile the balancer goes on with what it was told last.

use super::reported::Reported;
use futures_util::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use wharf_agent::api::EcsClient;
use wharf_agent::websocket::{self, Backoff, Incoming, Stream};
use wharf_model::load_balancing::{Report, Update};

/// Pauses between attempts to connect: short, since what changes meanwhile waits for them.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const PAUSE_FACTOR: f64 = 1.5;
/// The server asks for a sign of life every five seconds.
const SILENCE: Duration = Duration::from_secs(20);
/// Where the server takes balancers.
const PATH: &str = "balancer";

/// Both directions, as the balancer has them.
pub struct Link {
    /// The way to the server, signed with the balancer's key.
    pub client: EcsClient,
    /// The server's endpoint.
    pub server: String,
    /// What the server tells.
    pub updates: mpsc::Sender<Update>,
    /// What the balancer reports.
    pub reports: mpsc::Receiver<Report>,
}

impl Link {
    /// Keeps the connection up until `shutdown`, or until the balancer has ended.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut reported = Reported::default();
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE, PAUSE_FACTOR);
        while !shutdown.is_cancelled() && !self.updates.is_closed() {
            let ended = tokio::select! {
                ended = self.session(&mut reported, &mut backoff) => ended,
                () = shutdown.cancelled() => return,
            };
            let pause = backoff.pause();
            match ended {
                Ok(()) => tracing::info!("the server has closed the connection"),
                Err(error) => tracing::warn!(%error, ?pause, "no connection to the server"),
            }
            let resume = tokio::time::sleep(pause);
            tokio::pin!(resume);
            loop {
                tokio::select! {
                    () = &mut resume => break,
                    Some(report) = self.reports.recv() => reported.apply(&report),
                    () = shutdown.cancelled() => return,
                }
            }
        }
    }

    /// One connection, from the handshake to its end.
    async fn session(
        &mut self,
        reported: &mut Reported,
        backoff: &mut Backoff,
    ) -> Result<(), websocket::Error> {
        let url = websocket::session_url(&format!("{}/{PATH}", self.server), &[])?;
        let mut stream = websocket::connect(&self.client, &url).await?;
        tracing::info!(server = self.server, "connected");
        let mut heard = Instant::now();
        let mut is_told = false;
        loop {
            tokio::select! {
                next = stream.next() => {
                    heard = Instant::now();
                    match websocket::incoming(next)? {
                        Incoming::Text(text) => {
                            let update: Update = serde_json::from_str(&text)
                                .map_err(|error| websocket::Error::Broken(error.to_string()))?;
                            reported.forget(&update);
                            // What the balancer has is told once it is known what is still there.
                            if !is_told {
                                is_told = true;
                                backoff.reset();
                                send(&mut stream, &reported.complete()).await?;
                            }
                            if self.updates.send(update).await.is_err() {
                                return Ok(());
                            }
                        }
                        Incoming::Nothing => {}
                        Incoming::End => return Ok(()),
                    }
                }
                Some(report) = self.reports.recv() => {
                    reported.apply(&report);
                    if is_told {
                        send(&mut stream, &report).await?;
                    }
                }
                () = tokio::time::sleep_until(heard + SILENCE) => {
                    return Err(websocket::Error::Silent(SILENCE));
                }
            }
        }
    }
}

async fn send(stream: &mut Stream, report: &Report) -> Result<(), websocket::Error> {
    let broken = |error: &dyn std::fmt::Display| websocket::Error::Broken(error.to_string());
    let text = serde_json::to_string(report).map_err(|error| broken(&error))?;
    stream.send(Message::text(text)).await.map_err(|error| broken(&error))
}
