//! Errors of the API: what a caller is told. Operations return them, [`crate::protocol`] turns
//! them into bytes.
//!
//! A constructor per exception of ECS, with ECS's own sentence where the sentence is always the
//! same one. What happened inside (a journal that failed) never reaches the caller but as
//! `ServerException` and a request id; the log has the rest.

use crate::sigv4;
use std::borrow::Cow;
use wharf_wire::ecs::ErrorCode;

/// An error of the API.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The exception's name, such as `ClusterNotFoundException`.
    pub code: Cow<'static, str>,
    /// What the caller reads.
    pub message: String,
    /// HTTP status.
    pub status: u16,
    /// Further members of the exception's shape, such as `resourceIds`.
    pub extra: Vec<(&'static str, serde_json::Value)>,
}

macro_rules! exceptions {
    ($( $(#[$doc:meta])* $name:ident => $code:ident; )*) => {
        impl ApiError {
            $(
                $(#[$doc])*
                pub fn $name(message: impl Into<String>) -> Self {
                    Self::ecs(ErrorCode::$code, message)
                }
            )*
        }
    };
}

exceptions! {
    /// `InvalidParameterException`: a parameter isn't valid for the request.
    invalid_parameter => InvalidParameterException;
    /// `ClientException`: the request can't be carried out as it stands.
    client => ClientException;
    /// `AccessDeniedException`: the principal may not do that.
    access_denied => AccessDeniedException;
    /// `UnsupportedFeatureException`: the real service has it, wharf has not.
    unsupported_feature => UnsupportedFeatureException;
    /// `ResourceNotFoundException`.
    resource_not_found => ResourceNotFoundException;
    /// `ResourceInUseException`.
    resource_in_use => ResourceInUseException;
    /// `LimitExceededException`.
    limit_exceeded => LimitExceededException;
    /// `UpdateInProgressException`.
    update_in_progress => UpdateInProgressException;
    /// `TargetNotFoundException`.
    target_not_found => TargetNotFoundException;
    /// `AttributeLimitExceededException`.
    attribute_limit_exceeded => AttributeLimitExceededException;
    /// `PlatformUnknownException`.
    platform_unknown => PlatformUnknownException;
    /// `PlatformTaskDefinitionIncompatibilityException`.
    platform_incompatible => PlatformTaskDefinitionIncompatibilityException;
    /// `NamespaceNotFoundException`.
    namespace_not_found => NamespaceNotFoundException;
    /// `ServiceDeploymentNotFoundException`.
    service_deployment_not_found => ServiceDeploymentNotFoundException;
    /// `BlockedException`.
    blocked => BlockedException;
}

impl ApiError {
    /// An error of ECS's model.
    pub fn ecs(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(code.as_str(), code.http_status(), message)
    }

    /// An error with any code.
    pub fn new(
        code: impl Into<Cow<'static, str>>,
        status: u16,
        message: impl Into<String>,
    ) -> Self {
        Self { code: code.into(), message: message.into(), status, extra: Vec::new() }
    }

    /// The same with another member in its body.
    pub fn with(mut self, member: &'static str, value: serde_json::Value) -> Self {
        self.extra.push((member, value));
        self
    }

    /// `ClusterNotFoundException` in ECS's words. The agent looks for exactly this text.
    pub fn cluster_not_found() -> Self {
        Self::ecs(ErrorCode::ClusterNotFoundException, "Cluster not found.")
    }

    /// `ClusterNotFoundException` of a cluster that was deleted, in ECS's words.
    pub fn cluster_inactive() -> Self {
        Self::ecs(ErrorCode::ClusterNotFoundException, "The referenced cluster was inactive.")
    }

    /// `ServiceNotFoundException` in ECS's words.
    pub fn service_not_found() -> Self {
        Self::ecs(ErrorCode::ServiceNotFoundException, "Service not found.")
    }

    /// `ServiceNotActiveException` in ECS's words.
    pub fn service_not_active() -> Self {
        Self::ecs(ErrorCode::ServiceNotActiveException, "Service was not ACTIVE.")
    }

    /// `ConflictException`: a client token that was used with other parameters, and for what.
    pub fn conflict(message: impl Into<String>, resource_ids: Vec<String>) -> Self {
        Self::ecs(ErrorCode::ConflictException, message).with("resourceIds", resource_ids.into())
    }

    /// `ServerException`: our fault. The caller may try again.
    pub fn server() -> Self {
        Self::ecs(ErrorCode::ServerException, "Service Unavailable. Please try again later.")
    }

    /// An operation that this server doesn't have, of a service of which it has others.
    pub fn not_supported(operation: &str) -> Self {
        let message = format!("The operation {operation} is not supported by this server.");
        Self::new("UnsupportedOperationException", 400, message)
    }

    /// An operation of ECS that isn't built.
    pub fn not_built(operation: wharf_wire::ecs::Operation) -> Self {
        Self::unsupported_feature(format!(
            "The operation {} is not supported by this server.",
            operation.as_str()
        ))
    }

    /// True if it is the server's fault.
    pub fn is_server_fault(&self) -> bool {
        self.status >= 500
    }
}

/// The code of a refused signature depends on the protocol: see [`crate::protocol::Protocol`].
/// This is the JSON form, which the others translate.
impl From<&sigv4::Error> for ApiError {
    fn from(error: &sigv4::Error) -> Self {
        let (code, status) = match error.reason() {
            sigv4::Reason::Missing => ("MissingAuthenticationTokenException", 403),
            sigv4::Reason::Incomplete => ("IncompleteSignatureException", 400),
            sigv4::Reason::Signature => ("InvalidSignatureException", 403),
            sigv4::Reason::TokenExpired => ("ExpiredTokenException", 403),
        };
        Self::new(code, status, error.to_string())
    }
}
