//! What a task is given that its definition only names: parameters and secrets, and files of
//! environment variables.
//!
//! The values are fetched when the task starts, before anything of it is made, and stay in the
//! agent's memory until its sandbox is removed; the containers' shim has them after that. An agent
//! that is started in between fetches again. Nothing here is written to a disk.

mod env_file;
mod fetch;
mod object_store;
mod registry;
mod wording;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Semaphore;
use wharf_runtime::SandboxId;

use crate::api::{EcsClient, Error};
use crate::engine::Failure;
use crate::options::AgentOptions;
use crate::roles::ExecutionRoles;
use crate::task::{Container, LogConfig, Secret, Task, VolumeSource};
use crate::tasks::locked;
use object_store::ObjectStore;

/// Reads objects from the operator's store for whoever isn't a task.
pub struct ObjectReader(ObjectStore);

impl ObjectReader {
    /// A reader of the store that the options name; requests are signed for `region`.
    ///
    /// # Errors
    /// If its endpoint is no URL.
    pub fn new(options: &crate::options::ObjectStore, region: &str) -> Result<Self, Error> {
        ObjectStore::new(options, region).map(Self)
    }

    /// An object's content.
    ///
    /// # Errors
    /// In words, such as S3's code and message.
    pub async fn read(&self, bucket: &str, key: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.get(bucket, key).await?.to_vec())
    }
}

/// At most this many requests for values are on their way at once.
const PARALLEL: usize = 10;

/// The values of one task.
#[derive(Default)]
pub(crate) struct Values {
    /// By `valueFrom`.
    by_reference: BTreeMap<String, Secret>,
    /// The variables of each container's files, by the container's name.
    by_container: BTreeMap<String, Vec<(String, Secret)>>,
    /// What a log router's own configuration says, where it lies in the object store.
    pub(crate) router_config: Option<Bytes>,
}

impl Values {
    /// The value that a `valueFrom` names. All that a task names was fetched.
    pub(crate) fn of(&self, value_from: &str) -> Option<&Secret> {
        self.by_reference.get(value_from)
    }

    /// The container's variables beside those of its definition, as `NAME=value`. Variables of files
    /// give way to those of the definition, and secrets to none.
    pub(crate) fn environment(&self, container: &Container) -> Vec<Secret> {
        let mut all: Vec<(&str, &Secret)> = Vec::new();
        for (name, value) in self.by_container.get(&container.name).into_iter().flatten() {
            if !container.environment.contains_key(name) {
                all.push((name, value));
            }
        }
        let secrets = container.secrets.iter();
        for (name, value) in secrets.filter_map(|(name, from)| Some((name, self.of(from)?))) {
            all.retain(|(known, _)| known != name);
            all.push((name, value));
        }
        all.iter().map(|(name, value)| Secret::new(format!("{name}={}", value.expose()))).collect()
    }

    /// The container, with the options of its log that come from secrets.
    pub(crate) fn with_log(&self, container: &Container) -> Container {
        Container { log: self.log(container), ..container.clone() }
    }

    /// The container's log settings with the options that come from secrets.
    pub(crate) fn log(&self, container: &Container) -> LogConfig {
        let mut log = container.log.clone();
        for (option, from) in &container.log_secrets {
            if let Some(value) = self.of(from) {
                log.options.insert(option.clone(), value.expose().to_owned());
            }
        }
        log
    }
}

struct Inner {
    roles: ExecutionRoles,
    objects: Option<ObjectStore>,
    permits: Semaphore,
    values: Mutex<BTreeMap<SandboxId, Arc<Values>>>,
}

/// The values of all tasks. Clones share everything.
#[derive(Clone)]
pub(crate) struct Secrets {
    inner: Arc<Inner>,
}

impl Secrets {
    /// Fetches in the name of tasks' roles, and files from the store that the options name.
    pub(crate) fn new(options: &AgentOptions, roles: ExecutionRoles) -> Result<Self, Error> {
        let objects = options.object_store.as_ref();
        let objects = objects.map(|store| ObjectStore::new(store, &options.region)).transpose()?;
        let (permits, values) = (Semaphore::new(PARALLEL), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { roles, objects, permits, values }) })
    }

    /// The task's values: those that were fetched, or else fetched now.
    pub(crate) async fn of(&self, task: &Task) -> Result<Arc<Values>, Failure> {
        if let Some(values) = locked(&self.inner.values).get(&task.id) {
            return Ok(values.clone());
        }
        let values = Arc::new(self.fetch(task).await?);
        // Of two that fetch at the same time, all containers get what the first one got.
        let mut known = locked(&self.inner.values);
        Ok(known.entry(task.id.clone()).or_insert(values).clone())
    }

    /// The client that fetches for a task: in the name of its execution role alone.
    async fn client_of(&self, task: &Task) -> Result<EcsClient, Failure> {
        let client = self.inner.roles.client(task).await?;
        client.ok_or_else(|| {
            let text = "unable to find execution role credentials";
            Failure::new("ResourceInitializationError", text)
        })
    }

    /// Drops a task's values.
    pub(crate) fn forget(&self, id: &SandboxId) {
        locked(&self.inner.values).remove(id);
    }
}

/// Everything that the task's containers name, each once.
fn references(task: &Task) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for container in &task.containers {
        let variables = container.secrets.iter().chain(&container.log_secrets);
        all.extend(variables.map(|(_, from)| from.as_str()));
        for mount in &container.mounts {
            if let VolumeSource::Secrets { files, .. } = &mount.source {
                all.extend(files.values().map(String::as_str));
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::fixtures::container;

    #[test]
    fn the_definition_beats_files_and_secrets_beat_all() {
        let mut app = container("app");
        app.environment.insert("A".to_owned(), "definition".to_owned());
        app.secrets = vec![("C".to_owned(), "/c".to_owned())];
        let pair = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
        let values = Values {
            router_config: None,
            by_reference: BTreeMap::from([pair("/c", "secret")]),
            by_container: BTreeMap::from([(
                "app".to_owned(),
                vec![pair("A", "file"), pair("B", "file"), pair("C", "file")],
            )]),
        };
        let environment = values.environment(&app);
        let shown: Vec<&str> = environment.iter().map(Secret::expose).collect();
        assert_eq!(shown, ["B=file", "C=secret"]);
    }
}
