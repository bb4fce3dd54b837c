//! Express Gateway services against a small world: what is made, shared, changed and taken away.

use super::input::Names;
use super::steps::Steps;
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::ecs::world::World;
use crate::outside::IssuedCertificate;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use wharf_model::service::ServiceStatus;
use wharf_model::{Cluster, ClusterName, RecordKey, Revision, ServiceKey, Transaction};
use wharf_wire::Shape as _;
use wharf_wire::ecs::{operation as op, types};

const ACCOUNT: &str = "arn:aws:iam::123456789012:role";

/// As the edge makes it, but for the authority.
fn create(
    context: &Context<'_>,
    input: &types::CreateExpressGatewayServiceRequest,
) -> OperationResult<types::CreateExpressGatewayServiceResponse> {
    let names = Names::of(&input.clone().into_document(), context.region(), context.seed);
    let mut params = CertificateParams::new(vec![names.host.clone()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1));
    let key = KeyPair::generate().unwrap();
    let issued = IssuedCertificate {
        chain: params.self_signed(&key).unwrap().pem(),
        private_key: key.serialize_pem().into(),
    };
    super::create::create(context, input, &names, &issued)
}

fn made(world: &mut World, more: &Value) -> Result<Value, String> {
    let mut request = json!({
        "executionRoleArn": format!("{ACCOUNT}/execution"),
        "infrastructureRoleArn": format!("{ACCOUNT}/infrastructure"),
        "primaryContainer": {"image": "registry.example/team/web:1", "containerPort": 8080},
    });
    for (member, value) in more.as_object().unwrap() {
        request[member] = value.clone();
    }
    let answer = world.call::<op::CreateExpressGatewayService>(create, &request)?;
    Ok(answer["service"].clone())
}

fn described(world: &mut World, arn: &Value) -> Value {
    let request = json!({"serviceArn": arn, "include": ["TAGS"]});
    let answer = world.call::<op::DescribeExpressGatewayService>(super::describe, &request);
    answer.unwrap()["service"].clone()
}

fn key_of(service: &Value) -> ServiceKey {
    ServiceKey::new("default", service["serviceName"].as_str().unwrap())
}

#[test]
fn an_image_becomes_a_service_with_all_that_leads_to_it() {
    let mut world = World::new();
    let service = made(&mut world, &json!({"tags": [{"key": "team", "value": "a"}]})).unwrap();
    assert!(service["serviceName"].as_str().unwrap().starts_with("web-"), "{service}");
    assert_eq!(service["status"], json!({"statusCode": "ACTIVE"}));
    let [configuration] = service["activeConfigurations"].as_array().unwrap().as_slice() else {
        panic!("{service}");
    };
    let path = &configuration["ingressPaths"][0];
    let host = path["endpoint"].as_str().unwrap();
    assert!(host.starts_with("we-") && host.ends_with(".ecs.us-east-1.localhost"), "{host}");
    assert_eq!(path["accessType"], "PUBLIC");
    assert_eq!((&configuration["cpu"], &configuration["memory"]), (&json!("256"), &json!("512")));
    assert_eq!(configuration["healthCheckPath"], "/ping");
    let scaling = json!({"minTaskCount": 1, "maxTaskCount": 1, "autoScalingMetric": "AVERAGE_CPU",
        "autoScalingTargetValue": 60});
    assert_eq!(configuration["scalingTarget"], scaling);
    assert_eq!(configuration["primaryContainer"]["containerPort"], 8080);
    assert_eq!(described(&mut world, &service["serviceArn"]), service);

    let [balancer] = world.snapshot.load_balancers().collect::<Vec<_>>()[..] else { panic!() };
    assert!(balancer.name.starts_with("ecs-express-gateway-alb-"));
    let [listener] = world.snapshot.listeners().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!((listener.port, listener.certificates.len()), (443, 1));
    let [rule] = world.snapshot.listener_rules().collect::<Vec<_>>()[..] else { panic!() };
    assert!(format!("{rule:?}").contains(host));
    let [group] = world.snapshot.target_groups().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!(group.health_check.path.as_deref(), Some("/ping"));
    let [certificate] = world.snapshot.certificates().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!(certificate.names, [host]);
    let record = world.snapshot.service(&key_of(&service)).unwrap();
    assert_eq!((record.desired_count, record.load_balancers.len()), (1, 1));
    let definition = world.snapshot.task_definition(&record.task_definition).unwrap();
    assert_eq!(definition.family.as_str(), format!("default-{}", record.name));
    assert_eq!(definition.containers[0].name, "Main");
    let groups = record.network_configuration.clone().unwrap().security_groups;
    assert_eq!(groups.len(), 1);
    assert_eq!(world.snapshot.security_groups().count(), 2);
    for (wanted, count) in [("ECS", 1), ("CUSTOMER", 0)] {
        let request = json!({"resourceManagementType": wanted});
        let list = crate::ecs::list_services::list_services;
        let listed = world.call::<op::ListServices>(list, &request).unwrap();
        assert_eq!(listed["serviceArns"].as_array().unwrap().len(), count, "{wanted}");
    }
}

