//! `GET /wharf/v1/load-balancers`: load balancers as wharf's own command line lists them, with what
//! Elastic Load Balancing's API has no place for: on which addresses of this host they listen, and
//! where they can't, and what was counted of them.
//!
//! Not a part of the AWS API, but behind the same gate: signed for `ecs`, by the account's root or
//! whoever may describe load balancers. The answer is `{"loadBalancers": […]}`.

use super::answer::{Answer, answer};
use crate::app::App;
use crate::authorize::{allows, denied};
use crate::context::SoftState;
use crate::error::ApiError;
use crate::identity::Verified;
use hyper::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use wharf_model::load_balancing::{
    HealthState, Listener, LoadBalancer, Meter, MeterKey, TargetGroup,
};
use wharf_model::policy::Decision;
use wharf_model::{ArnScope, Snapshot};
use wharf_scheduler::load_balancing::{Usage, health};

/// Where it is.
pub(super) const PATH: &str = "/wharf/v1/load-balancers";

/// Answers.
pub(super) fn call(
    app: &App,
    head: &http::request::Parts,
    identity: &Verified,
) -> Result<Answer, ApiError> {
    let action = "elasticloadbalancing:DescribeLoadBalancers";
    let snapshot = app.store().snapshot();
    if allows(&snapshot, app.arns(), identity, action, "*") != Decision::Allowed {
        return Err(denied(identity, "elasticloadbalancing", action, Some("*"), false));
    }
    if head.method != Method::GET {
        let message = format!("The method {} is not GET.", head.method);
        return Err(ApiError::new("MethodNotAllowedException", 405, message));
    }
    let usage = Usage::of(&snapshot);
    let counted = app.soft().meters().into_iter().map(|one| (one.key, one.total)).collect();
    let shown = Shown { snapshot: &snapshot, arns: app.arns(), soft: app.soft(), usage, counted };
    let all: Vec<Value> = snapshot.load_balancers().map(|b| shown.load_balancer(b)).collect();
    Ok(answer(200, "application/json", json!({ "loadBalancers": all }).to_string()))
}

struct Shown<'a> {
    snapshot: &'a Snapshot,
    arns: &'a ArnScope,
    soft: &'a dyn SoftState,
    usage: Usage,
    counted: BTreeMap<MeterKey, Meter>,
}

impl Shown<'_> {
    fn load_balancer(&self, record: &LoadBalancer) -> Value {
        let path = record.path();
        let listeners: Vec<Value> =
            self.snapshot.listeners_of(&path).map(|l| self.listener(record, l)).collect();
        let groups = self.usage.groups_of(&path);
        let groups = groups.filter_map(|path| self.snapshot.target_group(&path.to_owned()));
        let groups: Vec<Value> = groups.map(|group| self.target_group(group)).collect();
        json!({
            "loadBalancerName": record.name,
            "loadBalancerArn": self.arns.load_balancer(&path),
            "type": record.kind.as_str(),
            "scheme": record.scheme.as_str(),
            "dnsName": record.dns_name,
            "hostAddress": record.host_address,
            "taskAddress": record.task_address,
            "listeners": listeners,
            "targetGroups": groups,
            "meter": self.counted.get(&MeterKey::LoadBalancer(path)),
        })
    }

    fn listener(&self, balancer: &LoadBalancer, record: &Listener) -> Value {
        let status = self.soft.listener_status(&record.path()).unwrap_or_default();
        let failed: Vec<Value> = status
            .failed
            .iter()
            .map(|(address, reason)| json!({ "address": address, "reason": reason }))
            .collect();
        json!({
            "listenerArn": self.arns.listener(&record.path()),
            "protocol": record.protocol.as_str(),
            "port": record.port,
            "url": url(balancer, record),
            "addresses": status.bound,
            "failed": failed,
        })
    }

    fn target_group(&self, record: &TargetGroup) -> Value {
        let states: Vec<HealthState> = self
            .snapshot
            .targets_of(&record.id)
            .map(|t| health(&self.usage, record, t, self.soft.target_health(&t.key)).state)
            .collect();
        let of = |state: HealthState| states.iter().filter(|s| **s == state).count();
        json!({
            "targetGroupName": record.name,
            "targetGroupArn": self.arns.target_group(&record.path()),
            "healthy": of(HealthState::Healthy),
            "draining": of(HealthState::Draining),
            "targets": states.len(),
            "meter": self.counted.get(&MeterKey::TargetGroup(record.path())),
        })
    }
}

/// What a listener is called up by.
fn url(balancer: &LoadBalancer, listener: &Listener) -> String {
    let scheme = listener.protocol.as_str().to_ascii_lowercase();
    let usual = matches!((scheme.as_str(), listener.port), ("http", 80) | ("https", 443));
    let port = if usual { String::new() } else { format!(":{}", listener.port) };
    format!("{scheme}://{}{port}", balancer.dns_name)
}
