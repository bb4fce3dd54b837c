//! Files of environment variables: what is in one, and where one lies.

use crate::task::Secret;

/// The largest file that is read.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// A file's variables, in its order. As Amazon's agent reads them: a line is `NAME=VALUE`, one that
/// begins with `#` is a comment, quotes are part of the value, and a line without a name or without a
/// value says nothing. Of a name that stands twice the later value counts.
pub(super) fn parse(text: &str) -> Vec<(String, Secret)> {
    let mut variables: Vec<(String, Secret)> = Vec::new();
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        if name.is_empty() || value.is_empty() {
            continue;
        }
        let value = Secret::new(value);
        match variables.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => variables.push((name.to_owned(), value)),
        }
    }
    variables
}

/// The bucket and the key that an object's ARN names.
pub(super) fn object(arn: &str) -> Option<(&str, &str)> {
    let path = arn.strip_prefix("arn:")?.split_once(":s3:::")?.1;
    let (bucket, key) = path.split_once('/')?;
    (!bucket.is_empty() && !key.is_empty()).then_some((bucket, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse(text).into_iter().map(|(n, v)| (n, v.expose().to_owned())).collect()
    }

    #[test]
    fn lines_comments_and_quotes() {
        let text =
            "# a comment\nA=1\r\n\nB=\"quoted\"\nC=x=y # z\n=none\nEMPTY=\nnothing\n A=lead\nA=2";
        let expected = [("A", "2"), ("B", "\"quoted\""), ("C", "x=y # z"), (" A", "lead")];
        assert_eq!(read(text), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn objects() {
        assert_eq!(object("arn:aws:s3:::b/dir/a.env"), Some(("b", "dir/a.env")));
        for arn in ["", "s3://b/k", "arn:aws:s3:::b", "arn:aws:s3:::/k", "arn:aws:sqs:::b/k"] {
            assert_eq!(object(arn), None, "{arn}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pairs in prop::collection::btree_map("[A-Z_]{1,8}", "[^\n\r\0]{1,12}", 0..8)) {
            let text: String = pairs.iter().map(|(n, v)| format!("{n}={v}\n")).collect();
            prop_assert_eq!(read(&text), pairs.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn no_text_panics_and_no_name_has_an_equals_sign(text in "(?s).{0,80}") {
            prop_assert!(read(&text).iter().all(|(n, v)| !n.is_empty() && !n.contains('=') && !v.is_empty()));
        }
    }
}
