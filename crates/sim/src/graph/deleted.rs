//! Deleted users and groups: kept, listed, restored (a group with its plans), or removed for good.

use serde_json::Value;

use super::super::state::{Object, Tenant};
use super::call::{Answer, Call, Outcome};
use super::directory::{DENIED, GROUP_READ, GROUP_WRITE, USER_READ, USER_WRITE};
use super::error::GraphError;
use super::odata::{self, Collection};

/// Answers a request under `/directory/deletedItems`.
pub fn route(call: &Call, tenant: &mut Tenant) -> Outcome {
    let write = call.method != "GET";
    let kind_of = |id: &str| tenant.deleted.get(id).map(|d| d.kind.clone());
    let path = call.path();
    let is_group = match path.get(2) {
        Some(segment) => segment.ends_with("graph.group") || kind_of(segment).as_deref() == Some("group"),
        None => true,
    };
    let needed = match (is_group, write) {
        (true, false) => GROUP_READ,
        (true, true) => GROUP_WRITE,
        (false, false) => USER_READ,
        (false, true) => USER_WRITE,
    };
    call.require(DENIED, needed, needed)?;
    match (call.method.as_str(), path.as_slice()) {
        ("GET", [_, _, cast @ ("microsoft.graph.group" | "microsoft.graph.user" | "graph.group" | "graph.user")]) => {
            let kind = cast.rsplit('.').next().unwrap_or_default();
            let items = tenant.deleted.values().filter(|d| d.kind == kind).map(|d| d.entity.object()).collect();
            odata::list(
                call,
                Collection {
                    items,
                    kind: "microsoft.graph.directoryObject",
                    context: &format!("{kind}s"),
                    known: &[],
                    default: &[],
                },
            )
        }
        ("GET", [_, _, id]) => {
            let deleted = tenant.deleted.get(*id).ok_or_else(|| GraphError::no_resource(id))?;
            Ok(Answer::json(200, &typed(call, &deleted.kind, deleted.entity.object())))
        }
        ("POST", [_, _, id, "restore"]) => {
            let (kind, object) = tenant.restore_deleted(id).ok_or_else(|| GraphError::no_resource(id))?;
            Ok(Answer::json(200, &typed(call, &kind, object)))
        }
        ("DELETE", [_, _, id]) => {
            tenant.deleted.remove(*id).ok_or_else(|| GraphError::no_resource(id))?;
            tenant.members.remove(*id);
            tenant.owners.remove(*id);
            Ok(Answer::no_content())
        }
        (method, _) => Err(GraphError::method(method)),
    }
}

fn typed(call: &Call, kind: &str, object: Object) -> Object {
    let mut shown = Object::new();
    shown.insert("@odata.context".to_owned(), call.context("directoryObjects/$entity").into());
    shown.insert("@odata.type".to_owned(), Value::String(format!("#microsoft.graph.{kind}")));
    shown.extend(object);
    shown
}
