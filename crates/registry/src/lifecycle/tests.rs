use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: i64 = 1_700_000_000_000;

fn rule(priority: i32, selection: Value) -> Value {
    json!({"rulePriority": priority, "selection": selection, "action": {"type": "expire"}})
}

fn policy(rules: &[Value]) -> Policy {
    Policy::parse(&json!({"rules": rules}).to_string()).unwrap()
}

fn refused(rules: &[Value]) -> String {
    Policy::parse(&json!({"rules": rules}).to_string()).unwrap_err()
}

/// An image pushed so many days ago.
fn image(name: &str, tags: &[&str], days: i64) -> Image {
    Image {
        digest: name.to_owned(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        pushed_ms: NOW - days * DAY_MS,
        ..Image::default()
    }
}

fn expired(policy: &Policy, images: &[Image]) -> Vec<(String, i32)> {
    policy.evaluate(images, NOW).into_iter().map(|e| (e.digest, e.priority)).collect()
}

fn count(status: &str, number: usize) -> Value {
    json!({"tagStatus": status, "countType": "imageCountMoreThan", "countNumber": number})
}

fn age(status: &str, days: i64) -> Value {
    json!({"tagStatus": status, "countType": "sinceImagePushed", "countUnit": "days", "countNumber": days})
}

fn with(mut selection: Value, member: &str, list: &[&str]) -> Value {
    selection[member] = json!(list);
    selection
}

fn of(pairs: &[(&str, i32)]) -> Vec<(String, i32)> {
    pairs.iter().map(|(name, priority)| ((*name).to_owned(), *priority)).collect()
}

#[test]
fn the_documented_examples() {
    // "Filtering on image age": exactly so many days is not yet older.
    let images =
        [image("a", &[], 13), image("b", &[], 14), image("c", &[], 15), image("d", &["x"], 99)];
    assert_eq!(expired(&policy(&[rule(1, age("untagged", 14))]), &images), of(&[("c", 1)]));
    // "Filtering on image count".
    let images = [image("a", &[], 3), image("b", &[], 1), image("c", &[], 2)];
    assert_eq!(
        expired(&policy(&[rule(1, count("untagged", 1))]), &images),
        of(&[("a", 1), ("c", 1)])
    );
    // "Filtering on multiple rules", example A: prod keeps one, dev keeps one.
    let images = [
        image("a", &["dev1", "prod1"], 10),
        image("b", &["dev2", "prod2"], 9),
        image("c", &["dev3"], 8),
    ];
    let prod = with(count("tagged", 1), "tagPrefixList", &["prod"]);
    let dev = with(count("tagged", 1), "tagPrefixList", &["dev"]);
    let rules = [rule(1, prod.clone()), rule(2, dev.clone())];
    // Rule 2 finds a and b too old as well, but both are rule 1's.
    assert_eq!(expired(&policy(&rules), &images), of(&[("a", 1)]));
    // Example B, the priorities the other way round: rule 1 takes a and b, and nothing is left.
    let rules = [rule(1, dev), rule(2, prod)];
    assert_eq!(expired(&policy(&rules), &images), of(&[("a", 1), ("b", 1)]));
    // "Filtering on multiple tags in a single rule": all of them must be met.
    let images = [
        image("a", &["alpha"], 12),
        image("b", &["beta"], 11),
        image("c", &["alpha1", "beta1"], 10),
    ];
    let both = with(age("tagged", 5), "tagPrefixList", &["alpha", "beta"]);
    assert_eq!(expired(&policy(&[rule(1, both)]), &images), of(&[("c", 1)]));
    // "Filtering on all images".
    let images =
        [image("a", &["alpha"], 4), image("b", &[], 3), image("c", &[], 2), image("d", &["g"], 1)];
    let rules =
        [rule(1, with(count("tagged", 1), "tagPatternList", &["*lph*"])), rule(2, count("any", 1))];
    // d is the youngest; a fits rule 1's tags, so that rule 2 can't reach it.
    assert_eq!(expired(&policy(&rules), &images), of(&[("b", 2), ("c", 2)]));
}

#[test]
fn what_hangs_together_goes_together() {
    let mut images = vec![image("index", &["v"], 9), image("amd64", &[], 9), image("old", &[], 9)];
    (images[1].in_index, images[1].in_active_index) = (true, true);
    assert_eq!(expired(&policy(&[rule(1, age("untagged", 1))]), &images), of(&[("old", 1)]));
    let mut signature = image("signature", &["sha256-x.sig"], 1);
    signature.subject = Some("old".to_owned());
    let mut of_signature = image("of-signature", &[], 0);
    of_signature.subject = Some("signature".to_owned());
    images.extend([signature, of_signature]);
    let both = of(&[("of-signature", 1), ("old", 1), ("signature", 1)]);
    assert_eq!(expired(&policy(&[rule(1, age("untagged", 1))]), &images), both);
}

#[test]
fn images_go_to_the_archive_and_from_there() {
    let mut unused = age("any", 30);
    unused["countType"] = json!("sinceImagePulled");
    let mut archiving = rule(1, unused);
    archiving["action"] = json!({"type": "transition", "targetStorageClass": "archive"});
    let mut old = age("any", 90);
    old["countType"] = json!("sinceImageTransitioned");
    old["storageClass"] = json!("archive");
    // Each class may have a rule for all of its images.
    let policy = policy(&[archiving, rule(2, old)]);
    let at = |days: i64| Some(NOW - days * DAY_MS);
    let never = image("never-pulled", &["v"], 31);
    let pulled = Image { pulled_ms: at(29), ..image("pulled", &[], 400) };
    let unused = Image { pulled_ms: at(31), ..image("unused", &[], 400) };
    let restored = Image { pulled_ms: at(300), activated_ms: at(1), ..image("restored", &[], 400) };
    let archived = Image { archived_ms: at(90), ..image("archived", &[], 400) };
    let gone = Image { archived_ms: at(91), ..image("gone", &[], 400) };
    let member = Image { in_index: true, in_active_index: true, ..image("member", &[], 400) };
    let of_archived_index = Image { in_index: true, ..image("of-archived-index", &[], 400) };
    let kept = Image { in_index: true, archived_ms: at(91), ..image("kept", &[], 400) };
    let signature = Image { subject: Some("unused".to_owned()), ..image("signature", &[], 1) };
    let images = [
        never,
        pulled,
        unused,
        restored,
        archived,
        gone,
        member,
        of_archived_index,
        kept,
        signature,
    ];
    let due: Vec<_> = policy
        .evaluate(&images, NOW)
        .into_iter()
        .map(|d| (d.digest, d.priority, d.action))
        .collect();
    let expected = [
        ("gone", 2, Action::Expire),
        ("never-pulled", 1, Action::Archive),
        ("of-archived-index", 1, Action::Archive),
        ("signature", 1, Action::Archive),
        ("unused", 1, Action::Archive),
    ];
    assert_eq!(
        due,
        expected.map(|(digest, priority, action)| (digest.to_owned(), priority, action))
    );
}

#[test]
fn policies_that_say_too_much_or_too_little() {
    let tagged = with(count("tagged", 1), "tagPrefixList", &["a"]);
    let mut both = tagged.clone();
    both["tagPatternList"] = json!(["b"]);
    let archiving = |selection: Value, target: Value| {
        let mut archive = rule(1, selection);
        archive["action"] = json!({"type": "transition", "targetStorageClass": target});
        archive
    };
    let mut pulled = count("any", 1);
    pulled["countType"] = json!("sinceImagePulled");
    let archived = |days: i64| {
        json!({"tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned",
            "countUnit": "days", "countNumber": days})
    };
    let mut standard = archived(90);
    standard["storageClass"] = json!("standard");
    let mut pushed = age("any", 1);
    pushed["storageClass"] = json!("archive");
    let mut unit = count("any", 1);
    unit["countUnit"] = json!("days");
    for (rules, part) in [
        (vec![], "1 to 50 rules"),
        (vec![rule(0, count("any", 1))], "rulePriority"),
        (vec![rule(1, count("any", 1)), rule(2, tagged.clone())], "highest rulePriority"),
        (vec![rule(1, tagged.clone()), rule(1, tagged)], "used twice"),
        (vec![rule(1, count("untagged", 1)), rule(2, age("untagged", 1))], "only one rule"),
        (vec![rule(1, count("tagged", 1))], "needs either"),
        (vec![rule(1, both)], "needs either"),
        (vec![rule(1, with(count("any", 1), "tagPrefixList", &["a"]))], "go with tagStatus"),
        (vec![rule(1, with(count("tagged", 1), "tagPatternList", &["a*b*c*d*e*"]))], "wildcards"),
        (vec![rule(1, count("any", 0))], "at least 1"),
        (vec![archiving(count("any", 1), json!(null))], "targetStorageClass 'archive'"),
        (vec![archiving(count("any", 1), json!("standard"))], "targetStorageClass 'archive'"),
        (vec![archiving(archived(90), json!("archive"))], "can only expire"),
        (vec![rule(1, archived(89))], "at least 90"),
        (vec![rule(1, standard)], "goes with countType"),
        (vec![rule(1, pushed)], "goes with countType"),
        (vec![rule(1, pulled)], "countUnit 'days'"),
        (vec![rule(1, unit)], "countUnit"),
        (
            vec![rule(1, json!({"tagStatus": "any", "countType": "x", "countNumber": 1}))],
            "countType",
        ),
        (vec![json!({"rulePriority": 1})], "selection"),
        (
            vec![rule(
                1,
                json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1, "x": 1}),
            )],
            "unknown field",
        ),
    ] {
        let text = refused(&rules);
        assert!(text.contains(part), "{text}: {part}");
    }
    assert!(Policy::parse("{").is_err());
}

