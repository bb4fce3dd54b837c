//! PutAttributes: operators' attributes on container instances, for placement.

use super::attribute_input::{MAX_CUSTOM, is_custom, of_operator, shown, target};
use super::resolve;
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use std::collections::BTreeMap;
use wharf_model::{ContainerInstance, ContainerInstanceKey, RecordKey, Transaction};
use wharf_wire::ecs::types::{PutAttributesRequest, PutAttributesResponse};

/// PutAttributes.
pub fn put_attributes(
    context: &Context<'_>,
    input: &PutAttributesRequest,
) -> Result<PutAttributesResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let mut changed: BTreeMap<ContainerInstanceKey, ContainerInstance> = BTreeMap::new();
    let mut output = Vec::new();
    for (sent, attribute) in of_operator(input.attributes.as_deref().unwrap_or_default())? {
        let known = target(context, &cluster.name, sent)?;
        let instance =
            changed.entry(known.key()).or_insert_with(|| ContainerInstance::clone(known));
        output.push(shown(context, instance, &attribute));
        match instance.attributes.iter_mut().find(|a| a.name == attribute.name) {
            Some(earlier) => *earlier = attribute,
            None => instance.attributes.push(attribute),
        }
    }
    let mut transaction = Transaction::new();
    for (key, mut instance) in changed {
        if instance.attributes.iter().filter(|a| is_custom(&a.name)).count() > MAX_CUSTOM {
            return Err(ApiError::attribute_limit_exceeded(
                "You can apply up to 10 custom attributes for each resource. You can view the \
                 attributes of a resource with ListAttributes. You can remove existing attributes \
                 on a resource with DeleteAttributes.",
            ));
        }
        instance.version += 1;
        let record_key = RecordKey::ContainerInstance(key);
        transaction.read(record_key.clone(), context.snapshot.revision_of(&record_key));
        transaction.put(instance);
    }
    Ok(Outcome::write(PutAttributesResponse { attributes: Some(output) }, transaction))
}
