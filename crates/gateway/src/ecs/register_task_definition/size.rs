//! Task-level CPU and memory: their text forms, their ranges, and FARGATE's table of sizes.

use super::Error;

/// The least and the most CPU units of a task on EC2 or EXTERNAL (ECS API
/// `RegisterTaskDefinitionRequest$cpu`).
const CPU_UNITS: std::ops::RangeInclusive<i64> = 128..=196_608;
/// The least MiB of a task: what a container engine needs for one container.
const MIN_MEMORY_MIB: i64 = 4;
/// CPU units in a vCPU, and MiB in a GB.
const KILO: f64 = 1024.0;

/// Sizes that FARGATE offers: CPU units, least MiB, most MiB, step in MiB.
const FARGATE: [(i64, i64, i64, i64); 7] = [
    (256, 512, 2048, 512),
    (512, 1024, 4096, 1024),
    (1024, 2048, 8192, 1024),
    (2048, 4096, 16_384, 1024),
    (4096, 8192, 30_720, 1024),
    (8192, 16_384, 61_440, 4096),
    (16_384, 32_768, 122_880, 8192),
];

/// CPU units from `1024`, `1 vCPU` or `.25 vcpu`.
pub(in crate::ecs) fn cpu(text: &str) -> Result<i64, Error> {
    amount(text, "vcpu").filter(|units| CPU_UNITS.contains(units)).ok_or(Error::TaskSize("cpu"))
}

/// MiB from `1024`, `1GB` or `0.5 GB`.
pub(in crate::ecs) fn memory(text: &str) -> Result<i64, Error> {
    amount(text, "gb").filter(|mib| *mib >= MIN_MEMORY_MIB).ok_or(Error::TaskSize("memory"))
}

/// A whole number, or a decimal number of `unit` that makes a whole number of the small unit.
fn amount(text: &str, unit: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<u32>() {
        return (!text.starts_with('+')).then_some(i64::from(number));
    }
    let lower = text.to_ascii_lowercase();
    let number = lower.strip_suffix(unit)?.trim_end();
    let is_decimal = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number: f64 = number.parse().ok().filter(|_| is_decimal)?;
    let small = number * KILO;
    // A task-level size is far below 2^32, where f64 is exact.
    (small.fract() == 0.0 && small <= f64::from(u32::MAX)).then_some(small as i64)
}

/// True if FARGATE offers this size.
pub(super) fn is_fargate(cpu: i64, memory: i64) -> bool {
    let row = FARGATE.iter().find(|(units, ..)| *units == cpu);
    row.is_some_and(|&(_, least, most, step)| {
        // 256 CPU units come with 512, 1024 and 2048 MiB: the one gap in a regular table.
        let gap = cpu == 256 && memory == 1536;
        (least..=most).contains(&memory) && memory % step == 0 && !gap
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_become_units() {
        let cases = [
            ("256", Some(256)),
            ("128", Some(128)),
            ("127", None),
            ("196608", Some(196_608)),
            ("196609", None),
            (".25 vCPU", Some(256)),
            ("0.25 vcpu", Some(256)),
            ("1vCPU", Some(1024)),
            ("1 VCPU", Some(1024)),
            (" 2 vCPU ", Some(2048)),
            ("0.3333 vCPU", None),
            ("", None),
            ("abc", None),
            ("-256", None),
            ("+256", None),
            ("1e3 vCPU", None),
            ("1 GB", None),
            ("inf vCPU", None),
            ("999999999999999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(cpu(text).ok(), expected, "{text:?}");
        }
        let cases = [
            ("512", Some(512)),
            ("0.5GB", Some(512)),
            ("1 GB", Some(1024)),
            ("1gb", Some(1024)),
            (".5 gb", Some(512)),
            ("4", Some(4)),
            ("3", None),
            ("0", None),
            ("1 MB", None),
            ("1 vCPU", None),
        ];
        for (text, expected) in cases {
            assert_eq!(memory(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn fargate_has_exactly_the_documented_sizes() {
        let mut sizes: Vec<(i64, i64)> = Vec::new();
        for cpu in (0..=20_000).step_by(128) {
            for memory in (0..=130_000).step_by(256) {
                if is_fargate(cpu, memory) {
                    sizes.push((cpu, memory));
                }
            }
        }
        let count = |units| sizes.iter().filter(|(cpu, _)| *cpu == units).count();
        let counts: Vec<_> =
            [256, 512, 1024, 2048, 4096, 8192, 16_384].into_iter().map(count).collect();
        assert_eq!(counts, [3, 4, 7, 13, 23, 12, 12]);
        assert_eq!(sizes.len(), 3 + 4 + 7 + 13 + 23 + 12 + 12);
        assert!(is_fargate(8192, 61_440) && !is_fargate(8192, 17_408));
        assert!(!is_fargate(256, 4096) && !is_fargate(300, 512));
    }
}
