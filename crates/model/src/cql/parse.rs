//! Text to expression.

use super::{Comparison, Condition, Error, Expr, Item, MAX_DEPTH, MAX_LENGTH, Pattern, Subject};
use winnow::combinator::{alt, delimited, opt, peek, preceded, separated, terminated};
use winnow::error::{ContextError, ErrMode, StrContext, StrContextValue};
use winnow::stream::Stateful;
use winnow::token::{any, take_while};
use winnow::{ModalResult, Parser};

type Input<'a> = Stateful<&'a str, State>;

/// What the parser carries along: how deep it is, and the problem that no grammar can express.
#[derive(Debug, Default, Clone)]
struct State {
    depth: usize,
    problem: Option<(usize, String)>,
}

/// Parses a whole text.
pub(super) fn expression(text: &str) -> Result<Expr, Error> {
    if text.len() > MAX_LENGTH {
        let message = format!("longer than {MAX_LENGTH} characters");
        return Err(Error { position: MAX_LENGTH, message });
    }
    let mut input = Stateful { input: text, state: State::default() };
    let parsed = terminated(or, space).parse_next(&mut input);
    let position = text.len() - input.input.len();
    if let Some((left, message)) = input.state.problem {
        return Err(Error { position: text.len() - left, message });
    }
    match parsed {
        Ok(expr) if input.input.is_empty() => Ok(expr),
        Ok(_) => Err(Error { position, message: "expected 'and', 'or' or the end".to_owned() }),
        Err(e) => Err(Error { position, message: describe(&e) }),
    }
}

fn describe(error: &ErrMode<ContextError>) -> String {
    let (ErrMode::Backtrack(context) | ErrMode::Cut(context)) = error else {
        return "incomplete".to_owned();
    };
    let expected = context.context().find_map(|c| match c {
        StrContext::Expected(StrContextValue::Description(text)) => Some(*text),
        _ => None,
    });
    format!("expected {}", expected.unwrap_or("an expression"))
}

fn expected(text: &'static str) -> StrContext {
    StrContext::Expected(StrContextValue::Description(text))
}

/// Ends parsing with a message of its own at the position that had `left` bytes before the end.
fn fail<T>(input: &mut Input<'_>, left: usize, message: String) -> ModalResult<T> {
    input.state.problem.get_or_insert((left, message));
    Err(ErrMode::Cut(ContextError::new()))
}

fn space(input: &mut Input<'_>) -> ModalResult<()> {
    take_while(0.., char::is_whitespace).void().parse_next(input)
}

/// A keyword that isn't the beginning of a longer word.
fn keyword<'a>(word: &'static str) -> impl Parser<Input<'a>, (), ErrMode<ContextError>> {
    let end = alt((any.verify(|c: &char| !is_word(*c)).void(), winnow::combinator::eof.void()));
    (word, peek(end)).void()
}

fn or(input: &mut Input<'_>) -> ModalResult<Expr> {
    let mut left = and(input)?;
    while opt(preceded(space, alt(("||".void(), keyword("or"))))).parse_next(input)?.is_some() {
        let right = and(input)?;
        left = Expr::Or(Box::new(left), Box::new(right));
    }
    Ok(left)
}

fn and(input: &mut Input<'_>) -> ModalResult<Expr> {
    let mut left = unary(input)?;
    while opt(preceded(space, alt(("&&".void(), keyword("and"))))).parse_next(input)?.is_some() {
        let right = unary(input)?;
        left = Expr::And(Box::new(left), Box::new(right));
    }
    Ok(left)
}

fn unary(input: &mut Input<'_>) -> ModalResult<Expr> {
    space(input)?;
    input.state.depth += 1;
    if input.state.depth > MAX_DEPTH {
        let left = input.input.len();
        return fail(input, left, format!("nested deeper than {MAX_DEPTH} levels"));
    }
    let negation = alt(("!".void(), keyword("not")));
    let expr = if opt(negation).parse_next(input)?.is_some() {
        Expr::Not(Box::new(unary(input)?))
    } else if opt("(").parse_next(input)?.is_some() {
        let inner = or(input)?;
        preceded(space, ")").context(expected("')'")).parse_next(input).map_err(ErrMode::cut)?;
        inner
    } else {
        test(input)?
    };
    input.state.depth -= 1;
    Ok(expr)
}

