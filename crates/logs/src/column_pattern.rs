//! Filter patterns for messages of columns: `[ip, user, ..., status = 4* && status != 404, bytes > 0]`.
//!
//! Columns are divided by spaces; what stands in quotes or in brackets is one. A pattern names as many
//! as the message has, or stands `...` for any number of them.

use crate::PatternError;
use crate::condition::{Condition, Parser};

/// Columns that a pattern may have.
const MAX_COLUMNS: usize = 100;

#[derive(Debug, Clone)]
enum Column {
    /// Any column.
    Any,
    /// One that fulfils a condition.
    Is(Condition<()>),
    /// Any number of columns.
    Rest,
}

/// A pattern.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    before: Vec<Column>,
    /// What comes after `...`; none without.
    after: Option<Vec<Column>>,
}

impl Columns {
    /// Whether a message has such columns.
    pub(crate) fn matches(&self, message: &str) -> bool {
        let columns = split(message);
        let all = |wanted: &[Column], found: &[&str]| {
            wanted.iter().zip(found).all(|(wanted, text)| wanted.is(text))
        };
        match &self.after {
            None => columns.len() == self.before.len() && all(&self.before, &columns),
            Some(after) => {
                let least = self.before.len() + after.len();
                columns.len() >= least
                    && all(&self.before, &columns)
                    && all(after, &columns[columns.len() - after.len()..])
            }
        }
    }
}

impl Column {
    fn is(&self, text: &str) -> bool {
        match self {
            Self::Any | Self::Rest => true,
            Self::Is(condition) => condition.holds(&|(), test| test.holds_for(text)),
        }
    }
}

/// A message's columns, without what encloses them.
fn split(message: &str) -> Vec<&str> {
    let mut columns = Vec::new();
    let mut rest = message.trim();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => rest[1..].find('"').map(|at| (1, at + 1, at + 2)),
            '[' => rest[1..].find(']').map(|at| (1, at + 1, at + 2)),
            _ => None,
        };
        let space = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (begin, end, after) = end.unwrap_or((0, space, space));
        columns.push(&rest[begin..end]);
        rest = rest[after..].trim_start();
    }
    columns
}

/// Reads a pattern in brackets.
pub(crate) fn parse(text: &str) -> Result<Columns, PatternError> {
    let mut parser = Parser::new(text, PatternError::Columns);
    parser.expect("[")?;
    let mut columns = Columns { before: Vec::new(), after: None };
    let mut count = 0;
    loop {
        count += 1;
        let column = column(&mut parser)?;
        match (column, &mut columns.after) {
            (_, _) if count > MAX_COLUMNS => return Err(parser.wrong()),
            (Column::Rest, Some(_)) => return Err(parser.wrong()),
            (Column::Rest, none) => *none = Some(Vec::new()),
            (column, Some(after)) => after.push(column),
            (column, None) => columns.before.push(column),
        }
        if !parser.accept(",") {
            break;
        }
    }
    parser.expect("]")?;
    if parser.rest.trim().is_empty() { Ok(columns) } else { Err(parser.wrong()) }
}

fn column(parser: &mut Parser<'_>) -> Result<Column, PatternError> {
    if parser.accept("...") {
        return Ok(Column::Rest);
    }
    parser.rest = parser.rest.trim_start();
    if parser.rest.starts_with([',', ']']) {
        return Ok(Column::Any);
    }
    let is_name = |c: char| c.is_alphanumeric() || "_-.@$#".contains(c);
    let mut ahead = Parser::new(parser.rest.trim_start_matches(['(', ' ']), PatternError::Columns);
    let name = ahead.word(is_name)?;
    if ahead.rest.trim_start().starts_with([',', ']']) && !parser.rest.starts_with('(') {
        parser.rest = ahead.rest;
        return Ok(Column::Any);
    }
    // Every comparison of a column is of that column.
    let subject = |parser: &mut Parser<'_>| {
        parser.rest = parser.rest.trim_start();
        let before = parser.rest;
        if parser.word(is_name)? == name {
            return Ok(());
        }
        parser.rest = before;
        Err(parser.wrong())
    };
    Ok(Column::Is(parser.condition(&subject)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] \"GET /index.html HTTP/1.0\" 404 1534";

    #[test]
    fn columns_are_counted_and_compared() {
        for (pattern, expected) in [
            ("[ip, id, user, time, request, status, bytes]", true),
            ("[ip, id, user, time, request, status]", false),
            ("[ip, ...]", true),
            ("[..., bytes]", true),
            ("[...]", true),
            ("[,,,,,,]", true),
            ("[,]", false),
            ("[ip, id, user, time, request, status, bytes, ...]", true),
            ("[ip, id, user, time, request, status, bytes, more, ...]", false),
            ("[ip=127.0.0.*, ...]", true),
            ("[..., status = 4*, bytes]", true),
            ("[..., status = 404 || status = 410, bytes > 1000]", true),
            ("[..., status != 404, bytes]", false),
            ("[..., (status = 400 || status = 404) && status != 410, bytes >= 1534]", true),
            ("[ip, id, user = frank, ..., request = *.html*, status, bytes]", true),
            (r"[ip = %127\.0\.0\.[0-9]%, ...]", true),
            ("[ip, id, user = \"fra*\", time = 10/Oct*, ...]", true),
            ("[w1 != ERROR && w1 != WARN, ...]", true),
        ] {
            let columns = parse(pattern).unwrap();
            assert_eq!(columns.matches(LINE), expected, "{pattern}");
        }
        assert!(!parse("[a]").unwrap().matches(""));
        assert!(parse("[a, b]").unwrap().matches("\"open [quote"));
    }

    #[test]
    fn what_is_none_is_refused() {
        for pattern in [
            "[",
            "[a",
            "[a b]",
            "[a] x",
            "[..., b, ...]",
            "[a = ]",
            "[a = 1 && b = 2]",
            "[(a)]",
            "[= 1]",
            "[a < x]",
            "[a = %(%]",
        ] {
            assert!(parse(pattern).is_err(), "{pattern}");
        }
        assert!(parse(&format!("[{}]", ",".repeat(200))).is_err());
    }
}
