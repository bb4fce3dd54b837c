//! PutAccountSettingDefault: a setting of every principal that has none of its own.

use super::account_setting::{self, DEFAULT_PRINCIPAL};
use crate::context::{Context, Outcome, Result};
use wharf_model::Transaction;
use wharf_wire::ecs::types::{PutAccountSettingDefaultRequest, PutAccountSettingDefaultResponse};

/// PutAccountSettingDefault.
pub fn put_account_setting_default(
    context: &Context<'_>,
    input: &PutAccountSettingDefaultRequest,
) -> Result<PutAccountSettingDefaultResponse> {
    let definition = account_setting::definition(input.name.as_ref())?;
    let value = input.value.as_deref().unwrap_or_default();
    account_setting::check_value(definition, value)?;
    let mut transaction = Transaction::new();
    transaction.put(account_setting::record(definition, DEFAULT_PRINCIPAL, value));
    let setting = account_setting::view(context, definition, DEFAULT_PRINCIPAL, value.to_owned());
    Ok(Outcome::write(PutAccountSettingDefaultResponse { setting: Some(setting) }, transaction))
}
