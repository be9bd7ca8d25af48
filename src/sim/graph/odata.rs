//! The query options of directory collections: `$filter`, `$search`, `$orderby`, `$top`, `$count`, `$select` and
//! paging. Text compares without case, as the directory does; an unknown property is a 400.

use std::cmp::Ordering;

use serde_json::Value;

use super::super::state::Object;
use super::call::{Answer, Call, Outcome};
use super::error::GraphError;

/// Items per page without `$top`.
const PAGE: usize = 100;
/// Deepest nesting of a filter.
const DEPTH: usize = 40;

/// A collection before query options are applied.
pub struct Collection<'a> {
    pub items: Vec<Object>,
    /// Type name for messages: `microsoft.graph.user`.
    pub kind: &'a str,
    pub context: &'a str,
    /// Properties of the type; extension properties contain `_` and are always allowed.
    pub known: &'a [&'a str],
    /// Properties shown without `$select`; empty = all.
    pub default: &'a [&'a str],
}

/// Answers a collection request.
pub fn list(call: &Call, collection: Collection<'_>) -> Outcome {
    let Collection { mut items, kind, context, known, default } = collection;
    if let Some(text) = call.query.get("$filter") {
        let filter = Parser::new(text, kind, known)?.parse()?;
        items.retain(|item| filter.holds(&Scope { item, variable: None }));
    }
    if let Some(text) = call.query.get("$search") {
        eventual(call, "$search")?;
        let terms = Search::parse(text)?;
        items.retain(|item| terms.holds(item));
    }
    if let Some(text) = call.query.get("$orderby") {
        sort(&mut items, text, kind, known)?;
    }
    let total = items.len();
    let top = match call.query.get("$top") {
        None => PAGE,
        Some(text) => match text.parse::<usize>() {
            Ok(n @ 1..=999) => n,
            _ => return Err(GraphError::bad_request(format!("Invalid page size specified: '{text}'. Must be between 1 and 999 inclusive."))),
        },
    };
    let skip = match call.query.get("$skiptoken") {
        None => 0,
        Some(token) => token.strip_prefix("s-").and_then(|n| n.parse().ok()).ok_or_else(|| GraphError::bad_request("Invalid skip token."))?,
    };
    let select = call.query.select();
    check_names(select.as_deref().unwrap_or_default(), kind, known)?;
    let shown: Vec<Value> = items.into_iter().skip(skip).take(top).map(|item| Value::Object(select_or(&item, select.as_deref(), default))).collect();
    let mut body = Object::new();
    let context = match &select {
        Some(names) => format!("{context}({})", names.join(",")),
        None => context.to_owned(),
    };
    body.insert("@odata.context".to_owned(), call.context(&context).into());
    if call.query.get("$count").is_some_and(|c| c.eq_ignore_ascii_case("true")) {
        body.insert("@odata.count".to_owned(), total.into());
    }
    if skip + shown.len() < total && !shown.is_empty() {
        body.insert("@odata.nextLink".to_owned(), next_link(call, skip + shown.len()).into());
    }
    body.insert("value".to_owned(), Value::Array(shown));
    Ok(Answer::json(200, &body))
}

/// `/$count`: the number as plain text, which as JSON is the same digits.
pub fn count(call: &Call, collection: Collection<'_>) -> Outcome {
    eventual(call, "$count")?;
    let mut items = collection.items;
    if let Some(text) = call.query.get("$filter") {
        let filter = Parser::new(text, collection.kind, collection.known)?.parse()?;
        items.retain(|item| filter.holds(&Scope { item, variable: None }));
    }
    Ok(Answer::text(200, items.len().to_string()))
}

/// The selected properties, or the default ones.
pub fn select_or(item: &Object, select: Option<&[String]>, default: &[&str]) -> Object {
    let keep = |name: &str| {
        name.starts_with('@')
            || match select {
                Some(names) => names.iter().any(|n| n.eq_ignore_ascii_case(name)),
                None => default.is_empty() || default.contains(&name),
            }
    };
    item.iter().filter(|(name, _)| keep(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

/// Refuses names that the type does not have.
pub fn check_names(names: &[String], kind: &str, known: &[&str]) -> Result<(), GraphError> {
    names.iter().try_for_each(|name| known_name(name, kind, known))
}

fn known_name(name: &str, kind: &str, known: &[&str]) -> Result<(), GraphError> {
    let first = name.split('/').next().unwrap_or_default();
    if known.is_empty() || first.contains('_') || known.iter().any(|k| k.eq_ignore_ascii_case(first)) {
        return Ok(());
    }
    Err(GraphError::bad_request(format!("Could not find a property named '{first}' on type '{kind}'.")))
}

fn eventual(call: &Call, option: &str) -> Result<(), GraphError> {
    if call.header("consistencylevel").is_some_and(|v| v.eq_ignore_ascii_case("eventual")) {
        return Ok(());
    }
    Err(GraphError::bad_request(format!("Request with {option} query parameter only works through MSGraph with a special request header: 'ConsistencyLevel: eventual'")))
}

fn next_link(call: &Call, at: usize) -> String {
    let path = call.target.split('?').next().unwrap_or_default();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in &call.query.0 {
        if !name.to_ascii_lowercase().contains("skiptoken") {
            query.append_pair(name, value);
        }
    }
    format!("{}{path}?{}", call.root, query.append_pair("$skiptoken", &format!("s-{at}")).finish().replace("%24", "$"))
}

/// A property by path, names without case.
fn lookup<'v>(item: &'v Object, path: &str) -> Option<&'v Value> {
    let mut parts = path.split('/');
    let first = parts.next()?;
    let find = |object: &'v Object, name: &str| object.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v);
    parts.try_fold(find(item, first)?, |value, part| find(value.as_object()?, part))
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => {
            let date = |t: &str| chrono::DateTime::parse_from_rfc3339(t).ok();
            match (date(a), date(b)) {
                (Some(a), Some(b)) => Some(a.cmp(&b)),
                _ => Some(a.to_lowercase().cmp(&b.to_lowercase())),
            }
        }
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        _ => None,
    }
}