#[test]
fn services_share_a_load_balancer_which_goes_with_the_last() {
    let mut world = World::new();
    let services: Vec<Value> = ["a", "b"]
        .iter()
        .map(|name| made(&mut world, &json!({"serviceName": name})).unwrap())
        .collect();
    assert_eq!(world.snapshot.load_balancers().count(), 1);
    let listener = world.snapshot.listeners().next().unwrap();
    assert_eq!(listener.certificates.len(), 2);
    let twice = made(&mut world, &json!({"serviceName": "a"})).unwrap_err();
    assert!(twice.contains("not idempotent"), "{twice}");
    for (service, left) in services.iter().zip([1, 0]) {
        let request = json!({"serviceArn": service["serviceArn"]});
        let answer = world.call::<op::DeleteExpressGatewayService>(super::delete, &request);
        assert_eq!(answer.unwrap()["service"]["status"]["statusCode"], "DRAINING");
        let again = world.call::<op::DeleteExpressGatewayService>(super::delete, &request);
        assert!(again.unwrap_err().starts_with("ServiceNotActiveException"));
        assert_eq!(world.snapshot.listener_rules().count(), left + 1);
        world.settle(&key_of(service));
        assert_eq!(
            described(&mut world, &service["serviceArn"])["status"]["statusCode"],
            "INACTIVE"
        );
        assert_eq!(world.snapshot.load_balancers().count(), left);
        assert_eq!(world.snapshot.listeners().count(), left);
        assert_eq!(world.snapshot.listener_rules().count(), left);
        assert_eq!(world.snapshot.target_groups().count(), left);
        assert_eq!(world.snapshot.certificates().count(), left);
        assert_eq!(world.snapshot.security_groups().count(), 2 * left);
        let listener = world.snapshot.listeners().next();
        assert_eq!(listener.map_or(0, |listener| listener.certificates.len()), left);
    }
}

#[test]
fn an_update_is_a_new_revision_and_what_is_not_sent_stays() {
    let mut world = World::new();
    let service = made(&mut world, &json!({"serviceName": "web"})).unwrap();
    let arn = &service["serviceArn"];
    let key = key_of(&service);
    let mut update = |request: &Value| {
        let mut request = request.clone();
        request["serviceArn"] = arn.clone();
        world.call::<op::UpdateExpressGatewayService>(super::update, &request)
    };
    let answer = update(&json!({
        "primaryContainer": {"image": "web:2", "environment": [{"name": "A", "value": "b"}]},
        "healthCheckPath": "/health?full=1", "scalingTarget": {"minTaskCount": 2, "maxTaskCount": 5},
    }));
    let answer = answer.unwrap()["service"].clone();
    let target = &answer["targetConfiguration"];
    assert_eq!(target["primaryContainer"]["image"], "web:2");
    assert_eq!(target["primaryContainer"]["containerPort"], 8080);
    assert_eq!(target["healthCheckPath"], "/health?full=1");
    assert_eq!(target["scalingTarget"]["maxTaskCount"], 5);
    let said = answer["status"]["statusReason"].as_str().unwrap();
    assert!(said.contains("minTaskCount"), "{said}");
    let before = &service["activeConfigurations"][0]["serviceRevisionArn"];
    assert_ne!(target["serviceRevisionArn"], *before);
    for (wrong, expected) in [
        (json!({"scalingTarget": {"minTaskCount": 0}}), "minTaskCount 0 must be at least 1"),
        (json!({"healthCheckPath": "health"}), "must begin with '/'"),
        (json!({"cpu": "7"}), "Invalid 'cpu' setting for task"),
        (json!({"networkConfiguration": {"subnets": ["subnet-x"]}}), "does not exist"),
    ] {
        let refused = update(&wrong).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
    let record = world.snapshot.service(&key).unwrap();
    assert_eq!((record.desired_count, record.task_definition.revision), (2, 2));
    let group = world.snapshot.target_groups().next().unwrap();
    assert_eq!(group.health_check.path.as_deref(), Some("/health?full=1"));
    assert_eq!(record.status, ServiceStatus::Active);
}

#[test]
fn what_cannot_be_made_is_refused() {
    let mut world = World::new();
    for (more, expected) in [
        (json!({"infrastructureRoleArn": "role"}), "is not the ARN of a role"),
        (json!({"primaryContainer": {"image": ""}}), "image can not be blank"),
        (json!({"primaryContainer": {"image": "x", "containerPort": 0}}), "between 1 and 65535"),
        (json!({"cluster": "other"}), "ClusterNotFoundException"),
        (json!({"memory": "17"}), "ClientException"),
        (json!({"serviceName": "a b"}), "InvalidParameterException"),
    ] {
        let refused = made(&mut world, &more).unwrap_err();
        assert!(refused.contains(expected), "{more}: {refused}");
    }
}

fn both(
    context: &Context<'_>,
    _: &types::ListClustersRequest,
) -> OperationResult<types::ListClustersResponse> {
    fn make(context: &Context<'_>, active: &bool) -> OperationResult<u64> {
        let name = ClusterName::from("made");
        let key = RecordKey::Cluster(name.clone());
        let mut transaction = Transaction::new();
        transaction.read(key.clone(), context.snapshot.revision_of(&key));
        transaction.put(Cluster { active: *active, ..Cluster::new(name, context.now) });
        Ok(Outcome::write(context.seed, transaction))
    }
    let mut steps = Steps::new(context);
    let first = steps.run(make, &false)?;
    assert!(!steps.context().snapshot.cluster(&"made".into()).unwrap().active);
    assert_ne!(first, steps.run(make, &true)?);
    let transaction = steps.finish();
    let key = RecordKey::Cluster("made".into());
    assert_eq!(transaction.reads, [(key, Revision::ABSENT)]);
    assert_eq!(transaction.writes.len(), 1);
    Ok(Outcome::write(types::ListClustersResponse::default(), transaction))
}

#[test]
fn a_step_sees_the_one_before_and_reads_are_the_stores() {
    let mut world = World::new();
    world.call::<op::ListClusters>(both, &json!({})).unwrap();
    assert!(world.snapshot.cluster(&"made".into()).unwrap().active);
}
