//! What of the account and its identities is in a snapshot.

use super::{Snapshot, values};
use crate::account::{AccessKey, AccountSetting};
use crate::iam::{InstanceProfile, ManagedPolicy, Role, User};
use std::sync::Arc;

impl Snapshot {
    /// All account settings by name and principal.
    pub fn account_settings(&self) -> impl Iterator<Item = &Arc<AccountSetting>> {
        values(&self.account_settings)
    }

    /// All access keys.
    pub fn access_keys(&self) -> impl Iterator<Item = &Arc<AccessKey>> {
        values(&self.access_keys)
    }

    /// All roles by name.
    pub fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        values(&self.roles)
    }

    /// All users by name.
    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        values(&self.users)
    }

    /// All of the account's own policies by name.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<ManagedPolicy>> {
        values(&self.policies)
    }

    /// All instance profiles by name.
    pub fn instance_profiles(&self) -> impl Iterator<Item = &Arc<InstanceProfile>> {
        values(&self.instance_profiles)
    }
}
