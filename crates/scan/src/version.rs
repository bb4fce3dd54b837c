//! How versions compare. Semantic versions and Python's are compared by the crates of their
//! communities; for the others there is none that is kept and small, and each is a page here.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::str::{Chars, FromStr};

/// Semantic versions, as npm, crates.io and Go have them; build metadata doesn't count.
pub(crate) fn semantic(a: &str, b: &str) -> Option<Ordering> {
    let parse = |text: &str| {
        let text = text.trim().trim_start_matches('v');
        if let Ok(version) = semver::Version::parse(text) {
            return Some(version);
        }
        // Records say `1` and `1.2` as well.
        let (core, rest) = match text.find(['-', '+']) {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let zeros = 2_usize.checked_sub(core.matches('.').count())?;
        semver::Version::parse(&format!("{core}{}{rest}", ".0".repeat(zeros))).ok()
    };
    Some(parse(a)?.cmp_precedence(&parse(b)?))
}

/// PEP 440.
pub(crate) fn python(a: &str, b: &str) -> Option<Ordering> {
    let parse = |text: &str| pep440_rs::Version::from_str(text).ok();
    Some(parse(a)?.cmp(&parse(b)?))
}

/// `epoch:upstream-revision` of Debian's policy, section 5.6.12.
pub(crate) fn debian(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let text = text.trim();
        let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch.to_owned(), upstream.to_owned(), revision.to_owned())
    };
    let (a, b) = (parts(a), parts(b));
    digits(&a.0, &b.0).then_with(|| debian_part(&a.1, &b.1)).then_with(|| debian_part(&a.2, &b.2))
}

/// Non-digits by Debian's order, then digits as a number, and so on.
fn debian_part(a: &str, b: &str) -> Ordering {
    // The tilde sorts before the end, the end before letters, letters before everything else.
    let weight = |c: Option<char>| match c {
        Some('~') => -1,
        None => 0,
        Some(c) if c.is_ascii_digit() => 0,
        Some(c) if c.is_ascii_alphabetic() => i64::from(u32::from(c)),
        Some(c) => i64::from(u32::from(c)) + 0x11_0000,
    };
    let (mut a, mut b) = (a.chars().peekable(), b.chars().peekable());
    loop {
        let is_text = |c: Option<&char>| c.is_some_and(|c| !c.is_ascii_digit());
        while is_text(a.peek()) || is_text(b.peek()) {
            let order = weight(a.peek().copied()).cmp(&weight(b.peek().copied()));
            if order != Ordering::Equal {
                return order;
            }
            a.next();
            b.next();
        }
        let order = digits(&number(&mut a), &number(&mut b));
        if order != Ordering::Equal {
            return order;
        }
        if a.peek().is_none() && b.peek().is_none() {
            return Ordering::Equal;
        }
    }
}

fn number(chars: &mut Peekable<Chars<'_>>) -> String {
    std::iter::from_fn(|| chars.next_if(char::is_ascii_digit)).collect()
}

