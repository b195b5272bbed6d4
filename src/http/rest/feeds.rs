//! `POST /api/feeds`: URLs of podcast feeds.

use std::time::Duration;

use actix_web::Responder;
use actix_web::web::{Data, Json, ReqData};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::FeedTokens;
use crate::domain::api_key::Caller;
use crate::domain::feed::{Feed, FeedSelector, LONGEST, USUAL};
use crate::domain::profile::{CoverUrl, Description, Language, Owner, Tag, Title};
use crate::http::error::{ApiError, Code, ErrorBody};
use crate::http::extract::{JsonBody, integer};
use crate::rooms::now;

use super::{Api, charge_token};

/// Podcast feed. It has either `owner` or `tag`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewFeed {
    /// Lists the recordings of rooms of this owner.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255)]
    owner: Option<String>,
    /// Lists the recordings of rooms with this tag.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 32)]
    tag: Option<String>,
    /// Title of the feed.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 100)]
    title: Option<String>,
    /// Description of the feed.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 2000)]
    description: Option<String>,
    /// Language of the recordings, as a BCP 47 language tag.
    #[serde(default)]
    #[schema(min_length = 2, max_length = 64)]
    language: Option<String>,
    /// Name of the author.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 100)]
    author: Option<String>,
    /// Image of the feed: an https URL.
    #[serde(default)]
    #[schema(pattern = "^https://", max_length = 1024)]
    cover_url: Option<String>,
    /// Number of seconds for which the URL is valid; a year if absent or null.
    #[serde(default, deserialize_with = "integer")]
    #[schema(minimum = 1, maximum = 316_224_000)]
    ttl: Option<i64>,
}

/// Answer with the URL of a feed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FeedAnswer {
    /// Always true.
    success: bool,
    /// URL of the feed, with its token. Everybody who has the URL can read the feed and download its
    /// recordings.
    feed_url: String,
    /// Time at which the URL expires.
    expires_at: u64,
}

/// Issues the URL of a podcast feed.
///
/// The feed is RSS 2.0 and lists the recordings that can be played, the newest first, including those that
/// are made later. The URL needs no other credential: give it to the subscribers of a private feed, or
/// publish it.
#[utoipa::path(
    post, path = "/api/feeds", operation_id = "issueFeed", tag = "recordings",
    request_body = NewFeed,
    responses(
        (status = 200, body = FeedAnswer, description = "the URL"),
        (status = 400, body = ErrorBody, description = "invalid_json, invalid_body, invalid_room_field, \
            invalid_ttl"),
        (status = 429, body = ErrorBody, description = "token_quota_exceeded (retryable)"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn issue(
    api: Data<Api>,
    caller: ReqData<Caller>,
    body: JsonBody<NewFeed>,
) -> Result<impl Responder, ApiError> {
    let NewFeed { owner, tag, title, description, language, author, cover_url, ttl } = body.0;
    let of = match (owner, tag) {
        (Some(owner), None) => FeedSelector::Owner(Owner::new(&owner)?),
        (None, Some(tag)) => FeedSelector::Tag(Tag::new(&tag)?),
        _ => return Err(ApiError::new(Code::InvalidBody, "a feed must have either owner or tag")),
    };
    let feed = Feed {
        of,
        title: title.as_deref().map(Title::new).transpose()?,
        description: description.as_deref().map(Description::new).transpose()?,
        language: language.as_deref().map(Language::new).transpose()?,
        author: author.as_deref().map(Title::new).transpose()?,
        cover_url: cover_url.as_deref().map(CoverUrl::new).transpose()?,
    };
    let ttl = match ttl.map(u64::try_from) {
        None => USUAL,
        Some(Ok(seconds)) if (1..=LONGEST.as_secs()).contains(&seconds) => Duration::from_secs(seconds),
        Some(_) => {
            let message = format!("ttl must be 1 to {} seconds", LONGEST.as_secs());
            return Err(ApiError::new(Code::InvalidTtl, message));
        }
    };
    let issued = FeedTokens::new(&api.tokens.secrets).issue(&feed, now(), ttl);
    let too_large = || ApiError::new(Code::InvalidBody, "title, description and cover are too long together");
    let (token, expires_at) = issued.ok_or_else(too_large)?;
    charge_token(&api, &caller)?;
    let feed_url = format!("{}/hls/feed.xml?token={token}", api.hls_base);
    Ok(Json(FeedAnswer { success: true, feed_url, expires_at: expires_at.0 }))
}
