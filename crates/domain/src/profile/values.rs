//! Values of a room's profile. Each is validated once on input, and its text is in normal form.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::InvalidName;
use crate::text::{self, bounded, text_values};

/// Title of a room: 1 to 100 characters in the normal form of [`text::message`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Title(Arc<str>);

/// Description of a room: 1 to 2,000 characters in the normal form of [`text::paragraphs`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Description(Arc<str>);

/// Well-formed language tag (BCP 47, RFC 5646 section 2.1), in the letter case that RFC 5646 section 2.1.1
/// recommends.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Language(Arc<str>);

/// Tag of a room: 1 to 32 characters in the normal form of [`text::nickname`], in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Arc<str>);

/// At most [`Tags::MAX`] different tags, in the order given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Tag>", into = "Vec<Tag>")]
pub struct Tags(Arc<[Tag]>);

/// Absolute `https` URL without user information, of at most 1,024 bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CoverUrl(Arc<str>);

/// Owner of a room, an id that the application chooses: 1 to 255 bytes without control or invisible
/// characters.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner(Arc<str>);

/// JSON object of the application: at most [`CustomData::MAX_BYTES`] bytes as compact JSON, nested at most
/// [`CustomData::MAX_DEPTH`] deep. Not interpreted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct CustomData(Arc<Map<String, Value>>);

fn invalid(what: &'static str, rule: &'static str) -> InvalidName {
    InvalidName { what, rule }
}

impl Title {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let rule = "must be 1 to 100 visible characters, without control or direction-changing characters";
        bounded(text, 100, text::message).map(Self).ok_or(invalid("title", rule))
    }
}

impl Description {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let rule = "must be 1 to 2000 visible characters or line breaks, without control or \
            direction-changing characters";
        bounded(text, 2000, text::paragraphs).map(Self).ok_or(invalid("description", rule))
    }
}

impl Language {
    /// Longest accepted tag, in bytes.
    const MAX_LEN: usize = 64;

    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let tag = Some(text).filter(|text| text.len() <= Self::MAX_LEN);
        let tag = tag.and_then(|text| language_tags::LanguageTag::parse(text).ok());
        let rule = "must be a BCP 47 language tag, such as en or pt-BR, of at most 64 characters";
        tag.map(|tag| Self(tag.as_str().into())).ok_or(invalid("language", rule))
    }
}

impl Tag {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let normal = |text: &str| text::nickname(&text::nickname(text)?.to_lowercase());
        let rule = "must have 1 to 32 visible characters each, without control or direction-changing \
            characters";
        bounded(text, 32, normal).map(Self).ok_or(invalid("tags", rule))
    }
}

impl Tags {
    pub const MAX: usize = 10;

    /// Creates the list without repeated tags.
    ///
    /// # Errors
    /// More than [`Self::MAX`] tags remain.
    pub fn new(tags: Vec<Tag>) -> Result<Self, InvalidName> {
        let mut distinct = Vec::new();
        for tag in tags {
            if !distinct.contains(&tag) {
                distinct.push(tag);
            }
        }
        let ok = distinct.len() <= Self::MAX;
        ok.then(|| Self(distinct.into())).ok_or(invalid("tags", "must be at most 10"))
    }

    pub fn as_slice(&self) -> &[Tag] {
        &self.0
    }
}

impl CoverUrl {
    const MAX_LEN: usize = 1024;

    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let url = Some(text).filter(|text| text.len() <= Self::MAX_LEN).and_then(|text| text.parse().ok());
        let url = url.filter(|url: &url::Url| {
            url.scheme() == "https" && url.username().is_empty() && url.password().is_none()
        });
        let url = url.filter(|url| url.as_str().len() <= Self::MAX_LEN);
        let rule = "must be an https URL of at most 1024 bytes, without user name or password";
        url.map(|url| Self(url.as_str().into())).ok_or(invalid("coverUrl", rule))
    }
}

impl Owner {
    const MAX_LEN: usize = 255;

    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let ok = (1..=Self::MAX_LEN).contains(&text.len()) && text::is_plain_id(text);
        let rule =
            "must be 1 to 255 bytes without control or invisible characters and without spaces at its ends";
        ok.then(|| Self(text.into())).ok_or(invalid("owner", rule))
    }
}

impl CustomData {
    pub const MAX_BYTES: usize = 4096;
    pub const MAX_DEPTH: usize = 8;

    pub fn new(object: Map<String, Value>) -> Result<Self, InvalidName> {
        let deep = object.values().any(|value| is_deeper(value, Self::MAX_DEPTH - 1));
        // `Display` writes compact JSON.
        let ok = !deep && Value::Object(object.clone()).to_string().len() <= Self::MAX_BYTES;
        let rule = "must be an object of at most 4096 bytes of JSON, nested at most 8 deep";
        ok.then(|| Self(object.into())).ok_or(invalid("custom", rule))
    }

    pub fn object(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// Returns true if `value` has more than `levels` levels of arrays and objects.
fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|field| is_deeper(field, levels - 1)),
        _ => false,
    }
}

text_values!(Title, Description, Language, Tag, CoverUrl, Owner);

impl TryFrom<Vec<Tag>> for Tags {
    type Error = InvalidName;
    fn try_from(tags: Vec<Tag>) -> Result<Self, InvalidName> {
        Self::new(tags)
    }
}

impl From<Tags> for Vec<Tag> {
    fn from(tags: Tags) -> Self {
        tags.0.to_vec()
    }
}

impl TryFrom<Map<String, Value>> for CustomData {
    type Error = InvalidName;
    fn try_from(object: Map<String, Value>) -> Result<Self, InvalidName> {
        Self::new(object)
    }
}

impl From<CustomData> for Map<String, Value> {
    fn from(custom: CustomData) -> Self {
        Arc::unwrap_or_clone(custom.0)
    }
}
