//! ARNs of Elastic Load Balancing and of Certificate Manager: what they end in is what the records
//! are filed under.

use super::SERVICE;
use crate::arn::ArnScope;

/// What an ARN of Elastic Load Balancing names, by the path of its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// `loadbalancer/app/NAME/ID`
    LoadBalancer(String),
    /// `listener/app/NAME/ID/ID`
    Listener(String),
    /// `listener-rule/app/NAME/ID/ID/ID`
    ListenerRule(String),
    /// `targetgroup/NAME/ID`
    TargetGroup(String),
    /// `truststore/NAME/ID`
    TrustStore(String),
}

impl ArnScope {
    fn elb(&self, kind: &str, path: &str) -> String {
        format!("arn:aws:{SERVICE}:{}:{}:{kind}/{path}", self.region, self.account)
    }

    /// The ARN of the load balancer with this path.
    pub fn load_balancer(&self, path: &str) -> String {
        self.elb("loadbalancer", path)
    }

    /// The ARN of the listener with this path.
    pub fn listener(&self, path: &str) -> String {
        self.elb("listener", path)
    }

    /// The ARN of the rule with this path.
    pub fn listener_rule(&self, path: &str) -> String {
        self.elb("listener-rule", path)
    }

    /// The ARN of the target group with this path.
    pub fn target_group(&self, path: &str) -> String {
        self.elb("targetgroup", path)
    }

    /// The ARN of the trust store with this path.
    pub fn trust_store(&self, path: &str) -> String {
        self.elb("truststore", path)
    }

    /// The ARN of the certificate with this id.
    pub fn certificate(&self, id: &str) -> String {
        format!("arn:aws:acm:{}:{}:certificate/{id}", self.region, self.account)
    }

    /// What an ARN of Elastic Load Balancing in this region and account names; `None` if `arn` is
    /// none.
    pub fn elb_resource(&self, arn: &str) -> Option<Resource> {
        let (kind, path) = self.resource_of(SERVICE, arn)?;
        let segments = path.split('/').count();
        let path = path.to_owned();
        Some(match (kind, segments) {
            ("loadbalancer", 3) => Resource::LoadBalancer(path),
            ("listener", 4) => Resource::Listener(path),
            ("listener-rule", 5) => Resource::ListenerRule(path),
            ("targetgroup", 2) => Resource::TargetGroup(path),
            ("truststore", 2) => Resource::TrustStore(path),
            _ => return None,
        })
    }

    /// The path of a target group's ARN.
    pub fn target_group_path(&self, arn: &str) -> Option<String> {
        match self.elb_resource(arn)? {
            Resource::TargetGroup(path) => Some(path),
            _ => None,
        }
    }

    /// The id in a certificate's ARN.
    pub fn certificate_id<'a>(&self, arn: &'a str) -> Option<&'a str> {
        match self.resource_of("acm", arn)? {
            ("certificate", id) => Some(id),
            _ => None,
        }
    }

    fn resource_of<'a>(&self, service: &str, arn: &'a str) -> Option<(&'a str, &'a str)> {
        let rest = arn.strip_prefix("arn:aws:")?.strip_prefix(service)?.strip_prefix(':')?;
        let rest = rest.strip_prefix(self.region.as_str())?.strip_prefix(':')?;
        rest.strip_prefix(self.account.as_str())?.strip_prefix(':')?.split_once('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_parses_back_and_foreign_arns_are_none() {
        let scope = ArnScope { region: "us-east-1".into(), account: "123456789012".into() };
        let path = |p: &str| p.to_owned();
        for (arn, resource) in [
            (scope.load_balancer("app/a/1"), Resource::LoadBalancer(path("app/a/1"))),
            (scope.listener("app/a/1/2"), Resource::Listener(path("app/a/1/2"))),
            (scope.listener_rule("app/a/1/2/3"), Resource::ListenerRule(path("app/a/1/2/3"))),
            (scope.target_group("t/1"), Resource::TargetGroup(path("t/1"))),
            (scope.trust_store("s/1"), Resource::TrustStore(path("s/1"))),
        ] {
            assert_eq!(scope.elb_resource(&arn), Some(resource), "{arn}");
        }
        assert_eq!(scope.certificate_id(&scope.certificate("x")), Some("x"));
        for arn in [
            "",
            "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/t",
            "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/t/1",
            "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/t/1",
            "arn:aws:ecs:us-east-1:123456789012:targetgroup/t/1",
        ] {
            assert_eq!(scope.elb_resource(arn), None, "{arn}");
        }
    }
}
