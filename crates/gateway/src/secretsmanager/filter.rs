//! Filters of ListSecrets and BatchGetSecretValue.

use crate::context::Context;
use wharf_model::Secret;
use wharf_wire::secretsmanager::types::{Filter, FilterNameStringType};

/// Whether a secret fits all filters. A value that begins with `!` must not be found.
pub(super) fn fits(context: &Context<'_>, filters: &[Filter], secret: &Secret) -> bool {
    filters.iter().all(|filter| {
        let Some(key) = &filter.key else { return true };
        let values = filter.values.as_deref().unwrap_or_default();
        let (without, with): (Vec<_>, Vec<_>) =
            values.iter().partition(|value| value.starts_with('!'));
        let found = |value: &str| matches(context, key, secret, value);
        (with.is_empty() || with.iter().any(|value| found(value)))
            && !without.iter().any(|value| found(&value[1..]))
    })
}

fn matches(
    context: &Context<'_>,
    key: &FilterNameStringType,
    secret: &Secret,
    value: &str,
) -> bool {
    let description = secret.description.as_deref().unwrap_or_default();
    let prefix = |text: &str| text.starts_with(value);
    // Texts are looked at word by word, whatever the case.
    let words = |text: &str| {
        let text = text.to_lowercase();
        let mut asked = value.split_whitespace();
        asked.all(|word| text.contains(&word.to_lowercase()))
    };
    match key {
        FilterNameStringType::Name => prefix(&secret.name),
        FilterNameStringType::Description => words(description),
        FilterNameStringType::TagKey => secret.tags.iter().any(|tag| prefix(&tag.key)),
        FilterNameStringType::TagValue => secret.tags.iter().any(|tag| prefix(&tag.value)),
        FilterNameStringType::PrimaryRegion => prefix(&context.arns.region),
        FilterNameStringType::All => {
            words(&secret.name)
                || words(description)
                || secret.tags.iter().any(|tag| words(&tag.key) || words(&tag.value))
        }
        // No other service owns one.
        _ => false,
    }
}