fn sort(items: &mut [Object], text: &str, kind: &str, known: &[&str]) -> Result<(), GraphError> {
    let mut keys = Vec::new();
    for part in text.split(',') {
        let mut words = part.split_whitespace();
        let name = words.next().ok_or_else(|| GraphError::bad_request("The $orderby option is empty."))?;
        known_name(name, kind, known)?;
        keys.push((name, words.next().is_some_and(|w| w.eq_ignore_ascii_case("desc"))));
    }
    items.sort_by(|a, b| {
        let by = |(name, descending): &(&str, bool)| {
            let (a, b) = (lookup(a, name).unwrap_or(&Value::Null), lookup(b, name).unwrap_or(&Value::Null));
            let order = compare(a, b).unwrap_or_else(|| b.is_null().cmp(&a.is_null()));
            if *descending { order.reverse() } else { order }
        };
        keys.iter().map(by).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    });
    Ok(())
}

/// `$search="displayName:wa" OR "mail:x"`
struct Search(Vec<Vec<(String, String)>>);

impl Search {
    fn parse(text: &str) -> Result<Self, GraphError> {
        let mut any = vec![Vec::new()];
        for (n, part) in text.split('"').enumerate() {
            if n % 2 == 0 {
                if part.trim().eq_ignore_ascii_case("or") {
                    any.push(Vec::new());
                }
                continue;
            }
            let Some((name, wanted)) = part.split_once(':') else {
                return Err(GraphError::bad_request("Syntax error in $search: a clause has the form \"property:text\"."));
            };
            if let Some(all) = any.last_mut() {
                all.push((name.trim().to_owned(), wanted.trim().to_lowercase()));
            }
        }
        if any.iter().any(Vec::is_empty) {
            return Err(GraphError::bad_request("Syntax error in $search: clauses have to be in quotation marks."));
        }
        Ok(Self(any))
    }

    fn holds(&self, item: &Object) -> bool {
        let fits = |(name, wanted): &(String, String)| {
            lookup(item, name).and_then(Value::as_str).is_some_and(|text| text.to_lowercase().contains(wanted))
        };
        self.0.iter().any(|all| all.iter().all(fits))
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
                let (Some(a), Some(b)) = (a.as_str(), b.as_str()) else { return false };
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
                            None => return Err(GraphError::bad_request("Invalid filter clause: there is an unterminated string literal.")),
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
        if let Some((path, all)) = word.rsplit_once('/').and_then(|(path, end)| match end.to_ascii_lowercase().as_str() {
            "any" => Some((path, false)),
            "all" => Some((path, true)),
            _ => None,
        }) {
            known_name(path, self.kind, self.known)?;
            return self.lambda(path, all);
        }
        if !["startswith", "endswith", "contains"].contains(&name.as_str()) {
            return Err(GraphError::bad_request(format!("Invalid filter clause: An unknown function with name '{word}' was found.")));
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
        let Some(Token::Word(word)) = self.tokens.next() else { return Err(self.wrong()) };
        let Some((variable, rest)) = word.split_once(':') else { return Err(self.wrong()) };
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
        Ok(Expression::Lambda { path: path.to_owned(), all, variable: variable.to_owned(), inner: Some(Box::new(inner)) })
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
        let filter = Parser::new(filter, "microsoft.graph.user", &known)?.parse()?;
        Ok(filter.holds(&Scope { item: item.as_object().unwrap(), variable: None }))
    }

    #[test]
    fn the_documented_filters_work() {
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
    fn an_unknown_property_and_bad_syntax_are_refused() {
        for filter in ["displayname2 eq 'x'", "displayName eq", "displayName eq 'x", "foo(displayName,'x')", "(displayName eq 'x'"] {
            assert!(holds(filter, json!({})).is_err(), "{filter}");
        }
    }
}
