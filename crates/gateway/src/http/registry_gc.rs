//! `POST /wharf/v1/registry/gc`: sweeps the image registry now, as it is swept every hour.
//!
//! Not a part of the AWS API, but behind the same gate: signed for `ecs`, by the account's root or
//! whoever may delete images of all repositories. Query: `olderThanSeconds`, how long what nothing refers
//! to must have rested; without it as in the hourly sweep. The answer says how much went of what.

use super::answer::{Answer, answer};
use crate::app::App;
use crate::authorize::{allows, denied};
use crate::error::ApiError;
use crate::identity::Verified;
use crate::registry::{Rest, sweep_rested};
use hyper::Method;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use wharf_model::policy::Decision;

/// Where it is.
pub(super) const PATH: &str = "/wharf/v1/registry/gc";

/// Answers when all is swept.
pub(super) async fn call(
    app: &Arc<App>,
    head: &http::request::Parts,
    identity: &Verified,
) -> Result<Answer, ApiError> {
    let action = "ecr:BatchDeleteImage";
    if allows(&app.store().snapshot(), app.arns(), identity, action, "*") != Decision::Allowed {
        return Err(denied(identity, "ecr", action, Some("*"), false));
    }
    if head.method != Method::POST {
        let message = format!("The method {} is not POST.", head.method);
        return Err(ApiError::new("MethodNotAllowedException", 405, message));
    }
    let rest = rest(head.uri.query().unwrap_or_default())?;
    let app = Arc::clone(app);
    // Whoever asked may not wait for the end; the sweep goes on.
    let swept = tokio::spawn(async move { sweep_rested(&app, app.now(), rest).await });
    let swept = swept.await.map_err(|_| ApiError::server())?;
    let body = json!({
        "expiredImages": swept.expired_images,
        "archivedImages": swept.archived_images,
        "uploads": swept.uploads,
        "records": swept.records,
        "blobs": swept.blobs,
    });
    Ok(answer(200, "application/json", body.to_string()))
}

fn rest(query: &str) -> Result<Rest, ApiError> {
    let mut rest = Rest::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "olderThanSeconds" => {
                let wrong = |_| {
                    let message = "olderThanSeconds must be a number of seconds".to_owned();
                    ApiError::invalid_parameter(message)
                };
                let age = Duration::from_secs(value.parse::<u32>().map_err(wrong)?.into());
                rest = Rest { uploads: age, blobs: age };
            }
            // A presigned request carries its signature here.
            other if other.starts_with("X-Amz-") => {}
            other => {
                return Err(ApiError::invalid_parameter(format!("Unknown parameter: {other}")));
            }
        }
    }
    Ok(rest)
}
