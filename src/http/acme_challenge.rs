//! Answers to the HTTP-01 challenges of ACME (RFC 8555 section 8.3), on the plain HTTP socket.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};

use super::methods::only_get;
use crate::acme::Challenges;

/// Serves the answers. Register it before the redirect, which covers all paths. Store errors result in 503.
/// The authority regards every status except 200 as a failed challenge.
pub(super) fn configure(config: &mut web::ServiceConfig, challenges: &Challenges) {
    let challenges = challenges.clone();
    config.service(only_get("/.well-known/acme-challenge/{token}", move |token: web::Path<String>| {
        let challenges = challenges.clone();
        async move {
            match challenges.answer(&token).await {
                Ok(Some(authorization)) => HttpResponse::Ok()
                    .insert_header((CONTENT_TYPE, "application/octet-stream"))
                    .insert_header((CACHE_CONTROL, "no-store"))
                    .body(authorization),
                Ok(None) => HttpResponse::NotFound().finish(),
                Err(_) => HttpResponse::ServiceUnavailable().finish(),
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use actix_web::{App, test};
    use futures::future::join_all;

    use super::*;
    use crate::domain::keys;
    use crate::http::redirect::{self, Redirect};
    use crate::rooms::FakeStore;
    use crate::store::Store;

    #[actix::test]
    async fn many_requests_share_store_reads() {
        let store = FakeStore::new();
        let challenges = Challenges::new(store.clone());
        let before = store.requests();
        let tokens: Vec<_> = (0..1000).map(|n| format!("{n:043}")).collect();
        let answers = join_all(tokens.iter().map(|token| challenges.answer(token))).await;
        assert!(answers.into_iter().all(|answer| matches!(answer, Ok(None))));
        // The store is read once per second at most. The limit allows for a slow machine.
        assert!(store.requests() - before < 20, "{}", store.requests());
        // Neither the lack of an answer nor an error is kept for long.
        let (token, text) = (&tokens[7], format!("{}.{}", tokens[7], "d".repeat(43)));
        store.set_down(true);
        until(async || challenges.answer(token).await.is_err()).await;
        store.set_down(false);
        store.put(&keys::acme_challenge(token), text.clone().into()).await.unwrap();
        until(async || challenges.answer(token).await.is_ok_and(|answer| answer.as_ref() == Some(&text)))
            .await;
    }

    async fn until(condition: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !condition().await {
            assert!(Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
    }

    #[actix::test]
    async fn only_open_challenges_are_answered() {
        let store = FakeStore::new();
        let token = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
        let (forged, text) = ("f".repeat(43), format!("{token}.{}", "t".repeat(43)));
        store.put(&keys::acme_challenge(token), text.clone().into()).await.unwrap();
        store.put(&keys::acme_challenge(&forged), "<script>".into()).await.unwrap();
        let challenges = Some(Challenges::new(store));
        let redirect = Redirect { base: "https://live.example.org".into(), challenges };
        let app = App::new().configure(|config| redirect::configure(config, &redirect));
        let app = test::init_service(app).await;
        let get = async |path: &str| {
            let request = test::TestRequest::get().uri(path).to_request();
            let response = test::call_service(&app, request).await;
            (response.status().as_u16(), test::read_body(response).await)
        };
        let path = |token: &str| format!("/.well-known/acme-challenge/{token}");
        assert_eq!(get(&path(token)).await, (200, text.into()));
        for other in ["", "x", &forged, &"u".repeat(43), "..%2f..%2frooms", &"u".repeat(500)] {
            assert_ne!(get(&path(other)).await.0, 200, "{other}");
        }
        assert_eq!(get("/listen/demo").await.0, 308);
    }
}
