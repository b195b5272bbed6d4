//! Middleware that measures requests.
//!
//! Owns: the labels. Does not change a request or a response.

use std::time::Instant;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;

use crate::telemetry::Metrics;

/// Records the request by its route pattern, not by its path, because paths contain room ids.
pub async fn measure(
    metrics: Metrics,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let start = Instant::now();
    let response = next.call(request).await?;
    let route = response.request().match_pattern();
    metrics.http_request(route.as_deref().unwrap_or("none"), response.status().as_u16(), start.elapsed());
    Ok(response)
}
