//! The one loop that everything is decided in.

use super::checks::{Change, Checker};
use super::compile::{GroupEntry, ListenerEntry, TargetEntry, Touched, behind};
use super::handover;
use super::keeper::Keeper;
use super::persist::Directory;
use super::sockets::{Answerer, Place, Sockets};
use super::worker::{Running, Shared};
use super::{Error, Options};
use crate::access_log::AccessLog;
use crate::live::{Balancer, Endpoint, Front, FrontCell, ListenerCell};
use crate::targets::Stamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wharf_model::load_balancing::{
    Configuration, Listener, ListenerStatus, LoadBalancer, Meter, MeterKey, Protocol, Report,
    TargetKey, Update,
};

/// After a change, until it is written down: many come together.
const PERSIST_DELAY: Duration = Duration::from_millis(500);
/// Between two looks at targets that drain.
const DRAIN_POLL: Duration = Duration::from_millis(50);
/// Between two tries to get a port that was taken.
const BIND_RETRY: Duration = Duration::from_secs(2);
/// Without a word of the server, sockets of before are kept for so long.
const INHERITANCE: Duration = Duration::from_secs(10);
/// It looks around at least so often.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Between two reports of what was counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// What is under way at the end may take so long.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// With a successor there is no hurry: connections end when they do.
const SUCCESSION_GRACE: Duration = Duration::from_secs(3600);

pub(super) struct Control {
    pub(super) options: Options,
    pub(super) configuration: Configuration,
    pub(super) shared: Arc<Shared>,
    pub(super) checker: Checker,
    pub(super) balancers: BTreeMap<String, Arc<Balancer>>,
    pub(super) listeners: BTreeMap<String, ListenerEntry>,
    pub(super) groups: BTreeMap<String, GroupEntry>,
    /// Paths of groups by their ids.
    pub(super) group_paths: HashMap<String, String>,
    pub(super) targets: BTreeMap<TargetKey, TargetEntry>,
    /// Targets that drain and haven't drained.
    pub(super) draining: BTreeSet<TargetKey>,
    pub(super) pending: Report,
    statuses: BTreeMap<String, ListenerStatus>,
    sockets: Sockets,
    workers: Vec<Running>,
    directory: Directory,
    changes: mpsc::UnboundedReceiver<Change>,
    persist_at: Option<Instant>,
    retry_at: Option<Instant>,
    keep_at: Option<Instant>,
    /// When sockets are closed that were inherited and are asked for by nobody.
    disinherit_at: Option<Instant>,
    /// What was counted, as it was told last.
    counted: BTreeMap<MeterKey, Meter>,
    count_at: Instant,
}

