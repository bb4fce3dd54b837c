//! What of parameters and secrets is in a snapshot.

use super::{Snapshot, values};
use crate::secret::{Parameter, ParameterVersion, Secret, SecretVersion};
use std::sync::Arc;

impl Snapshot {
    /// All parameters by name.
    pub fn parameters(&self) -> impl DoubleEndedIterator<Item = &Arc<Parameter>> {
        values(&self.parameters)
    }

    /// The versions of a parameter, ascending.
    pub fn versions_of_parameter(
        &self,
        id: &str,
    ) -> impl DoubleEndedIterator<Item = &Arc<ParameterVersion>> {
        let key = |version| (id.to_owned(), version);
        self.parameter_versions.range(key(0)..=key(u64::MAX)).map(|(_, v)| &v.value)
    }

    /// All versions of all parameters.
    pub fn parameter_versions(&self) -> impl Iterator<Item = &Arc<ParameterVersion>> {
        values(&self.parameter_versions)
    }

    /// All secrets by name, deleted ones that can still be restored included.
    pub fn secrets(&self) -> impl DoubleEndedIterator<Item = &Arc<Secret>> {
        values(&self.secrets)
    }

    /// All versions of all secrets.
    pub fn secret_versions(&self) -> impl Iterator<Item = &Arc<SecretVersion>> {
        values(&self.secret_versions)
    }
}
