//! `wharf lb open`: a load balancer's URL, in a browser where there is one.

use super::{Answer, LoadBalancer, fetch};
use crate::client::{Client, Error};
use crate::data_dir::DataDir;
use std::process::{Command, Stdio};

/// Prints the URL; opens it where a display is.
///
/// # Errors
/// If there is no such load balancer, or nothing that could be opened.
pub(super) async fn run(data_dir: &DataDir, name: &str) -> Result<(), Error> {
    let client = Client::new(data_dir, "default")?;
    let answer: Answer = serde_json::from_value(fetch(&client).await?).unwrap_or_default();
    let url = url(&answer.load_balancers, name)?;
    println!("{url}");
    if ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some()) {
        let opened = Command::new("xdg-open")
            .arg(&url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        // Who has no xdg-open has the URL.
        if let Err(error) = opened {
            eprintln!("wharf: xdg-open can't be run: {error}");
        }
    }
    Ok(())
}

/// The URL of a load balancer's listener: an HTTPS one, if it has one.
fn url(balancers: &[LoadBalancer], name: &str) -> Result<String, Error> {
    let names = || {
        let names: Vec<&str> = balancers.iter().map(|b| b.load_balancer_name.as_str()).collect();
        if names.is_empty() { "there is none".to_owned() } else { names.join(", ") }
    };
    let Some(balancer) = balancers.iter().find(|b| b.load_balancer_name == name) else {
        let text = format!("there is no load balancer named {name}; known: {}", names());
        return Err(Error::NotFound(text));
    };
    let urls = || balancer.listeners.iter().map(|listener| listener.url.as_str());
    let first = |scheme: &'static str| urls().find(|url| url.starts_with(scheme));
    first("https:").or_else(|| first("http:")).map(str::to_owned).ok_or_else(|| {
        let listeners: Vec<&str> = urls().collect();
        let text = match listeners[..] {
            [] => format!("{name} has no listener yet"),
            _ => format!("{name} has no HTTP listener to open, only {}", listeners.join(", ")),
        };
        Error::NotFound(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_comes_first_and_what_cannot_be_opened_is_said() {
        let answer: Answer = serde_json::from_value(serde_json::json!({ "loadBalancers": [
            { "loadBalancerName": "web", "type": "application", "hostAddress": "127.80.0.1",
              "targetGroups": [], "listeners": [
                { "url": "http://web.elb.localhost", "failed": [] },
                { "url": "https://web.elb.localhost:8443", "failed": [] } ] },
            { "loadBalancerName": "flows", "type": "network", "hostAddress": "127.80.0.2",
              "targetGroups": [], "listeners": [{ "url": "tcp://flows:5", "failed": [] }] },
        ] }))
        .unwrap();
        let all = &answer.load_balancers;
        assert_eq!(url(all, "web").unwrap(), "https://web.elb.localhost:8443");
        let text = |name| url(all, name).unwrap_err().to_string();
        assert_eq!(text("flows"), "flows has no HTTP listener to open, only tcp://flows:5");
        assert_eq!(text("other"), "there is no load balancer named other; known: web, flows");
    }
}