/// The operators by what their argument is.
#[derive(Clone, Copy)]
enum Operator {
    Compare(Comparison),
    Exists(bool),
    In(bool),
    Matches(bool),
}

fn operator(input: &mut Input<'_>) -> ModalResult<Operator> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    let compare = alt((
        alt(("==".void(), keyword("equals"))).value(Equal),
        alt(("!=".void(), keyword("not_equals"))).value(NotEqual),
        alt((">=".void(), keyword("greater_than_equal"))).value(GreaterOrEqual),
        alt(("<=".void(), keyword("less_than_equal"))).value(LessOrEqual),
        alt((">".void(), keyword("greater_than"))).value(Greater),
        alt(("<".void(), keyword("less_than"))).value(Less),
    ));
    alt((
        compare.map(Operator::Compare),
        alt(("=~".void(), keyword("matches"))).value(Operator::Matches(true)),
        alt(("!~".void(), keyword("not_matches"))).value(Operator::Matches(false)),
        keyword("exists").value(Operator::Exists(true)),
        alt((keyword("!exists"), keyword("not_exists"))).value(Operator::Exists(false)),
        keyword("in").value(Operator::In(true)),
        alt((keyword("!in"), keyword("not_in"))).value(Operator::In(false)),
    ))
    .context(expected("an operator"))
    .parse_next(input)
}

fn test(input: &mut Input<'_>) -> ModalResult<Expr> {
    let at_subject = input.input.len();
    let word = take_while(1.., is_word).context(expected("a subject")).parse_next(input)?;
    let Some(subject) = subject(word) else {
        return fail(input, at_subject, format!("'{word}' is no subject"));
    };
    space(input)?;
    let at_operator = input.input.len();
    let operator = operator(input)?;
    if !allows(&subject, operator) {
        let message = format!("this operator can't be used with {subject}");
        return fail(input, at_operator, message);
    }
    space(input)?;
    let at_argument = input.input.len();
    let condition = match operator {
        Operator::Exists(is) => Condition::Exists(is),
        Operator::Compare(how) => Condition::Compare(how, literal(input)?),
        Operator::In(is) => Condition::In(is, list(input)?),
        Operator::Matches(is) => {
            let mut text = alt((quoted, bare_pattern)).context(expected("a pattern"));
            let text: String = text.parse_next(input)?;
            match Pattern::new(&text) {
                Ok(pattern) => Condition::Matches(is, pattern),
                Err(message) => return fail(input, at_argument, message),
            }
        }
    };
    match ill_typed(&subject, &condition) {
        Some(message) => fail(input, at_argument, message),
        None => Ok(Expr::Test(subject, condition)),
    }
}

fn subject(word: &str) -> Option<Subject> {
    Some(match word {
        "agentConnected" => Subject::AgentConnected,
        "agentVersion" => Subject::AgentVersion,
        "ec2InstanceId" => Subject::Ec2InstanceId,
        "registeredAt" => Subject::RegisteredAt,
        "runningTasksCount" => Subject::RunningTasksCount,
        "status" => Subject::Status,
        "task:group" => Subject::TaskGroup,
        "task:startedBy" => Subject::TaskStartedBy,
        _ => {
            let name = word.strip_prefix("attribute:")?;
            return (!name.is_empty()).then(|| Subject::Attribute(name.to_owned()));
        }
    })
}

