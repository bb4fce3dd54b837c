//! `resourceRequirements`: GPUs. Inference accelerators are refused by name in
//! [`super::members`].

use super::{Error, word};
use wharf_wire::ecs::types;

/// More than any host has.
const MAX_GPUS: u32 = 64;

/// How many GPUs a container, or an override of one, asks for; none if it says nothing of them.
pub(in crate::ecs) fn parse(
    container: &str,
    sent: &[types::ResourceRequirement],
) -> Result<Option<u32>, Error> {
    let mut gpus = None;
    for requirement in sent {
        let kind =
            requirement.r#type.as_ref().ok_or(Error::Required("ResourceRequirement.type"))?;
        word("type", kind.unknown(), types::ResourceType::VALUES, kind.as_str())?;
        let value = requirement.value.as_deref().unwrap_or_default();
        if *kind != types::ResourceType::Gpu {
            continue;
        }
        let count = value.parse().ok().filter(|count| (1..=MAX_GPUS).contains(count));
        let wrong = || Error::Gpus { container: container.to_owned(), value: value.to_owned() };
        let count = count.filter(|_| gpus.is_none()).ok_or_else(wrong)?;
        gpus = Some(count);
    }
    Ok(gpus)
}

/// Whether something else than GPUs is asked for.
pub(in crate::ecs) fn asks_for_more(sent: &[types::ResourceRequirement]) -> bool {
    sent.iter().any(|requirement| {
        requirement.r#type.as_ref().is_some_and(|kind| *kind != types::ResourceType::Gpu)
    })
}
