//! AWS Certificate Manager, as far as load balancers need it: certificates that were imported, and
//! such as the local authority issues at once.
//!
//! As in [`crate::ecs`], an operation is a pure function of a context and its input; keys are sealed
//! before they enter a transaction (see [`crate::vault`]).

mod describe;
mod import;
mod parse;
mod renewal;
mod request;
mod tags;
#[cfg(test)]
mod tests;

pub use renewal::keep_renewed;
pub(crate) use request::{issue_for, request_with};

use crate::context::Context;
use crate::dispatch::{Call, Encoded};
use crate::error::ApiError;
use crate::vault::Vault;
use std::sync::Arc;
use wharf_model::load_balancing::{Certificate, Resource};
use wharf_model::{ArnScope, RecordKey, Snapshot, Transaction};
use wharf_wire::acm::{ErrorCode, Operation, operation};

macro_rules! dispatch_table {
    ($( $name:ident => $function:path; )*) => {
        /// Runs the operation.
        pub(crate) async fn dispatch(operation: Operation, call: Call<'_>) -> Encoded {
            match operation {
                Operation::RequestCertificate => request::request(call).await,
                $( Operation::$name => call.run::<operation::$name>($function).await, )*
            }
        }
    };
}

dispatch_table! {
    ImportCertificate => import::import;
    DescribeCertificate => describe::describe;
    GetCertificate => describe::get;
    ListCertificates => describe::list;
    DeleteCertificate => describe::delete;
    AddTagsToCertificate => tags::add;
    RemoveTagsFromCertificate => tags::remove;
    ListTagsForCertificate => tags::list;
}

fn error(code: ErrorCode, message: impl Into<String>) -> ApiError {
    ApiError::new(code.as_str(), code.http_status(), message)
}

fn validation(message: impl Into<String>) -> ApiError {
    error(ErrorCode::ValidationException, message)
}

/// A member that isn't carried out.
fn refuse(member: &str, is_sent: bool) -> Result<(), ApiError> {
    match is_sent {
        true => Err(validation(format!("{member} is not supported by this server."))),
        false => Ok(()),
    }
}

/// The certificate with this ARN.
fn find<'a>(context: &Context<'a>, arn: Option<&String>) -> Result<&'a Arc<Certificate>, ApiError> {
    let arn = arn.map_or("", String::as_str);
    let Some(id) = context.arns.certificate_id(arn) else {
        if arn.starts_with("arn:aws:acm:") {
            return Err(not_found(context, arn));
        }
        let message = format!("'{arn}' is not the ARN of a certificate");
        return Err(error(ErrorCode::InvalidArnException, message));
    };
    context.snapshot.certificate(&id.to_owned()).ok_or_else(|| not_found(context, arn))
}

fn not_found(context: &Context<'_>, arn: &str) -> ApiError {
    error(
        ErrorCode::ResourceNotFoundException,
        format!("Could not find certificate {arn} in account {}.", context.account()),
    )
}

/// Seals a key for the certificate's ARN; the log has what went wrong.
fn seal(
    vault: &Vault,
    arns: &ArnScope,
    id: &str,
    key: &str,
) -> Result<wharf_model::Sealed, ApiError> {
    vault.seal(&arns.certificate(id), key.as_bytes()).map_err(|failure| {
        tracing::error!(%failure, id, "a certificate's key can't be sealed");
        ApiError::server()
    })
}

/// ARNs of the load balancers whose listeners serve a certificate.
fn users(snapshot: &Snapshot, arns: &ArnScope, arn: &str) -> Vec<String> {
    let listeners = snapshot.listeners();
    let serving = listeners.filter(|listener| listener.certificates.iter().any(|c| c == arn));
    let mut users: Vec<String> = serving
        .filter(|listener| snapshot.load_balancer(&listener.load_balancer).is_some())
        .map(|listener| arns.load_balancer(&listener.load_balancer))
        .collect();
    users.sort();
    users.dedup();
    users.retain(|arn| matches!(arns.elb_resource(arn), Some(Resource::LoadBalancer(_))));
    users
}

/// A transaction of that one record, which holds only if it is still as this request saw it.
fn changed(snapshot: &Snapshot, certificate: Certificate) -> Transaction {
    let mut transaction = Transaction::new();
    let key = RecordKey::Certificate(certificate.id.clone());
    transaction.read(key.clone(), snapshot.revision_of(&key));
    transaction.put(certificate);
    transaction
}
