//! What is left of a body when the answer is there already: it is read and thrown away before the answer goes out.
//!
//! A refusal that needs only the headers would otherwise close the connection while the sender is still sending. The
//! Functions host then loses the answer and sends its caller a 500 with nothing in it. Bounded in bytes and in time: a
//! sender that never ends is cut off.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures::{StreamExt, stream};
use parking_lot::Mutex;

use super::MAX_BODY;
use crate::clock::Clock;

/// The most that is read of what nobody needs.
const MOST: usize = 8 * MAX_BODY;
/// The longest that takes.
const LIMIT: Duration = Duration::from_secs(5);

/// A body that both the handler and [`read_on`] can read.
type Shared = Arc<Mutex<BodyDataStream>>;

/// Has what is left of bodies read before a router's answers go out, for every route and layer.
pub fn read_to_the_end(router: Router, clock: Clock) -> Router {
    Router::new().fallback_service(router).layer(from_fn_with_state(clock, pass))
}

async fn pass(State(clock): State<Clock>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    // A sender that asks first sends nothing unless somebody reads.
    if body.is_end_stream() || parts.headers.contains_key(header::EXPECT) {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let left: Shared = Arc::new(Mutex::new(body.into_data_stream()));
    let response = next.run(Request::from_parts(parts, Body::from_stream(chunks(left.clone())))).await;
    if clock.timeout(LIMIT, read_on(left)).await.is_none() {
        tracing::debug!("a body that nobody needs does not end");
    }
    response
}

fn chunks(shared: Shared) -> impl futures::Stream<Item = Result<axum::body::Bytes, axum::Error>> + Send + 'static {
    stream::poll_fn(move |context| shared.lock().poll_next_unpin(context))
}

async fn read_on(left: Shared) {
    let (mut chunks, mut read) = (chunks(left), 0);
    while let Some(Ok(chunk)) = chunks.next().await {
        read += chunk.len();
        if read > MOST {
            return;
        }
    }
}
