//! DeleteAttributes: takes operators' attributes off container instances again.

use super::attribute_input::{of_operator, shown, target};
use super::resolve;
use crate::context::{Context, Outcome, Result};
use std::collections::BTreeMap;
use wharf_model::{ContainerInstance, ContainerInstanceKey, RecordKey, Transaction};
use wharf_wire::ecs::types::{DeleteAttributesRequest, DeleteAttributesResponse};

/// DeleteAttributes.
pub fn delete_attributes(
    context: &Context<'_>,
    input: &DeleteAttributesRequest,
) -> Result<DeleteAttributesResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let mut changed: BTreeMap<ContainerInstanceKey, ContainerInstance> = BTreeMap::new();
    let mut output = Vec::new();
    for (sent, attribute) in of_operator(input.attributes.as_deref().unwrap_or_default())? {
        let known = target(context, &cluster.name, sent)?;
        let instance =
            changed.entry(known.key()).or_insert_with(|| ContainerInstance::clone(known));
        // One that isn't there is not an error: what was asked for is the case.
        let place = instance.attributes.iter().position(|a| a.name == attribute.name);
        let deleted = place.map(|place| instance.attributes.remove(place)).unwrap_or(attribute);
        output.push(shown(context, instance, &deleted));
    }
    let mut transaction = Transaction::new();
    for (key, mut instance) in changed {
        let before = context.snapshot.container_instance(&key);
        if before.is_some_and(|b| b.attributes == instance.attributes) {
            continue;
        }
        instance.version += 1;
        let record_key = RecordKey::ContainerInstance(key);
        transaction.read(record_key.clone(), context.snapshot.revision_of(&record_key));
        transaction.put(instance);
    }
    Ok(Outcome::write(DeleteAttributesResponse { attributes: Some(output) }, transaction))
}
