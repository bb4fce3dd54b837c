//! DeleteAccountSetting: takes a principal's own setting away; the answer says what holds now.

use super::account_setting;
use crate::context::{Context, Outcome, Result};
use wharf_model::{RecordKey, Transaction};
use wharf_wire::ecs::types::{DeleteAccountSettingRequest, DeleteAccountSettingResponse};

/// DeleteAccountSetting.
pub fn delete_account_setting(
    context: &Context<'_>,
    input: &DeleteAccountSettingRequest,
) -> Result<DeleteAccountSettingResponse> {
    let definition = account_setting::definition(input.name.as_ref())?;
    let principal = account_setting::principal(context, input.principal_arn.as_deref())?;
    let remaining = account_setting::effective_without(context, definition, &principal);
    let setting = account_setting::view(context, definition, &principal, remaining);
    let output = DeleteAccountSettingResponse { setting: Some(setting) };
    if account_setting::stored(context, definition.name, &principal).is_none() {
        return Ok(Outcome::read(output));
    }
    let mut transaction = Transaction::new();
    transaction.delete(RecordKey::AccountSetting((definition.name.to_owned(), principal)));
    Ok(Outcome::write(output, transaction))
}
