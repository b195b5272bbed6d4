//! Sources of a room: URLs and files that are played in it, each as an anchor.
//!
//! ```text
//!            add                 first sound               the input ends, without `loop`
//!  (absent) ─────▶ waiting ───────────────────▶ playing ──────────────────────────────────▶ ended
//!     ▲               ▲                            │
//!     │               └── input, FFmpeg or Janus ──┘
//!     │                   lost; tried again                  in every state
//!     └──────────────────────── remove, ban, kick ◀────────────────────────
//! ```
//!
//! The wanted sources of a room are one key of the store. The node that has the room's Janus plays the
//! sources ([`source_player`](super::source_player)) and writes their states into the same key. So the
//! sources follow the room to another Janus instance.
//!
//! A source counts against `maxAnchors` until it has ended. Its id is a user id, so hosts and co-hosts mute,
//! kick and ban it like an anchor.
//!
//! Owns: the stored values, and the rules for sources and their inputs. Does not write to the store or open
//! an input.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::connection::FencingToken;
use super::ids::{UnixMs, UserId};
use super::model::UserRole;
use super::outbound::may_connect;
use super::presence_entry::{PresenceEntry, Source as ClientKind};
use super::room::{Admission, RoomWrite};
use super::signalling::DisplayName;
use super::signalling::methods::ActivityStatus;
use super::view::RoomView;

/// Maximum length of a URL, in bytes.
const MAX_URL: usize = 1024;
/// Maximum length of a file's path, in bytes.
const MAX_PATH: usize = 512;
/// Parameters of an `srt` URL that are passed to FFmpeg. Others could make FFmpeg listen, or read files.
const SRT_PARAMETERS: [&str; 4] = ["streamid", "passphrase", "pbkeylen", "latency"];

/// `/rooms/{id}/sources`: sources of a room, by their ids.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sources(pub BTreeMap<UserId, Source>);

/// Source of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    pub input: Input,
    /// Name shown in the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<DisplayName>,
    /// True if the input starts over when it ends.
    #[serde(rename = "loop")]
    pub repeats: bool,
    pub created_at: UnixMs,
    /// True if the source is muted in the room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub muted: bool,
    #[serde(default)]
    pub state: SourceState,
}

/// Input of a source. If one input has a kind that only newer versions know, older nodes cannot read the
/// sources of the room. They then neither play nor remove these sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// Unencrypted URL, as earlier versions stored it. It is read, but no longer written.
    Url(SourceUrl),
    Sealed(SealedUrl),
    File(SourceFile),
}

/// URL of a source in the store. It is sealed, because it may contain a stream key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedUrl {
    pub scheme: Scheme,
    /// URL without its secrets; see [`SourceUrl::shown`].
    pub shown: String,
    pub sealed: String,
}

/// State of a source.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum SourceState {
    /// The source is not playing. `reason`: cause of the last failure; `None` if no attempt has failed since
    /// the last sound.
    Waiting {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Playing,
    Ended,
    /// The source was not played yet. States of newer versions are also read as `New`.
    #[default]
    #[serde(other)]
    New,
}

/// Protocol of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    Http,
    Https,
    Rtmp,
    Srt,
}

/// URL of a source: at most 1,024 bytes, with a supported scheme, without a user name or password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceUrl(url::Url);

/// Path of a file below the configured folder: relative, without `..`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceFile(String);

/// Error for a URL or file that no source may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidInput(&'static str);

/// Inputs that the configuration permits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourcePolicy {
    pub schemes: Vec<Scheme>,
    /// Networks that are permitted in addition to public addresses.
    pub networks: Vec<IpNet>,
    /// True if there is a folder of files.
    pub files: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceDenied {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("the room is being removed")]
    RoomRemoving,
    #[error("the room has no source with this id")]
    NoSuchSource,
    #[error("sources.schemes does not permit {}", .0.as_str())]
    SchemeOff(Scheme),
    #[error("sources.folder is not set, so no file can be played")]
    FilesOff,
    #[error(
        "the room has as many anchors and sources as its maxAnchors allows: remove a source, or wait until \
             somebody leaves"
    )]
    Full,
}

impl Scheme {
    pub const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Rtmp, Self::Srt];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Rtmp => "rtmp",
            Self::Srt => "srt",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == text)
    }
}

