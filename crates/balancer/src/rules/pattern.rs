//! Patterns with wildcards: `*` is any number of characters, `?` is one, and a backslash takes the
//! next character as it is.

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
    ignore_case: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Many,
}

impl Pattern {
    /// Compiles a pattern that looks at upper and lower case.
    pub fn exact_case(pattern: &str) -> Self {
        Self::new(pattern, false)
    }

    /// Compiles a pattern that doesn't tell upper from lower case.
    pub fn any_case(pattern: &str) -> Self {
        Self::new(pattern, true)
    }

    fn new(pattern: &str, ignore_case: bool) -> Self {
        let mut tokens = Vec::with_capacity(pattern.len());
        let mut bytes = pattern.bytes().peekable();
        while let Some(byte) = bytes.next() {
            let token = match byte {
                b'*' if tokens.last() == Some(&Token::Many) => continue,
                b'*' => Token::Many,
                b'?' => Token::One,
                b'\\' => match bytes.next_if(|next| matches!(next, b'*' | b'?' | b'\\')) {
                    Some(next) => Token::Byte(next),
                    None => Token::Byte(b'\\'),
                },
                other if ignore_case => Token::Byte(other.to_ascii_lowercase()),
                other => Token::Byte(other),
            };
            tokens.push(token);
        }
        Self { tokens, ignore_case }
    }

    /// Whether it stands for all of a text.
    pub fn matches(&self, text: &[u8]) -> bool {
        let (mut at, mut next) = (0, 0);
        // Where to go on once what follows the last `*` doesn't fit: it then takes one byte more.
        let mut retry: Option<(usize, usize)> = None;
        while at < text.len() {
            match self.tokens.get(next) {
                Some(Token::Many) => {
                    retry = Some((next + 1, at));
                    next += 1;
                    continue;
                }
                Some(token) if self.fits(*token, text[at]) => {
                    at += 1;
                    next += 1;
                    continue;
                }
                _ => {}
            }
            let Some((token, from)) = retry else { return false };
            retry = Some((token, from + 1));
            next = token;
            at = from + 1;
        }
        self.tokens[next..].iter().all(|token| *token == Token::Many)
    }

    fn fits(&self, token: Token, byte: u8) -> bool {
        match token {
            Token::One => true,
            Token::Byte(wanted) if self.ignore_case => wanted == byte.to_ascii_lowercase(),
            Token::Byte(wanted) => wanted == byte,
            Token::Many => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::exact_case(pattern).matches(text.as_bytes())
    }

    #[test]
    fn wildcards_stand_for_what_they_say() {
        assert!(matches("/img/*", "/img/"));
        assert!(matches("/img/*/pics", "/img/a/b/pics"));
        assert!(!matches("/img/*", "/img"));
        assert!(matches("/?.png", "/a.png"));
        assert!(!matches("/?.png", "/.png"));
        assert!(matches("*", ""));
        assert!(matches("a**b", "ab"));
        assert!(!matches("", "a"));
        assert!(matches("", ""));
    }

    #[test]
    fn a_backslash_takes_the_next_character_as_it_is() {
        assert!(matches(r"a\*", "a*"));
        assert!(!matches(r"a\*", "ab"));
        assert!(matches(r"a\b", r"a\b"));
    }

    #[test]
    fn case_counts_only_where_it_should() {
        assert!(Pattern::any_case("*.Example.com").matches(b"WWW.example.COM"));
        assert!(!matches("/A", "/a"));
    }

    /// What a pattern means, by its definition.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                (0..=text.len()).any(|taken| by_definition(rest, &text[taken..]))
            }
            ([b'?', rest @ ..], [_, others @ ..]) => by_definition(rest, others),
            ([a, rest @ ..], [b, others @ ..]) if a == b => by_definition(rest, others),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_definition_says(pattern in "[ab?*]{0,7}", text in "[ab]{0,9}") {
            prop_assert_eq!(matches(&pattern, &text), by_definition(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
