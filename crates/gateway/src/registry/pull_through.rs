//! Pull-through caches: which names are whose, by the registry's rules. Pure.

use super::templates::ROOT;
use wharf_model::{PullThroughRule, RegistrySettings, Snapshot};

/// A name that is an upstream's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cached {
    /// The rule's prefix.
    pub prefix: String,
    /// The rule.
    pub rule: PullThroughRule,
    /// The repository's name at the upstream.
    pub upstream_name: String,
}

/// The rule for a repository's name, the one with the longest prefix, and the name that it has there.
pub(crate) fn cached(snapshot: &Snapshot, name: &str) -> Option<Cached> {
    let settings = snapshot.registry_settings(&RegistrySettings::KEY.to_owned())?;
    of_settings(settings, name)
}

fn of_settings(settings: &RegistrySettings, name: &str) -> Option<Cached> {
    let fits = settings.pull_through.iter().filter_map(|(prefix, rule)| {
        let rest = below(prefix, name)?;
        Some((name.len() - rest.len(), prefix, rule, rest))
    });
    let (_, prefix, rule, rest) = fits.max_by_key(|(length, ..)| *length)?;
    let upstream_name = match rule.upstream_prefix.as_str() {
        ROOT => rest.to_owned(),
        prefix => format!("{}/{rest}", prefix.trim_end_matches('/')),
    };
    Some(Cached { prefix: prefix.clone(), rule: rule.clone(), upstream_name })
}

/// What of a name is below a prefix.
fn below<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    match prefix {
        ROOT => Some(name),
        prefix => name.strip_prefix(prefix.trim_end_matches('/'))?.strip_prefix('/'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_model::Timestamp;

    #[test]
    fn the_longest_prefix_says_whose_a_name_is_and_what_it_is_there() {
        let rule = |upstream: &str, upstream_prefix: &str| PullThroughRule {
            upstream: upstream.to_owned(),
            kind: None,
            upstream_prefix: upstream_prefix.to_owned(),
            credential_arn: None,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        };
        let mut settings = RegistrySettings::default();
        let mut set = |prefix: &str, rule| settings.pull_through.insert(prefix.to_owned(), rule);
        set("hub", rule("registry-1.docker.io", "ROOT"));
        set("hub/team", rule("quay.io", "prod/apps"));
        let name = |settings: &RegistrySettings, name: &str| {
            of_settings(settings, name).map(|c| format!("{}/{}", c.rule.upstream, c.upstream_name))
        };
        let found = |name_: &str| name(&settings, name_);
        assert_eq!(found("hub/library/a").as_deref(), Some("registry-1.docker.io/library/a"));
        assert_eq!(found("hub/team/a").as_deref(), Some("quay.io/prod/apps/a"));
        assert_eq!(found("hub/teams/a").as_deref(), Some("registry-1.docker.io/teams/a"));
        assert_eq!(found("hub"), None);
        assert_eq!(found("hubs/a"), None);
        settings.pull_through.insert("ROOT".to_owned(), rule("ghcr.io", "ROOT"));
        assert_eq!(name(&settings, "hubs/a").as_deref(), Some("ghcr.io/hubs/a"));
        assert_eq!(name(&settings, "hub/a").as_deref(), Some("registry-1.docker.io/a"));
    }
}
