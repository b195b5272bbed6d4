//! Titles and covers of rooms and recordings, for the pages that show them and for link previews.
//!
//! A page is served before its user has shown a token. So a page and its preview have title, description and
//! cover only with `auth.mode: open`, or if the room is `public`. Otherwise they are the same as for a room
//! that does not exist, except for the content security policy: it must name the origin of the cover, because
//! the page shows the cover as soon as it has a token.
//!
//! Owns: the decision about what everybody may see. Does not write HTML.

use std::sync::Arc;

use url::Url;

use crate::domain::ids::RoomId;
use crate::domain::profile::{CoverUrl, Description, RoomProfile, Title};
use crate::domain::recording::RecordingId;
use crate::rooms::Directory;
use crate::rooms::recordings::Recordings;

/// Maximum number of characters of a description in a preview.
const ABOUT: usize = 200;

/// Rooms and recordings of this node, and who may see their titles.
#[derive(Clone, Default)]
pub struct Previews {
    /// True for `auth.mode: open`.
    pub open: bool,
    /// `None` in tests of the pages alone.
    pub sources: Option<(Arc<Directory>, Arc<Recordings>)>,
}

/// Public description of a room or a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Preview {
    pub title: String,
    pub about: String,
    pub cover: Option<CoverUrl>,
}

impl Previews {
    /// Returns the preview of a room, which need not exist.
    pub(super) fn of_room(&self, room: &RoomId) -> Preview {
        let profile = self.profile(room).filter(|profile| self.open || profile.public).unwrap_or_default();
        let RoomProfile { title, description, cover_url, .. } = profile;
        let mut preview = Preview::new(title, description, cover_url, room.as_str());
        if preview.about.is_empty() {
            preview.about = format!("Listen to {} live.", preview.title);
        }
        preview
    }

    /// Returns the preview of a recording; `None` if its room was not public, or if there is no such
    /// recording.
    pub(super) fn of_recording(&self, id: &RecordingId) -> Option<Preview> {
        let recording = self.sources.as_ref()?.1.get(id).filter(|known| known.deleted_at.is_none())?;
        let profile = &recording.profile;
        (self.open || profile.public).then(|| {
            let (description, cover) = (profile.description.clone(), profile.cover_url.clone());
            Preview::new(recording.title.clone(), description, cover, recording.room.as_str())
        })
    }

    /// Returns the origin from which the page of a room loads its cover, as a source of a policy.
    pub(super) fn cover_origin(&self, room: &RoomId) -> Option<String> {
        origin(self.profile(room)?.cover_url.as_ref()?)
    }

    /// Returns the origin from which the page of a recording loads its cover, as a source of a policy.
    pub(super) fn cover_origin_of_recording(&self, id: &RecordingId) -> Option<String> {
        origin(self.sources.as_ref()?.1.get(id)?.profile.cover_url.as_ref()?)
    }

    fn profile(&self, room: &RoomId) -> Option<RoomProfile> {
        let view = self.sources.as_ref()?.0.room(room)?;
        let meta = view.meta.as_ref().filter(|meta| meta.deleted_at.is_none())?;
        Some((*meta.profile).clone())
    }
}

impl Preview {
    fn new(
        title: Option<Title>,
        description: Option<Description>,
        cover: Option<CoverUrl>,
        name: &str,
    ) -> Self {
        let title = title.map_or_else(|| name.to_owned(), |title| title.as_str().to_owned());
        let about = description.map(|description| shortened(description.as_str())).unwrap_or_default();
        Self { title, about, cover }
    }
}

/// Returns the text in one line of at most [`ABOUT`] characters.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(ABOUT) {
        None => line,
        Some(_) => line.chars().take(ABOUT - 1).chain(['…']).collect(),
    }
}

/// Returns the origin of a cover; `None` if its host has characters that mean something else in a content
/// security policy, such as `*` and `;`. URLs permit them (<https://url.spec.whatwg.org/#host-miscellaneous>).
fn origin(cover: &CoverUrl) -> Option<String> {
    let url = Url::parse(cover.as_str()).ok().filter(|url| url.scheme() == "https")?;
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b".-_:[]".contains(&c);
    url.host_str()?.bytes().all(is_plain).then(|| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_fit_into_one_line() {
        assert_eq!(shortened("Tea\nand  cake"), "Tea and cake");
        let long = shortened(&"ä".repeat(500));
        assert_eq!((long.chars().count(), long.ends_with('…')), (200, true));
    }

    #[test]
    fn cover_origins_are_https_hosts() {
        let origin_of = |url: &str| origin(&CoverUrl::new(url).ok()?);
        assert_eq!(origin_of("https://img.example.org/a.png?b#c").unwrap(), "https://img.example.org");
        assert_eq!(origin_of("https://img.example.org:8443/a").unwrap(), "https://img.example.org:8443");
        assert_eq!(origin_of("https://bücher.example/a").unwrap(), "https://xn--bcher-kva.example");
        for host in ["*", "*.example", "x;sandbox", "x,y", "x'"] {
            let odd = format!("https://{host}/a.png");
            assert_eq!(origin_of(&odd), None, "{odd}");
        }
    }
}
