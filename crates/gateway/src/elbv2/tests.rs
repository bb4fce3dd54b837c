//! Operations of Elastic Load Balancing against a small world.

use super::{attributes, conditions, health_check, listeners, load_balancers, network};
use super::{rules, ssl_policies, tags, target_groups, targets};
use crate::ecs::world::World;
use serde_json::{Value, json};
use wharf_model::network::{SUBNET_IDS, VPC_ID};
use wharf_wire::elbv2::operation as op;

macro_rules! call {
    ($world:expr, $name:ident, $function:path, $($request:tt)+) => {
        $world.call::<op::$name>($function, &json!($($request)+))
    };
}

fn load_balancer(world: &mut World, name: &str) -> Value {
    call!(world, CreateLoadBalancer, load_balancers::create,
        {"Name": name, "Subnets": [SUBNET_IDS[0], SUBNET_IDS[1]]})
    .unwrap()["LoadBalancers"][0]
        .clone()
}

fn network_load_balancer(world: &mut World, name: &str) -> Value {
    call!(world, CreateLoadBalancer, load_balancers::create,
        {"Name": name, "Type": "network", "Subnets": [SUBNET_IDS[0]]})
    .unwrap()["LoadBalancers"][0]
        .clone()
}

fn group(world: &mut World, name: &str) -> Value {
    call!(world, CreateTargetGroup, target_groups::create,
        {"Name": name, "Protocol": "HTTP", "Port": 80, "VpcId": VPC_ID, "TargetType": "ip"})
    .unwrap()["TargetGroups"][0]
        .clone()
}