impl Control {
    pub(super) async fn start(options: Options) -> Result<Self, Error> {
        let directory = Directory::open(&options.directory)?;
        let secret = directory.secret()?;
        let access_log = match &options.access_logs {
            Some(path) => Some(
                AccessLog::open(path.clone(), options.arns.as_ref())
                    .map_err(|source| Error::Directory { path: path.clone(), source })?,
            ),
            None => None,
        };
        let shared = Arc::new(Shared {
            stamp: Stamp::new(&secret),
            access_log,
            draining: CancellationToken::new(),
            leaving: CancellationToken::new(),
            ending: CancellationToken::new(),
            connections: TaskTracker::new(),
        });
        let count = match options.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            count => count,
        };
        let workers = (0..count)
            .map(|number| Running::start(number, &shared))
            .collect::<Result<_, _>>()
            .map_err(Error::Threads)?;
        let (checker, changes) = Checker::new();
        let mut control = Self {
            options,
            configuration: Configuration::default(),
            shared,
            checker,
            balancers: BTreeMap::new(),
            listeners: BTreeMap::new(),
            groups: BTreeMap::new(),
            group_paths: HashMap::new(),
            targets: BTreeMap::new(),
            draining: BTreeSet::new(),
            pending: Report::default(),
            statuses: BTreeMap::new(),
            sockets: Sockets::default(),
            workers,
            directory,
            changes,
            persist_at: None,
            retry_at: None,
            keep_at: None,
            disinherit_at: None,
            counted: BTreeMap::new(),
            count_at: Instant::now() + COUNT_INTERVAL,
        };
        let complete = Update { complete: true, ..Update::default() };
        let path = control.options.directory.clone();
        let mut keeper = Keeper::new(control.options.keeper.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let predecessor = handover::ask(&path);
            let kept = keeper.ask();
            (predecessor, keeper, kept)
        })
        .await;
        // What the predecessor was told last is on disk once it has answered.
        let before = std::mem::take(&mut control.configuration);
        control.configuration = control.directory.configuration();
        let mut predecessor = None;
        if let Ok((handed_over, keeper, kept)) = asked {
            predecessor = handed_over.map(|(inherited, stream)| {
                control.sockets.inherit(inherited);
                stream
            });
            control.sockets.keep_with(keeper, kept);
        }
        control.carry_out(&Touched::new(&complete, &before, &control.configuration));
        // What was asked for just before a kill isn't on disk: the server tells of it.
        control.disinherit_at = Some(Instant::now() + INHERITANCE);
        if let Some(predecessor) = predecessor {
            handover::accept(&predecessor);
        }
        Ok(control)
    }

    pub(super) async fn run(
        mut self,
        mut updates: mpsc::Receiver<Update>,
        reports: mpsc::Sender<Report>,
        shutdown: CancellationToken,
    ) {
        let (mut told, mut listened_to) = (true, true);
        let successors = self.successors();
        let mut succeeded = false;
        loop {
            let wake = self.next_wake();
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(successor) = next(successors.as_ref()) => {
                    succeeded = self.hand_over(successor).await;
                    if succeeded {
                        break;
                    }
                }
                update = updates.recv(), if told => match update {
                    Some(update) => self.take(&update),
                    None => told = false,
                },
                Some(change) = self.changes.recv() => self.take_changes(change),
                permit = reports.reserve(), if listened_to && self.has_news() => match permit {
                    Ok(permit) => permit.send(self.report()),
                    Err(_) => listened_to = false,
                },
                () = tokio::time::sleep_until(wake) => self.tick().await,
            }
        }
        let grace = if succeeded { SUCCESSION_GRACE } else { SHUTDOWN_GRACE };
        if succeeded {
            self.shared.leaving.cancel();
        } else {
            self.shared.draining.cancel();
            self.shared.ending.cancel();
        }
        tokio::select! {
            () = self.stop(grace) => {}
            // Told to end while it waits for the last connections of before.
            () = shutdown.cancelled(), if succeeded => {}
        }
    }

    /// Where a successor asks for the sockets.
    fn successors(&self) -> Option<tokio::net::UnixListener> {
        let listener = handover::listen(&self.options.directory)
            .and_then(tokio::net::UnixListener::from_std)
            .inspect_err(|error| tracing::warn!(%error, "no successor can take the sockets over"));
        listener.ok()
    }

    /// Hands the sockets over; whether the successor has them.
    async fn hand_over(&mut self, successor: tokio::net::UnixStream) -> bool {
        // What is on disk is the successor's from here on.
        if self.persist_at.is_some() {
            self.persist().await;
        }
        let given = match (successor.into_std(), self.sockets.bequeath()) {
            (Ok(stream), Ok(sockets)) => {
                let give = move || handover::give(&stream, &sockets);
                tokio::task::spawn_blocking(give).await.unwrap_or(Ok(false))
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        match given {
            Ok(given) => given,
            Err(error) => {
                tracing::warn!(%error, "the sockets can't be handed over");
                false
            }
        }
    }

    async fn stop(mut self, grace: Duration) {
        self.sockets.close();
        self.shared.connections.close();
        if self.persist_at.is_some() {
            self.persist().await;
        }
        for target in self.targets.values() {
            if let Some(check) = &target.check {
                check.cancel();
            }
        }
        let ended = tokio::time::timeout(grace, self.shared.connections.wait()).await;
        if ended.is_err() {
            let left = self.shared.connections.len();
            tracing::warn!(left, "connections were cut off at the end");
        }
        if let Some(log) = &self.shared.access_log {
            log.close();
        }
    }

    fn take(&mut self, update: &Update) {
        let before =
            if update.complete { self.configuration.clone() } else { Configuration::default() };
        self.configuration.apply(update);
        let touched = Touched::new(update, &before, &self.configuration);
        self.carry_out(&touched);
        self.pending.revision = self.configuration.revision;
        if update.complete {
            self.pending = self.everything();
            self.disinherit_at = Some(Instant::now());
        }
        self.persist_at.get_or_insert_with(|| Instant::now() + PERSIST_DELAY);
    }

    fn everything(&self) -> Report {
        let targets = self.targets.iter();
        Report {
            revision: self.configuration.revision,
            complete: true,
            health: targets.clone().map(|(key, t)| (key.clone(), t.health.clone())).collect(),
            drained: targets.filter(|(_, t)| t.drained).map(|(key, _)| key.clone()).collect(),
            listeners: self.statuses.values().cloned().collect(),
            meters: self.options.metrics.read().into_iter().collect(),
        }
    }

    fn has_news(&self) -> bool {
        let pending = &self.pending;
        pending.complete
            || pending.revision != 0
            || !pending.health.is_empty()
            || !pending.drained.is_empty()
            || !pending.listeners.is_empty()
            || !pending.meters.is_empty()
    }

    fn report(&mut self) -> Report {
        let mut report = std::mem::take(&mut self.pending);
        report.revision = self.configuration.revision;
        // Of what changed more than once the last word counts.
        let mut last: BTreeMap<TargetKey, _> = BTreeMap::new();
        last.extend(std::mem::take(&mut report.health));
        report.health = last.into_iter().collect();
        let counted: BTreeMap<_, _> = std::mem::take(&mut report.meters).into_iter().collect();
        report.meters = counted.into_iter().collect();
        report
    }

    fn take_changes(&mut self, first: Change) {
        let mut dirty = BTreeSet::new();
        let mut next = Some(first);
        while let Some(change) = next {
            if let Some(entry) = self.targets.get_mut(&change.target.key)
                && entry.state.serial == change.serial
                && entry.check.is_some()
            {
                entry.checked = change.health;
                dirty.extend(self.group_paths.get(&change.target.key.target_group).cloned());
            }
            next = self.changes.try_recv().ok();
        }
        for path in dirty {
            self.rebuild_group(&path);
        }
    }

    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let drain = (!self.draining.is_empty()).then(|| now + DRAIN_POLL);
        // Who has nothing to count sleeps on.
        let count = (!self.balancers.is_empty()).then_some(self.count_at);
        let others =
            [self.persist_at, self.retry_at, self.keep_at, self.disinherit_at, drain, count];
        others.into_iter().flatten().fold(now + LONGEST_SLEEP, Instant::min)
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        let drained = |key: &TargetKey| {
            self.targets.get(key).is_none_or(|target| target.state.in_flight() == 0)
        };
        let ended: Vec<TargetKey> = self.draining.iter().filter(|k| drained(k)).cloned().collect();
        for key in ended {
            self.draining.remove(&key);
            if let Some(target) = self.targets.get_mut(&key) {
                target.drained = true;
                self.pending.drained.push(key);
            }
        }
        if self.persist_at.is_some_and(|at| at <= now) {
            self.persist().await;
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.settle_sockets(None);
        }
        if self.disinherit_at.is_some_and(|at| at <= now) {
            self.disinherit_at = None;
            self.sockets.disinherit();
        }
        if self.keep_at.is_some_and(|at| at <= now) {
            self.sockets.keep_all();
            self.keep_at = None;
        }
        if self.disinherit_at.is_none() && self.sockets.is_unkept() {
            self.keep_at.get_or_insert(now + BIND_RETRY);
        }
        if self.count_at <= now {
            self.count_at = now + COUNT_INTERVAL;
            self.tell_counts();
        }
    }

    /// Tells what was counted, of those where that changed.
    fn tell_counts(&mut self) {
        let now = self.options.metrics.read();
        let changed = now.iter().filter(|(key, meter)| self.counted.get(key) != Some(*meter));
        self.pending.meters.extend(changed.map(|(key, meter)| (key.clone(), meter.clone())));
        self.counted = now;
    }

    async fn persist(&mut self) {
        self.persist_at = None;
        let (directory, configuration) = (self.directory.clone(), self.configuration.clone());
        let written = tokio::task::spawn_blocking(move || directory.write(&configuration)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "the configuration can't be written down");
        }
    }

    /// Listens where the configuration says, on some ports or on all of them: what changes concerns
    /// few ports, and there may be many.
    pub(super) fn settle_sockets(&mut self, ports: Option<&BTreeSet<u16>>) {
        let concerns = |port: u16| ports.is_none_or(|ports| ports.contains(&port));
        let plan = self.plan(concerns);
        for (address, cells) in &plan.fronts {
            let lone = Some(address.ip()) == self.options.public_address;
            let front = Front::new(cells.iter().cloned(), lone);
            match self.sockets.front(*address) {
                Some(cell) => cell.store(front),
                None => self.sockets.set_front(*address, FrontCell::new(front)),
            }
        }
        self.sockets
            .keep_fronts(|address| !concerns(address.port()) || plan.fronts.contains_key(address));
        let mut wanted = plan.own;
        for address in plan.fronts.keys() {
            if let Some(front) = self.sockets.front(*address) {
                let answerer = Answerer::Http(Endpoint::Shared(Arc::clone(front)));
                wanted.insert(Place { address: *address, udp: false }, answerer);
            }
        }
        self.sockets.settle(&wanted, concerns, &self.workers);
        self.retry_at = self.sockets.any_failed().then(|| Instant::now() + BIND_RETRY);
        self.tell_statuses(&plan.places);
    }

    fn tell_statuses(&mut self, places: &BTreeMap<String, Vec<Place>>) {
        self.statuses.retain(|listener, _| self.listeners.contains_key(listener));
        for (listener, places) in places {
            let mut status = ListenerStatus { listener: listener.clone(), ..Default::default() };
            for place in places {
                if self.sockets.is_open(place) {
                    status.bound.push(place.address);
                } else if let Some(why) = self.sockets.failure(place) {
                    status.failed.push((place.address, why.to_owned()));
                }
            }
            status.bound.dedup();
            if self.statuses.get(listener) != Some(&status) {
                self.pending.listeners.retain(|other| other.listener != *listener);
                self.pending.listeners.push(status.clone());
            }
            self.statuses.insert(listener.clone(), status);
        }
    }

    fn plan(&self, concerns: impl Fn(u16) -> bool) -> Plan {
        let mut plan = Plan::default();
        for balancer in self.configuration.load_balancers.values() {
            for (path, record) in behind(&self.configuration.listeners, &balancer.path()) {
                if !concerns(record.port) {
                    continue;
                }
                if let Some(entry) = self.listeners.get(path) {
                    plan.add(&self.options, balancer, path, record, &entry.cell);
                }
            }
        }
        plan
    }
}

