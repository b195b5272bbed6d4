//! Spans of requests to the room API and of WHIP, with the trace context of their callers (W3C
//! `traceparent`).

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;

use crate::domain::trace_context::TraceContext;
use crate::telemetry::trace::{self, Span};

const TRACEPARENT: &str = "traceparent";

/// Middleware that runs each request within a span. Does nothing if traces are off.
pub async fn middleware<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if !trace::is_on() {
        return next.call(request).await;
    }
    let offered = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let caller = offered.and_then(|text| text.parse::<TraceContext>().ok());
    let (mut span, method) = (Span::of_request(caller), request.method().clone());
    let context = span.context();
    let response = match context {
        Some(context) => trace::scope(context, next.call(request)).await?,
        None => return next.call(request).await,
    };
    let route = response.request().match_pattern().unwrap_or_default();
    let status = response.status();
    span.set(|span| {
        span.name(format!("{method} {route}"))
            .attribute("http.request.method", method.as_str())
            .attribute("http.response.status_code", status.as_str())
            .attribute("http.route", route);
        if status.is_server_error() {
            span.error(status.to_string());
        }
    });
    Ok(response)
}
