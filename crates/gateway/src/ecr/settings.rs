//! Account settings of the registry.

use super::{Ecr, invalid};
use crate::error::ApiError;
use crate::registry::access::Resource;
use wharf_model::{RegistrySettings, Snapshot};
use wharf_wire::ecr::types::{
    GetAccountSettingRequest, GetAccountSettingResponse, PutAccountSettingRequest,
    PutAccountSettingResponse,
};

const BLOB_MOUNTING: &str = "BLOB_MOUNTING";

/// Settings with the values that they may have; the first is the default.
const SETTINGS: [(&str, &[&str]); 3] = [
    ("BASIC_SCAN_TYPE_VERSION", &["AWS_NATIVE"]),
    ("REGISTRY_POLICY_SCOPE", &["V2"]),
    (BLOB_MOUNTING, &["ENABLED", "DISABLED"]),
];

/// The registry's settings.
pub(super) fn of(snapshot: &Snapshot) -> RegistrySettings {
    let found = snapshot.registry_settings(&RegistrySettings::KEY.to_owned());
    found.map(|settings| RegistrySettings::clone(settings)).unwrap_or_default()
}

/// True if blobs may be mounted from other repositories.
pub(crate) fn mounts(snapshot: &Snapshot) -> bool {
    let settings = snapshot.registry_settings(&RegistrySettings::KEY.to_owned());
    let value = settings.and_then(|settings| settings.account.get(BLOB_MOUNTING));
    value.is_none_or(|value| value == "ENABLED")
}

fn values(name: &str) -> Result<&'static [&'static str], ApiError> {
    let found = SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, values)| *values);
    let names = || SETTINGS.map(|(name, _)| name).join(", ");
    found.ok_or_else(|| invalid("name", format!("'{name}' is no account setting; {} are", names())))
}

pub(super) async fn get(
    call: &Ecr<'_>,
    input: GetAccountSettingRequest,
) -> Result<GetAccountSettingResponse, ApiError> {
    call.demand(Resource::Registry)?;
    let name = input.name.unwrap_or_default();
    let values = values(&name)?;
    let set = of(&call.app.store().snapshot()).account.remove(&name);
    let value = set.or_else(|| values.first().map(|value| (*value).to_owned()));
    Ok(GetAccountSettingResponse { name: Some(name), value })
}

pub(super) async fn put(
    call: &Ecr<'_>,
    input: PutAccountSettingRequest,
) -> Result<PutAccountSettingResponse, ApiError> {
    call.demand(Resource::Registry)?;
    let (name, value) = (input.name.unwrap_or_default(), input.value.unwrap_or_default());
    let values = values(&name)?;
    if !values.contains(&value.as_str()) {
        let why = format!("'{value}' is not supported for {name}; {} is", values.join(" or "));
        return Err(invalid("value", why));
    }
    let change = |settings: &mut RegistrySettings| {
        settings.account.insert(name.clone(), value.clone());
        Ok(())
    };
    call.change_settings(change).await?;
    Ok(PutAccountSettingResponse { name: Some(name), value: Some(value) })
}
