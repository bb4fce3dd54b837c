//! Task scale-in protection for the task that asks, below `ECS_AGENT_URI` (ECS developer guide,
//! "Task scale-in protection endpoint").

use std::net::IpAddr;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use wharf_wire::ecs::operation;
use wharf_wire::ecs::types::{
    Failure, GetTaskProtectionRequest, ProtectedTask, UpdateTaskProtectionRequest,
};

use super::{Answer, Asked, Context, documents, routes};
use crate::api::Error;

/// What a task sends.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wish {
    protection_enabled: Option<bool>,
    expires_in_minutes: Option<i32>,
}

/// What the control plane says of the task, or why it says nothing.
type Told = Result<(Option<Vec<ProtectedTask>>, Option<Vec<Failure>>), Error>;

/// GET tells the protection of the task that `id` belongs to, PUT changes it.
pub(super) async fn answer(context: &Context, peer: IpAddr, id: &str, asked: &Asked) -> Answer {
    let Some(arn) = routes::task_of(context, peer, id) else {
        let text = "Failed to find a task for the request";
        return refusal(404, "ResourceNotFoundException", text, None);
    };
    let cluster = Some(context.instance().cluster);
    let told: Told = match asked.method {
        Method::GET => {
            let input = GetTaskProtectionRequest { cluster, tasks: Some(vec![arn.clone()]) };
            let answer = context.client.call::<operation::GetTaskProtection>(input).await;
            answer.map(|answer| (answer.protected_tasks, answer.failures))
        }
        Method::PUT => {
            let wish: Wish = match serde_json::from_slice(&asked.body) {
                Ok(wish) => wish,
                Err(error) => {
                    let text = format!("UpdateTaskProtection: failed to decode request: {error}");
                    return refusal(400, "InvalidParameterException", &text, Some(&arn));
                }
            };
            if wish.protection_enabled.is_none() {
                let text = "Invalid request: does not contain 'ProtectionEnabled' field";
                return refusal(400, "InvalidParameterException", text, Some(&arn));
            }
            let input = UpdateTaskProtectionRequest {
                cluster,
                tasks: Some(vec![arn.clone()]),
                protection_enabled: wish.protection_enabled,
                expires_in_minutes: wish.expires_in_minutes,
            };
            let answer = context.client.call::<operation::UpdateTaskProtection>(input).await;
            answer.map(|answer| (answer.protected_tasks, answer.failures))
        }
        _ => return routes::method_not_allowed("GET and PUT"),
    };
    shown(&arn, told)
}

fn shown(arn: &str, told: Told) -> Answer {
    let (protected, failures) = match told {
        Ok(told) => told,
        Err(Error::Refused { status, code, message, .. }) => {
            return refusal(status, &code, &message, Some(arn));
        }
        Err(error) => return refusal(500, "ServerException", &error.to_string(), Some(arn)),
    };
    if let Some(failure) = failures.into_iter().flatten().next() {
        return Answer::ok(json!({ "failure": documents::known(vec![
            ("Arn", json!(failure.arn)),
            ("Reason", json!(failure.reason)),
            ("Detail", json!(failure.detail)),
        ]) }));
    }
    let Some(task) = protected.into_iter().flatten().next() else {
        return refusal(500, "ServerException", "the server said nothing of the task", Some(arn));
    };
    let until = task.expiration_date.and_then(|at| u64::try_from(at.0).ok());
    Answer::ok(json!({ "protection": documents::known(vec![
        ("ExpirationDate", documents::time(until)),
        ("ProtectionEnabled", json!(task.protection_enabled)),
        ("TaskArn", json!(task.task_arn)),
    ]) }))
}

fn refusal(status: u16, code: &str, message: &str, arn: Option<&str>) -> Answer {
    let arn = arn.map_or(Value::Null, Value::from);
    let error = vec![("Arn", arn), ("Code", json!(code)), ("Message", json!(message))];
    Answer { status, body: json!({ "error": documents::known(error) }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_wire::Timestamp;

    const ARN: &str = "arn:aws:ecs:us-east-1:123456789012:task/default/0123";

    #[test]
    fn a_task_hears_its_protection_the_failure_or_the_error() {
        let task = ProtectedTask {
            task_arn: Some(ARN.to_owned()),
            protection_enabled: Some(true),
            expiration_date: Some(Timestamp(1_700_000_000_000)),
        };
        let answer = shown(ARN, Ok((Some(vec![task]), Some(Vec::new()))));
        assert_eq!(
            answer.body,
            json!({ "protection": { "ExpirationDate": "2023-11-14T22:13:20Z",
                "ProtectionEnabled": true, "TaskArn": ARN } })
        );
        let failure = Failure {
            arn: Some(ARN.to_owned()),
            reason: Some("DEPLOYMENT_BLOCKED".to_owned()),
            ..Failure::default()
        };
        let answer = shown(ARN, Ok((None, Some(vec![failure]))));
        assert_eq!(
            (answer.status, answer.body),
            (200, json!({ "failure": { "Arn": ARN, "Reason": "DEPLOYMENT_BLOCKED" } }))
        );
        let refused = Error::Refused {
            operation: "UpdateTaskProtection",
            status: 400,
            code: "InvalidParameterException".to_owned(),
            message: "expiresInMinutes must be between 1 and 2880.".to_owned(),
        };
        let answer = shown(ARN, Err(refused));
        assert_eq!(answer.status, 400);
        assert_eq!(answer.body["error"]["Code"], "InvalidParameterException");
        assert_eq!(answer.body["error"]["Arn"], ARN);
    }
}