/// Numbers of any length.
fn digits(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// A version of Alpine's package tools.
#[derive(Debug, PartialEq, Eq)]
struct Apk {
    numbers: Vec<String>,
    letter: Option<char>,
    suffixes: Vec<(i8, String)>,
    revision: String,
}

impl Apk {
    fn parse(text: &str) -> Option<Self> {
        let mut chars = text.trim().chars().peekable();
        let mut numbers = vec![filled(number(&mut chars))?];
        while chars.next_if_eq(&'.').is_some() {
            numbers.push(filled(number(&mut chars))?);
        }
        let letter = chars.next_if(char::is_ascii_lowercase);
        let mut suffixes = Vec::new();
        while chars.next_if_eq(&'_').is_some() {
            let name: String =
                std::iter::from_fn(|| chars.next_if(char::is_ascii_lowercase)).collect();
            let rank = match name.as_str() {
                "alpha" => -4,
                "beta" => -3,
                "pre" => -2,
                "rc" => -1,
                "cvs" => 1,
                "svn" => 2,
                "git" => 3,
                "hg" => 4,
                "p" => 5,
                _ => return None,
            };
            suffixes.push((rank, number(&mut chars)));
        }
        if chars.next_if_eq(&'~').is_some() {
            while chars.next_if(char::is_ascii_hexdigit).is_some() {}
        }
        let mut revision = String::new();
        if chars.next_if_eq(&'-').is_some() {
            chars.next_if_eq(&'r')?;
            revision = filled(number(&mut chars))?;
        }
        chars.next().is_none().then_some(Self { numbers, letter, suffixes, revision })
    }
}

fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Alpine's versions: `1.2.3b_rc1-r4`.
pub(crate) fn alpine(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (Apk::parse(a)?, Apk::parse(b)?);
    for (index, (x, y)) in a.numbers.iter().zip(&b.numbers).enumerate() {
        // Behind the first number a leading zero makes it a fraction.
        let fraction = index > 0 && (x.starts_with('0') || y.starts_with('0'));
        let order = if fraction { x.cmp(y) } else { digits(x, y) };
        if order != Ordering::Equal {
            return Some(order);
        }
    }
    let order = a.numbers.len().cmp(&b.numbers.len()).then(a.letter.cmp(&b.letter));
    if order != Ordering::Equal {
        return Some(order);
    }
    for index in 0..a.suffixes.len().max(b.suffixes.len()) {
        let none = (0, String::new());
        let x = a.suffixes.get(index).unwrap_or(&none);
        let y = b.suffixes.get(index).unwrap_or(&none);
        let order = x.0.cmp(&y.0).then_with(|| digits(&x.1, &y.1));
        if order != Ordering::Equal {
            return Some(order);
        }
    }
    Some(digits(&a.revision, &b.revision))
}

/// A part of a version: digits, or letters.
fn parts(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut last = None;
    for c in text.chars() {
        let kind =
            if c.is_ascii_digit() { Some(true) } else { c.is_ascii_alphabetic().then_some(false) };
        match (kind, parts.last_mut()) {
            (Some(_), Some(part)) if kind == last => part.push(c),
            (Some(_), _) => parts.push(c.to_string()),
            (None, _) => {}
        }
        last = kind;
    }
    parts
}

fn is_number(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_digit())
}