fn any_images() -> impl Strategy<Value = Vec<Image>> {
    let tags = proptest::collection::vec("(prod|dev|rc)[0-2]", 0..3);
    let one = (tags, 0..20_i64, any::<bool>(), proptest::option::of(0..12_usize));
    proptest::collection::vec(one, 0..12).prop_map(|list| {
        let named = list.into_iter().enumerate();
        named
            .map(|(index, (tags, days, in_index, subject))| Image {
                digest: format!("d{index}"),
                tags,
                pushed_ms: NOW - days * DAY_MS,
                in_index: in_index && index % 4 == 0,
                in_active_index: in_index && index % 4 == 0,
                // Only older ones, as pushes make them: no circles.
                subject: subject
                    .filter(|of| *of < index && index % 3 == 0)
                    .map(|of| format!("d{of}")),
                ..Image::default()
            })
            .collect()
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let selection = prop_oneof![
        (1..5_usize).prop_map(|n| with(count("tagged", n), "tagPrefixList", &["prod"])),
        (1..5_usize).prop_map(|n| with(count("tagged", n), "tagPatternList", &["*1"])),
        (0..15_i64).prop_map(|n| with(age("tagged", n + 1), "tagPrefixList", &["dev"])),
    ];
    let last = prop_oneof![
        (1..5_usize).prop_map(|n| count("untagged", n)),
        (1..5_usize).prop_map(|n| count("any", n)),
        (1..15_i64).prop_map(|n| age("any", n)),
    ];
    (proptest::collection::vec(selection, 0..3), last).prop_map(|(mut selections, last)| {
        selections.push(last);
        let rules: Vec<Value> = selections
            .into_iter()
            .zip(1..)
            .map(|(selection, priority)| rule(priority, selection))
            .collect();
        policy(&rules)
    })
}

proptest! {
    #[test]
    fn what_holds_for_every_policy(policy in any_policy(), images in any_images()) {
        let expired = policy.evaluate(&images, NOW);
        let find = |digest: &str| images.iter().find(|i| i.digest == digest).unwrap();
        let companion = |i: &Image| i.subject.as_ref().is_some_and(|s| images.iter().any(|o| o.digest == *s));
        let digests: BTreeSet<_> = expired.iter().map(|e| &e.digest).collect();
        prop_assert_eq!(digests.len(), expired.len(), "each at most once");
        for e in &expired {
            let image = find(&e.digest);
            prop_assert!(!image.in_index);
            if companion(image) {
                prop_assert!(digests.contains(image.subject.as_ref().unwrap()));
                continue;
            }
            // The first rule whose tags it fits is the one.
            let first = policy.rules.iter().find(|r| r.tags.fits(&image.tags)).unwrap();
            prop_assert_eq!(first.priority, e.priority);
            let younger = images.iter().filter(|o| !companion(o) && first.tags.fits(&o.tags) && o.pushed_ms >= image.pushed_ms).count();
            match first.count {
                Count::MoreThan(n) => prop_assert!(younger > n, "the {} youngest stay", n),
                Count::DaysSincePushed(days) => prop_assert!(NOW - image.pushed_ms > days * DAY_MS),
                Count::DaysSincePulled(_) | Count::DaysSinceArchived(_) => {}
            }
        }
        // The order that images come in changes nothing, and what is left has nothing to expire by
        // the rules that count: evaluating again removes no more than what indexes held.
        let mut reversed = images.clone();
        reversed.reverse();
        prop_assert_eq!(policy.evaluate(&reversed, NOW), expired);
    }
}
