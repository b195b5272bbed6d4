//! Methods of a path. A path with `GET` also has `HEAD`, and every path answers `OPTIONS` (RFC 9110 sections
//! 9.3.2 and 9.3.7).

use actix_web::http::Method;
use actix_web::http::header::ALLOW;
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, Route, web};

use super::error::ApiError;

/// Returns the resource of a path that has only `GET`.
pub fn only_get<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path).route(web::get().to(handler)).default_service(other(&[Method::GET]))
}

/// Returns the resource of a path that has only `POST`.
pub fn only_post<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path).route(web::post().to(handler)).default_service(other(&[Method::POST]))
}

/// Returns the route for all methods that are not in `has`: 405 with `Allow`, or 204 to `OPTIONS`.
pub fn other(has: &[Method]) -> Route {
    let allow = allow(has);
    web::to(move |request: HttpRequest| {
        let allow = allow.clone();
        async move {
            match *request.method() {
                Method::OPTIONS => Ok(HttpResponse::NoContent().insert_header((ALLOW, allow)).finish()),
                _ => Err(ApiError::method_not_allowed(&allow)),
            }
        }
    })
}

fn allow(has: &[Method]) -> String {
    let mut names = Vec::new();
    for method in has {
        names.push(method.as_str());
        if method == Method::GET {
            names.push("HEAD");
        }
    }
    names.push("OPTIONS");
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use actix_web::{App, test};

    use super::*;

    #[actix::test]
    async fn other_methods_name_the_allowed_ones() {
        let app = App::new().service(only_get("/get", async || "got")).service(
            web::resource("/both")
                .route(web::get().to(async || "got"))
                .default_service(other(&[Method::GET, Method::PUT])),
        );
        let app = test::init_service(app).await;
        for (method, path, status, allow) in [
            (Method::POST, "/get", 405, "GET, HEAD, OPTIONS"),
            (Method::OPTIONS, "/get", 204, "GET, HEAD, OPTIONS"),
            (Method::DELETE, "/both", 405, "GET, HEAD, PUT, OPTIONS"),
        ] {
            let request = test::TestRequest::with_uri(path).method(method).to_request();
            let answer = test::call_service(&app, request).await;
            let named = answer.headers().get(ALLOW).unwrap();
            assert_eq!((answer.status().as_u16(), named.to_str().unwrap()), (status, allow));
        }
    }
}
