//! The admin listener: `/health`, `/stats` and `/metrics` over HTTP, on an address of its own.
//!
//! It runs on the control plane's runtime, sees only [`keel_control::Control`], and can neither slow
//! nor stop the data plane.
#![forbid(unsafe_code)]

use std::future::Future;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::routing::{any, get};
use keel_control::{Control, Page};
use keel_l7::FixedAnswer;
use tokio::net::TcpListener;

/// Serves the admin pages on a listening socket until `stop` resolves.
///
/// # Errors
/// When the socket cannot be registered with the runtime or stops accepting.
pub async fn serve(
    listener: std::net::TcpListener,
    control: Control,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    axum::serve(listener, pages(control))
        .with_graceful_shutdown(stop)
        .await
}

fn pages(control: Control) -> Router {
    let page = |page: Page| {
        let control = control.clone();
        move || std::future::ready(answer(control.status().page(page)))
    };
    Router::new()
        .route("/health", any(page(Page::Health)))
        .route("/stats", get(page(Page::Stats)))
        .route("/metrics", get(page(Page::Metrics)))
        .fallback(|| std::future::ready(not_found()))
}

fn answer(page: FixedAnswer) -> Response<Body> {
    let mut response = Response::new(Body::from(page.body.to_vec()));
    *response.status_mut() =
        StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let typed = [("content-type".to_owned(), page.content_type)];
    for (name, value) in typed.iter().chain(&page.headers) {
        let name = HeaderName::try_from(name.as_str());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value.as_str())) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn not_found() -> Response<Body> {
    let text = "there are /health, /stats and /metrics here\n";
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
