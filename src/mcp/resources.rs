//! Resources of the toolsets, as the protocol has them.

use rmcp::ErrorData;
use rmcp::model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde_json::{Value, json};

use crate::error::ErrorCode;
use crate::services::Error;
use crate::toolsets::Catalogue;
use crate::toolsets::inventory::Inventory;

const JSON: &str = "application/json";

/// The resources that need no filling in, and what there is of templates. Where that cannot be listed, it is left out.
pub async fn list(catalogue: &Catalogue, inventory: &Inventory<'_>) -> Vec<Resource> {
    let mut listed = Vec::new();
    for resource in inventory.resources() {
        if !resource.is_template() {
            let mut title = resource.name.to_owned();
            if let Some(first) = title.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            let fixed = Resource::new(resource.uri, resource.name).with_title(title);
            listed.push(fixed.with_description(resource.description).with_mime_type(JSON));
            continue;
        }
        match resource.entries(catalogue.context(inventory)).await {
            Ok(entries) => listed.extend(entries.into_iter().map(|entry| {
                Resource::new(entry.uri, entry.title.clone()).with_title(entry.title).with_mime_type(JSON)
            })),
            Err(error) => tracing::warn!(resource = resource.name, %error, "resources cannot be listed"),
        }
    }
    listed
}

/// The templates.
pub fn templates(inventory: &Inventory<'_>) -> Vec<ResourceTemplate> {
    let templates = inventory.resources().filter(|resource| resource.is_template());
    let template = |resource: &crate::toolsets::resource::Resource| {
        ResourceTemplate::new(resource.uri, resource.name).with_description(resource.description).with_mime_type(JSON)
    };
    templates.map(template).collect()
}

/// What a resource holds, as the protocol has it.
///
/// # Errors
/// When there is none of that address (with the address in `data.uri`), or the service failed.
pub fn contents(uri: &str, read: Result<Value, Error>) -> Result<ReadResourceResult, ErrorData> {
    let value = read.map_err(|error| failed(&error, uri))?;
    Ok(ReadResourceResult::new(vec![ResourceContents::text(value.to_string(), uri).with_mime_type(JSON)]))
}

fn failed(error: &Error, uri: &str) -> ErrorData {
    let members = error.members();
    let message = members.message.clone();
    let data = json!({ "uri": uri, "error": members });
    match error.code {
        ErrorCode::PlanNotFound | ErrorCode::TaskNotFound | ErrorCode::NotFound | ErrorCode::InvalidArgument => {
            ErrorData::resource_not_found(message, Some(data))
        }
        _ => ErrorData::internal_error(message, Some(data)),
    }
}
