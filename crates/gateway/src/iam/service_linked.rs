//! Roles that AWS services make for themselves.

use super::{changed, error, validation, view};
use crate::context::{Context, Outcome, Result as OperationResult};
use wharf_model::Timestamp;
use wharf_model::iam::{self, DEFAULT_SESSION_SECONDS, Role};
use wharf_wire::iam::{ErrorCode, types};

/// Services that are known to have such a role, its name, and the policy on it.
const SERVICES: &[(&str, &str, &str)] = &[
    (ECS, "AWSServiceRoleForECS", "AmazonECSServiceRolePolicy"),
    (
        "ecs.application-autoscaling.amazonaws.com",
        "AWSServiceRoleForApplicationAutoScaling_ECSService",
        "AWSApplicationAutoscalingECSServicePolicy",
    ),
    (
        "elasticloadbalancing.amazonaws.com",
        "AWSServiceRoleForElasticLoadBalancing",
        "AWSElasticLoadBalancingServiceRolePolicy",
    ),
    ("autoscaling.amazonaws.com", "AWSServiceRoleForAutoScaling", "AutoScalingServiceRolePolicy"),
    ("spot.amazonaws.com", "AWSServiceRoleForEC2Spot", "AWSEC2SpotServiceRolePolicy"),
];

/// ECS's own name as a service.
pub(super) const ECS: &str = "ecs.amazonaws.com";

/// The service's role as it is made.
pub(super) fn role(service: &str, id: String, now: Timestamp) -> Option<Role> {
    let (_, name, policy) = SERVICES.iter().find(|(known, ..)| *known == service)?;
    Some(Role {
        name: (*name).to_owned(),
        path: format!("/aws-service-role/{service}/"),
        id,
        created_at: now,
        trust_policy: format!(
            "{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\",\"Principal\":\
             {{\"Service\":\"{service}\"}},\"Action\":\"sts:AssumeRole\"}}]}}"
        ),
        description: None,
        max_session_seconds: DEFAULT_SESSION_SECONDS,
        inline: Default::default(),
        attached: vec![format!("arn:aws:iam::aws:policy/aws-service-role/{policy}")],
        instance_profiles: Vec::new(),
        tags: Vec::new(),
    })
}

pub(super) fn create(
    context: &Context<'_>,
    input: &types::CreateServiceLinkedRoleRequest,
) -> OperationResult<types::CreateServiceLinkedRoleResponse> {
    if input.custom_suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
        return Err(error(
            ErrorCode::InvalidInputException,
            "Custom suffix is not allowed for this service.",
        ));
    }
    let service = input.aws_service_name.as_deref().unwrap_or_default();
    let Some(mut role) = role(service, context.ids().iam_id("AROA"), context.now) else {
        return Err(validation(format!(
            "The service '{service}' has no service-linked role on this server."
        )));
    };
    role.description = input.description.clone().filter(|text| !text.is_empty());
    if context.snapshot.role(&iam::key(&role.name)).is_some() {
        return Err(error(
            ErrorCode::InvalidInputException,
            format!(
                "Service role name {} has been taken in this account, please try a different \
                 suffix.",
                role.name
            ),
        ));
    }
    let output =
        types::CreateServiceLinkedRoleResponse { role: Some(view::listed_role(context, &role)) };
    Ok(Outcome::write(output, changed(context, role)))
}