impl SourceUrl {
    /// Parses and checks a URL.
    ///
    /// # Errors
    /// The URL breaks a rule; the text of the error states all rules.
    pub fn new(text: &str) -> Result<Self, InvalidInput> {
        let rule = InvalidInput(
            "url must be an http, https, rtmp or srt URL of at most 1024 bytes, with a host and without a \
             user name or password; an srt URL needs a port, and may have the parameters streamid, \
             passphrase, pbkeylen and latency",
        );
        let url = url::Url::parse(text).map_err(|_| rule)?;
        let scheme = Scheme::parse(url.scheme()).ok_or(rule)?;
        let plain = url.username().is_empty() && url.password().is_none();
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        let srt = scheme != Scheme::Srt
            || (url.port().is_some() && url.query_pairs().all(|(key, _)| SRT_PARAMETERS.contains(&&*key)));
        // The parser may lengthen the text, because it encodes some characters.
        let ok = text.len().max(url.as_str().len()) <= MAX_URL && url.has_host() && plain && visible && srt;
        if ok { Ok(Self(url)) } else { Err(rule) }
    }

    pub fn scheme(&self) -> Scheme {
        // Cannot fail: `new` refuses other schemes.
        Scheme::parse(self.0.scheme()).expect("the scheme was checked")
    }

    pub fn url(&self) -> &url::Url {
        &self.0
    }

    /// Returns host and port to connect to.
    pub fn authority(&self) -> (String, u16) {
        let port = self.0.port().unwrap_or(match self.scheme() {
            Scheme::Http => 80,
            Scheme::Https => 443,
            Scheme::Rtmp => 1935,
            // Not used: `new` requires a port.
            Scheme::Srt => 0,
        });
        let host = self.0.host_str().unwrap_or_default();
        (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port)
    }

    /// Returns the URL as text, with its secrets.
    pub fn reveal(&self) -> &str {
        self.0.as_str()
    }

    /// Returns scheme, host and port, and the application of an RTMP URL. The rest may contain a secret, such
    /// as a stream key, and is replaced by `…`.
    pub fn shown(&self) -> String {
        let host = &self.0[url::Position::BeforeScheme..url::Position::AfterPort];
        let path = self.0.path().trim_start_matches('/');
        match path.split_once('/').filter(|_| self.scheme() == Scheme::Rtmp) {
            Some((application, _)) => format!("{host}/{application}/…"),
            None if path.is_empty() && self.0.query().is_none() => host.to_owned(),
            None => format!("{host}/…"),
        }
    }
}

impl std::fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SourceUrl({})", self.shown())
    }
}

impl TryFrom<String> for SourceUrl {
    type Error = InvalidInput;

    fn try_from(text: String) -> Result<Self, InvalidInput> {
        Self::new(&text)
    }
}

impl From<SourceUrl> for String {
    fn from(url: SourceUrl) -> Self {
        url.0.into()
    }
}

