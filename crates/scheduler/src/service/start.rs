//! Starting tasks: of the primary deployment, and in place of lost ones of older deployments.

use super::MAX_STARTED;
use super::event::{SEE, task_list};
use super::reconcile::{Census, Step};
use crate::placement::PlacementReport;
use crate::task::{self, LaunchPlan, LaunchRequest, Target};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wharf_model::task::TaskOverride;
use wharf_model::task_definition::LaunchType;
use wharf_model::{Deployment, LaunchSettings, Tag, Task, TaskDefinition};

/// How soon a placement that failed is tried again even if nothing is seen to change.
const RETRY_PLACEMENT: Duration = Duration::from_secs(15);

impl Step<'_> {
    /// Starts what is missing and allowed, of one deployment a step: two placements of one step
    /// would not see each other. Returns how many.
    pub(super) fn start(&mut self, census: &Census) -> usize {
        let missing = self.missing(census);
        if missing.is_empty() {
            self.resolved("unplaceable");
        }
        let room = self.maximum().saturating_sub(census.live).min(MAX_STARTED);
        for (deployment, count) in missing {
            let count = count.min(room);
            if let Some(at) = deployment.next_launch_at.filter(|at| *at > self.now) {
                self.wake(at);
                continue;
            }
            let started = if count > 0 { self.start_of(&deployment, count) } else { 0 };
            if started > 0 {
                return started;
            }
        }
        0
    }

    fn start_of(&mut self, deployment: &Deployment, count: usize) -> usize {
        let Some(definition) = self.snapshot.task_definition(&deployment.task_definition) else {
            let text = "was unable to place a task. Reason: the task definition doesn't exist.";
            self.tell_once("unplaceable:definition", text);
            return 0;
        };
        match self.launch(deployment, definition, count) {
            Ok(plan) => self.started(plan, count),
            Err(error) => {
                let text = format!("was unable to place a task. Reason: {error}");
                self.tell_once("unplaceable:request", &text);
                0
            }
        }
    }

    fn launch(
        &self,
        deployment: &Deployment,
        definition: &TaskDefinition,
        count: usize,
    ) -> Result<LaunchPlan, task::LaunchError> {
        let service = &self.service;
        let tags = self.task_tags(definition);
        let settings = LaunchSettings::of(self.snapshot, service, deployment);
        let strategy = settings.capacity_provider_strategy;
        // All capacity providers there are so far are FARGATE's.
        let default = if strategy.is_empty() { LaunchType::Ec2 } else { LaunchType::Fargate };
        let providers = task::capacity_providers(strategy, self.by_provider(deployment), count);
        let request = LaunchRequest {
            cluster: &service.cluster,
            task_definition: definition,
            overrides: &TaskOverride::default(),
            target: Target::Placed {
                count,
                constraints: &service.placement_constraints,
                strategy: &service.placement_strategy,
            },
            group: None,
            started_by: Some(&deployment.id),
            service: Some(&service.name),
            launch_type: settings.launch_type.unwrap_or(default),
            capacity_providers: &providers,
            platform_version: settings.platform_version.filter(|v| *v != "LATEST"),
            network: settings.network_configuration,
            vpc: self.vpc,
            tags: &tags,
            enable_execute_command: service.enable_execute_command,
        };
        task::launch(self.snapshot, self.connectivity, &request, self.now, self.seed)
    }

    /// The deployment's tasks by capacity provider.
    fn by_provider(&self, deployment: &Deployment) -> BTreeMap<String, i64> {
        let mut tasks = BTreeMap::new();
        let of_it = |t: &&Arc<Task>| t.started_by.as_ref() == Some(&deployment.id) && t.is_wanted();
        for provider in self.live.iter().filter(of_it).filter_map(|t| t.capacity_provider.clone()) {
            *tasks.entry(provider).or_default() += 1;
        }
        tasks
    }

    /// What propagateTags and enableECSManagedTags ask for.
    fn task_tags(&self, definition: &TaskDefinition) -> Vec<Tag> {
        let service = &self.service;
        let mut tags = match service.propagate_tags.as_str() {
            "TASK_DEFINITION" => definition.tags.clone(),
            "SERVICE" => service.tags.clone(),
            _ => Vec::new(),
        };
        if service.enable_ecs_managed_tags {
            tags.extend(task::managed_tags(&service.cluster, Some(&service.name)));
        }
        tags
    }

    /// Takes a launch over into the step.
    fn started(&mut self, plan: LaunchPlan, wanted: usize) -> usize {
        let count = plan.tasks.len();
        self.transaction.extend(plan.transaction);
        if count > 0 {
            let list = task_list(plan.tasks.iter().map(|t| &t.id));
            self.tell(&format!("has started {count} tasks: {list}."));
            self.resolved("steady");
            self.resolved("blocked");
        }
        if count == wanted {
            self.resolved("unplaceable");
        } else {
            self.unplaceable(&plan.report, plan.failures.first().map(|f| f.reason.as_str()));
        }
        self.reports.push(plan.report);
        count
    }

    fn unplaceable(&mut self, report: &PlacementReport, failure: Option<&str>) {
        let closest = report.closest().and_then(|h| h.verdict.failure_reason());
        let reason = closest.map(|r| r.as_str()).or(failure).unwrap_or_default();
        let text = match failure {
            // Hosts had room, the subnets had not.
            Some("RESOURCE:IP") => "Reason: RESOURCE:IP".to_owned(),
            _ => report.event_text(),
        };
        let text = format!(
            "was unable to place a task because no container instance met all of its \
             requirements. {text} {SEE}"
        );
        self.tell_once(&format!("unplaceable:{reason}"), &text);
        self.wake(self.now.plus(RETRY_PLACEMENT));
    }
}
