//! `wharf ps`: tasks and their containers.

use crate::cli::Ps;
use crate::client::{Client, Error, id_of};
use crate::data_dir::DataDir;
use crate::history;
use crate::output::Listing;
use serde_json::json;
use std::collections::BTreeMap;
use wharf_wire::ecs::types::{DesiredStatus, Task};

/// Prints the tasks.
///
/// # Errors
/// If the server can't be asked.
pub async fn run(data_dir: &DataDir, args: Ps) -> Result<(), Error> {
    let client = Client::new(data_dir, &args.cluster)?;
    let mut arns = client.task_arns(DesiredStatus::Running).await?;
    if args.all {
        arns.extend(client.task_arns(DesiredStatus::Stopped).await?);
    }
    let mut forgotten = if args.all { history::tasks(&client).await? } else { BTreeMap::new() };
    arns.iter().for_each(|arn| drop(forgotten.remove(arn)));
    if args.quiet {
        arns.extend(forgotten.into_keys());
        arns.iter().for_each(|arn| println!("{arn}"));
        return Ok(());
    }
    let mut tasks = client.describe(&arns).await?;
    tasks.extend(forgotten.into_values());
    tasks.sort_by(|a, b| (&a.group, &a.task_arn).cmp(&(&b.group, &b.task_arn)));
    let listing = Listing {
        columns: vec!["TASK", "GROUP", "DEFINITION", "STATUS", "CONTAINERS", "PORTS"],
        rows: tasks.iter().map(row).collect(),
        json: tasks.into_iter().map(json_of).collect(),
    };
    listing.print(args.output.format());
    Ok(())
}

fn row(task: &Task) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let containers = task.containers.iter().flatten().map(|c| {
        let exit = c.exit_code.map(|code| format!("({code})")).unwrap_or_default();
        format!("{}:{}{exit}", text(&c.name), text(&c.last_status))
    });
    let ports = task.containers.iter().flatten().flat_map(|c| c.network_bindings.iter().flatten());
    let ports = ports.filter_map(|binding| {
        let single = |number: Option<i32>| number.map(|number| number.to_string());
        let outside = single(binding.host_port).or_else(|| binding.host_port_range.clone())?;
        let inside =
            single(binding.container_port).or_else(|| binding.container_port_range.clone())?;
        Some(format!("127.0.0.1:{outside}->{inside}"))
    });
    vec![
        id_of(&text(&task.task_arn)).chars().take(12).collect(),
        text(&task.group),
        id_of(&text(&task.task_definition_arn)).to_owned(),
        text(&task.last_status),
        containers.collect::<Vec<_>>().join(" "),
        ports.collect::<Vec<_>>().join(" "),
    ]
}

/// The task in the API's own JSON.
pub fn json_of(task: Task) -> serde_json::Value {
    serde_json::from_slice(&wharf_wire::json::to_vec(task)).unwrap_or_else(|_| json!({}))
}
