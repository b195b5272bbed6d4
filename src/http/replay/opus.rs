//! Download of a recording as an Ogg Opus file, which may still be encoded.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BodyStream, SizedStream};
use actix_web::http::header::{self, ETag, EntityTag, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

use super::super::error::{ApiError, Code};
use super::super::hls_answer::{SECRET, found};
use super::download::{named, out_of_range, ranged};
use crate::delivery::{OpusFile, Stage};

/// Longest wait for the first bytes: other files may be encoded first.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);

/// Answers a request for the file. Only a complete file has a length, and is served in ranges.
pub(super) async fn download(request: &HttpRequest, file: Arc<OpusFile>) -> Result<HttpResponse, ApiError> {
    let later = |message: &str| ApiError::new(Code::MediaUnavailable, message);
    let begun = tokio::time::timeout(BEGINS_WITHIN, file.begun()).await;
    let begun = begun.map_err(|_| later("other files are being encoded; ask again"))?;
    if begun.stage == Stage::Failed {
        return Err(later("the file could not be encoded; ask again"));
    }
    let mut answer = found(OpusFile::CONTENT_TYPE, SECRET);
    named(&mut answer, &file.source, "opus");
    let etag = EntityTag::new_strong(file.etag.clone());
    if begun.stage != Stage::Complete {
        answer.insert_header(ETag(etag));
        return Ok(answer.body(BodyStream::new(file.read(0..u64::MAX))));
    }
    let Some(range) = ranged(request, begun.bytes, &etag, &mut answer) else {
        return Ok(out_of_range(begun.bytes));
    };
    answer.insert_header(ETag(etag));
    answer.insert_header((header::ACCEPT_RANGES, HeaderValue::from_static("bytes")));
    Ok(answer.body(SizedStream::new(range.end - range.start, file.read(range))))
}
