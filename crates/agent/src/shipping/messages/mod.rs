//! Drivers that hand over each line for itself: `syslog`, `journald`, `fluentd`, and `awsfirelens`,
//! which is `fluentd` to another container of the task.

mod connection;
mod fluentd;
mod journald;
mod syslog;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use wharf_model::log_driver::{Fluentd, Syslog, Tag};
use wharf_runtime::logs::Position;

use super::events::Event;
use super::ship::{Stage, Stages};

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
const RETRY_FACTOR: f64 = 1.5;
/// How long a container's start waits for its receiver.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a container's messages say of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    /// Its id.
    pub(crate) id: String,
    /// Its name as docker would have it.
    pub(crate) name: String,
    /// Its image's name.
    pub(crate) image_name: String,
    /// The driver's tag, filled in.
    pub(crate) tag: String,
}

/// A driver's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settings {
    Syslog(Syslog),
    Journald(Tag),
    Fluentd(Fluentd),
    /// A router: the directory of its socket, and the tag.
    Firelens {
        directory: PathBuf,
        tag: String,
    },
}

enum Client {
    Syslog(syslog::Client),
    Journald(journald::Client),
    Fluentd(fluentd::Client),
}

/// A container's way to its receiver.
pub(super) struct Messages {
    client: Client,
    first_retry: Duration,
    max_retries: Option<u32>,
    /// The container may not start without a receiver.
    must_answer: bool,
    /// Some of its options are secrets, such as where it is: errors don't say them.
    is_secret: bool,
}

impl Messages {
    pub(super) fn new(settings: Settings, subject: Subject, is_secret: bool) -> Self {
        let (mut first_retry, mut max_retries, mut must_answer) = (FIRST_RETRY, None, true);
        let client = match settings {
            Settings::Syslog(options) => Client::Syslog(syslog::Client::new(options, subject)),
            Settings::Journald(_) => Client::Journald(journald::Client::new(subject)),
            Settings::Fluentd(options) => {
                first_retry = options.retry_wait.max(FIRST_RETRY);
                (max_retries, must_answer) = (options.max_retries, !options.is_async);
                Client::Fluentd(fluentd::Client::new(&options, subject))
            }
            Settings::Firelens { directory, .. } => {
                must_answer = false;
                Client::Fluentd(fluentd::Client::to_router(directory, subject))
            }
        };
        Self { client, first_retry, max_retries, must_answer, is_secret }
    }

    fn told(&self, error: &io::Error) -> String {
        if self.is_secret { error.kind().to_string() } else { error.to_string() }
    }

    /// Whether the receiver is there, where a container may not start without.
    pub(super) async fn probe(&mut self) -> Result<(), String> {
        if !self.must_answer {
            return Ok(());
        }
        let connect = async {
            match &mut self.client {
                Client::Syslog(client) => client.connect().await,
                Client::Journald(client) => client.connect(),
                Client::Fluentd(client) => client.connect().await,
            }
        };
        match tokio::time::timeout(PROBE_TIMEOUT, connect).await {
            Ok(connected) => connected.map_err(|error| self.told(&error)),
            Err(_) => Err("the connection timed out".to_owned()),
        }
    }

    /// Hands over an event, which ends at `end` of the log, until that is done or given up.
    pub(super) async fn send(&mut self, event: &Event, end: Position, stages: &Stages) {
        let mut wait = self.first_retry;
        let mut tries: u32 = 0;
        loop {
            let Err(error) = self.try_send(event, end).await else { break };
            let error = self.told(&error);
            if self.max_retries.is_some_and(|most| tries >= most) {
                tracing::warn!(%error, tries, "a log line was given up");
                break;
            }
            // A receiver that was started again is found at once.
            if tries > 0 {
                tracing::debug!(%error, "logs wait");
                stages.set(Stage::Unreachable);
                tokio::time::sleep(wait.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
                wait = wait.mul_f64(RETRY_FACTOR).min(LAST_RETRY.max(self.first_retry));
            }
            tries += 1;
        }
        stages.set(Stage::Shipping);
    }

    async fn try_send(&mut self, event: &Event, end: Position) -> io::Result<()> {
        match &mut self.client {
            Client::Syslog(client) => client.send(event).await,
            Client::Journald(client) => client.send(event).await,
            Client::Fluentd(client) => client.send(event, end).await,
        }
    }
}
