//! Download of a recording as one file, whole or a range of bytes (RFC 9110 section 14).

use std::io;
use std::ops::Range;
use std::sync::Arc;

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    self, ByteRangeSpec, ContentRange, ContentRangeSpec, ETag, EntityTag, Header, HeaderValue, IfRange,
    TryIntoHeaderValue,
};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};

use super::super::error::{ApiError, Code};
use super::super::hls_answer::{SECRET, found};
use crate::delivery::ReplayMedia;
use crate::domain::civil_time::Rfc3339;
use crate::domain::recording::RecordingId;
use crate::packager::{M4aFile, MediaError, Piece, RecordedM4a, Source};

/// Answers a request for the file. A range is served only if `If-Range` is absent or contains the current
/// ETag of the file. A request for several ranges gets the whole file.
pub(super) fn download(
    request: &HttpRequest,
    media: Arc<dyn ReplayMedia>,
    recording: RecordingId,
    m4a: &RecordedM4a,
) -> HttpResponse {
    let length = m4a.file.length();
    let etag = EntityTag::new_strong(m4a.etag.clone());
    let mut answer = found(M4aFile::CONTENT_TYPE, SECRET);
    let Some(range) = ranged(request, length, &etag, &mut answer) else { return out_of_range(length) };
    named(&mut answer, m4a, "m4a");
    answer.insert_header(ETag(etag));
    answer.insert_header((header::ACCEPT_RANGES, HeaderValue::from_static("bytes")));
    let size = range.end - range.start;
    answer.body(SizedStream::new(size, body(media, recording, m4a.file.pieces(range))))
}

/// Returns the bytes to send of a file of this length, and adds their range to the answer. `None`: the file
/// does not have the requested range ([`out_of_range`]).
pub(in crate::http) fn ranged(
    request: &HttpRequest,
    length: u64,
    etag: &EntityTag,
    answer: &mut HttpResponseBuilder,
) -> Option<Range<u64>> {
    let Some(spec) = requested(request, etag) else { return Some(0..length) };
    let (first, last) = spec.to_satisfiable_range(length)?;
    let part = ContentRangeSpec::Bytes { range: Some((first, last)), instance_length: Some(length) };
    answer.status(StatusCode::PARTIAL_CONTENT);
    answer.insert_header(ContentRange(part));
    Some(first..last + 1)
}

/// Returns the one range that is requested, in bytes.
fn requested(request: &HttpRequest, etag: &EntityTag) -> Option<ByteRangeSpec> {
    if request.headers().contains_key(header::IF_RANGE) {
        match IfRange::parse(request) {
            Ok(IfRange::EntityTag(known)) if known.strong_eq(etag) => {}
            _ => return None,
        }
    }
    match header::Range::parse(request) {
        Ok(header::Range::Bytes(ranges)) if ranges.len() == 1 => ranges.into_iter().next(),
        _ => None,
    }
}

/// Sets the file name of a download: the room and the start of the recording in UTC.
pub(super) fn named(answer: &mut HttpResponseBuilder, m4a: &RecordedM4a, extension: &str) {
    let started = Rfc3339(m4a.started).to_string();
    let (date, time) = started.split_once('T').unwrap_or_default();
    let minute = time.get(..5).unwrap_or_default().replace(':', "");
    let name = format!("inline; filename=\"{}-{date}-{minute}.{extension}\"", m4a.room);
    answer.insert_header((header::CONTENT_DISPOSITION, name));
}

/// Returns the bytes of these pieces. Segments are read one by one, as the client takes them.
fn body(
    media: Arc<dyn ReplayMedia>,
    recording: RecordingId,
    pieces: Vec<Piece>,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream::iter(pieces).then(move |Piece { source, range }| {
        let (media, recording) = (media.clone(), recording.clone());
        async move {
            let whole = match source {
                Source::Known(bytes) => bytes,
                Source::Segment(sequence) => media.frames(&recording, sequence).await.map_err(gone)?,
            };
            part(&whole, range)
        }
    })
}

fn part(whole: &Bytes, range: Range<usize>) -> io::Result<Bytes> {
    match range.end <= whole.len() {
        true => Ok(whole.slice(range)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Returns the error that ends a response already in progress. The client can then request the rest of the
/// file.
fn gone(refusal: MediaError) -> io::Error {
    io::Error::other(format!("{refusal:?}"))
}

/// Returns the refusal of a range that a file of this length does not have.
pub(in crate::http) fn out_of_range(length: u64) -> HttpResponse {
    let error = ApiError::new(Code::RangeNotSatisfiable, format!("the file has {length} bytes"));
    let mut answer = error.error_response();
    let size = ContentRangeSpec::Bytes { range: None, instance_length: Some(length) };
    if let Ok(size) = ContentRange(size).try_into_value() {
        answer.headers_mut().insert(header::CONTENT_RANGE, size);
    }
    answer
}