/// The next successor; never, if none can come.
async fn next(successors: Option<&tokio::net::UnixListener>) -> Option<tokio::net::UnixStream> {
    match successors {
        Some(listener) => listener.accept().await.ok().map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// Where should be listened.
#[derive(Default)]
struct Plan {
    own: BTreeMap<Place, Answerer>,
    fronts: BTreeMap<SocketAddr, Vec<Arc<ListenerCell>>>,
    /// The places of each listener.
    places: BTreeMap<String, Vec<Place>>,
}

impl Plan {
    fn add(
        &mut self,
        options: &Options,
        balancer: &LoadBalancer,
        path: &str,
        record: &Listener,
        cell: &Arc<ListenerCell>,
    ) {
        let public = options
            .public_address
            .filter(|_| balancer.scheme == wharf_model::load_balancing::Scheme::InternetFacing);
        let own = [Some(balancer.host_address), balancer.task_address];
        let own = own.into_iter().flatten().map(IpAddr::V4);
        let at = |ip, udp| Place { address: SocketAddr::new(ip, record.port), udp };
        let mut places = Vec::new();
        if record.protocol.is_http() {
            for ip in own {
                places.push(at(ip, false));
                self.own.insert(at(ip, false), Answerer::Http(Endpoint::Own(Arc::clone(cell))));
            }
            for ip in options.shared_addresses.iter().copied().chain(public) {
                places.push(at(ip, false));
                self.fronts.entry(at(ip, false).address).or_default().push(Arc::clone(cell));
            }
        } else {
            let tcp = record.protocol != Protocol::Udp;
            let udp = matches!(record.protocol, Protocol::Udp | Protocol::TcpUdp);
            for ip in own.chain(public) {
                if tcp {
                    places.push(at(ip, false));
                    let answerer = Answerer::Flows(Arc::clone(cell));
                    self.own.entry(at(ip, false)).or_insert(answerer);
                }
                if udp {
                    places.push(at(ip, true));
                    let answerer = Answerer::Datagrams(Arc::clone(cell));
                    self.own.entry(at(ip, true)).or_insert(answerer);
                }
            }
        }
        self.places.insert(path.to_owned(), places);
    }
}
