//! The query options of directory collections: `$filter`, `$search`, `$orderby`, `$top`, `$count`, `$select` and
//! paging. Text compares without case, as the directory does; an unknown property is a 400.

use std::cmp::Ordering;

use serde_json::Value;

use super::super::state::Object;
use super::call::{Answer, Call, Outcome};
use super::error::GraphError;
use super::filter::Filter;

/// Items per page without `$top`.
const PAGE: usize = 100;

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
        let filter = Filter::parse(text, kind, known)?;
        items.retain(|item| filter.holds(item));
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
            _ => {
                return Err(GraphError::bad_request(format!(
                    "Invalid page size specified: '{text}'. Must be between 1 and 999 inclusive."
                )));
            }
        },
    };
    let skip = match call.query.get("$skiptoken") {
        None => 0,
        Some(token) => token
            .strip_prefix("s-")
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| GraphError::bad_request("Invalid skip token."))?,
    };
    let select = call.query.select();
    check_names(select.as_deref().unwrap_or_default(), kind, known)?;
    let shown: Vec<Value> = items
        .into_iter()
        .skip(skip)
        .take(top)
        .map(|item| Value::Object(select_or(&item, select.as_deref(), default)))
        .collect();
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
        let filter = Filter::parse(text, collection.kind, collection.known)?;
        items.retain(|item| filter.holds(item));
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

/// Refuses a property that the type does not have; extension properties contain `_`.
pub fn known_name(name: &str, kind: &str, known: &[&str]) -> Result<(), GraphError> {
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
    Err(GraphError::bad_request(format!(
        "Request with {option} query parameter only works through MSGraph with a special request header: 'ConsistencyLevel: eventual'"
    )))
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
pub fn lookup<'v>(item: &'v Object, path: &str) -> Option<&'v Value> {
    let mut parts = path.split('/');
    let first = parts.next()?;
    let find =
        |object: &'v Object, name: &str| object.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v);
    parts.try_fold(find(item, first)?, |value, part| find(value.as_object()?, part))
}

/// Orders two values: text without case, dates by instant; `None` if they cannot be compared.
pub fn compare(a: &Value, b: &Value) -> Option<Ordering> {
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
                return Err(GraphError::bad_request(
                    "Syntax error in $search: a clause has the form \"property:text\".",
                ));
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
