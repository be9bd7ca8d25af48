//! Lists: all pages or none.
//!
//! A page that fails fails the list, since a short list would look like deletions. A `nextLink` is followed only to
//! the service it came from.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::call::Call;
use super::client::{Client, decode};
use super::error::{Error, ErrorKind};
use super::request::Request;

/// More pages than any list has; a service that goes round in circles ends here.
const MAX_PAGES: usize = 2_000;

#[derive(Deserialize)]
struct Page<T> {
    value: Vec<T>,
    #[serde(rename = "@odata.nextLink")]
    next: Option<String>,
}

impl Client {
    /// Reads the whole list, following `@odata.nextLink`, within the call's one deadline.
    pub(super) async fn list<T: DeserializeOwned>(&self, call: &Call, request: &Request) -> Result<Vec<T>, Error> {
        let deadline = self.deadline(call);
        let mut url = self.url(request)?;
        let mut items = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let answer = self.send_to(call, request, url, deadline).await?;
            let page: Page<T> = decode(request.operation, &request.method, &answer.body)?;
            items.extend(page.value);
            let Some(link) = page.next else { return Ok(items) };
            let bad = |reason: &str| {
                let kind = ErrorKind::Decode { path: "@odata.nextLink".to_owned(), reason: reason.to_owned() };
                Error::new(request.operation, &request.method, kind)
            };
            url = self.own_link(&link).ok_or_else(|| bad("the link leads away from the service"))?;
            if seen.len() >= MAX_PAGES || !seen.insert(link) {
                return Err(bad("the pages do not end"));
            }
        }
    }

    /// Reads the first page only: for searches with a `$top`.
    pub(super) async fn first_page<T: DeserializeOwned>(
        &self,
        call: &Call,
        request: &Request,
    ) -> Result<Vec<T>, Error> {
        let page: Page<T> = self.fetch(call, request).await?;
        Ok(page.value)
    }
}