/// `Gem::Version`: letters make a pre-release, and zeros at the end don't count.
pub(crate) fn ruby(a: &str, b: &str) -> Ordering {
    // A hyphen stands for `.pre.`, as in RubyGems.
    let split = |text: &str| parts(&text.trim().replace('-', ".pre."));
    let (a, b) = (split(a), split(b));
    for index in 0..a.len().max(b.len()) {
        let zero = "0".to_owned();
        let (x, y) = (a.get(index).unwrap_or(&zero), b.get(index).unwrap_or(&zero));
        let order = match (is_number(x), is_number(y)) {
            (true, true) => digits(x, y),
            (false, false) => x.cmp(y),
            (x, y) => x.cmp(&y),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// PHP's `version_compare`, which Composer's order comes from.
pub(crate) fn php(a: &str, b: &str) -> Ordering {
    let split = |text: &str| {
        let text = text.trim().trim_start_matches(['v', 'V']);
        parts(text.split('+').next().unwrap_or_default())
    };
    let rank = |part: Option<&String>| match part.map(|part| part.to_ascii_lowercase()).as_deref() {
        None => 4,
        Some(part) if is_number(part) => 5,
        Some("dev") => 0,
        Some("alpha" | "a") => 1,
        Some("beta" | "b") => 2,
        Some("rc" | "c") => 3,
        Some("pl" | "p" | "patch") => 6,
        Some(_) => -1,
    };
    let (mut a, mut b) = (split(a), split(b));
    // Composer fills up to four numbers: 1.0 and 1.0.0 are the same.
    for version in [&mut a, &mut b] {
        let numbers = version.iter().take_while(|part| is_number(part)).count();
        let missing = 4_usize.saturating_sub(numbers);
        version.splice(numbers..numbers, std::iter::repeat_n("0".to_owned(), missing));
    }
    for index in 0..a.len().max(b.len()) {
        let (x, y) = (a.get(index), b.get(index));
        let order = rank(x).cmp(&rank(y)).then_with(|| match (x, y) {
            (Some(x), Some(y)) if is_number(x) && is_number(y) => digits(x, y),
            _ => Ordering::Equal,
        });
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each of a list is less than all behind it.
    fn ascending(compare: impl Fn(&str, &str) -> Option<Ordering>, list: &[&str]) {
        for (index, a) in list.iter().enumerate() {
            for (other, b) in list.iter().enumerate() {
                assert_eq!(compare(a, b), Some(index.cmp(&other)), "{a} and {b}");
            }
        }
    }

    #[test]
    fn every_ecosystem_has_its_order() {
        let debian = |a: &str, b: &str| Some(debian(a, b));
        ascending(
            debian,
            &[
                "1.0~~",
                "1.0~rc1-1",
                "1.0",
                "1.0-0.1",
                "1.0-1",
                "1.0-1+deb12u1",
                "1.0-1+deb12u2",
                "1.0-10",
                "1.0a-1",
                "1.0+dfsg-1",
                "1.2-1",
                "1.10-1",
                "1:0.1-1",
                "2:0.1-1",
            ],
        );
        assert_eq!(debian("0:1.00-1", "1.0-01"), Some(Ordering::Equal));
        ascending(
            alpine,
            &[
                "1.1.1_alpha1-r0",
                "1.1.1_beta",
                "1.1.1_rc2-r1",
                "1.1.1-r0",
                "1.1.1-r2",
                "1.1.1-r10",
                "1.1.1_git20200101-r0",
                "1.1.1_p1-r0",
                "1.1.1a-r0",
                "1.1.1w-r0",
                "1.1.1.1-r0",
                "1.2-r0",
                "1.10-r0",
                "3.0.8-r3",
            ],
        );
        assert_eq!(alpine("1.0.x", "1.0"), None);
        ascending(semantic, &["v0.9", "1.0.0-rc.1", "1", "1.0.1", "1.2", "1.10.0"]);
        assert_eq!(semantic("1.0.0+a", "v1.0.0+incompatible"), Some(Ordering::Equal));
        ascending(python, &["1.0.dev1", "1.0a1", "1.0rc1", "1.0", "1.0.post1", "1.1", "1!0.1"]);
        ascending(|a, b| Some(ruby(a, b)), &["1.0.a", "1.0.rc1", "1.0", "1.0.1", "1.2", "1.10"]);
        assert_eq!(ruby("1.0.0", "1"), Ordering::Equal);
        ascending(
            |a, b| Some(php(a, b)),
            &[
                "1.0-dev",
                "1.0.0-alpha1",
                "1.0.0-beta2",
                "1.0.0-RC1",
                "v1.0",
                "1.0.0-p1",
                "1.0.1",
                "1.10",
            ],
        );
    }

    proptest! {
        #[test]
        fn orders_are_orders(a in "[0-9a-z.~:+_-]{0,12}", b in "[0-9a-z.~:+_-]{0,12}", c in "[0-9a-z.~:+_-]{0,12}") {
            for compare in [debian, ruby, php] {
                prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
                prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            }
            if debian(&a, &b) != Ordering::Greater && debian(&b, &c) != Ordering::Greater {
                prop_assert_ne!(debian(&a, &c), Ordering::Greater);
            }
            for compare in [alpine, semantic, python] {
                prop_assert_eq!(compare(&a, &b), compare(&b, &a).map(Ordering::reverse));
            }
        }
    }
}
