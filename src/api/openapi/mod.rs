//! The OpenAPI document, made of what routes and tools declare: version 3.0.3, which every importer understands (API
//! Management among them).
//!
//! It is put together once, at the start. Schemas come from the types that are read and written, with what they say under
//! [`DOCUMENT_ONLY`]; the tests ask the running server whether the document is true.

mod problems;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::header;
use axum::response::IntoResponse;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::extract::JOINED;
use super::operation::{Answer, Body, Content, Derive, Media, Operation, Place, Rest, Tag};
use super::problem::Document;
use super::route::{Need, Route};
use super::{Access, Proof, State};
use crate::services::arguments::DOCUMENT_ONLY;

/// The routes.
pub fn routes() -> Vec<Route> {
    let described = Operation::new(Tag::Operation, "get_openapi", "This document")
        .sends("This document", vec![("application/json", Media::AnyObject)])
        .problems(&[401, 403]);
    vec![
        Route::get("/openapi.json", Need::Known, show),
        // Under the Functions host only what begins with `/api/` gets here: that address works everywhere.
        Route::get("/api/openapi.json", Need::Known, show).described(described),
    ]
}

/// `GET /openapi.json` and `GET /api/openapi.json`
async fn show(Shared(state): Shared<State>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], state.document.to_string())
}

