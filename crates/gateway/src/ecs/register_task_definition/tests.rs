use super::super::describe_task_definition::describe_task_definition;
use super::super::world::{World, golden, merge};
use super::register_task_definition;
use expect_test::expect;
use serde_json::{Value, json};
use wharf_wire::ecs::operation;

/// A request that registers; cases are laid over it. `c` is laid over its one container, `cs`
/// replaces all containers by that container with each element laid over it.
fn request(case: &Value) -> Value {
    let container = json!({"name": "web", "image": "nginx", "memory": 128});
    let mut request = json!({"family": "web", "containerDefinitions": [container]});
    let mut case = case.clone();
    let members = case.as_object_mut().unwrap();
    if let Some(change) = members.remove("c") {
        merge(&mut request["containerDefinitions"][0], &change);
    }
    if let Some(changes) = members.remove("cs") {
        let of_change = |change: &Value| {
            let mut container = container.clone();
            merge(&mut container, change);
            container
        };
        request["containerDefinitions"] =
            changes.as_array().unwrap().iter().map(of_change).collect();
    }
    merge(&mut request, &case);
    request
}

/// The answer with its first container as `c`, as in the cases.
fn register(case: &Value) -> Result<Value, String> {
    let mut world = World::new();
    let request = request(case);
    let answer =
        world.call::<operation::RegisterTaskDefinition>(register_task_definition, &request)?;
    let mut definition = answer["taskDefinition"].clone();
    definition["c"] = definition["containerDefinitions"][0].clone();
    definition["cs"] = definition["containerDefinitions"].clone();
    definition["tags"] = answer["tags"].clone();
    Ok(definition)
}

#[test]
fn golden_cases() {
    let count = golden(include_str!("cases.txt"), register);
    assert!(count >= 200, "only {count} cases");
}

#[test]
fn the_whole_answer() {
    let mut world = World::new();
    let request = json!({"family": "web", "containerDefinitions": [
        {"name": "app", "image": "nginx:1", "memoryReservation": 64,
         "portMappings": [{"containerPort": 80}], "command": ["a", "b"],
         "environment": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
         "links": [], "privileged": false},
    ]});
    let answer = world
        .call::<operation::RegisterTaskDefinition>(register_task_definition, &request)
        .unwrap();
    expect![[r#"
        {
          "taskDefinition": {
            "taskDefinitionArn": "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1",
            "containerDefinitions": [
              {
                "name": "app",
                "image": "nginx:1",
                "cpu": 0,
                "memoryReservation": 64,
                "links": [],
                "portMappings": [
                  {
                    "containerPort": 80,
                    "hostPort": 0,
                    "protocol": "tcp"
                  }
                ],
                "essential": true,
                "command": [
                  "a",
                  "b"
                ],
                "environment": [
                  {
                    "name": "B",
                    "value": "2"
                  },
                  {
                    "name": "A",
                    "value": "1"
                  }
                ],
                "mountPoints": [],
                "volumesFrom": [],
                "privileged": false,
                "systemControls": []
              }
            ],
            "family": "web",
            "revision": 1,
            "volumes": [],
            "status": "ACTIVE",
            "requiresAttributes": [
              {
                "name": "com.amazonaws.ecs.capability.docker-remote-api.1.21"
              }
            ],
            "placementConstraints": [],
            "compatibilities": [
              "EXTERNAL",
              "EC2"
            ],
            "registeredAt": 1795482000,
            "registeredBy": "arn:aws:iam::123456789012:root"
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&answer).unwrap());
    let described = world
        .call::<operation::DescribeTaskDefinition>(
            describe_task_definition,
            &json!({"taskDefinition": "web"}),
        )
        .unwrap();
    assert_eq!(described["taskDefinition"], answer["taskDefinition"]);
}

#[test]
fn revisions_count_up_by_family_and_depend_on_it() {
    let mut world = World::new();
    for (family, revision) in [("a", 1), ("a", 2), ("b", 1), ("a", 3)] {
        let answer = world
            .call::<operation::RegisterTaskDefinition>(
                register_task_definition,
                &request(&json!({"family": family})),
            )
            .unwrap();
        assert_eq!(answer["taskDefinition"]["revision"], revision);
    }
}

#[test]
fn too_large_is_refused_with_its_length() {
    let environment: Vec<Value> =
        (0..700).map(|n| json!({"name": format!("N{n}"), "value": "x".repeat(100)})).collect();
    let error = register(&json!({"c": {"environment": environment}})).unwrap_err();
    assert!(error.ends_with("Max allowed length is '65536' bytes."), "{error}");
}

/// Members of a description that registration doesn't take.
const DERIVED: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "c",
    "cs",
];

/// What is described can be registered again and is then described the same: no client that
/// compares the two (Terraform, ecs-deploy) ever finds a difference.
#[test]
fn descriptions_are_stable() {
    let mut count = 0;
    for line in include_str!("cases.txt").lines().filter(|l| l.starts_with('{')) {
        let (case, _) = line.split_once(" => ").unwrap();
        let Ok(first) = register(&serde_json::from_str(case).unwrap()) else { continue };
        let mut again = first.clone();
        for derived in DERIVED {
            again.as_object_mut().unwrap().remove(derived);
        }
        assert_eq!(register(&again).unwrap(), first, "{line}");
        count += 1;
    }
    assert!(count > 100, "only {count} cases register");
}

/// Odd values in every place: an answer or a clear error, never a panic.
#[test]
fn odd_values_are_answered() {
    let long = "x".repeat(70_000);
    let odd = [
        Value::Null,
        json!(""),
        json!("\u{0}"),
        json!("ä\u{202e}☃"),
        json!(long),
        json!(-1),
        json!(i64::from(i32::MAX)),
        json!(i64::MAX),
        json!(1.5),
        json!(true),
        json!([]),
        json!([null]),
        json!({}),
        json!({"x": [{}]}),
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut errors = 0;
    for line in include_str!("cases.txt").lines().filter(|l| l.starts_with('{')) {
        let (case, _) = line.split_once(" => ").unwrap();
        let request = request(&serde_json::from_str(case).unwrap());
        for _ in 0..10 {
            let mut request = request.clone();
            spoil(&mut request, &odd, &mut random);
            let answer = World::new()
                .call::<operation::RegisterTaskDefinition>(register_task_definition, &request);
            errors += usize::from(answer.is_err());
        }
    }
    assert!(errors > 1000, "only {errors} of the odd requests were refused");
}

/// Puts an odd value somewhere into `place`, at a random depth.
fn spoil(place: &mut Value, odd: &[Value], random: &mut fastrand::Rng) {
    let stop = random.u8(..4) == 0;
    let inner = match place {
        Value::Object(members) if !stop && !members.is_empty() => {
            let n = random.usize(..members.len());
            members.values_mut().nth(n)
        }
        Value::Array(elements) if !stop && !elements.is_empty() => {
            let n = random.usize(..elements.len());
            elements.get_mut(n)
        }
        _ => None,
    };
    if let Some(inner) = inner {
        return spoil(inner, odd, random);
    }
    *place = odd[random.usize(..odd.len())].clone();
}
