//! Changes to the nft table, gathered: everything that waits goes as one transaction.

use tokio::sync::{mpsc, oneshot};

use crate::net::{Error, nft};

type Change = (String, oneshot::Sender<Result<(), Error>>);

/// Takes changes; clones feed the same table.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    changes: mpsc::UnboundedSender<Change>,
}

impl Publisher {
    /// Starts the task that runs nft. It ends with the last clone.
    pub(crate) fn start() -> Self {
        let (changes, mut receiver) = mpsc::unbounded_channel::<Change>();
        tokio::spawn(async move {
            while let Some(first) = receiver.recv().await {
                let mut batch = vec![first];
                while let Ok(more) = receiver.try_recv() {
                    batch.push(more);
                }
                apply(batch).await;
            }
        });
        Self { changes }
    }

    /// Applies commands; returns when they are in force.
    pub(crate) async fn apply(&self, commands: String) -> Result<(), Error> {
        if commands.is_empty() {
            return Ok(());
        }
        let closed = || Error::Nft("the publisher has ended".to_owned());
        let (done, result) = oneshot::channel();
        self.changes.send((commands, done)).map_err(|_| closed())?;
        result.await.map_err(|_| closed())?
    }
}

/// One transaction for all; if it is refused, one for each, so that each learns its own fate.
async fn apply(batch: Vec<Change>) {
    let all: String = batch.iter().map(|(commands, _)| commands.as_str()).collect();
    let together = nft::apply(&all).await;
    let alone = batch.len() == 1;
    for (commands, done) in batch {
        let result = match &together {
            Ok(()) => Ok(()),
            Err(Error::Nft(complaint)) if alone => Err(Error::Nft(complaint.clone())),
            Err(_) => nft::apply(&commands).await,
        };
        let _ = done.send(result);
    }
}
