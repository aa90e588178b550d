//! Small HTTP servers: a handler behind TCP or a unix socket. Knows nothing of what is served.

mod listen;
mod serve;

use std::sync::Arc;

use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};

pub use listen::bind;
pub(crate) use serve::accept_for_ever;
pub use serve::{Listener, serve_tcp, serve_unix};

/// An answer.
pub type Reply = Response<Full<Bytes>>;
/// A request as far as a handler looks at it. Nothing here writes, so the method does not matter (as for kube-proxy).
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The path, without a query.
    pub path: String,
    /// Media types that the client takes; may be empty.
    pub accept: String,
}

/// What answers requests.
pub type Handler = Arc<dyn Fn(Ask) -> BoxFuture<'static, Reply> + Send + Sync>;

/// An answer with a body. All carry nosniff, as kube-proxy's do.
pub fn reply(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = code;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.headers_mut().insert(
        "X-Content-Type-Options",
        HeaderValue::from_static("nosniff"),
    );
    reply
}

/// Plain text.
pub fn text(code: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(code, "text/plain; charset=utf-8", body)
}

/// One JSON document, in one line as kube-proxy's.
pub fn json(code: StatusCode, value: &impl serde::Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => reply(code, "application/json", body),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot encode the answer: {error}\n"),
        ),
    }
}

/// For a path that is not served: says what is.
pub fn not_found(paths: &[&str]) -> Reply {
    text(
        StatusCode::NOT_FOUND,
        format!("not found; here are: {}\n", paths.join(" ")),
    )
}

async fn answer(
    handler: Handler,
    request: Request<Incoming>,
) -> Result<Reply, std::convert::Infallible> {
    let accept = request.headers().get(ACCEPT);
    let ask = Ask {
        path: request.uri().path().to_owned(),
        accept: accept
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
    };
    Ok(handler(ask).await)
}

#[cfg(test)]
mod tests;
