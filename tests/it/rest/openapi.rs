//! The OpenAPI document against the running server: every path in it is served, and takes no other methods.

use std::collections::BTreeSet;

use serde_json::Value;
use url::Url;

use crate::support::World;
use crate::support::rest::ask;

const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "options"];

/// Compares paths and methods of the document with what the server takes.
pub async fn the_document_is_true(base: &Url) {
    let document = ask(base, "GET", "/openapi.json").await.body;
    assert_eq!(document["openapi"], "3.0.3");
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let address = path.replace("{id}", "00000000000000");
        for method in METHODS {
            // A stream that is read to its end has to have one soon.
            let address = if path == "/api/events" { format!("{address}?seconds=1") } else { address.clone() };
            let answer = ask(base, &method.to_uppercase(), &address).await;
            let Some(operation) = item.get(method) else {
                assert_eq!(answer.status, 405, "{method} {path} is served but not described: {answer:#?}");
                continue;
            };
            assert!(operation["responses"].get(answer.status.to_string()).is_some(), "{method} {path}: {answer:#?}");
            let id = operation["operationId"].as_str().expect("an operation id").to_owned();
            assert!(operations.insert(id), "two operations are called {}", operation["operationId"]);
        }
    }
    assert!(operations.len() >= 12, "{operations:?}");
}

/// Every body that is described has an example, and every property of an example is in its schema.
pub async fn examples_fit(base: &Url) {
    let document = ask(base, "GET", "/openapi.json").await.body;
    let mut seen = 0;
    walk(&document["paths"], &mut |media| {
        let (Some(example), Some(reference)) = (media.get("example"), media["schema"]["$ref"].as_str()) else { return };
        let schema = document.pointer(reference.trim_start_matches('#')).expect("a schema");
        for name in example.as_object().expect("an object").keys() {
            assert!(schema["properties"].get(name).is_some(), "`{name}` is not in {reference}");
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(
                example.get(name.as_str().expect("a name")).is_some(),
                "{name} is missing in the example of {reference}"
            );
        }
        seen += 1;
    });
    assert!(seen >= 12, "{seen} examples");
}

fn walk(value: &Value, check: &mut impl FnMut(&Value)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, check)),
        Value::Object(object) => {
            check(value);
            object.values().for_each(|inner| walk(inner, check));
        }
        _ => {}
    }
}

#[tokio::test]
async fn openapi_document_matches_the_running_server() {
    let world = World::start().await;
    the_document_is_true(&world.api_url()).await;
    examples_fit(&world.api_url()).await;
}
