//! The reasons that a task stops for when something can't be fetched.
//!
//! Their texts are those of Amazon's agent, which differ: on FARGATE everything that fails before
//! the containers are made is a ResourceInitializationError; on EC2 the resource says what it did.

use crate::engine::Failure;
use crate::task::Task;

/// How a task is told what went wrong.
pub(super) struct Wording {
    fargate: bool,
    region: String,
}

/// What stands before all reasons of FARGATE.
const FARGATE: &str =
    "unable to pull secrets or registry auth: execution resource retrieval failed";

impl Wording {
    pub(super) fn of(task: &Task) -> Self {
        let region = task.arn.split(':').nth(3).unwrap_or_default().to_owned();
        Self { fargate: task.launch_type.as_deref() == Some("FARGATE"), region }
    }

    fn fargate(text: impl std::fmt::Display) -> Failure {
        Failure::new("ResourceInitializationError", format!("{FARGATE}: {text}"))
    }

    /// On EC2 the reason has no name before it.
    fn plain(text: impl ToString) -> Failure {
        Failure::new("", text)
    }

    pub(super) fn told(&self, text: String) -> Failure {
        if self.fargate { Self::fargate(text) } else { Self::plain(text) }
    }

    pub(super) fn reference(&self, text: &str, error: &dyn std::fmt::Display) -> Failure {
        self.told(format!("trying to retrieve secret with value {text} resulted in error: {error}"))
    }

    pub(super) fn parameters(&self, why: &str) -> Failure {
        match self.fargate {
            true => Self::fargate(format!(
                "unable to retrieve secrets from ssm: service call has been retried 1 time(s): {why}"
            )),
            false => Self::plain(format!(
                "Fetching secret data from SSM Parameter Store in {}: {why}",
                self.region
            )),
        }
    }

    pub(super) fn invalid_parameters(&self, names: &[String]) -> Failure {
        let what = if self.fargate { "invalid ssm parameters" } else { "invalid parameters" };
        self.parameters(&format!("{what}: {}", names.join(",")))
    }

    pub(super) fn secret(&self, id: &str, why: &str) -> Failure {
        match self.fargate {
            true => Self::fargate(format!(
                "unable to retrieve secret from asm: service call has been retried 1 time(s): \
                 failed to fetch secret {id} from secrets manager: {why}"
            )),
            false => Self::plain(format!(
                "Fetching secret data from AWS Secrets Manager in region {}: secret {id}: {why}",
                self.region
            )),
        }
    }

    /// Of the credentials for a registry.
    pub(super) fn registry(&self, text: String) -> Failure {
        match self.fargate {
            true => Self::fargate(format!(
                "unable to get registry auth from asm: service call has been retried 1 time(s): \
                 {text}"
            )),
            false => Self::plain(text),
        }
    }

    pub(super) fn file(&self, bucket: &str, key: &str, why: &str) -> Failure {
        match self.fargate {
            true => Failure::new(
                "ResourceInitializationError",
                format!(
                    "failed to download env files: file download command: non empty error stream: \
                     service call has been retried 1 time(s): {why}"
                ),
            ),
            false => Self::plain(format!(
                "unable to download env file with key {key} from bucket {bucket}, error: {why}"
            )),
        }
    }
}
