//! Names of the model to names of Rust.

/// Words that can't be identifiers as they are.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let",
    "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return",
    "static", "struct", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield",
];

/// `enableECSManagedTags` → `enable_ecs_managed_tags`.
pub fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|index| letters.get(index));
        let after = letters.get(index + 1);
        let starts_word = letter.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_uppercase() && after.is_some_and(|after| after.is_lowercase()))
            });
        if starts_word {
            out.push('_');
        }
        out.push(if letter.is_alphanumeric() { letter.to_ascii_lowercase() } else { '_' });
    }
    out
}

/// A type's name: `statusType` → `StatusType`.
pub fn type_name(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// A member's field: its snake case, raw where that is a keyword.
pub fn field(name: &str) -> String {
    let snake = snake(name);
    if KEYWORDS.contains(&snake.as_str()) { format!("r#{snake}") } else { snake }
}

/// A static's name.
pub fn screaming(name: &str) -> String {
    snake(name).to_ascii_uppercase()
}

/// An enum value's variant: `FARGATE_SPOT` → `FargateSpot`, `TaskFailedToStart` as it is.
/// `UNKNOWN` becomes `UnknownValue`, since `Unknown` holds what the model doesn't have.
pub fn variant(value: &str) -> String {
    let mut out = String::new();
    for word in value.split(|c: char| !c.is_ascii_alphanumeric()) {
        let shouted = !word.chars().any(|c| c.is_ascii_lowercase());
        for (index, letter) in word.chars().enumerate() {
            out.push(match index {
                0 => letter.to_ascii_uppercase(),
                _ if shouted => letter.to_ascii_lowercase(),
                _ => letter,
            });
        }
    }
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, 'V');
    }
    match out.as_str() {
        "Unknown" | "Self" => format!("{out}Value"),
        _ => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snake_case() {
        for (name, expected) in [
            ("enableECSManagedTags", "enable_ecs_managed_tags"),
            ("clusterArn", "cluster_arn"),
            ("VpcId", "vpc_id"),
            ("containerInstanceARN", "container_instance_arn"),
            ("ipv6CidrBlocks", "ipv6_cidr_blocks"),
            ("startTime", "start_time"),
        ] {
            assert_eq!(snake(name), expected);
        }
        assert_eq!(field("type"), "r#type");
        assert_eq!(type_name("statusType"), "StatusType");
    }

    #[test]
    fn variants() {
        for (value, expected) in [
            ("FARGATE_SPOT", "FargateSpot"),
            ("TaskFailedToStart", "TaskFailedToStart"),
            ("awsvpc", "Awsvpc"),
            ("UNKNOWN", "UnknownValue"),
            ("com.amazonaws.ecs", "ComAmazonawsEcs"),
            ("64bit", "V64bit"),
        ] {
            assert_eq!(variant(value), expected);
        }
    }
}
