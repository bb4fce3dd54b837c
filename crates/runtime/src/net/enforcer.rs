//! Keeps the host's networks as the last [`Policy`] says.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::publisher::Publisher;

use super::bridge::Bridges;
use super::policy::{Layout, Policy, Ruleset, compile, resolvers};
use super::{Error, failed};

/// How long before a policy that couldn't be put in force is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How long a task waits for the policy that it is part of.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Default)]
struct Wanted {
    number: u64,
    policy: Arc<Policy>,
}

/// Takes policies. The task behind it ends with the runtime.
#[derive(Debug)]
pub(crate) struct Enforcer {
    wanted: watch::Sender<Wanted>,
    in_force: watch::Receiver<u64>,
}

impl Enforcer {
    /// Starts the task that puts policies in force. What the kernel has of an earlier process stays
    /// until the first policy comes.
    pub(crate) fn start(publisher: Publisher, bridges: Bridges, layout: Layout) -> Self {
        let (wanted, receiver) = watch::channel(Wanted::default());
        let (sender, in_force) = watch::channel(0);
        tokio::spawn(enforce(receiver, sender, publisher, bridges, layout));
        Self { wanted, in_force }
    }

    /// Changes the policy.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Policy)) {
        self.wanted.send_modify(|wanted| {
            wanted.number += 1;
            change(Arc::make_mut(&mut wanted.policy));
        });
    }

    /// Waits until what is wanted now is in force.
    pub(crate) async fn in_force(&self) -> Result<(), Error> {
        let wanted = self.wanted.borrow().number;
        if *self.in_force.borrow() >= wanted {
            return Ok(());
        }
        let since = std::time::Instant::now();
        let mut in_force = self.in_force.clone();
        let waited = tokio::time::timeout(PATIENCE, in_force.wait_for(|n| *n >= wanted)).await;
        match waited {
            Ok(Ok(_)) => {
                tracing::debug!(waited = ?since.elapsed(), "security groups' rules in force");
                Ok(())
            }
            _ => Err(Error::Nft("the security groups' rules are not in force".to_owned())),
        }
    }
}

async fn enforce(
    mut wanted: watch::Receiver<Wanted>,
    in_force: watch::Sender<u64>,
    publisher: Publisher,
    bridges: Bridges,
    mut layout: Layout,
) {
    let mut now: Option<(Arc<Policy>, Ruleset)> = None;
    while wanted.changed().await.is_ok() {
        loop {
            let Wanted { number, policy } = wanted.borrow_and_update().clone();
            let known = now.as_ref().is_some_and(|(p, _)| p.networks == policy.networks);
            if !known {
                layout.resolvers = host_resolvers().await;
                keep_addresses(&bridges, &policy, &layout).await;
            }
            let ruleset = compile(&policy, &layout);
            let commands = ruleset.change_from(now.as_ref().map(|(_, ruleset)| ruleset));
            match publisher.apply(commands).await {
                Ok(()) => {
                    now = Some((policy, ruleset));
                    in_force.send_replace(number);
                    break;
                }
                Err(error) => {
                    tracing::error!(%error, "security groups' rules: trying again");
                    now = None;
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
    }
}

async fn host_resolvers() -> Vec<std::net::Ipv4Addr> {
    // Without the file there is no name server to let through.
    let text = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
    resolvers(&text)
}

/// Routes each VPC's block to the bridge, and no other block. A block that the host routes
/// elsewhere stays there: the task that wants an address of it hears of it.
async fn keep_addresses(bridges: &Bridges, policy: &Policy, layout: &Layout) {
    let (bridges, vpc) = (bridges.clone(), layout.vpc_cidr);
    let blocks: Vec<_> = policy.networks.iter().map(|n| n.cidr).collect();
    let kept = tokio::task::spawn_blocking(move || {
        bridges.forget_networks(&blocks, vpc)?;
        for block in blocks.into_iter().filter(|block| *block != vpc) {
            if let Err(error) = bridges.add_network(block) {
                tracing::error!(%error, vpc = %block, "this VPC has no network on this host");
            }
        }
        Ok::<(), Error>(())
    });
    let kept = kept
        .await
        .unwrap_or_else(|error| Err(failed("route the VPCs")(std::io::Error::other(error))));
    if let Err(error) = kept {
        tracing::error!(%error, "the VPCs' networks");
    }
}
