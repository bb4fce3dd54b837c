//! The CLI's own calls to the API: the same operations that every other client uses.

use crate::credentials::{self, Credentials};
use crate::data_dir::DataDir;
use crate::history;
use serde_json::Value;
use wharf_agent::api::EcsClient;
use wharf_agent::task::Secret;
use wharf_agent::{AgentCredentials, AgentOptions, OwnRegistry};
use wharf_image::PullOptions;
use wharf_runtime::Zygote;
use wharf_wire::ecs::{operation, types};
use wharf_wire::{OperationShape, json};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No key.
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    /// An option isn't valid.
    #[error(transparent)]
    Options(#[from] wharf_runtime::spec::Error),
    /// Nobody answers.
    #[error("no answer from {endpoint}; look with `wharf status`, and start it with `wharf up`")]
    NoAnswer {
        /// Who was asked.
        endpoint: String,
        /// What happened.
        #[source]
        source: wharf_agent::api::Error,
    },
    /// The call.
    #[error(transparent)]
    Api(#[from] wharf_agent::api::Error),
    /// Nothing fits what was asked for.
    #[error("{0}")]
    NotFound(String),
    /// A log can't be read.
    #[error("can't read the container's log")]
    Log(#[source] std::io::Error),
}

/// A client of this wharf's API with the root key, for one cluster.
pub struct Client {
    ecs: EcsClient,
    registry: OwnRegistry,
    endpoint: String,
    /// The cluster that the commands work in.
    pub cluster: String,
}

impl Client {
    /// A client with the key that belongs to the data directory or to the calling user.
    ///
    /// # Errors
    /// If no key is found.
    pub fn new(data_dir: &DataDir, cluster: &str) -> Result<Self, Error> {
        let key = Credentials::find(data_dir)?;
        let credentials = AgentCredentials {
            access_key_id: key.access_key_id,
            secret_access_key: Secret::new(key.secret_access_key),
            session_token: None,
        };
        let zygote = Zygote::this_program();
        let mut options =
            AgentOptions::new(key.endpoint.clone(), cluster, credentials, data_dir.path(), zygote)?;
        options.region = key.region;
        let ecs = EcsClient::new(&options)?;
        let registry = OwnRegistry::new(ecs.clone(), &options);
        Ok(Self { ecs, registry, endpoint: key.endpoint, cluster: cluster.to_owned() })
    }

    /// How an image of this wharf's own registry is pulled; none for all others.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn pull_options(&self, image: &str) -> Result<Option<PullOptions>, Error> {
        if image.contains(".dkr.ecr.") {
            self.registry.ask_account().await.map_err(|error| self.failed(error))?;
        }
        self.registry.options(image).await.map_err(Error::NotFound)
    }

    /// Calls an operation.
    ///
    /// # Errors
    /// What the server or the connection answers.
    pub async fn call<O: OperationShape>(&self, input: O::Input) -> Result<O::Output, Error> {
        self.ecs.call::<O>(input).await.map_err(|error| self.failed(error))
    }

    /// GETs a path of wharf's own; the answer's body.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn get(&self, what: &'static str, path: &str) -> Result<Vec<u8>, Error> {
        let body = self.ecs.get(what, path).await.map_err(|error| self.failed(error))?;
        Ok(body.to_vec())
    }

    /// POSTs to a path of wharf's own; the answer's body.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn post(&self, what: &'static str, path: &str) -> Result<Vec<u8>, Error> {
        let body = self.ecs.post(what, path).await.map_err(|error| self.failed(error))?;
        Ok(body.to_vec())
    }

    /// Calls an operation of ECR with an input in the API's JSON; so is the output.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn ecr<O: OperationShape>(&self, input: &Value) -> Result<Value, Error> {
        let input = json::from_slice(input.to_string().as_bytes());
        let input = input.map_err(|error| Error::NotFound(error.to_string()))?;
        let output = self.ecs.call_ecr::<O>(input).await.map_err(|error| self.failed(error))?;
        Ok(serde_json::from_slice(&json::to_vec(output)).unwrap_or_default())
    }

    fn failed(&self, error: wharf_agent::api::Error) -> Error {
        match error {
            wharf_agent::api::Error::Unreachable { .. } => {
                Error::NoAnswer { endpoint: self.endpoint.clone(), source: error }
            }
            other => other.into(),
        }
    }

    /// All tasks of the cluster with this desired status, by ARN.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn task_arns(
        &self,
        desired_status: types::DesiredStatus,
    ) -> Result<Vec<String>, Error> {
        let mut arns = Vec::new();
        let mut next_token = None;
        loop {
            let input = types::ListTasksRequest {
                cluster: Some(self.cluster.clone()),
                desired_status: Some(desired_status.clone()),
                next_token,
                ..types::ListTasksRequest::default()
            };
            let page = self.call::<operation::ListTasks>(input).await?;
            arns.extend(page.task_arns.unwrap_or_default());
            next_token = page.next_token.filter(|token| !token.is_empty());
            if next_token.is_none() {
                return Ok(arns);
            }
        }
    }

    /// Describes tasks, however many.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn describe(&self, arns: &[String]) -> Result<Vec<types::Task>, Error> {
        let mut tasks = Vec::new();
        for some in arns.chunks(100) {
            let input = types::DescribeTasksRequest {
                cluster: Some(self.cluster.clone()),
                tasks: Some(some.to_vec()),
                ..types::DescribeTasksRequest::default()
            };
            let answer = self.call::<operation::DescribeTasks>(input).await?;
            tasks.extend(answer.tasks.unwrap_or_default());
        }
        Ok(tasks)
    }

    /// The one task that `text` names: its ARN, its id, or the beginning of its id.
    ///
    /// # Errors
    /// If none or several fit.
    pub async fn find_task(&self, text: &str) -> Result<types::Task, Error> {
        let mut arns = self.task_arns(types::DesiredStatus::Running).await?;
        arns.extend(self.task_arns(types::DesiredStatus::Stopped).await?);
        arns.retain(|arn| arn == text || id_of(arn).starts_with(text));
        arns.sort();
        arns.dedup();
        if arns.is_empty() {
            // The API forgets stopped tasks after an hour, the history doesn't.
            let fits = |arn: &String| arn == text || id_of(arn).starts_with(text);
            let remembered = history::tasks(self).await?;
            let mut found: Vec<_> = remembered.into_iter().filter(|(arn, _)| fits(arn)).collect();
            if found.len() > 1 {
                let count = found.len();
                let message = format!("{text} fits {count} tasks; give more of the id");
                return Err(Error::NotFound(message));
            }
            if let Some((_, task)) = found.pop() {
                return Ok(task);
            }
        }
        let problem = match arns.as_slice() {
            [_] => None,
            [] => Some(format!(
                "no task in cluster {} is called {text}; `wharf ps --all` lists them",
                self.cluster
            )),
            several => Some(format!("{text} fits {} tasks; give more of the id", several.len())),
        };
        if let Some(problem) = problem {
            return Err(Error::NotFound(problem));
        }
        let task = self.describe(&arns).await?.into_iter().next();
        task.ok_or_else(|| Error::NotFound(format!("task {text} is gone")))
    }
}

/// The last part of an ARN.
pub fn id_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}
