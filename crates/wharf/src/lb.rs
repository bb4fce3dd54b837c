//! `wharf lb`: the load balancers, where they listen, how their targets are, and what goes through.

mod open;
mod top;

use crate::cli::{Lb, OutputArgs};
use crate::client::{Client, Error};
use crate::data_dir::DataDir;
use crate::output::Listing;
use serde::Deserialize;

/// The server's answer, as far as the table shows it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    load_balancers: Vec<LoadBalancer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoadBalancer {
    load_balancer_name: String,
    r#type: String,
    host_address: String,
    listeners: Vec<Listener>,
    target_groups: Vec<TargetGroup>,
}

#[derive(Debug, Deserialize)]
struct Listener {
    url: String,
    failed: Vec<Failed>,
}

#[derive(Debug, Deserialize)]
struct Failed {
    address: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TargetGroup {
    target_group_name: String,
    healthy: usize,
    targets: usize,
}

/// Does what is asked.
///
/// # Errors
/// If the server can't be asked.
pub async fn run(data_dir: &DataDir, command: Lb) -> Result<(), Error> {
    match command {
        Lb::Ls(output) => list(data_dir, &output).await,
        Lb::Top(arguments) => top::run(data_dir, &arguments).await,
        Lb::Open { name } => open::run(data_dir, &name).await,
    }
}

async fn fetch(client: &Client) -> Result<serde_json::Value, Error> {
    let body = client.get("the load balancers", "/wharf/v1/load-balancers").await?;
    Ok(serde_json::from_slice(&body).unwrap_or_default())
}

async fn list(data_dir: &DataDir, output: &OutputArgs) -> Result<(), Error> {
    let client = Client::new(data_dir, "default")?;
    let json = fetch(&client).await?;
    let answer: Answer = serde_json::from_value(json.clone()).unwrap_or_default();
    let rows = answer.load_balancers.iter().map(row).collect();
    let columns = vec!["NAME", "TYPE", "URL", "ADDRESS", "HEALTHY TARGETS"];
    Listing { columns, rows, json: json["loadBalancers"].clone() }.print(output.format());
    for balancer in &answer.load_balancers {
        for failed in balancer.listeners.iter().flat_map(|listener| &listener.failed) {
            eprintln!(
                "wharf: {} can't listen on {}: {}",
                balancer.load_balancer_name, failed.address, failed.reason
            );
        }
    }
    Ok(())
}

fn row(balancer: &LoadBalancer) -> Vec<String> {
    let urls: Vec<&str> = balancer.listeners.iter().map(|l| l.url.as_str()).collect();
    let groups: Vec<String> = balancer
        .target_groups
        .iter()
        .map(|g| format!("{} {}/{}", g.target_group_name, g.healthy, g.targets))
        .collect();
    vec![
        balancer.load_balancer_name.clone(),
        balancer.r#type.clone(),
        urls.join(" "),
        balancer.host_address.clone(),
        groups.join(", "),
    ]
}
