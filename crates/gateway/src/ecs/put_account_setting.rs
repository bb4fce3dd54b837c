//! PutAccountSetting: a setting of one principal. The root's is the account's default.

use super::account_setting;
use crate::context::{Context, Outcome, Result};
use wharf_model::Transaction;
use wharf_wire::ecs::types::{PutAccountSettingRequest, PutAccountSettingResponse};

/// PutAccountSetting.
pub fn put_account_setting(
    context: &Context<'_>,
    input: &PutAccountSettingRequest,
) -> Result<PutAccountSettingResponse> {
    let definition = account_setting::definition(input.name.as_ref())?;
    let value = input.value.as_deref().unwrap_or_default();
    account_setting::check_value(definition, value)?;
    let principal = account_setting::principal(context, input.principal_arn.as_deref())?;
    let mut transaction = Transaction::new();
    transaction.put(account_setting::record(definition, &principal, value));
    let setting = account_setting::view(context, definition, &principal, value.to_owned());
    Ok(Outcome::write(PutAccountSettingResponse { setting: Some(setting) }, transaction))
}
