//! Elastic Load Balancing, version 2: load balancers, listeners, rules, target groups, trust stores.
//!
//! As in [`crate::ecs`] an operation is a pure function of the snapshot; here they are grouped by
//! what they are about. What the records mean to traffic is the balancer's matter; this is the API:
//! validation, defaults, and the words of its errors.
//!
//! Names, ports and priorities are kept unique by rewriting a record of what they are unique in: two
//! requests that would take the same one meet there, and the second is decided anew.

mod actions;
mod attributes;
mod conditions;
mod find;
mod health_check;
mod limits;
mod listener_certificates;
mod listeners;
mod load_balancers;
mod names;
mod network;
mod page;
mod rules;
mod ssl_policies;
mod tags;
mod target_groups;
mod targets;
#[cfg(test)]
mod tests;
mod tls;
mod transforms;
mod trust_stores;

pub(crate) use listener_certificates::add as add_listener_certificates;
pub(crate) use listeners::create as create_listener;
pub(crate) use load_balancers::create as create_load_balancer;
pub(crate) use rules::create as create_rule;
pub(crate) use target_groups::{create as create_target_group, modify as modify_target_group};

use crate::context::Context;
use crate::dispatch::{Call, Encoded};
use crate::error::ApiError;
use wharf_model::{Record, RecordKey, Transaction};
use wharf_wire::elbv2::{ErrorCode, Operation, operation};

macro_rules! dispatch_table {
    ($( $name:ident => $function:path; )*) => {
        /// Runs the operation.
        pub(crate) async fn dispatch(operation: Operation, call: Call<'_>) -> Encoded {
            match operation {
                Operation::CreateTrustStore => trust_stores::create(call).await,
                Operation::ModifyTrustStore => trust_stores::modify(call).await,
                Operation::AddTrustStoreRevocations => trust_stores::add_revocations(call).await,
                $( Operation::$name => call.run::<operation::$name>($function).await, )*
            }
        }
    };
}

dispatch_table! {
    CreateLoadBalancer => load_balancers::create;
    DescribeLoadBalancers => load_balancers::describe;
    DeleteLoadBalancer => load_balancers::delete;
    DescribeCapacityReservation => load_balancers::capacity_reservation;
    SetSubnets => network::set_subnets;
    SetSecurityGroups => network::set_security_groups;
    SetIpAddressType => network::set_ip_address_type;
    DescribeLoadBalancerAttributes => attributes::describe_of_load_balancer;
    ModifyLoadBalancerAttributes => attributes::modify_of_load_balancer;
    DescribeListenerAttributes => attributes::describe_of_listener;
    ModifyListenerAttributes => attributes::modify_of_listener;
    DescribeTargetGroupAttributes => attributes::describe_of_target_group;
    ModifyTargetGroupAttributes => attributes::modify_of_target_group;
    CreateTargetGroup => target_groups::create;
    DescribeTargetGroups => target_groups::describe;
    ModifyTargetGroup => target_groups::modify;
    DeleteTargetGroup => target_groups::delete;
    RegisterTargets => targets::register;
    DeregisterTargets => targets::deregister;
    DescribeTargetHealth => targets::describe_health;
    CreateListener => listeners::create;
    DescribeListeners => listeners::describe;
    ModifyListener => listeners::modify;
    DeleteListener => listeners::delete;
    AddListenerCertificates => listener_certificates::add;
    RemoveListenerCertificates => listener_certificates::remove;
    DescribeListenerCertificates => listener_certificates::describe;
    CreateRule => rules::create;
    DescribeRules => rules::describe;
    ModifyRule => rules::modify;
    DeleteRule => rules::delete;
    SetRulePriorities => rules::set_priorities;
    AddTags => tags::add;
    RemoveTags => tags::remove;
    DescribeTags => tags::describe;
    DescribeSSLPolicies => ssl_policies::describe;
    DescribeAccountLimits => limits::describe;
    DescribeTrustStores => trust_stores::describe;
    DescribeTrustStoreRevocations => trust_stores::describe_revocations;
    DescribeTrustStoreAssociations => trust_stores::describe_associations;
    RemoveTrustStoreRevocations => trust_stores::remove_revocations;
    DeleteTrustStore => trust_stores::delete;
}

/// An error of the service's model.
fn error(code: ErrorCode, message: impl Into<String>) -> ApiError {
    ApiError::new(code.as_str(), code.http_status(), message)
}

fn validation(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", 400, message)
}

/// What the real service has, and this server has not.
fn unsupported(what: &str) -> ApiError {
    validation(format!("{what} is not supported by this server."))
}

/// A member that isn't carried out.
fn refuse(member: &str, is_sent: bool) -> Result<(), ApiError> {
    if is_sent { Err(unsupported(member)) } else { Ok(()) }
}

/// An operation that isn't built.
pub(crate) fn not_built(name: &str) -> ApiError {
    let message = format!("The operation {name} is not supported by this server.");
    ApiError::new("UnsupportedOperation", 400, message)
}

/// Demands that a record is still as this request saw it.
fn read(context: &Context<'_>, transaction: &mut Transaction, key: RecordKey) {
    let revision = context.snapshot.revision_of(&key);
    transaction.read(key, revision);
}

/// Puts a record that holds only if it is still as this request saw it: absent, or unchanged.
fn put(context: &Context<'_>, transaction: &mut Transaction, record: impl Into<Record>) {
    let record = record.into();
    read(context, transaction, record.key());
    transaction.put(record);
}

/// A transaction of that one record.
fn changed(context: &Context<'_>, record: impl Into<Record>) -> Transaction {
    let mut transaction = Transaction::new();
    put(context, &mut transaction, record);
    transaction
}

/// Deletes a record that this request saw.
fn remove(context: &Context<'_>, transaction: &mut Transaction, key: RecordKey) {
    read(context, transaction, key.clone());
    transaction.delete(key);
}

/// Records of one transaction, with room for those that it hangs on. What doesn't fit is swept.
const MAX_DELETED: usize = 90;
