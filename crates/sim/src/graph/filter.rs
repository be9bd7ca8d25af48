//! `$filter` of directory collections: comparison, `in`, `startswith`, `endswith`, `contains`, `any` and `all`,
//! joined by `and`, `or`, `not`. Long because a grammar does not get clearer in several files.

use std::cmp::Ordering;

use serde_json::Value;

use super::super::state::Object;
use super::error::GraphError;
use super::odata::{compare, known_name, lookup};

/// Deepest nesting of a filter.
const DEPTH: usize = 40;

/// A parsed filter.
pub struct Filter(Expression);

impl Filter {
    /// Parses a filter on a type with these properties.
    ///
    /// # Errors
    /// 400 for bad syntax, an unknown function or an unknown property.
    pub fn parse(text: &str, kind: &str, known: &[&str]) -> Result<Self, GraphError> {
        Parser::new(text, kind, known)?.parse().map(Self)
    }

    /// Tells whether an object fits.
    pub fn holds(&self, item: &Object) -> bool {
        self.0.holds(&Scope { item, variable: None })
    }
}

/// What names in a filter refer to.
struct Scope<'a> {
    item: &'a Object,
    /// Inside `any` and `all`: the variable and its value.
    variable: Option<(&'a str, &'a Value)>,
}

enum Expression {
    Or(Box<Expression>, Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Compare(Operand, String, Operand),
    In(Operand, Vec<Value>),
    Text(String, Operand, Operand),
    Lambda { path: String, all: bool, variable: String, inner: Option<Box<Expression>> },
    Bare(Operand),
}

enum Operand {
    Literal(Value),
    Path(String),
}

impl Operand {
    fn value(&self, scope: &Scope<'_>) -> Value {
        let path = match self {
            Operand::Literal(value) => return value.clone(),
            Operand::Path(path) => path,
        };
        if let Some((name, value)) = scope.variable {
            if path == name {
                return value.clone();
            }
            if let Some(rest) = path.strip_prefix(name).and_then(|r| r.strip_prefix('/')) {
                return value.as_object().and_then(|o| lookup(o, rest)).cloned().unwrap_or_default();
            }
        }
        if let Some(counted) = path.strip_suffix("/$count") {
            return lookup(scope.item, counted).and_then(Value::as_array).map_or(0, Vec::len).into();
        }
        lookup(scope.item, path).cloned().unwrap_or_default()
    }
}

impl Expression {
    fn holds(&self, scope: &Scope<'_>) -> bool {
        match self {
            Self::Or(a, b) => a.holds(scope) || b.holds(scope),
            Self::And(a, b) => a.holds(scope) && b.holds(scope),
            Self::Not(a) => !a.holds(scope),
            Self::Bare(operand) => operand.value(scope) == Value::Bool(true),
            Self::In(operand, list) => list.iter().any(|v| compare(&operand.value(scope), v) == Some(Ordering::Equal)),
            Self::Compare(a, operator, b) => {
                let order = compare(&a.value(scope), &b.value(scope));
                match operator.as_str() {
                    "eq" => order == Some(Ordering::Equal),
                    "ne" => order != Some(Ordering::Equal),
                    "gt" => order == Some(Ordering::Greater),
                    "ge" => order.is_some_and(Ordering::is_ge),
                    "lt" => order == Some(Ordering::Less),
                    _ => order.is_some_and(Ordering::is_le),
                }
            }
            Self::Text(function, a, b) => {
                let (a, b) = (a.value(scope), b.value(scope));
                let (Some(a), Some(b)) = (a.as_str(), b.as_str()) else {
                    return false;
                };
                let (a, b) = (a.to_lowercase(), b.to_lowercase());
                match function.as_str() {
                    "startswith" => a.starts_with(&b),
                    "endswith" => a.ends_with(&b),
                    _ => a.contains(&b),
                }
            }
            Self::Lambda { path, all, variable, inner } => {
                let value = lookup(scope.item, path).cloned().unwrap_or_default();
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                let Some(inner) = inner else { return !items.is_empty() };
                let fits = |value: &Value| inner.holds(&Scope { item: scope.item, variable: Some((variable, value)) });
                if *all { items.iter().all(fits) } else { items.iter().any(fits) }
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

struct Parser<'a> {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    kind: &'a str,
    known: &'a [&'a str],
    variables: Vec<String>,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &str, kind: &'a str, known: &'a [&'a str]) -> Result<Self, GraphError> {
        let mut tokens = Vec::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                c if c.is_whitespace() => {}
                '(' | ')' | ',' => tokens.push(Token::Sign(letter)),
                '\'' => {
                    let mut content = String::new();
                    loop {
                        match letters.next() {
                            Some('\'') if letters.peek() == Some(&'\'') => {
                                letters.next();
                                content.push('\'');
                            }
                            Some('\'') => break,
                            Some(c) => content.push(c),
                            None => {
                                return Err(GraphError::bad_request(
                                    "Invalid filter clause: there is an unterminated string literal.",
                                ));
                            }
                        }
                    }
                    tokens.push(Token::Text(content));
                }
                _ => {
                    let mut word = letter.to_string();
                    while let Some(c) = letters.next_if(|c| !c.is_whitespace() && !"(),'".contains(*c)) {
                        word.push(c);
                    }
                    tokens.push(Token::Word(word));
                }
            }
        }
        Ok(Self { tokens: tokens.into_iter().peekable(), kind, known, variables: Vec::new(), depth: 0 })
    }

