//! Elastic Load Balancing's API, as far as the bench calls it.

use super::origin::ORIGIN;
use crate::Result;
use crate::client::Client;
use crate::peers::Wharf;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

const SUBNETS: [&str; 2] = ["subnet-0a77a2f000000000a", "subnet-0a77a2f000000000b"];
const VPC: &str = "vpc-0a77a2f0000000001";

/// A connection to the API.
#[derive(Debug)]
pub struct Api {
    client: Client,
    acm: Client,
}

/// The text of the first element of a name.
///
/// # Errors
/// If there is none.
pub fn field(xml: &str, name: &str) -> Result<String> {
    let missing = || format!("no {name} in {xml}");
    let (_, rest) = xml.split_once(&format!("<{name}>")).ok_or_else(missing)?;
    let (text, _) = rest.split_once("</").ok_or_else(missing)?;
    Ok(text.to_owned())
}

impl Api {
    /// Connects.
    ///
    /// # Errors
    /// If the server is gone.
    pub async fn connect(wharf: &Wharf) -> Result<Self> {
        let connect = async |service| {
            Client::connect(&wharf.address, &wharf.key.clone().of_service(service)).await
        };
        let (client, acm) = (connect("elasticloadbalancing").await?, connect("acm").await?);
        Ok(Self { client, acm })
    }

    /// Calls an operation; answers the XML.
    ///
    /// # Errors
    /// If it isn't answered by 200.
    pub async fn call(&mut self, action: &str, parameters: &[(&str, &str)]) -> Result<String> {
        let mut form = format!("Action={action}&Version=2015-12-01");
        for (name, value) in parameters {
            let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
            form.push_str(&format!("&{name}={value}"));
        }
        self.client.form(&form).await
    }

    /// An Application Load Balancer: its ARN and its DNS name.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn load_balancer(&mut self, name: &str) -> Result<(String, String)> {
        let subnets =
            [("Subnets.member.1", SUBNETS[0]), ("Subnets.member.2", SUBNETS[1]), ("Name", name)];
        let made = self.call("CreateLoadBalancer", &subnets).await?;
        Ok((field(&made, "LoadBalancerArn")?, field(&made, "DNSName")?))
    }

    /// A target group with the origin in it: its ARN.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn target_group(&mut self, name: &str) -> Result<String> {
        let group = [
            ("Name", name),
            ("Protocol", "HTTP"),
            ("Port", "9000"),
            ("VpcId", VPC),
            ("TargetType", "ip"),
        ];
        let made = self.call("CreateTargetGroup", &group).await?;
        let arn = field(&made, "TargetGroupArn")?;
        let (id, port) = (ORIGIN.ip().to_string(), ORIGIN.port().to_string());
        let targets = [
            ("TargetGroupArn", arn.as_str()),
            ("Targets.member.1.Id", &id),
            ("Targets.member.1.Port", &port),
        ];
        self.call("RegisterTargets", &targets).await?;
        Ok(arn)
    }

    /// A listener that forwards to a group: its ARN.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn listener(
        &mut self,
        load_balancer: &str,
        port: u16,
        group: &str,
        certificate: Option<&str>,
    ) -> Result<String> {
        let port = port.to_string();
        let mut listener = vec![
            ("LoadBalancerArn", load_balancer),
            ("Protocol", if certificate.is_some() { "HTTPS" } else { "HTTP" }),
            ("Port", &port),
            ("DefaultActions.member.1.Type", "forward"),
            ("DefaultActions.member.1.TargetGroupArn", group),
        ];
        if let Some(arn) = certificate {
            listener.push(("Certificates.member.1.CertificateArn", arn));
            listener.push(("SslPolicy", "ELBSecurityPolicy-TLS13-1-2-2021-06"));
        }
        let made = self.call("CreateListener", &listener).await?;
        field(&made, "ListenerArn")
    }

    /// Imports a certificate: its ARN.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn certificate(&mut self, chain: &str, key: &str) -> Result<String> {
        let body = json!({"Certificate": BASE64.encode(chain), "PrivateKey": BASE64.encode(key)});
        let target = "CertificateManager.ImportCertificate";
        let answer = self.acm.call_target(target, body.to_string().as_bytes()).await?;
        let answer: serde_json::Value = serde_json::from_slice(answer)?;
        Ok(answer["CertificateArn"].as_str().ok_or("no certificate")?.to_owned())
    }
}
