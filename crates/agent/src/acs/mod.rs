//! ACS: the session in which the control plane tells what shall run.
//!
//! [`Acs::run`] keeps one session open for as long as the agent lives; `messages` is what each
//! message does. Lost messages cost time only: payloads are sent again until acknowledged, and the
//! manifest says which tasks should be there.

mod messages;
mod policy;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use wharf_wire::acs::AcsMessage;

use crate::api::EcsClient;
use crate::discover::Discovery;
use crate::store::{Identity, Store};
use crate::tasks::Tasks;
use crate::websocket::{self, Backoff, Error, Incoming};

/// A session without a message for this long, or up to twice as long, is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// A session lives this long, and up to a sixth longer, before it is made anew.
const LIFE: Duration = Duration::from_secs(30 * 60);
/// A session that lived this long was a good one: pauses start small again.
const GOOD_LIFE: Duration = Duration::from_secs(60);
/// A session that ends sooner than this gets a pause, however orderly it ended.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// How long a deregistered instance waits.
const INACTIVE_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What the session needs.
#[derive(Clone)]
pub(crate) struct Acs {
    pub(crate) client: EcsClient,
    pub(crate) discovery: Discovery,
    pub(crate) store: Store,
    pub(crate) tasks: Tasks,
    /// The identity with the sequence number; the session alone changes it.
    pub(crate) identity: Arc<Mutex<Identity>>,
    /// Wakes TCS to tell the instance's status after a heartbeat.
    pub(crate) heartbeat: Arc<Notify>,
}

impl Acs {
    /// Keeps a session open.
    pub(crate) async fn run(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(120), 1.5);
        let mut first = true;
        loop {
            let began = Instant::now();
            let result = self.session(&mut first).await;
            if began.elapsed() >= GOOD_LIFE {
                backoff.reset();
            }
            match result {
                Ok(()) if began.elapsed() >= SHORT_LIFE => {
                    tracing::info!("the ACS session ended: connecting again");
                }
                Ok(()) => tokio::time::sleep(backoff.pause()).await,
                Err(error) if error.is_inactive() => {
                    tracing::error!(%error, "this container instance is deregistered");
                    tokio::time::sleep(INACTIVE_PAUSE).await;
                }
                Err(error) => {
                    let pause = backoff.pause();
                    tracing::warn!(%error, ?pause, "no ACS session");
                    self.discovery.forget();
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn session(&self, first: &mut bool) -> Result<(), Error> {
        let endpoints = self.discovery.endpoints().await?;
        let identity = self.identity.lock().await.clone();
        let query = [
            ("agentHash", "wharf"),
            ("agentVersion", env!("CARGO_PKG_VERSION")),
            ("clusterArn", identity.cluster.as_str()),
            ("containerInstanceArn", identity.container_instance_arn.as_str()),
            ("dockerVersion", "DockerVersion: wharf"),
            ("protocolVersion", "2"),
            ("sendCredentials", if *first { "true" } else { "false" }),
            ("seqNum", "1"),
        ];
        let url = websocket::session_url(&endpoints.acs, &query)?;
        let mut stream = websocket::connect(&self.client, &url).await?;
        tracing::info!(instance = %identity.container_instance_arn, "ACS session");
        *first = false;
        let life = LIFE + LIFE.mul_f64(fastrand::f64() / 6.0);
        let end = Instant::now() + life;
        let mut pending = messages::Pending::default();
        loop {
            let silence = websocket::jittered(SILENCE);
            let next = tokio::select! {
                next = tokio::time::timeout(silence, stream.next()) => next,
                () = tokio::time::sleep_until(end) => {
                    let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame {
                        code: 1000.into(),
                        reason: "ConnectionExpired: Reconnect to continue".into(),
                    };
                    // A peer that is gone needs no farewell.
                    let _ = stream.close(Some(frame)).await;
                    return Ok(());
                }
            };
            let next = next.map_err(|_| Error::Silent(silence))?;
            let text = match websocket::incoming(next)? {
                Incoming::Text(text) => text,
                Incoming::Nothing => continue,
                Incoming::End => return Ok(()),
            };
            let message = match AcsMessage::decode(&text) {
                Ok(message) => message,
                Err(error) => {
                    // Not the text: it may hold credentials.
                    let (line, column) = (error.line(), error.column());
                    tracing::error!(line, column, "a message can't be read: dropped");
                    continue;
                }
            };
            for answer in self.answer(message, &mut pending).await {
                let text = answer.encode().map_err(|error| Error::Broken(error.to_string()))?;
                let sent = stream.send(Message::text(text)).await;
                sent.map_err(|error| Error::Broken(error.to_string()))?;
            }
        }
    }
}