impl SourceFile {
    /// Checks a path.
    ///
    /// # Errors
    /// The path breaks a rule; the text of the error states all rules.
    pub fn new(text: &str) -> Result<Self, InvalidInput> {
        let part = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
        let ok = text.len() <= MAX_PATH && !text.contains('\\') && text.split('/').all(part);
        let rule = "file must be a path below sources.folder, like jingles/hello.mp3: at most 512 bytes, \
                    relative, without `..`, backslashes or control characters";
        if ok { Ok(Self(text.to_owned())) } else { Err(InvalidInput(rule)) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SourceFile {
    type Error = InvalidInput;

    fn try_from(text: String) -> Result<Self, InvalidInput> {
        Self::new(&text)
    }
}

impl From<SourceFile> for String {
    fn from(file: SourceFile) -> Self {
        file.0
    }
}

impl Source {
    /// Creates a source in the state `New`. Without `repeats`, a URL is repeated at its end and a file is
    /// not, because the end of a live stream is usually an interruption.
    pub fn new(input: Input, title: Option<DisplayName>, repeats: Option<bool>, now: UnixMs) -> Self {
        let repeats = repeats.unwrap_or(!matches!(input, Input::File(_)));
        Self { input, title, repeats, created_at: now, muted: false, state: SourceState::New }
    }

    pub fn kind(&self) -> ClientKind {
        match self.input {
            Input::Url(_) | Input::Sealed(_) => ClientKind::Url,
            Input::File(_) => ClientKind::File,
        }
    }
}

impl Input {
    /// Returns the scheme of a URL; `None` for a file.
    fn scheme(&self) -> Option<Scheme> {
        match self {
            Self::Url(url) => Some(url.scheme()),
            Self::Sealed(url) => Some(url.scheme),
            Self::File(_) => None,
        }
    }

    /// Returns the URL without its secrets, or the path of the file.
    pub fn shown(&self) -> String {
        match self {
            Self::Url(url) => url.shown(),
            Self::Sealed(url) => url.shown.clone(),
            Self::File(file) => file.as_str().to_owned(),
        }
    }
}

impl SourcePolicy {
    /// Returns true if the configuration permits some input.
    pub fn permits_any(&self) -> bool {
        self.files || !self.schemes.is_empty()
    }

    /// Checks that the configuration permits an input. The address of a host is checked later, when the input
    /// is opened.
    ///
    /// # Errors
    /// The scheme of the URL is not permitted, or files are not.
    pub fn check(&self, input: &Input) -> Result<(), SourceDenied> {
        match input.scheme() {
            Some(scheme) if self.schemes.contains(&scheme) => Ok(()),
            Some(scheme) => Err(SourceDenied::SchemeOff(scheme)),
            None if self.files => Ok(()),
            None => Err(SourceDenied::FilesOff),
        }
    }

    /// Returns true if a source may connect to this address: a public one, or one in a permitted network.
    pub fn permits(&self, address: IpAddr) -> bool {
        may_connect(address, &self.networks)
    }
}

/// Decides the addition of a source. `anchors`: number of anchors in the room that are not sources; 0 if it
/// is unknown.
///
/// # Errors
/// The room does not exist or is being removed, the configuration does not permit the input, or the room is
/// full.
pub fn admit_source(
    view: &RoomView,
    id: &UserId,
    source: &Source,
    policy: &SourcePolicy,
    anchors: usize,
) -> Result<Admission<RoomWrite>, SourceDenied> {
    let meta = view.meta.as_ref().ok_or(SourceDenied::NoSuchRoom)?;
    if meta.deleted_at.is_some() {
        return Err(SourceDenied::RoomRemoving);
    }
    policy.check(&source.input)?;
    if anchors + view.present_sources().count() >= usize::from(meta.max_anchors) {
        return Err(SourceDenied::Full);
    }
    let mut sources = known(view);
    // Ended sources do not count against `maxAnchors`. Remove them, or the value could grow without limit.
    sources.0.retain(|_, source| source.state != SourceState::Ended);
    sources.0.insert(id.clone(), source.clone());
    Ok(Admission::Accepted(RoomWrite::Sources(sources)))
}

/// Decides the removal of a source. May be repeated.
///
/// # Errors
/// There is no such room, or it has no such source.
pub fn admit_removal(view: &RoomView, id: &UserId) -> Result<Admission<RoomWrite>, SourceDenied> {
    view.meta.as_ref().ok_or(SourceDenied::NoSuchRoom)?;
    let mut sources = known(view);
    sources.0.remove(id).ok_or(SourceDenied::NoSuchSource)?;
    Ok(Admission::Accepted(RoomWrite::Sources(sources)))
}

fn known(view: &RoomView) -> Sources {
    view.sources.as_ref().map(|sources| sources.value.clone()).unwrap_or_default()
}

impl RoomView {
    /// Returns the sources that count as anchors: not ended, not banned, and not assigned the role of a
    /// listener.
    pub fn present_sources(&self) -> impl Iterator<Item = (&UserId, &Source)> {
        let all = self.sources.iter().flat_map(|sources| &sources.value.0);
        all.filter(|(id, source)| source.state != SourceState::Ended && !self.is_off_stage(id))
    }

    /// Returns the presence entries of the sources, while the room is on air or backstage.
    pub fn source_members(&self) -> impl Iterator<Item = PresenceEntry> {
        let open = self.is_open();
        self.present_sources().filter(move |_| open).map(|(id, source)| PresenceEntry {
            user_id: id.clone(),
            role: UserRole::Anchor,
            display_name: source.title.as_ref().map(|title| title.as_str().to_owned()),
            status: match source.state {
                SourceState::Playing => ActivityStatus::OnAir,
                _ => ActivityStatus::Idle,
            },
            muted: source.muted,
            source: source.kind(),
            joining: false,
            token: FencingToken(0),
            consent: false,
        })
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
