//! Container instances without a host: they register, hold their session and take every task, so
//! that RunTask has somewhere to place tasks and nothing is started.

use crate::Result;
use crate::client::{Client, Key, Signable, dial};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// Connected hosts; they leave when this is dropped.
#[derive(Debug)]
pub struct Hosts(Vec<JoinHandle<()>>);

impl Hosts {
    /// Registers `count` hosts with room for any number of tasks, and connects them.
    ///
    /// # Errors
    /// If the server doesn't take them.
    pub async fn connect(address: &str, key: &Key, count: usize) -> Result<Self> {
        let mut client = Client::connect(address, key).await?;
        let mut sessions = Vec::new();
        for _ in 0..count {
            let resource = |name: &str, value: i64| json!({"name": name, "type": "INTEGER", "integerValue": value});
            let ports =
                |name: &str| json!({"name": name, "type": "STRINGSET", "stringSetValue": []});
            let input = json!({
                "cluster": "default",
                "totalResources": [
                    resource("CPU", 1 << 30), resource("MEMORY", 1 << 30),
                    ports("PORTS"), ports("PORTS_UDP"),
                ],
                "attributes": attributes(),
            });
            let answer = client.json("RegisterContainerInstance", input).await?;
            let arn = &answer["containerInstance"]["containerInstanceArn"];
            let arn = arn.as_str().ok_or("no container instance")?.to_owned();
            sessions.push(session(address, key, &arn).await?);
        }
        Ok(Self(sessions))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

fn attributes() -> Vec<serde_json::Value> {
    let mut names: Vec<String> = ["container-ordering", "task-eni", "full-sync"]
        .map(|name| format!("ecs.capability.{name}"))
        .into();
    names.push("com.amazonaws.ecs.capability.logging-driver.json-file".to_owned());
    for minor in 17..=32 {
        names.push(format!("com.amazonaws.ecs.capability.docker-remote-api.1.{minor}"));
    }
    let mut all: Vec<_> = names.into_iter().map(|name| json!({ "name": name })).collect();
    all.push(json!({"name": "ecs.os-type", "value": "linux"}));
    all.push(json!({"name": "ecs.cpu-architecture", "value": std::env::consts::ARCH}));
    all
}

/// Opens the ACS session of one instance and acknowledges every payload.
async fn session(address: &str, key: &Key, arn: &str) -> Result<JoinHandle<()>> {
    let encode = |text: &str| text.replace(':', "%3A").replace('/', "%2F");
    let query = format!("clusterArn=default&containerInstanceArn={}&seqNum=1", encode(arn));
    let signable = Signable {
        method: "GET",
        path: "/ws",
        query: &query,
        host: address,
        content_type: None,
        target: None,
        body: b"",
    };
    let mut request = format!("ws://{address}/ws?{query}").into_client_request()?;
    for line in key.clone().sign(&signable)?.lines() {
        let (name, value) = line.split_once(": ").ok_or("no header")?;
        let name: hyper::header::HeaderName = name.parse()?;
        request.headers_mut().insert(name, value.parse()?);
    }
    let stream = dial(address).await?;
    let (mut stream, _) = tokio_tungstenite::client_async(request, stream).await?;
    let arn = arn.to_owned();
    Ok(tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            let Message::Text(text) = message else { continue };
            let Some(id) = message_id(&text) else { continue };
            let ack = json!({"type": "AckRequest", "message": {
                "cluster": "default", "containerInstance": arn, "messageId": id,
            }});
            if stream.send(Message::text(ack.to_string())).await.is_err() {
                return;
            }
        }
    }))
}

fn message_id(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("\"messageId\":\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}
