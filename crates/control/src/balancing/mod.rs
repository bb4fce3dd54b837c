//! Balancers: told what to carry out, heard about what came of it.
//!
//! A balancer holds one websocket to this server. It gets everything once and then every transaction
//! that changes something of load balancing, as one message, so that a change is atomic there too.
//! What it reports of targets and listeners is soft state; what has drained is taken out of the
//! records. A balancer that loses its connection goes on with what it was told.

mod feed;

use crate::{Options, seed};
use feed::Feed;
pub use feed::OpenCertificate;
use futures_util::{SinkExt as _, StreamExt as _};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use wharf_journal::{Next, StoreError};
use wharf_model::load_balancing::{
    ListenerStatus, Report, TargetHealth, TargetKey, Update,
};
use wharf_model::{Timestamp, TransactionSize};
use wharf_scheduler::TargetHealthSource;
use wharf_scheduler::load_balancing::{TargetHealthBoard, due};

/// A connection on which nothing came for three of these has ended.
const PING: Duration = Duration::from_secs(5);
/// How long a server that has just started waits for the first report before it judges targets.
const SETTLING: Duration = Duration::from_secs(10);
/// How often it is looked for targets whose deregistration delay is over.
const UPKEEP: Duration = Duration::from_secs(1);
