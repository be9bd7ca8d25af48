//! PATCH and DELETE of Planner resources: the `If-Match` rule. Planner's is not HTTP's: an old ETag of the same
//! resource is accepted as long as the change touches nothing that changed since; 409 says the change collides,
//! 412 that the resource never had this version. Both mean: read again, merge, retry.

use super::super::super::state::Object;
use super::super::call::{Answer, Outcome};
use super::super::error::GraphError;
use super::super::etag::{self, Kind};
use super::Desk;

/// A change that was checked but not written yet.
pub struct Edit {
    pub kind: Kind,
    pub id: String,
    pub object: Object,
    /// Property paths that the client sets, such as `title` or `checklist/<id>/isChecked`.
    pub touched: Vec<String>,
}

impl Desk<'_> {
    /// The version that `If-Match` names, which the resource must have or have had.
    pub fn matched(&self, kind: Kind, id: &str) -> Result<u32, GraphError> {
        let Some(header) = self.call.header("if-match") else {
            return Err(GraphError::new(412, "", "The If-Match header must be specified for this kind of request."));
        };
        let version = etag::read(kind, header)
            .ok_or_else(|| GraphError::planner("The If-Match header contains an invalid value."))?;
        let entity = self.tenant.planner(kind).get(id).ok_or_else(GraphError::not_found)?;
        if entity.versions.contains(&version) {
            Ok(version)
        } else {
            Err(GraphError::new(412, "", "The If-Match header names a version that the requested item does not have."))
        }
    }

    /// Writes an edit made on the basis of `version`: 204, or 200 with the resource if it was asked for.
    pub fn write(&mut self, edit: Edit, version: u32, context: &str) -> Outcome {
        let Edit { kind, id, object, touched } = edit;
        let entity = self.tenant.planner(kind).get(&id).ok_or_else(GraphError::not_found)?;
        let collisions = entity.changed_since(version, &touched);
        if !collisions.is_empty() {
            return Err(GraphError::new(
                409,
                "",
                format!("The change conflicts with a later change of: {}. Read the item again.", collisions.join(", ")),
            ));
        }
        if entity.object() != object {
            self.tenant.change(self.call.now, kind, &id, &object, &touched);
        }
        if !self.call.wants_representation() {
            return Ok(Answer::no_content());
        }
        let entity = self.tenant.planner(kind).get(&id).ok_or_else(GraphError::not_found)?;
        Ok(self.call.planner(200, kind, entity, context).with("preference-applied", "return=representation"))
    }

    /// Checks that a DELETE is based on the present version: any later change collides with it.
    pub fn may_delete(&self, kind: Kind, id: &str) -> Result<(), GraphError> {
        let version = self.matched(kind, id)?;
        let entity = self.tenant.planner(kind).get(id).ok_or_else(GraphError::not_found)?;
        if entity.version() == version {
            Ok(())
        } else {
            Err(GraphError::new(409, "", "The item was changed since. Read the item again."))
        }
    }
}
