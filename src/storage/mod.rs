//! Client of an object storage that speaks S3, for copies of recordings.
//!
//! Owns: the client, its credentials and its time limits. Does not retry, or decide what is stored.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{ClientOptions, HttpClient, HttpConnector};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, RetryConfig};
use rustls::ClientConfig;

use crate::config::StorageConfig;
use crate::tls;

/// Time limit for opening a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Time limit for a request including its body. A part of 5 MiB takes less if the uplink has at least
/// 350 kbit/s.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Client for a bucket, or for one folder in a bucket.
#[derive(Debug)]
pub struct Storage {
    s3: AmazonS3,
    prefix: Path,
}

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The storage has no such object or upload.
    #[error("the object storage has no such object or upload")]
    Unknown,
    #[error("the object storage failed: {0}")]
    Failed(Error),
    #[error("the object storage sent {got} of {length} bytes")]
    Short { got: u64, length: u64 },
}

/// State of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub bytes: u64,
    pub etag: Option<String>,
}

/// Factory of HTTP clients that trust the certificate authorities of the system.
#[derive(Debug)]
struct Connector(ClientConfig);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.0.clone())
            .no_proxy()
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .build();
        let failed = |error: reqwest::Error| Error::Generic { store: "S3", source: error.into() };
        client.map(HttpClient::new).map_err(failed)
    }
}

impl Storage {
    /// Creates the client; sends nothing.
    ///
    /// # Errors
    /// The certificate authorities cannot be read, or the settings contradict each other.
    pub fn new(config: &StorageConfig) -> Result<Self, String> {
        let trust = tls::client_config()?;
        let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_access_key_id(&config.access_key)
            .with_secret_access_key(String::from_utf8_lossy(&config.secret_key.0))
            .with_retry(once)
            .with_http_connector(Connector(trust.as_ref().clone()));
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        let s3 = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { s3, prefix: Path::from(config.prefix.as_str()) })
    }

    /// Begins an upload and returns its id.
    ///
    /// # Errors
    /// [`StorageError`], as for all requests.
    pub async fn begin(&self, object: &str) -> Result<String, StorageError> {
        Ok(self.s3.create_multipart(&self.path(object)).await?)
    }

    /// Uploads a part and returns its id.
    pub async fn part(
        &self,
        object: &str,
        upload: &str,
        index: usize,
        bytes: Bytes,
    ) -> Result<String, StorageError> {
        let part = self.s3.put_part(&self.path(object), &upload.to_owned(), index, bytes.into()).await?;
        Ok(part.content_id)
    }

    /// Combines the parts into the object, and returns its ETag.
    pub async fn complete(
        &self,
        object: &str,
        upload: &str,
        parts: &[String],
    ) -> Result<Option<String>, StorageError> {
        let parts = parts.iter().map(|id| PartId { content_id: id.clone() }).collect();
        let made = self.s3.complete_multipart(&self.path(object), &upload.to_owned(), parts).await?;
        Ok(made.e_tag)
    }

    /// Aborts an upload. Succeeds if the storage has no such upload.
    pub async fn abort(&self, object: &str, upload: &str) -> Result<(), StorageError> {
        absent_is_fine(self.s3.abort_multipart(&self.path(object), &upload.to_owned()).await)
    }

    /// Returns the state of an object; `None` if it does not exist.
    pub async fn object(&self, object: &str) -> Result<Option<Object>, StorageError> {
        match self.s3.head(&self.path(object)).await {
            Ok(meta) => Ok(Some(Object { bytes: meta.size, etag: meta.e_tag })),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a range of an object's bytes.
    pub async fn read(&self, object: &str, range: Range<u64>) -> Result<Bytes, StorageError> {
        let length = range.end - range.start;
        let bytes = self.s3.get_range(&self.path(object), range).await?;
        // A server that ends the body too early must not look like the end of the object.
        match bytes.len() as u64 == length {
            true => Ok(bytes),
            false => Err(StorageError::Short { got: bytes.len() as u64, length }),
        }
    }

    /// Deletes an object. Succeeds if it does not exist.
    pub async fn delete(&self, object: &str) -> Result<(), StorageError> {
        absent_is_fine(self.s3.delete(&self.path(object)).await)
    }

    fn path(&self, object: &str) -> Path {
        Path::from(format!("{}/{object}", self.prefix))
    }
}

fn absent_is_fine(outcome: object_store::Result<()>) -> Result<(), StorageError> {
    match outcome {
        Err(Error::NotFound { .. }) => Ok(()),
        outcome => Ok(outcome?),
    }
}

impl From<Error> for StorageError {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound { .. } => Self::Unknown,
            error => Self::Failed(error),
        }
    }
}
