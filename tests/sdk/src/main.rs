//! The story that wharf must tell, by the AWS SDK for Rust as it comes from crates.io.
//!
//! Knows wharf by nothing but the environment that `wharf env` gives. `tests/e2e/test_rust_sdk.py`
//! starts a wharf of its own for it; a panic or an error is a failed test. It speaks plain HTTP,
//! as the endpoint does, so that no TLS stack beside wharf's own comes into the build.

mod service;
mod task;

use std::error::Error;
use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::{AsyncSleep, BehaviorVersion, Sleep};
use aws_sdk_ecs::types::{ContainerDefinition, NetworkMode, PortMapping, Task};

/// How long any of the waiters may wait.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longer pauses are those of waiters, which the model sets to 6 and 15 seconds. Shorter ones are
/// timeouts and retries, and stay as they are.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(5);

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .sleep_impl(Impatient)
        .load()
        .await;
    let client = Client::new(&config);
    let cluster = client.create_cluster().cluster_name("sdk").send().await?;
    let cluster = cluster.cluster().ok_or("CreateCluster answered without a cluster")?;
    assert_eq!(cluster.status(), Some("ACTIVE"));
    assert_eq!(cluster.registered_container_instances_count(), 0);
    told("a task", task::story(&client)).await?;
    told("errors", task::errors(&client)).await?;
    told("a service", service::story(&client)).await?;
    client.delete_cluster().cluster("sdk").send().await?;
    Ok(())
}

async fn told(what: &str, story: impl Future<Output = Outcome>) -> Outcome {
    let begun = Instant::now();
    story.await?;
    println!("{what}: {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Lets waiters ask every second: here the service is next door.
#[derive(Debug)]
struct Impatient;

impl AsyncSleep for Impatient {
    fn sleep(&self, wanted: Duration) -> Sleep {
        let pause = if wanted > LONGEST_TIMEOUT { Duration::from_secs(1) } else { wanted };
        Sleep::new(tokio::time::sleep(pause))
    }
}

/// Registers `app` with a sidecar, `app` on a dynamic host port; the revision's ARN.
async fn register(client: &Client, family: &str, cpu: i32) -> Outcome<String> {
    let container = |name: &str, memory: i32| {
        ContainerDefinition::builder().name(name).image("hello:latest").command(name).memory(memory)
    };
    let port = PortMapping::builder().container_port(8080).host_port(0).build();
    let app = container("app", 64).cpu(cpu).essential(true).port_mappings(port).build();
    let sidecar = container("sidecar", 32).essential(false).build();
    let answer = client
        .register_task_definition()
        .family(family)
        .network_mode(NetworkMode::Bridge)
        .container_definitions(app)
        .container_definitions(sidecar)
        .send()
        .await?;
    let definition = answer.task_definition().ok_or("no task definition in the answer")?;
    assert_eq!(definition.container_definitions().len(), 2);
    Ok(definition.task_definition_arn().ok_or("a task definition without an ARN")?.to_owned())
}

/// The host port of a task's `app`.
fn host_port(task: &Task) -> Outcome<u16> {
    let app = task.containers().iter().find(|container| container.name() == Some("app"));
    let bindings = app.ok_or("no container called app")?.network_bindings();
    let [binding] = bindings else { return Err(format!("one binding, not {bindings:?}").into()) };
    assert_eq!(binding.container_port(), Some(8080));
    Ok(binding.host_port().ok_or("a binding without a host port")?.try_into()?)
}

/// What the task's `app` answers to `GET /`.
fn get(task: &Task) -> Outcome<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", host_port(task)?))?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    connection.write_all(b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no end of the head")?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    Ok(body.to_owned())
}