/// The document for a deployment, of its routes and of its tools, each with its path. One that asks nobody says so.
pub fn document(routes: &[Route], tools: &[(String, Operation)], access: &Access) -> Arc<str> {
    let security = match access.proof {
        Proof::Demanded => json!([{ "functionsKey": [] }, { "apiKey": [] }, { "bearer": [] }]),
        Proof::NotDemanded => json!([]),
    };
    let mut writer = Writer::new(access.proof);
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in routes {
        let Some(operation) = &route.operation else { continue };
        let method = route.method.as_str().to_ascii_lowercase();
        paths.entry(route.path).or_default().insert(method, writer.operation(operation, route.need));
    }
    for (path, operation) in tools {
        let written = writer.operation(operation, Need::Known);
        paths.entry(path).or_default().insert("post".to_owned(), written);
    }
    let tags = Tag::ALL.map(|tag| json!({ "name": tag.words().0, "description": tag.words().1 }));
    let document = json!({
        "openapi": "3.0.3",
        "info": {
            "title": "GraphGate",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT" },
            "description": "Microsoft Planner for agents, over HTTP. The same service answers the Model Context Protocol \
                at `/mcp`. Reads come from a live replica; a write is journalled, tried at once, and `sync` says how far it has come.",
        },
        "servers": [{ "url": "/" }],
        "security": security,
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": writer.schemas(),
            "responses": problems::responses(),
            "securitySchemes": {
                "functionsKey": { "type": "apiKey", "in": "header", "name": "x-functions-key" },
                "apiKey": { "type": "apiKey", "in": "header", "name": "x-api-key" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
    });
    document.to_string().into()
}

/// Writes operations down and collects the schemas they name.
struct Writer {
    proof: Proof,
    /// Schemas of what is read.
    read: SchemaGenerator,
    /// Schemas of what is written.
    written: SchemaGenerator,
    /// Schemas that are others' without a field: the other's name, its own, the field, and what becomes of the rest.
    parts: Vec<(String, &'static str, &'static str, Rest)>,
}

impl Writer {
    fn new(proof: Proof) -> Self {
        let mut written = SchemaSettings::openapi3().for_serialize().into_generator();
        written.subschema_for::<Document<'_>>();
        Self { proof, read: SchemaSettings::openapi3().into_generator(), written, parts: Vec::new() }
    }

    fn operation(&mut self, operation: &Operation, need: Need) -> Value {
        let mut written = Map::new();
        written.insert("operationId".into(), (*operation.id).into());
        written.insert("tags".into(), json!([operation.tag]));
        written.insert("summary".into(), (*operation.summary).into());
        if let Some(description) = &operation.description {
            written.insert("description".into(), (**description).into());
        }
        if need == Need::Nothing {
            written.insert("security".into(), json!([]));
        }
        let parameters: Vec<Value> =
            operation.parameters.iter().flat_map(|(place, derive)| parameters(*place, *derive)).collect();
        if !parameters.is_empty() {
            written.insert("parameters".into(), parameters.into());
        }
        if let Some((body, example)) = &operation.body {
            let schema = self.body(body);
            let mut media = Map::from_iter([("schema".to_owned(), schema)]);
            media.extend(example.clone().map(|example| ("example".to_owned(), example)));
            written.insert("requestBody".into(), json!({ "required": true, "content": { "application/json": media } }));
        }
        // A deployment that asks nobody never answers 401, but where the address carries the proof.
        let met = |status: &&u16| **status != 401 || self.proof == Proof::Demanded || need == Need::Nothing;
        let mut responses: BTreeMap<String, Value> = operation
            .problems
            .iter()
            .filter(met)
            .map(|status| (status.to_string(), json!({ "$ref": format!("#/components/responses/{status}") })))
            .collect();
        responses.extend(operation.answers.iter().map(|answer| (answer.status.to_string(), self.answer(answer))));
        written.insert("responses".into(), json!(responses));
        written.into()
    }

    fn body(&mut self, body: &Body) -> Value {
        match body {
            Body::Whole(derive) => derive(&mut self.read).to_value(),
            Body::Part { of, name, without, rest } => {
                let whole = of(&mut self.read).to_value();
                let whole = whole.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
                self.parts.push((whole.unwrap_or_default().to_owned(), name, without, *rest));
                json!({ "$ref": format!("#/components/schemas/{name}") })
            }
            Body::Tool(schema) => schema.clone(),
        }
    }

    fn answer(&mut self, answer: &Answer) -> Value {
        let content = match &answer.content {
            Content::Json(derive, example) => {
                let schema = derive(&mut self.written).to_value();
                json!({ "application/json": { "schema": schema, "example": example } })
            }
            Content::Tool(schema) => json!({ "application/json": { "schema": schema } }),
            Content::Media(kinds) => {
                kinds.iter().map(|(name, media)| ((*name).to_owned(), self.media(media))).collect::<Map<_, _>>().into()
            }
        };
        let mut written = json!({ "description": answer.description, "content": content });
        for (member, value) in [("headers", answer.documented_headers()), ("links", answer.documented_links())] {
            if let (false, Value::Object(written)) = (value.is_empty(), &mut written) {
                written.insert(member.to_owned(), value.into());
            }
        }
        written
    }

    fn media(&mut self, media: &Media) -> Value {
        match media {
            Media::Text => json!({ "schema": { "type": "string" } }),
            Media::Example(example) => json!({ "schema": { "type": "string" }, "example": example }),
            Media::Bytes => json!({ "schema": { "type": "string", "format": "binary" } }),
            Media::Json(derive) => json!({ "schema": derive(&mut self.written).to_value() }),
            Media::AnyObject => json!({ "schema": { "type": "object" } }),
        }
    }

    /// All schemas that were named.
    fn schemas(mut self) -> Map<String, Value> {
        let mut all = self.read.take_definitions(true);
        for (whole, name, without, rest) in self.parts {
            if let Some(Value::Object(part)) = all.remove(&whole) {
                all.insert(name.to_owned(), part_of(part, without, rest).into());
            }
        }
        all.extend(self.written.take_definitions(true));
        all.values_mut().for_each(portable);
        all
    }
}

/// A schema without the field that the path names.
fn part_of(mut schema: Map<String, Value>, without: &str, rest: Rest) -> Map<String, Value> {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return schema };
    properties.remove(without);
    if rest == Rest::Changes {
        for property in properties.values_mut().filter_map(Value::as_object_mut) {
            property.remove("nullable");
        }
        schema.remove("required");
        schema.insert("description".into(), "The fields to change; all others stay.".into());
    } else if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|field| field != without);
    }
    schema
}

/// The fields of a type as parameters.
fn parameters(place: Place, derive: Derive) -> Vec<Value> {
    let mut settings = SchemaSettings::openapi3();
    settings.inline_subschemas = true;
    let mut generator = settings.into_generator();
    let mut schema = derive(&mut generator).to_value();
    portable(&mut schema);
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let Some(Value::Object(properties)) = schema.get("properties").cloned() else { return Vec::new() };
    let is_required = |name: &str| required.iter().any(|field| field == name);
    properties.into_iter().map(|(name, schema)| parameter(place, &name, is_required(&name), schema)).collect()
}

