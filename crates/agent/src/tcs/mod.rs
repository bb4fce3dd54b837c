//! TCS: metrics every twenty seconds, health as soon as it changes, the instance's own status.
//!
//! Nothing here is repeated: a frame that is lost is replaced by the next.

mod metrics;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::Message;
use wharf_wire::tcs::{Frame, TcsMessage};

use crate::api::EcsClient;
use crate::discover::Discovery;
use crate::stats::Sampler;
use crate::tasks::Tasks;
use crate::websocket::{self, Backoff, Error, Incoming, Stream};

/// Time between metrics.
const INTERVAL: Duration = Duration::from_secs(20);
/// A session without an answer for this long, or up to twice as long, is dead.
const SILENCE: Duration = Duration::from_secs(60);
const LIFE: Duration = Duration::from_secs(30 * 60);
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// What telemetry needs.
#[derive(Clone)]
pub(crate) struct Tcs {
    pub(crate) client: EcsClient,
    pub(crate) discovery: Discovery,
    pub(crate) tasks: Tasks,
    pub(crate) sampler: Sampler,
    pub(crate) cluster: Arc<str>,
    pub(crate) container_instance_arn: Arc<str>,
    pub(crate) data_dir: PathBuf,
    pub(crate) heartbeat: Arc<Notify>,
}

impl Tcs {
    /// Keeps a session open.
    pub(crate) async fn run(&self) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 2.0);
        loop {
            let began = Instant::now();
            let result = self.session().await;
            if began.elapsed() >= GOOD_LIFE {
                backoff.reset();
            }
            let pause = backoff.pause();
            match result {
                Ok(()) => tracing::info!("the TCS session ended"),
                Err(error) => tracing::warn!(%error, ?pause, "no TCS session"),
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn session(&self) -> Result<(), Error> {
        let endpoints = self.discovery.endpoints().await?;
        let Some(endpoint) = endpoints.tcs else {
            return Err(Error::Endpoint("no telemetry endpoint".to_owned()));
        };
        let query = [
            ("agentHash", "wharf"),
            ("agentVersion", env!("CARGO_PKG_VERSION")),
            ("cluster", &*self.cluster),
            ("containerInstance", &*self.container_instance_arn),
            ("dockerVersion", "wharf"),
        ];
        let url = websocket::session_url(&endpoint, &query)?;
        let mut stream = websocket::connect(&self.client, &url).await?;
        tracing::info!("TCS session");
        let end = Instant::now() + LIFE + LIFE.mul_f64(fastrand::f64() / 6.0);
        let mut heard = Instant::now();
        let silence = websocket::jittered(SILENCE);
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let health = self.tasks.health_changed();
        loop {
            let due = tokio::select! {
                _ = interval.tick() => [self.metrics(), self.health()].concat(),
                () = health.notified() => self.health(),
                () = self.heartbeat.notified() => vec![self.instance_status()],
                () = tokio::time::sleep_until(heard + silence) => {
                    return Err(Error::Silent(silence));
                }
                next = stream.next() => match websocket::incoming(next)? {
                    Incoming::Text(text) => {
                        heard = Instant::now();
                        if let Ok(TcsMessage::StopTelemetrySessionMessage(_)) =
                            TcsMessage::decode(&text)
                        {
                            return Ok(());
                        }
                        continue;
                    }
                    Incoming::Nothing => continue,
                    Incoming::End => return Ok(()),
                },
            };
            for message in due {
                self.send(&mut stream, &url, &message).await?;
            }
            if Instant::now() >= end {
                // A peer that is gone needs no farewell.
                let _ = stream.close(None).await;
                return Ok(());
            }
        }
    }

    /// A frame: a block of headers that sign the envelope, then the envelope.
    async fn send(
        &self,
        stream: &mut Stream,
        url: &http::Uri,
        message: &TcsMessage,
    ) -> Result<(), Error> {
        let body = message.encode().map_err(|error| Error::Broken(error.to_string()))?;
        let signed = websocket::signed_headers(&self.client, url, body.as_bytes())?;
        let headers = signed.iter().map(|(name, value)| (header_name(name), value.as_str()));
        let text = Frame { headers: headers.collect(), body: &body }.format();
        let sent = stream.send(Message::text(text)).await;
        sent.map_err(|error| Error::Broken(error.to_string()))
    }
}

/// The spelling that Go's library gives to headers.
fn header_name(name: &str) -> &str {
    match name {
        "authorization" => "Authorization",
        "host" => "Host",
        "x-amz-date" => "X-Amz-Date",
        "x-amz-security-token" => "X-Amz-Security-Token",
        other => other,
    }
}