    fn wrong(&mut self) -> GraphError {
        let at = match self.tokens.peek() {
            Some(Token::Word(w) | Token::Text(w)) => format!("near '{w}'"),
            Some(Token::Sign(c)) => format!("near '{c}'"),
            None => "at its end".to_owned(),
        };
        GraphError::bad_request(format!("Invalid filter clause: syntax error {at}."))
    }

    fn parse(mut self) -> Result<Expression, GraphError> {
        let expression = self.either()?;
        if self.tokens.peek().is_some() { Err(self.wrong()) } else { Ok(expression) }
    }

    fn keyword(&mut self, word: &str) -> bool {
        self.tokens.next_if(|t| matches!(t, Token::Word(w) if w.eq_ignore_ascii_case(word))).is_some()
    }

    fn sign(&mut self, sign: char) -> Result<(), GraphError> {
        if self.tokens.next_if_eq(&Token::Sign(sign)).is_some() { Ok(()) } else { Err(self.wrong()) }
    }

    fn either(&mut self) -> Result<Expression, GraphError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(GraphError::bad_request("Invalid filter clause: it is nested too deeply."));
        }
        let mut left = self.both()?;
        while self.keyword("or") {
            left = Expression::Or(Box::new(left), Box::new(self.both()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn both(&mut self) -> Result<Expression, GraphError> {
        let mut left = self.single()?;
        while self.keyword("and") {
            left = Expression::And(Box::new(left), Box::new(self.single()?));
        }
        Ok(left)
    }

    fn single(&mut self) -> Result<Expression, GraphError> {
        if self.keyword("not") {
            self.depth += 1;
            if self.depth > DEPTH {
                return Err(GraphError::bad_request("Invalid filter clause: it is nested too deeply."));
            }
            let inner = self.single()?;
            self.depth -= 1;
            return Ok(Expression::Not(Box::new(inner)));
        }
        if self.tokens.next_if_eq(&Token::Sign('(')).is_some() {
            let inner = self.either()?;
            self.sign(')')?;
            return Ok(inner);
        }
        let left = match self.tokens.next() {
            Some(Token::Text(text)) => Operand::Literal(text.into()),
            Some(Token::Word(word)) if self.tokens.peek() == Some(&Token::Sign('(')) => return self.function(&word),
            Some(Token::Word(word)) => self.operand(word)?,
            _ => return Err(self.wrong()),
        };
        if self.keyword("in") {
            self.sign('(')?;
            let mut list = Vec::new();
            loop {
                match self.tokens.next() {
                    Some(Token::Text(text)) => list.push(text.into()),
                    Some(Token::Word(word)) => list.push(literal(&word).unwrap_or(Value::String(word))),
                    _ => return Err(self.wrong()),
                }
                if self.tokens.next_if_eq(&Token::Sign(',')).is_none() {
                    break;
                }
            }
            self.sign(')')?;
            return Ok(Expression::In(left, list));
        }
        let operator = match self.tokens.next_if(|t| matches!(t, Token::Word(w) if ["eq", "ne", "gt", "ge", "lt", "le"].contains(&w.to_ascii_lowercase().as_str()))) {
            Some(Token::Word(word)) => word.to_ascii_lowercase(),
            _ if matches!(left, Operand::Path(_)) => return Ok(Expression::Bare(left)),
            _ => return Err(self.wrong()),
        };
        let right = match self.tokens.next() {
            Some(Token::Text(text)) => Operand::Literal(text.into()),
            Some(Token::Word(word)) => self.operand(word)?,
            _ => return Err(self.wrong()),
        };
        Ok(Expression::Compare(left, operator, right))
    }

    /// `startswith(a,'b')` and its like, or `path/any(x:…)`.
    fn function(&mut self, word: &str) -> Result<Expression, GraphError> {
        self.sign('(')?;
        let name = word.to_ascii_lowercase();
        if let Some((path, all)) =
            word.rsplit_once('/').and_then(|(path, end)| match end.to_ascii_lowercase().as_str() {
                "any" => Some((path, false)),
                "all" => Some((path, true)),
                _ => None,
            })
        {
            known_name(path, self.kind, self.known)?;
            return self.lambda(path, all);
        }
        if !["startswith", "endswith", "contains"].contains(&name.as_str()) {
            return Err(GraphError::bad_request(format!(
                "Invalid filter clause: An unknown function with name '{word}' was found."
            )));
        }
        let mut operands = Vec::new();
        loop {
            operands.push(match self.tokens.next() {
                Some(Token::Text(text)) => Operand::Literal(text.into()),
                Some(Token::Word(word)) => self.operand(word)?,
                _ => return Err(self.wrong()),
            });
            if self.tokens.next_if_eq(&Token::Sign(',')).is_none() {
                break;
            }
        }
        self.sign(')')?;
        let mut operands = operands.into_iter();
        match (operands.next(), operands.next(), operands.next()) {
            (Some(a), Some(b), None) => Ok(Expression::Text(name, a, b)),
            _ => Err(GraphError::bad_request(format!("Invalid filter clause: '{word}' takes two arguments."))),
        }
    }

    fn lambda(&mut self, path: &str, all: bool) -> Result<Expression, GraphError> {
        if self.tokens.next_if_eq(&Token::Sign(')')).is_some() {
            return Ok(Expression::Lambda { path: path.to_owned(), all, variable: String::new(), inner: None });
        }
        let Some(Token::Word(word)) = self.tokens.next() else {
            return Err(self.wrong());
        };
        let Some((variable, rest)) = word.split_once(':') else {
            return Err(self.wrong());
        };
        self.variables.push(variable.to_owned());
        if !rest.is_empty() {
            // `c:c/x eq 1`: what follows the colon belongs to the inner expression.
            let mut tokens = vec![Token::Word(rest.to_owned())];
            tokens.extend(self.tokens.by_ref());
            self.tokens = tokens.into_iter().peekable();
        }
        let inner = self.either()?;
        self.variables.pop();
        self.sign(')')?;
        Ok(Expression::Lambda {
            path: path.to_owned(),
            all,
            variable: variable.to_owned(),
            inner: Some(Box::new(inner)),
        })
    }

    fn operand(&self, word: String) -> Result<Operand, GraphError> {
        if let Some(value) = literal(&word) {
            return Ok(Operand::Literal(value));
        }
        let first = word.split('/').next().unwrap_or_default();
        if !self.variables.iter().any(|v| v == first) {
            known_name(&word, self.kind, self.known)?;
        }
        Ok(Operand::Path(word))
    }
}

/// Numbers, truth values, null, and what starts with a digit: dates and ids may stand without quotes.
fn literal(word: &str) -> Option<Value> {
    match word.to_ascii_lowercase().as_str() {
        "true" => return Some(true.into()),
        "false" => return Some(false.into()),
        "null" => return Some(Value::Null),
        _ => {}
    }
    if let Ok(number) = word.parse::<i64>() {
        return Some(number.into());
    }
    let is_literal = word.starts_with(|c: char| c.is_ascii_digit()) || uuid::Uuid::parse_str(word).is_ok();
    is_literal.then(|| word.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(filter: &str, item: Value) -> Result<bool, GraphError> {
        let known = ["displayName", "accountEnabled", "groupTypes", "identities", "createdDateTime", "mail", "city"];
        Ok(Filter::parse(filter, "microsoft.graph.user", &known)?.holds(item.as_object().unwrap()))
    }

    #[test]
    fn documented_odata_filters_work() {
        let item = json!({"displayName": "Zoë O'Neil", "accountEnabled": true, "groupTypes": ["Unified"], "mail": "z@x.com", "city": null,
            "identities": [{"issuer": "a", "issuerAssignedId": "b"}], "createdDateTime": "2026-01-02T00:00:00Z"});
        for filter in [
            "displayName eq 'zoë o''neil'",
            "startsWith(displayName, 'Zo') and accountEnabled eq true",
            "not (displayName eq 'x')",
            "groupTypes/any(c:c eq 'Unified')",
            "identities/any(c:c/issuerAssignedId eq 'b' and c/issuer eq 'a')",
            "createdDateTime ge 2026-01-01T00:00:00Z",
            "mail in ('a@x.com', 'z@x.com')",
            "city eq null",
            "endswith(mail,'x.com') or false eq true",
        ] {
            assert!(holds(filter, item.clone()).unwrap(), "{filter}");
        }
    }

    #[test]
    fn odata_filter_refuses_unknown_property_and_bad_syntax() {
        for filter in [
            "displayname2 eq 'x'",
            "displayName eq",
            "displayName eq 'x",
            "foo(displayName,'x')",
            "(displayName eq 'x'",
        ] {
            assert!(holds(filter, json!({})).is_err(), "{filter}");
        }
    }
}
