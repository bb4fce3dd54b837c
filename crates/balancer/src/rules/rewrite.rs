//! Transforms of what is forwarded: the Host header and the URL, by regular expressions.

use super::condition::regex;
use regex::Regex;
use wharf_model::load_balancing::{Transform, TransformKind};

/// The transforms of a rule, compiled.
#[derive(Debug, Clone, Default)]
pub struct Rewrites {
    host: Vec<(Regex, String)>,
    url: Vec<(Regex, String)>,
}

impl Rewrites {
    pub(super) fn new(transforms: &[Transform]) -> Self {
        let mut rewrites = Self::default();
        for transform in transforms {
            let list = match transform.kind {
                TransformKind::HostHeaderRewrite => &mut rewrites.host,
                TransformKind::UrlRewrite => &mut rewrites.url,
            };
            for rewrite in &transform.rewrites {
                if let Some(regex) = regex(&rewrite.regex) {
                    list.push((regex, braced(&rewrite.replace)));
                }
            }
        }
        rewrites
    }

    /// The Host header to send, if it differs from the one that came.
    pub fn host(&self, host: &str) -> Option<String> {
        rewrite(&self.host, host)
    }

    /// Path and query to send, if they differ from those that came.
    pub fn url(&self, path_and_query: &str) -> Option<String> {
        rewrite(&self.url, path_and_query)
    }
}

fn rewrite(list: &[(Regex, String)], text: &str) -> Option<String> {
    let mut changed: Option<String> = None;
    for (regex, replace) in list {
        let current = changed.as_deref().unwrap_or(text);
        if let std::borrow::Cow::Owned(new) = regex.replace(current, replace.as_str()) {
            changed = Some(new);
        }
    }
    changed
}

/// `$1` is group 1 whatever letters follow it, as in the API; the regex crate would read `$1st` as
/// a group of that name.
fn braced(replace: &str) -> String {
    let mut out = String::with_capacity(replace.len() + 4);
    let mut rest = replace.chars().peekable();
    while let Some(c) = rest.next() {
        out.push(c);
        if c != '$' || !rest.peek().is_some_and(char::is_ascii_digit) {
            continue;
        }
        out.push('{');
        while let Some(digit) = rest.next_if(char::is_ascii_digit) {
            out.push(digit);
        }
        out.push('}');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_model::load_balancing::Rewrite;

    #[test]
    fn groups_are_filled_in() {
        let transform = |kind, regex: &str, replace: &str| Transform {
            kind,
            rewrites: vec![Rewrite { regex: regex.into(), replace: replace.into() }],
        };
        let rewrites = Rewrites::new(&[
            transform(TransformKind::UrlRewrite, "^/api/v1/(.*)$", "/internal/$1_old"),
            transform(TransformKind::HostHeaderRewrite, "^(.+)\\.example$", "$1.internal"),
        ]);
        assert_eq!(rewrites.url("/api/v1/a?b=c").as_deref(), Some("/internal/a?b=c_old"));
        assert_eq!(rewrites.url("/other"), None);
        assert_eq!(rewrites.host("shop.example").as_deref(), Some("shop.internal"));
    }
}
