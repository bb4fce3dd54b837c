//! One task's worker: feeds the engine, keeps it on disk, carries out what it asks for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use wharf_image::Image;

use super::effects::{Host, now_ms};
use super::{Reporter, health, locked};
use crate::engine::state::Desired;
use crate::engine::{Effect, Health, Input, Machine, Output, TaskStateChange, TaskStatus};
use crate::store::Store;
use crate::task::{HealthCheck, Task};

/// How often saving is tried before the worker goes on without.
const SAVE_ATTEMPTS: u32 = 5;
const SAVE_AGAIN: Duration = Duration::from_millis(200);

/// The health checks that run, by their containers' places.
type Watches = BTreeMap<usize, AbortHandle>;

/// An input with whoever waits until it is taken and on disk.
pub(super) struct Command {
    pub(super) input: Input,
    pub(super) done: Option<oneshot::Sender<()>>,
}

impl From<Input> for Command {
    fn from(input: Input) -> Self {
        Self { input, done: None }
    }
}

pub(super) struct Worker {
    pub(super) host: Host,
    pub(super) store: Store,
    pub(super) reporter: Reporter,
    pub(super) health_changed: Arc<Notify>,
    pub(super) task: Arc<Task>,
    pub(super) machine: Arc<Mutex<Machine>>,
    pub(super) sender: mpsc::UnboundedSender<Command>,
    pub(super) inbox: mpsc::UnboundedReceiver<Command>,
}

impl Worker {
    /// Works until nothing is left to do or to tell. Dropping the future leaves the containers as
    /// they are.
    pub(super) async fn run(mut self, first: Output) {
        let mut jobs = JoinSet::new();
        let reports = self.report_in_order(&mut jobs);
        let images_of = Arc::new(Mutex::new(BTreeMap::new()));
        let mut watches = Watches::new();
        self.carry_out(first, &mut jobs, &reports, &images_of).await;
        loop {
            self.watch_health(&mut watches, &mut jobs);
            let deadline = {
                let machine = locked(&self.machine);
                if machine.is_finished() {
                    break;
                }
                machine.deadline(now_ms())
            };
            let wait = deadline.map(|at| Duration::from_millis(at.saturating_sub(now_ms())));
            let command = tokio::select! {
                Some(command) = self.inbox.recv() => command,
                () = sleep(wait) => Input::Tick.into(),
                Some(_) = jobs.join_next(), if !jobs.is_empty() => continue,
            };
            let health = matches!(command.input, Input::Health { .. });
            let output = locked(&self.machine).handle(command.input, now_ms());
            if health {
                self.health_changed.notify_one();
            }
            self.carry_out(output, &mut jobs, &reports, &images_of).await;
            if let Some(done) = command.done {
                // Whoever waited may be gone.
                let _ = done.send(());
            }
        }
    }

    async fn carry_out(
        &self,
        output: Output,
        jobs: &mut JoinSet<()>,
        reports: &mpsc::UnboundedSender<TaskStateChange>,
        images: &Arc<Mutex<BTreeMap<usize, Image>>>,
    ) {
        if output.save {
            self.save().await;
        }
        for effect in output.effects {
            if let Effect::Report(change) = effect {
                // The receiver lives as long as this worker's jobs.
                let _ = reports.send(change);
                continue;
            }
            let (host, task, sender) = (self.host.clone(), self.task.clone(), self.sender.clone());
            let images = images.clone();
            jobs.spawn(async move {
                if let Some(input) = perform(&host, &task, effect, &images).await {
                    let _ = sender.send(input.into());
                }
            });
        }
    }

    async fn save(&self) {
        for attempt in 1..=SAVE_ATTEMPTS {
            let (store, machine) = (self.store.clone(), locked(&self.machine).clone());
            let saved = tokio::task::spawn_blocking(move || store.save_task(&machine)).await;
            match saved {
                Ok(Ok(())) => return,
                Ok(Err(error)) => {
                    tracing::error!(task = %self.task.arn, %error, attempt, "could not save");
                }
                Err(error) => tracing::error!(task = %self.task.arn, %error, "could not save"),
            }
            tokio::time::sleep(SAVE_AGAIN).await;
        }
    }

    /// Reports go out one at a time, in order.
    fn report_in_order(&self, jobs: &mut JoinSet<()>) -> mpsc::UnboundedSender<TaskStateChange> {
        let (sender, mut receiver) = mpsc::unbounded_channel::<TaskStateChange>();
        let (reporter, answers) = (self.reporter.clone(), self.sender.clone());
        let (shipping, task) = (self.host.shipping.clone(), self.task.clone());
        jobs.spawn(async move {
            while let Some(change) = receiver.recv().await {
                if change.status == Some(TaskStatus::Stopped) {
                    shipping.drained(&task).await;
                }
                reporter.submit(&change).await;
                if answers.send(Input::Reported.into()).is_err() {
                    return;
                }
            }
        });
        sender
    }

    /// Has a health check run for every container that is up, and for no other: one that is
    /// started again begins anew, and one that shall stop isn't asked any more.
    fn watch_health(&self, watches: &mut Watches, jobs: &mut JoinSet<()>) {
        let machine = locked(&self.machine);
        let wanted = machine.state.desired == Desired::Running;
        for (index, (container, state)) in machine.containers().enumerate() {
            let Some(check) = &container.health_check else { continue };
            if !(wanted && state.is_up()) {
                if let Some(watch) = watches.remove(&index) {
                    watch.abort();
                }
            } else if let Entry::Vacant(place) = watches.entry(index) {
                let since = state.restarts.last_at_ms.or(state.started_at_ms).unwrap_or_default();
                let running = Duration::from_millis(now_ms().saturating_sub(since));
                let known = (state.health, running);
                place.insert(self.spawn_watch(index, check.clone(), known, jobs));
            }
        }
    }

    fn spawn_watch(
        &self,
        index: usize,
        check: HealthCheck,
        known: (Health, Duration),
        jobs: &mut JoinSet<()>,
    ) -> AbortHandle {
        let (runtime, task, sender) =
            (self.host.runtime.clone(), self.task.clone(), self.sender.clone());
        jobs.spawn(async move {
            health::watch(&runtime, &task, index, &check, known, |verdict| {
                let health::Verdict { health, code, output } = verdict;
                sender.send(Input::Health { index, health, code, output }.into()).is_ok()
            })
            .await;
        })
    }
}

async fn perform(
    host: &Host,
    task: &Task,
    effect: Effect,
    images: &Mutex<BTreeMap<usize, Image>>,
) -> Option<Input> {
    Some(match effect {
        Effect::Pull(index) => {
            let (input, image) = host.pull(task, index).await;
            if let Some(image) = image {
                locked(images).insert(index, image);
            }
            input
        }
        Effect::CreateSandbox => host.create_sandbox(task).await,
        Effect::Create(index) => {
            let image = locked(images).remove(&index);
            host.create(task, index, image).await
        }
        Effect::Start(index) => host.start(task, index).await,
        Effect::Restart(index) => host.restart(task, index).await,
        Effect::Stop(index) => {
            host.stop(task, index).await;
            return None;
        }
        Effect::Kill(index) => {
            host.kill(task, index).await;
            return None;
        }
        Effect::RemoveSandbox => host.remove_sandbox(task).await,
        Effect::Report(_) => return None,
    })
}

/// Sleeps, or waits for ever.
async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