/// Which operators ECS's developer guide lists for a subject.
fn allows(subject: &Subject, operator: Operator) -> bool {
    let ordered = !matches!(
        operator,
        Operator::Compare(Comparison::Equal | Comparison::NotEqual)
            | Operator::In(_)
            | Operator::Matches(_)
            | Operator::Exists(_)
    );
    match subject {
        Subject::Attribute(_) => true,
        Subject::TaskGroup | Subject::TaskStartedBy => !ordered,
        Subject::AgentConnected | Subject::Ec2InstanceId | Subject::Status => {
            !ordered && !matches!(operator, Operator::Exists(_))
        }
        Subject::AgentVersion | Subject::RegisteredAt => matches!(operator, Operator::Compare(_)),
        Subject::RunningTasksCount => {
            matches!(operator, Operator::Compare(_) | Operator::In(_))
        }
    }
}

fn ill_typed(subject: &Subject, condition: &Condition) -> Option<String> {
    let literals: Vec<&str> = match condition {
        Condition::Compare(_, literal) => vec![literal],
        Condition::In(_, items) => items
            .iter()
            .filter_map(|i| match i {
                Item::Value(text) => Some(text.as_str()),
                Item::Range(..) => None,
            })
            .collect(),
        Condition::Exists(_) | Condition::Matches(..) => return None,
    };
    let (fits, wanted): (fn(&str) -> bool, _) = match subject {
        Subject::AgentConnected => (|l| matches!(l, "true" | "false"), "true or false"),
        Subject::RunningTasksCount => (|l| l.parse::<i64>().is_ok(), "a number"),
        Subject::RegisteredAt => (|l| super::time::parse(l).is_some(), "a date"),
        Subject::AgentVersion => (|l| super::evaluate::version(l).is_some(), "a version"),
        _ => return None,
    };
    let bad = literals.into_iter().find(|l| !fits(l))?;
    Some(format!("{subject} is compared with '{bad}', which isn't {wanted}"))
}

/// Characters of a word that needs no quotes.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_-.:/@*+#$%^?\\{};".contains(c)
}

fn quoted(input: &mut Input<'_>) -> ModalResult<String> {
    let quote = any.verify(|c: &char| matches!(c, '\'' | '"')).parse_next(input)?;
    let mut text = String::new();
    loop {
        let part: &str = take_while(0.., |c| c != quote).parse_next(input)?;
        text.push_str(part);
        any.void().context(expected("a closing quote")).parse_next(input).map_err(ErrMode::cut)?;
        if opt(quote).parse_next(input)?.is_none() {
            return Ok(text);
        }
        text.push(quote);
    }
}

fn literal(input: &mut Input<'_>) -> ModalResult<String> {
    let word = take_while(1.., is_word).map(str::to_owned);
    alt((quoted, word)).context(expected("a value")).parse_next(input)
}

/// A pattern without quotes ends at white space, at a parenthesis or a quote, and before `&&` and
/// `||`.
fn bare_pattern(input: &mut Input<'_>) -> ModalResult<String> {
    let rest = input.input;
    let stop = rest.char_indices().find(|(n, c)| {
        c.is_whitespace()
            || matches!(c, '(' | ')' | '\'' | '"')
            || rest[*n..].starts_with("&&")
            || rest[*n..].starts_with("||")
    });
    let end = stop.map_or(rest.len(), |(n, _)| n);
    if end == 0 {
        return Err(ErrMode::Backtrack(ContextError::new()));
    }
    input.input = &rest[end..];
    Ok(rest[..end].to_owned())
}

fn list(input: &mut Input<'_>) -> ModalResult<Vec<Item>> {
    let item = delimited(space, item, space);
    let items = separated(1.., item, ",");
    let close = "]".context(expected("',' or ']'"));
    delimited("[".context(expected("a list in brackets")), items, close).parse_next(input)
}

fn item(input: &mut Input<'_>) -> ModalResult<Item> {
    let quotes = input.input.starts_with(['\'', '"']);
    let text = literal(input)?;
    let range = text.split_once("..").filter(|_| !quotes);
    let bounds = range.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    Ok(bounds.map_or(Item::Value(text.clone()), |(a, b)| Item::Range(a, b)))
}
