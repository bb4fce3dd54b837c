//! Which capacity provider each new task counts for.

use std::collections::BTreeMap;
use wharf_model::cluster::CapacityProviderStrategyItem;

/// The providers of `count` new tasks beside those that are there: first each provider's base, then
/// by weight (ECS API `CapacityProviderStrategyItem`). Empty without a strategy.
pub fn capacity_providers(
    strategy: &[CapacityProviderStrategyItem],
    mut there: BTreeMap<String, i64>,
    count: usize,
) -> Vec<String> {
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count {
        let Some(next) = next(strategy, &there) else { break };
        *there.entry(next.to_owned()).or_default() += 1;
        chosen.push(next.to_owned());
    }
    chosen
}

fn next<'a>(
    strategy: &'a [CapacityProviderStrategyItem],
    there: &BTreeMap<String, i64>,
) -> Option<&'a str> {
    let tasks = |i: &CapacityProviderStrategyItem| {
        there.get(&i.capacity_provider).copied().unwrap_or_default()
    };
    let below_base = strategy.iter().find(|i| tasks(i) < i64::from(i.base));
    // The one that is furthest below its share: (tasks + 1) / weight is lowest. Compared without
    // dividing; of equals the first.
    let beyond = |i: &CapacityProviderStrategyItem| tasks(i) - i64::from(i.base) + 1;
    let weighted = strategy.iter().filter(|i| i.weight > 0);
    let by_weight = || {
        weighted.reduce(|best, item| {
            let (a, b) =
                (beyond(item) * i64::from(best.weight), beyond(best) * i64::from(item.weight));
            if a < b { item } else { best }
        })
    };
    let alone = || strategy.first().filter(|_| strategy.len() == 1);
    below_base.or_else(by_weight).or_else(alone).map(|i| i.capacity_provider.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, weight: i32, base: i32) -> CapacityProviderStrategyItem {
        CapacityProviderStrategyItem { capacity_provider: name.to_owned(), weight, base }
    }

    #[test]
    fn base_first_then_weights() {
        let strategy = [item("FARGATE", 1, 2), item("FARGATE_SPOT", 3, 0)];
        let chosen = capacity_providers(&strategy, BTreeMap::new(), 10);
        let on = |name: &str| chosen.iter().filter(|c| *c == name).count();
        assert_eq!(chosen[..2], ["FARGATE", "FARGATE"]);
        assert_eq!((on("FARGATE"), on("FARGATE_SPOT")), (4, 6));
        let there = BTreeMap::from([("FARGATE".to_owned(), 4), ("FARGATE_SPOT".to_owned(), 6)]);
        let more = capacity_providers(&strategy, there, 4);
        assert_eq!(more.iter().filter(|c| *c == "FARGATE_SPOT").count(), 3);
        assert_eq!(capacity_providers(&[item("A", 0, 0)], BTreeMap::new(), 2), ["A", "A"]);
        assert!(capacity_providers(&[], BTreeMap::new(), 3).is_empty());
    }
}
