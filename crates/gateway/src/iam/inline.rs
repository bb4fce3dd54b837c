//! Inline policies of roles and users.

use super::holder::{Holder, to_change};
use super::page::page;
use super::{changed, documents, no_such_entity};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use wharf_model::iam::{Role, User};
use wharf_wire::Empty;
use wharf_wire::iam::types;

fn put<H: Holder>(
    context: &Context<'_>,
    holder: Option<&str>,
    name: Option<&String>,
    document: Option<&String>,
) -> OperationResult<Empty> {
    let mut holder: H = to_change(context, holder)?;
    let (name, document) =
        (name.cloned().unwrap_or_default(), document.cloned().unwrap_or_default());
    let others = holder.inline().iter().filter(|(other, _)| **other != name).map(|(_, d)| d);
    documents::inline(&document, others, H::KIND, holder.name())?;
    holder.inline_mut().insert(name, document);
    Ok(Outcome::write(Empty {}, changed(context, holder)))
}

fn missing<H: Holder>(name: &str) -> ApiError {
    no_such_entity(format!("The {} policy with name {name} cannot be found.", H::KIND))
}

/// The holder's name as it was given, and the document as it is shown.
fn get<H: Holder>(
    context: &Context<'_>,
    holder: Option<&str>,
    name: Option<&str>,
) -> Result<(String, String), ApiError> {
    let holder = H::find(context, holder.unwrap_or_default())?;
    let name = name.unwrap_or_default();
    let document = holder.inline().get(name).ok_or_else(|| missing::<H>(name))?;
    Ok((holder.name().to_owned(), documents::shown(document)))
}

fn delete<H: Holder>(
    context: &Context<'_>,
    holder: Option<&str>,
    name: Option<&str>,
) -> OperationResult<Empty> {
    let mut holder: H = to_change(context, holder)?;
    let name = name.unwrap_or_default();
    if holder.inline_mut().remove(name).is_none() {
        return Err(missing::<H>(name));
    }
    Ok(Outcome::write(Empty {}, changed(context, holder)))
}

macro_rules! operations {
    ($( $holder:ident, $name:ident:
        $put:ident($put_input:ident), $get:ident($get_input:ident) -> $get_output:ident,
        $list:ident($list_input:ident) -> $list_output:ident, $delete:ident($delete_input:ident); )*) => {
        $(
            pub(super) fn $put(context: &Context<'_>, input: &types::$put_input) -> OperationResult<Empty> {
                let document = input.policy_document.as_ref();
                put::<$holder>(context, input.$name.as_deref(), input.policy_name.as_ref(), document)
            }

            pub(super) fn $get(context: &Context<'_>, input: &types::$get_input) -> OperationResult<types::$get_output> {
                let (holder, document) =
                    get::<$holder>(context, input.$name.as_deref(), input.policy_name.as_deref())?;
                Ok(Outcome::read(types::$get_output {
                    $name: Some(holder),
                    policy_name: input.policy_name.clone(),
                    policy_document: Some(document),
                }))
            }

            pub(super) fn $list(context: &Context<'_>, input: &types::$list_input) -> OperationResult<types::$list_output> {
                let holder = $holder::find(context, input.$name.as_deref().unwrap_or_default())?;
                let names = holder.inline().keys().cloned();
                let page = page(names, String::clone, input.marker.as_deref(), input.max_items)?;
                Ok(Outcome::read(types::$list_output {
                    is_truncated: page.is_truncated(),
                    policy_names: Some(page.items),
                    marker: page.marker,
                }))
            }

            pub(super) fn $delete(context: &Context<'_>, input: &types::$delete_input) -> OperationResult<Empty> {
                delete::<$holder>(context, input.$name.as_deref(), input.policy_name.as_deref())
            }
        )*
    };
}

operations! {
    Role, role_name: put_of_role(PutRolePolicyRequest), get_of_role(GetRolePolicyRequest) -> GetRolePolicyResponse,
        list_of_role(ListRolePoliciesRequest) -> ListRolePoliciesResponse, delete_of_role(DeleteRolePolicyRequest);
    User, user_name: put_of_user(PutUserPolicyRequest), get_of_user(GetUserPolicyRequest) -> GetUserPolicyResponse,
        list_of_user(ListUserPoliciesRequest) -> ListUserPoliciesResponse, delete_of_user(DeleteUserPolicyRequest);
}
