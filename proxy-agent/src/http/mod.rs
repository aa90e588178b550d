//! Small HTTP servers: a handler behind TCP or a unix socket. Knows nothing of what is served.

mod listen;
mod serve;

use std::sync::Arc;

use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

pub use listen::bind;
pub use serve::{serve_tcp, serve_unix};

/// An answer.
pub type Reply = Response<Full<Bytes>>;
/// What answers requests for a path.
pub type Handler = Arc<dyn Fn(String) -> BoxFuture<'static, Reply> + Send + Sync>;

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

/// One JSON document.
pub fn json(code: StatusCode, value: &impl serde::Serialize) -> Reply {
    match serde_json::to_vec_pretty(value) {
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
    if *request.method() == Method::GET || *request.method() == Method::HEAD {
        return Ok(handler(request.uri().path().to_owned()).await);
    }
    let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    refused
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Ok(refused)
}

#[cfg(test)]
mod tests;