fn parameter(place: Place, name: &str, required: bool, mut schema: Value) -> Value {
    let place = match place {
        Place::Path => "path",
        Place::Query => "query",
        Place::Header => "header",
    };
    let mut parameter = Map::from_iter([("name".to_owned(), name.into()), ("in".to_owned(), place.into())]);
    if required {
        parameter.insert("required".into(), true.into());
    }
    if let Value::Object(schema) = &mut schema {
        schema.remove("nullable"); // an address has no `null`
        for member in ["description", "example"] {
            parameter.extend(schema.remove(member).map(|value| (member.to_owned(), value)));
        }
        if schema.get("default").is_some_and(Value::is_null) {
            schema.remove("default");
        }
    }
    // Some lists are written with commas; names may hold one, so that other parameters are repeated.
    if schema.get("type").is_some_and(|kind| kind == "array") {
        parameter.insert("style".into(), "form".into());
        parameter.insert("explode".into(), (name != JOINED).into());
    }
    parameter.insert("schema".into(), schema);
    parameter.into()
}

/// Makes a derived schema one of the document, inside out: what is said for the document alone is put in its place, and
/// Rust's names of number formats go. OpenAPI knows `int32`, `int64`, `float` and `double`.
fn portable(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(portable),
        Value::Object(schema) => {
            schema.values_mut().for_each(portable);
            let format = schema.get("format").and_then(Value::as_str);
            if format.is_some_and(|format| format.starts_with("uint") || format == "int") {
                schema.remove("format");
            }
            if let Some(Value::Object(more)) = schema.remove(DOCUMENT_ONLY) {
                merge(schema, more);
            }
        }
        _ => {}
    }
}

/// Adds keywords to a schema; `or` is another schema that fits as well.
fn merge(schema: &mut Map<String, Value>, more: Map<String, Value>) {
    for (keyword, value) in more {
        match (schema.get_mut(&keyword), value) {
            (Some(Value::Object(known)), Value::Object(value)) => merge(known, value),
            (_, other) if keyword == "or" => {
                let description = schema.remove("description");
                let first = Value::Object(std::mem::take(schema));
                schema.extend(description.map(|description| ("description".to_owned(), description)));
                schema.insert("anyOf".into(), json!([other, first]));
            }
            (_, value) => {
                schema.insert(keyword, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Writes, all_routes};

    fn read(proof: Proof) -> Value {
        let access =
            Access { proof, hosts: Vec::new(), origins: Vec::new(), networks: Vec::new(), writes: Writes::Allowed };
        serde_json::from_str(&document(&all_routes(), &[], &access)).unwrap()
    }

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|inner| references(inner, found));
            }
            _ => {}
        }
    }

    #[test]
    fn openapi_references_resolve_and_every_schema_is_used() {
        let document = read(Proof::NotDemanded);
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in &found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(found.contains(&format!("#/components/schemas/{name}")), "{name} is not used");
        }
    }

    #[test]
    fn openapi_security_is_present_only_with_a_key() {
        let status = |document: &Value| document["paths"]["/api/agent/tasks"]["get"]["responses"]["401"].is_object();
        let (open, locked) = (read(Proof::NotDemanded), read(Proof::Demanded));
        assert_eq!((open["security"].clone(), status(&open)), (json!([]), false));
        assert_eq!((locked["security"].as_array().unwrap().len(), status(&locked)), (3, true));
        assert_eq!(locked["paths"]["/health/live"]["get"]["security"], json!([]));
        assert!(open["paths"]["/downloads/{name}"]["get"]["responses"]["401"].is_object());
    }

    #[test]
    fn openapi_schemas_refuse_unknown_fields() {
        let schemas = &read(Proof::NotDemanded)["components"]["schemas"];
        for name in ["CreateTask", "TaskChange"] {
            assert_eq!(schemas[name]["additionalProperties"], false, "{name}");
        }
        assert!(schemas["TaskChange"]["properties"].get("task_id").is_none());
        assert_eq!(schemas["ScheduleChange"]["required"], json!(["schedule"]));
    }

    #[test]
    fn openapi_schemas_describe_accepted_forms_and_limits() {
        let document = read(Proof::NotDemanded);
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["ChecklistInput"]["anyOf"][0], json!({ "type": "string" }));
        assert_eq!(schemas["CreateTask"]["properties"]["priority"]["anyOf"][0]["maximum"], 10);
        assert_eq!(schemas["TaskChange"]["properties"]["title"]["maxLength"], 255);
        assert!(!document.to_string().contains(DOCUMENT_ONLY));
        let parameters = document["paths"]["/api/agent/tasks"]["get"]["parameters"].as_array().unwrap();
        let of = |name: &str| parameters.iter().find(|parameter| parameter["name"] == name).unwrap();
        assert_eq!((of("fields")["explode"].clone(), of("status")["explode"].clone()), (false.into(), true.into()));
        assert!(of("sort")["schema"]["enum"].as_array().unwrap().contains(&"-due_date".into()));
    }
}