fn listener(world: &mut World, load_balancer: &Value, port: u16, group: &Value) -> Value {
    call!(world, CreateListener, listeners::create,
        {"LoadBalancerArn": load_balancer["LoadBalancerArn"], "Protocol": "HTTP", "Port": port,
         "DefaultActions": [{"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}]})
    .unwrap()["Listeners"][0]
        .clone()
}

fn rule(world: &mut World, listener: &Value, priority: u32, path: &str) -> Result<Value, String> {
    call!(world, CreateRule, rules::create,
        {"ListenerArn": listener["ListenerArn"], "Priority": priority,
         "Conditions": [{"Field": "path-pattern", "Values": [path]}],
         "Actions": [{"Type": "fixed-response",
            "FixedResponseConfig": {"StatusCode": "404", "ContentType": "text/plain"}}]})
    .map(|made| made["Rules"][0].clone())
}

#[test]
fn a_load_balancers_life() {
    let mut world = World::new();
    let made = load_balancer(&mut world, "Web");
    let arn = made["LoadBalancerArn"].as_str().unwrap().to_owned();
    let id = arn.rsplit('/').next().unwrap();
    assert_eq!(made["DNSName"], format!("web-{id}.us-east-1.elb.localhost"));
    assert_eq!(made["State"]["Code"], "active");
    assert_eq!(made["Scheme"], "internet-facing");
    assert_eq!(made["SecurityGroups"], json!([wharf_model::network::DEFAULT_SECURITY_GROUP_ID]));
    assert_eq!(load_balancer(&mut world, "Web")["LoadBalancerArn"], arn.as_str());
    let other = call!(world, CreateLoadBalancer, load_balancers::create,
        {"Name": "Web", "Scheme": "internal", "Subnets": [SUBNET_IDS[0], SUBNET_IDS[1]]});
    assert!(other.unwrap_err().starts_with("DuplicateLoadBalancerName: A load balancer with the"));
    let internal = call!(world, CreateLoadBalancer, load_balancers::create,
        {"Name": "in", "Scheme": "internal", "Subnets": [SUBNET_IDS[0], SUBNET_IDS[1]]});
    let internal = internal.unwrap()["LoadBalancers"][0].clone();
    assert!(internal["DNSName"].as_str().unwrap().starts_with("internal-in-"));
    let flows = network_load_balancer(&mut world, "flows");
    assert!(flows["DNSName"].as_str().unwrap().ends_with(".us-east-1.elb.wharf.internal"));

    let shown = call!(world, DescribeLoadBalancers, load_balancers::describe, {"PageSize": 2});
    let shown = shown.unwrap();
    assert_eq!(shown["LoadBalancers"].as_array().unwrap().len(), 2);
    let rest = call!(world, DescribeLoadBalancers, load_balancers::describe,
        {"Marker": shown["NextMarker"]});
    assert_eq!(rest.unwrap()["LoadBalancers"].as_array().unwrap().len(), 1);
    let none = call!(world, DescribeLoadBalancers, load_balancers::describe, {"Names": ["nope"]});
    assert_eq!(none.unwrap_err(), "LoadBalancerNotFound: Load balancers '[nope]' not found");

    let protect = |on: &str| {
        json!({"LoadBalancerArn": arn, "Attributes":
        [{"Key": "deletion_protection.enabled", "Value": on}]})
    };
    let delete = json!({"LoadBalancerArn": arn});
    call!(
        world,
        ModifyLoadBalancerAttributes,
        attributes::modify_of_load_balancer,
        protect("true")
    )
    .unwrap();
    let kept = call!(world, DeleteLoadBalancer, load_balancers::delete, delete);
    assert!(kept.unwrap_err().starts_with("OperationNotPermitted: "));
    call!(
        world,
        ModifyLoadBalancerAttributes,
        attributes::modify_of_load_balancer,
        protect("false")
    )
    .unwrap();
    for _ in 0..2 {
        call!(world, DeleteLoadBalancer, load_balancers::delete, delete).unwrap();
    }
}

#[test]
fn load_balancers_that_cant_be() {
    let mut world = World::new();
    let two = [SUBNET_IDS[0], SUBNET_IDS[1]];
    for (request, expected) in [
        (json!({"Name": "-a", "Subnets": two}), "ValidationError: Load balancer name '-a' cannot"),
        (json!({"Name": "internal-a", "Subnets": two}), "ValidationError: Load balancer name"),
        (json!({"Name": "a", "Subnets": [two[0]]}), "ValidationError: At least two subnets in"),
        (json!({"Name": "a", "Subnets": [two[0], two[0]]}), "InvalidConfigurationRequest: "),
        (json!({"Name": "a", "Subnets": ["subnet-1", two[0]]}), "SubnetNotFound: The subnet ID"),
        (
            json!({"Name": "a", "Subnets": two, "Type": "gateway"}),
            "ValidationError: Load balancer type 'gateway' is not supported",
        ),
        (
            json!({"Name": "a", "Subnets": two, "IpAddressType": "dualstack"}),
            "ValidationError: IpAddressType",
        ),
        (
            json!({"Name": "a", "Subnets": two, "SecurityGroups": ["sg-1"]}),
            "InvalidSecurityGroup: ",
        ),
        (
            json!({"Name": "a", "Subnets": two, "Tags": [{"Key": "aws:x"}]}),
            "ValidationError: The tag key prefix",
        ),
    ] {
        let refused = call!(world, CreateLoadBalancer, load_balancers::create, request.clone());
        assert!(refused.as_ref().unwrap_err().starts_with(expected), "{request}: {refused:?}");
    }
    let flows = network_load_balancer(&mut world, "flows")["LoadBalancerArn"].clone();
    let subnets = |ids: &[&str]| json!({"LoadBalancerArn": flows, "Subnets": ids});
    call!(world, SetSubnets, network::set_subnets, subnets(&two)).unwrap();
    let fewer = call!(world, SetSubnets, network::set_subnets, subnets(&two[..1]));
    assert!(fewer.unwrap_err().starts_with("InvalidConfigurationRequest: "));
}

#[test]
fn health_checks_have_the_defaults_of_their_protocol() {
    let mut world = World::new();
    let http = group(&mut world, "http");
    assert_eq!(http["HealthCheckPath"], "/");
    assert_eq!(http["Matcher"], json!({"HttpCode": "200"}));
    assert_eq!(http["HealthCheckPort"], "traffic-port");
    let seconds = |group: &Value| {
        (group["HealthCheckIntervalSeconds"].clone(), group["HealthCheckTimeoutSeconds"].clone())
    };
    assert_eq!(seconds(&http), (json!(30), json!(5)));
    let new = |world: &mut World, name: &str, more: Value| {
        let mut request = json!({"Name": name, "Port": 80, "VpcId": VPC_ID, "TargetType": "ip"});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call!(world, CreateTargetGroup, target_groups::create, request)
            .map(|made| made["TargetGroups"][0].clone())
    };
    let grpc = json!({"Protocol": "HTTP", "ProtocolVersion": "GRPC"});
    let grpc = new(&mut world, "grpc", grpc).unwrap();
    assert_eq!(grpc["HealthCheckPath"], "/AWS.ALB/healthcheck");
    assert_eq!(grpc["Matcher"], json!({"GrpcCode": "12"}));
    let tcp = new(&mut world, "tcp", json!({"Protocol": "TCP"})).unwrap();
    assert_eq!(
        (tcp["HealthCheckProtocol"].clone(), tcp["Matcher"].clone()),
        (json!("TCP"), Value::Null)
    );
    assert_eq!(seconds(&tcp), (json!(30), json!(10)));
    for (more, expected) in [
        (
            json!({"Protocol": "HTTP", "Matcher": {"HttpCode": "100"}}),
            "Health check matcher HTTP code '100'",
        ),
        (
            json!({"Protocol": "HTTP", "HealthCheckTimeoutSeconds": 30}),
            "Health check timeout '30' must",
        ),
        (json!({"Protocol": "HTTP", "HealthCheckPath": "x"}), "Health check path 'x' must start"),
        (json!({"Protocol": "HTTP", "HealthCheckProtocol": "TCP"}), "Health check protocol 'TCP'"),
        (json!({"Protocol": "TCP", "HealthCheckPath": "/x"}), "Health check path and matcher"),
        (json!({"Protocol": "TCP", "ProtocolVersion": "HTTP2"}), "Protocol version cannot be set"),
        (json!({"Protocol": "GENEVE"}), "Target group protocol 'GENEVE' is not supported"),
        (
            json!({"Protocol": "HTTP", "TargetType": "lambda"}),
            "Target type 'lambda' is not supported",
        ),
    ] {
        let refused = new(&mut world, "bad", more.clone()).unwrap_err();
        assert!(refused.starts_with(&format!("ValidationError: {expected}")), "{more}: {refused}");
    }
    let check = health_check::Sent { interval: Some(5), ..Default::default() };
    let kind = (wharf_model::load_balancing::Protocol::Http, None);
    assert_eq!(health_check::new(kind, &check).unwrap().timeout_seconds, 4);
}

#[test]
fn targets_come_drain_and_go() {
    let mut world = World::new();
    let group = group(&mut world, "web");
    let arn = &group["TargetGroupArn"];
    let targets = |id: &str| json!({"TargetGroupArn": arn, "Targets": [{"Id": id}]});
    for (id, expected) in [
        ("x", "ValidationError: The IP address 'x' is not a valid"),
        ("8.8.8.8", "InvalidTarget: The IP address '8.8.8.8' is not within"),
    ] {
        let refused = call!(world, RegisterTargets, targets::register, targets(id)).unwrap_err();
        assert!(refused.starts_with(expected), "{refused}");
    }
    for _ in 0..2 {
        call!(world, RegisterTargets, targets::register, targets("10.113.0.9")).unwrap();
    }
    let health = |world: &mut World| {
        let request = json!({"TargetGroupArn": arn});
        let shown = call!(world, DescribeTargetHealth, targets::describe_health, request).unwrap();
        let all = shown["TargetHealthDescriptions"].as_array().unwrap().clone();
        all.into_iter().map(|one| one["TargetHealth"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(health(&mut world)[0]["Reason"], "Target.NotInUse");
    let web = load_balancer(&mut world, "web");
    let listener = listener(&mut world, &web, 80, &group);
    assert_eq!(health(&mut world)[0]["Reason"], "Elb.RegistrationInProgress");
    let used = call!(world, DeleteTargetGroup, target_groups::delete, {"TargetGroupArn": arn});
    assert!(used.unwrap_err().starts_with("ResourceInUse: Target group '"));
    call!(world, DeregisterTargets, targets::deregister, targets("10.113.0.9")).unwrap();
    assert_eq!(health(&mut world)[0]["State"], "draining");
    let unknown = json!({"TargetGroupArn": arn, "Targets": [{"Id": "10.113.0.1"}]});
    call!(world, DeregisterTargets, targets::deregister, unknown).unwrap();
    let shown = call!(world, DescribeTargetHealth, targets::describe_health, unknown).unwrap();
    let shown = &shown["TargetHealthDescriptions"][0]["TargetHealth"];
    assert_eq!(shown["Reason"], "Target.NotRegistered");
    call!(world, DeleteListener, listeners::delete, {"ListenerArn": listener["ListenerArn"]})
        .unwrap();
    call!(world, DeleteTargetGroup, target_groups::delete, {"TargetGroupArn": arn}).unwrap();
    assert_eq!(world.snapshot.all_targets().count(), 0);
}

#[test]
fn a_forward_is_shown_in_both_its_forms() {
    let mut world = World::new();
    let (web, blue) = (load_balancer(&mut world, "web"), group(&mut world, "blue"));
    let green = group(&mut world, "green");
    let made = listener(&mut world, &web, 80, &blue);
    let action = &made["DefaultActions"][0];
    assert_eq!(action["TargetGroupArn"], blue["TargetGroupArn"]);
    assert_eq!(
        action["ForwardConfig"],
        json!({"TargetGroups": [{"TargetGroupArn": blue["TargetGroupArn"], "Weight": 1}],
            "TargetGroupStickinessConfig": {"Enabled": false}})
    );
    assert_eq!(listener(&mut world, &web, 80, &blue)["ListenerArn"], made["ListenerArn"]);
    let weighted = json!([{"Type": "forward", "ForwardConfig": {"TargetGroups": [
        {"TargetGroupArn": blue["TargetGroupArn"], "Weight": 0},
        {"TargetGroupArn": green["TargetGroupArn"], "Weight": 100}]}}]);
    let changed = call!(world, ModifyListener, listeners::modify,
        {"ListenerArn": made["ListenerArn"], "DefaultActions": weighted});
    let changed = changed.unwrap()["Listeners"][0].clone();
    assert_eq!(changed["DefaultActions"][0]["TargetGroupArn"], Value::Null);
    let groups = call!(world, DescribeTargetGroups, target_groups::describe,
        {"LoadBalancerArn": web["LoadBalancerArn"]});
    assert_eq!(groups.unwrap()["TargetGroups"].as_array().unwrap().len(), 2);

    let other = load_balancer(&mut world, "other");
    let refuse = |world: &mut World, load_balancer: &Value, more: Value| {
        let mut request = json!({"LoadBalancerArn": load_balancer["LoadBalancerArn"],
            "Protocol": "HTTP", "Port": 81});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call!(world, CreateListener, listeners::create, request).unwrap_err()
    };
    let forward = json!([{"Type": "forward", "TargetGroupArn": blue["TargetGroupArn"]}]);
    let taken = refuse(&mut world, &other, json!({"DefaultActions": forward}));
    assert!(taken.starts_with("TargetGroupAssociationLimit: "), "{taken}");
    let flows = network_load_balancer(&mut world, "flows");
    for (load_balancer, more, expected) in [
        (
            &web,
            json!({"Port": 80, "DefaultActions": [{"Type": "redirect", "RedirectConfig":
            {"Protocol": "HTTPS", "StatusCode": "HTTP_301"}}]}),
            "DuplicateListener: ",
        ),
        (
            &web,
            json!({"Protocol": "HTTPS", "DefaultActions": forward}),
            "ValidationError: A certificate must",
        ),
        (
            &web,
            json!({"Protocol": "TCP", "DefaultActions": forward}),
            "ValidationError: Listener protocol 'TCP'",
        ),
        (&flows, json!({"Protocol": "TCP", "DefaultActions": forward}), "IncompatibleProtocols: "),
        (
            &web,
            json!({"DefaultActions": [{"Type": "redirect", "RedirectConfig":
            {"StatusCode": "HTTP_301"}}]}),
            "InvalidLoadBalancerAction: The redirect",
        ),
        (
            &web,
            json!({"DefaultActions": [{"Type": "authenticate-oidc"}]}),
            "ValidationError: Action type 'authenticate-oidc' is not supported",
        ),
    ] {
        let refused = refuse(&mut world, load_balancer, more.clone());
        assert!(refused.starts_with(expected), "{more}: {refused}");
    }
    let fixed = json!([{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "301"}}]);
    let refused = refuse(&mut world, &web, json!({"DefaultActions": fixed}));
    assert!(refused.contains("FixedResponseConfig.StatusCode"), "{refused}");
}

#[test]
fn rules_have_unique_priorities_that_change_together() {
    let mut world = World::new();
    let (web, blue) = (load_balancer(&mut world, "web"), group(&mut world, "blue"));
    let listener = listener(&mut world, &web, 80, &blue);
    let (a, b) = (
        rule(&mut world, &listener, 10, "/a").unwrap(),
        rule(&mut world, &listener, 20, "/b").unwrap(),
    );
    assert_eq!(a["Conditions"][0]["PathPatternConfig"]["Values"], json!(["/a"]));
    let taken = rule(&mut world, &listener, 10, "/c").unwrap_err();
    assert_eq!(taken, "PriorityInUse: Priority '10' is currently in use");
    let swap = json!({"RulePriorities": [
        {"RuleArn": a["RuleArn"], "Priority": 20}, {"RuleArn": b["RuleArn"], "Priority": 10}]});
    call!(world, SetRulePriorities, rules::set_priorities, swap).unwrap();
    let half = json!({"RulePriorities": [{"RuleArn": a["RuleArn"], "Priority": 10}]});
    let half = call!(world, SetRulePriorities, rules::set_priorities, half).unwrap_err();
    assert!(half.starts_with("PriorityInUse: "), "{half}");
    let shown =
        call!(world, DescribeRules, rules::describe, {"ListenerArn": listener["ListenerArn"]});
    let shown = shown.unwrap()["Rules"].clone();
    let priorities: Vec<&str> =
        shown.as_array().unwrap().iter().map(|rule| rule["Priority"].as_str().unwrap()).collect();
    assert_eq!(priorities, ["10", "20", "default"]);
    let default = &shown[2]["RuleArn"];
    let kept = call!(world, DeleteRule, rules::delete, {"RuleArn": default}).unwrap_err();
    assert!(kept.starts_with("OperationNotPermitted: Default rule"), "{kept}");
    let named = call!(world, DescribeRules, rules::describe, {"RuleArns": [default]}).unwrap();
    assert_eq!(named["Rules"][0]["IsDefault"], true);
    let rewrite = json!({"RuleArn": a["RuleArn"], "Transforms": [{"Type": "url-rewrite",
        "UrlRewriteConfig": {"Rewrites": [{"Regex": "^/a/(.*)$", "Replace": "/$1"}]}}]});
    let changed = call!(world, ModifyRule, rules::modify, rewrite).unwrap();
    assert_eq!(changed["Rules"][0]["Transforms"][0]["Type"], "url-rewrite");
    call!(world, DeleteLoadBalancer, load_balancers::delete,
        {"LoadBalancerArn": web["LoadBalancerArn"]})
    .unwrap();
    assert_eq!(world.snapshot.listener_rules().count(), 0);
}

#[test]
fn conditions_have_limits() {
    let one = |condition: Value| {
        let sent: Value = json!({"Conditions": [condition]});
        parsed(&sent)
    };
    for (condition, expected) in [
        (json!({"Field": "path"}), "Condition field 'path' must be one of"),
        (json!({"Field": "path-pattern", "Values": []}), "A condition value must be specified"),
        (json!({"Field": "path-pattern", "Values": ["x".repeat(129)]}), "The 'path-pattern' value"),
        (
            json!({"Field": "host-header", "Values": ["a b"]}),
            "The 'host-header' value 'a b' is not",
        ),
        (
            json!({"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.1"]}}),
            "The 'source-ip'",
        ),
        (
            json!({"Field": "host-header", "RegexValues": ["("]}),
            "The regular expression '(' is not",
        ),
        (
            json!({"Field": "path-pattern", "Values": ["/*/*/*/*/*/*/*"]}),
            "A rule can only have '6' w",
        ),
        (
            json!({"Field": "path-pattern", "Values": ["1", "2", "3", "4", "5", "6"]}),
            "A rule can only have '5' condition values",
        ),
        (
            json!({"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "Host", "Values": ["a"]}}),
            "Use the condition field",
        ),
        (
            json!({"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["get"]}}),
            "The 'http-request-method' value",
        ),
        (json!({"Field": "source-ip", "Values": ["10.0.0.0/8"]}), "'Values' cannot be specified"),
    ] {
        let refused = one(condition.clone()).unwrap_err();
        assert!(refused.starts_with(expected), "{condition}: {refused}");
    }
    assert!(one(json!({"Field": "host-header", "RegexValues": ["^.+\\.example\\.com$"]})).is_ok());
    assert!(
        one(json!({"Field": "query-string", "QueryStringConfig":
        {"Values": [{"Key": "v", "Value": "1*"}, {"Value": "x"}]}}))
        .is_ok()
    );
}

/// The conditions of a ModifyRule, parsed.
fn parsed(request: &Value) -> Result<usize, String> {
    use wharf_wire::{Shape as _, json};
    let schema = wharf_wire::elbv2::Operation::ModifyRule.input_schema();
    let document = json::decode(schema, request.to_string().as_bytes()).unwrap();
    let input = wharf_wire::elbv2::types::ModifyRuleInput::from_document(document).unwrap();
    let conditions = conditions::parse(input.conditions.as_ref());
    conditions.map(|all| all.len()).map_err(|error| error.message)
}

#[test]
fn attributes_and_tags() {
    let mut world = World::new();
    let group = group(&mut world, "web");
    let arn = &group["TargetGroupArn"];
    let set = |key: &str, value: &str| {
        json!({"TargetGroupArn": arn,
        "Attributes": [{"Key": key, "Value": value}]})
    };
    for (key, value, expected) in [
        ("nope", "1", "ValidationError: Target group attribute key 'nope' is not recognized"),
        ("slow_start.duration_seconds", "10", "ValidationError: Target group attribute value '10'"),
        ("stickiness.enabled", "yes", "ValidationError: Target group attribute value 'yes'"),
        ("stickiness.app_cookie.cookie_name", "AWSALB", "ValidationError: The cookie name"),
    ] {
        let refused = call!(
            world,
            ModifyTargetGroupAttributes,
            attributes::modify_of_target_group,
            set(key, value)
        );
        assert!(refused.as_ref().unwrap_err().starts_with(expected), "{refused:?}");
    }
    let changed = call!(
        world,
        ModifyTargetGroupAttributes,
        attributes::modify_of_target_group,
        set("deregistration_delay.timeout_seconds", "5")
    );
    let changed = changed.unwrap()["Attributes"].clone();
    assert!(changed.as_array().unwrap().iter().any(|attribute| attribute["Value"] == "5"));
    let of = json!({"ResourceArns": [arn]});
    let mut add = of.clone();
    add["Tags"] = json!([{"Key": "team", "Value": "a"}]);
    call!(world, AddTags, tags::add, add).unwrap();
    let shown = call!(world, DescribeTags, tags::describe, of).unwrap();
    assert_eq!(shown["TagDescriptions"][0]["Tags"], add["Tags"]);
    let gone = json!({"ResourceArns": [arn], "TagKeys": ["team"]});
    call!(world, RemoveTags, tags::remove, gone).unwrap();
    let shown = call!(world, DescribeTags, tags::describe, of).unwrap();
    assert_eq!(shown["TagDescriptions"][0]["Tags"], json!([]));
}

#[test]
fn security_policies_are_the_named_ones() {
    let mut world = World::new();
    let name = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06";
    let shown = call!(world, DescribeSSLPolicies, ssl_policies::describe, {"Names": [name]});
    let shown = shown.unwrap()["SslPolicies"][0].clone();
    assert_eq!(shown["SslProtocols"], json!(["TLSv1.2", "TLSv1.3"]));
    assert_eq!(shown["Ciphers"].as_array().unwrap().len(), 7);
    assert_eq!(shown["Ciphers"][0], json!({"Name": "TLS_AES_128_GCM_SHA256", "Priority": 1}));
    let none = call!(world, DescribeSSLPolicies, ssl_policies::describe, {"Names": ["x"]});
    assert!(none.unwrap_err().starts_with("SSLPolicyNotFound: "));
}
