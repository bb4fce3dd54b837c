//! Which resources a request of Elastic Load Balancing is about.

use super::Asked;
use super::resources::{Target, list, text};
use wharf_model::ArnScope;
use wharf_model::load_balancing::SERVICE;
use wharf_wire::Document;

/// Requests about something that is to be made are about its kind and name; its id is open.
pub(super) fn of(arns: &ArnScope, asked: Asked<'_>) -> Vec<Target> {
    let ArnScope { region, account } = arns;
    let input = asked.input;
    let new = |kind: &str| {
        let name = text(input, "Name").unwrap_or("*");
        vec![Target::one(format!("arn:aws:{SERVICE}:{region}:{account}:{kind}/{name}/*"))]
    };
    let arn = |member: &str| -> Vec<Target> {
        text(input, member).map(|arn| Target::one(arn.to_owned())).into_iter().collect()
    };
    match asked.operation {
        // These know no resources (Service Authorization Reference).
        operation if operation.starts_with("Describe") => Vec::new(),
        "CreateLoadBalancer" => match text(input, "Type") {
            Some("network") => new("loadbalancer/net"),
            _ => new("loadbalancer/app"),
        },
        "CreateTargetGroup" => new("targetgroup"),
        "CreateTrustStore" => new("truststore"),
        "AddTags" | "RemoveTags" => {
            list(input, "ResourceArns").into_iter().map(|arn| Target::one(arn.to_owned())).collect()
        }
        "SetRulePriorities" => rules(input),
        "CreateRule"
        | "ModifyListener"
        | "DeleteListener"
        | "ModifyListenerAttributes"
        | "AddListenerCertificates"
        | "RemoveListenerCertificates" => arn("ListenerArn"),
        "ModifyRule" | "DeleteRule" => arn("RuleArn"),
        "ModifyTargetGroup"
        | "DeleteTargetGroup"
        | "ModifyTargetGroupAttributes"
        | "RegisterTargets"
        | "DeregisterTargets" => arn("TargetGroupArn"),
        "ModifyTrustStore"
        | "DeleteTrustStore"
        | "AddTrustStoreRevocations"
        | "RemoveTrustStoreRevocations" => arn("TrustStoreArn"),
        _ => arn("LoadBalancerArn"),
    }
}

fn rules(input: &Document) -> Vec<Target> {
    let Some(Document::List(pairs)) = input.get("RulePriorities") else { return Vec::new() };
    let arns = pairs.iter().filter_map(|pair| text(pair, "RuleArn"));
    arns.map(|arn| Target::one(arn.to_owned())).collect()
}
