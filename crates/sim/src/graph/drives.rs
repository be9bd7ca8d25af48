//! Just enough of OneDrive for a batch that reads it: everybody has a drive with one file, to be read only.
//! Files are no subject of this simulator.

use serde_json::{Value, json};

use super::super::state::Tenant;
use super::call::{Answer, Call, Outcome};
use super::directory::DENIED;
use super::error::GraphError;

const READ: &[&str] = &[
    "Files.Read.All",
    "Files.ReadWrite.All",
    "Sites.Read.All",
    "Sites.ReadWrite.All",
    "Files.Read",
    "Files.ReadWrite",
];

/// Answers requests under `/drives` and `/users/{id}/drive`.
pub fn route(call: &Call, tenant: &Tenant) -> Outcome {
    call.require(DENIED, READ, READ)?;
    let path = call.path();
    let (owner, rest) = match path.as_slice() {
        [_, key, "drive", rest @ ..] => (key.to_string(), rest),
        ["drives", drive, rest @ ..] => (drive.trim_start_matches("b!").to_owned(), rest),
        [.., last] => return Err(GraphError::no_segment(last)),
        [] => return Err(GraphError::no_segment("drives")),
    };
    let Some((owner, user)) = tenant.find_user(&owner) else {
        return Err(GraphError::new(404, "itemNotFound", "The resource could not be found."));
    };
    if call.method != "GET" {
        return Err(GraphError::new(403, "accessDenied", "The drives of the simulated tenant can only be read."));
    }
    let drive = format!("b!{owner}");
    let by = json!({"user": {"id": owner, "displayName": user.get("displayName")}});
    let created = user.get("createdDateTime").cloned().unwrap_or_default();
    let item = |id: &str, name: &str, facet: &str, value: Value| {
        json!({"id": id, "name": name, "size": 12, "createdDateTime": created, "lastModifiedDateTime": created, "createdBy": by,
            "lastModifiedBy": by, "parentReference": {"driveId": drive, "driveType": "business"}, facet: value})
    };
    let root = item("root", "root", "folder", json!({"childCount": 1}));
    let file = item("welcome", "Welcome.txt", "file", json!({"mimeType": "text/plain"}));
    match rest {
        [] => Ok(Answer::json(
            200,
            &json!({"@odata.context": call.context("drives/$entity"), "id": drive, "driveType": "business",
            "name": "OneDrive", "createdDateTime": created, "owner": by}),
        )),
        ["root"] | ["items", "root"] => Ok(Answer::json(200, &root)),
        ["root", "children"] | ["items", "root", "children"] => {
            Ok(Answer::json(200, &json!({"@odata.context": call.context("driveItems"), "value": [file]})))
        }
        ["items", "welcome"] | ["root:", "Welcome.txt"] => Ok(Answer::json(200, &file)),
        _ => Err(GraphError::new(404, "itemNotFound", "The resource could not be found.")),
    }
}
