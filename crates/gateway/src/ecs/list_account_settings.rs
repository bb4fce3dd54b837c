//! ListAccountSettings: what a principal has set, or (`effectiveSettings`) what holds for it.

use super::account_setting::{self, DEFINITIONS, Definition};
use super::page::{Request, page};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_wire::ecs::types::{ListAccountSettingsRequest, ListAccountSettingsResponse};

/// The most settings on one page.
const PAGE_LIMIT: i32 = 10;

/// ListAccountSettings.
pub fn list_account_settings(
    context: &Context<'_>,
    input: &ListAccountSettingsRequest,
) -> Result<ListAccountSettingsResponse> {
    if input.value.is_some() && input.name.is_none() {
        return Err(ApiError::invalid_parameter(
            "You must also specify an account setting name to use the value parameter.",
        ));
    }
    let only = input.name.as_ref().map(|n| account_setting::definition(Some(n))).transpose()?;
    let principal = account_setting::principal(context, input.principal_arn.as_deref())?;
    let effective = input.effective_settings.unwrap_or(false);
    let value_of = |definition: &Definition| {
        if effective {
            Some(account_setting::effective_for(context, definition.name, &principal))
        } else {
            account_setting::stored(context, definition.name, &principal)
        }
    };
    let settings = DEFINITIONS
        .iter()
        .filter(|d| only.is_none_or(|only| only.name == d.name))
        .filter_map(|d| Some((d, value_of(d)?)))
        .filter(|(_, value)| input.value.as_ref().is_none_or(|wanted| wanted == value))
        .map(|(d, value)| {
            (d.name.to_owned(), account_setting::view(context, d, &principal, value))
        });
    let request = Request {
        next_token: input.next_token.as_deref(),
        max_results: input.max_results,
        limit: PAGE_LIMIT,
    };
    let page = page(settings, request)?;
    Ok(Outcome::read(ListAccountSettingsResponse {
        settings: Some(page.items),
        next_token: page.next_token,
    }))
}
