//! Podcast feeds: RSS 2.0 with the recordings that have a given owner or tag. This module is pure.
//!
//! Owns: the selection of the recordings, and the text of a feed. Does not check a token.

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::civil_time::Rfc2822;
use super::ids::UnixMs;
use super::profile::{CoverUrl, Description, Language, Owner, Tag, Title};
use super::recording::{Recording, RecordingId};

/// Maximum number of recordings in a feed; the oldest ones are omitted.
pub const MOST_ITEMS: usize = 300;

/// Feed as described in its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Feed {
    pub of: FeedSelector,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Title>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// Name of the author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Title>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cover_url: Option<CoverUrl>,
}

/// Selection of the recordings in a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FeedSelector {
    Owner(Owner),
    Tag(Tag),
}

/// Recording in a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedItem {
    pub id: RecordingId,
    pub recording: Recording,
}

/// Parts of the URLs in a feed.
#[derive(Debug, Clone, Copy)]
pub struct FeedLinks<'a> {
    /// Base of the URLs for listeners, without a trailing slash.
    pub base: &'a str,
    /// Token of the feed, which also gives access to its files.
    pub token: &'a str,
}

impl Feed {
    /// Returns true if the recording belongs to the feed.
    pub fn has(&self, recording: &Recording) -> bool {
        match &self.of {
            FeedSelector::Owner(owner) => recording.profile.owner.as_ref() == Some(owner),
            FeedSelector::Tag(tag) => {
                recording.profile.tags.as_ref().is_some_and(|tags| tags.as_slice().contains(tag))
            }
        }
    }

    /// Returns the title of the feed. The default title does not contain the owner's id.
    fn name(&self) -> String {
        let usual = match &self.of {
            FeedSelector::Owner(_) => "Recordings",
            FeedSelector::Tag(tag) => tag.as_str(),
        };
        self.title.as_ref().map_or(usual, Title::as_str).to_owned()
    }

    /// Returns the XML text of the feed with these recordings, in this order.
    pub fn render(&self, links: FeedLinks<'_>, items: &[FeedItem]) -> String {
        let mut out = String::with_capacity(2_048 + 1_500 * items.len());
        let name = self.name();
        let about = self.description.as_ref().map_or(name.as_str(), Description::as_str);
        out.push_str(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<rss version=\"2.0\" \
             xmlns:itunes=\"http://www.itunes.com/dtds/podcast-1.0.dtd\" \
             xmlns:atom=\"http://www.w3.org/2005/Atom\">\n<channel>\n",
        );
        element(&mut out, "title", &name);
        element(&mut out, "link", &format!("{}/", links.base));
        element(&mut out, "description", about);
        element(&mut out, "generator", "Stentor");
        if let Some(language) = &self.language {
            element(&mut out, "language", language.as_str());
        }
        let own = format!("{}/hls/feed.xml?token={}", links.base, links.token);
        line(
            &mut out,
            format_args!(
                "<atom:link rel=\"self\" type=\"application/rss+xml\" href=\"{}\"/>",
                EscapedText(&own)
            ),
        );
        element(&mut out, "itunes:author", self.author.as_ref().map_or(name.as_str(), Title::as_str));
        element(&mut out, "itunes:summary", about);
        element(&mut out, "itunes:explicit", "false");
        element(&mut out, "itunes:type", "episodic");
        if let Some(cover) = &self.cover_url {
            image(&mut out, cover);
        }
        for item in items {
            self.item(&mut out, links, item);
        }
        out.push_str("</channel>\n</rss>\n");
        out
    }

    fn item(&self, out: &mut String, links: FeedLinks<'_>, FeedItem { id, recording }: &FeedItem) {
        let title = recording.title.as_ref().map_or(recording.room.as_str(), Title::as_str);
        out.push_str("<item>\n");
        element(out, "title", title);
        // The id does not change when a new token changes the URL.
        line(out, format_args!("<guid isPermaLink=\"false\">{id}</guid>"));
        element(out, "pubDate", &Rfc2822(recording.started_at).to_string());
        let about = recording.profile.description.as_ref().map(Description::as_str);
        let chapters: Vec<_> = recording.details.chapters.iter().map(|c| c.title.as_str()).collect();
        let about = about.map_or_else(|| chapters.join("\n"), str::to_owned);
        if !about.is_empty() {
            element(out, "description", &about);
        }
        let url = format!("{}/hls/recordings/{id}/recording.m4a?token={}", links.base, links.token);
        line(
            out,
            format_args!(
                "<enclosure url=\"{}\" length=\"{}\" type=\"audio/mp4\"/>",
                EscapedText(&url),
                file_bytes(recording)
            ),
        );
        element(out, "itunes:duration", &duration(recording).as_secs().to_string());
        element(out, "itunes:explicit", "false");
        if let Some(cover) = &recording.profile.cover_url {
            image(out, cover);
        }
        out.push_str("</item>\n");
    }
}

/// Returns the size of the M4A file; 0 until it is known.
fn file_bytes(recording: &Recording) -> u64 {
    let measured = recording.analysis.as_ref().map(|analysis| analysis.file_bytes);
    recording.stored.map(|stored| stored.bytes).or(measured).unwrap_or(0)
}

fn duration(recording: &Recording) -> Duration {
    Duration::from_millis(recording.takes.values().map(|take| take.duration_ms).sum())
}

fn image(out: &mut String, cover: &CoverUrl) {
    line(out, format_args!("<itunes:image href=\"{}\"/>", EscapedText(cover.as_str())));
}

fn element(out: &mut String, name: &str, text: &str) {
    line(out, format_args!("<{name}>{}</{name}>", EscapedText(text)));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

/// Text escaped for XML 1.0. Control characters are removed, because section 2.2 forbids them, even escaped.
struct EscapedText<'a>(&'a str);

impl std::fmt::Display for EscapedText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\n' | '\t' => f.write_char(c)?,
                c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Returns the recordings of a feed, the newest first, at most [`MOST_ITEMS`]. `ready`: recordings that can
/// be played.
pub fn items(feed: &Feed, ready: impl IntoIterator<Item = FeedItem>) -> Vec<FeedItem> {
    let mut items: Vec<_> = ready.into_iter().filter(|item| feed.has(&item.recording)).collect();
    let newest = |item: &FeedItem| std::cmp::Reverse((item.recording.started_at, item.id.clone()));
    items.sort_by_key(newest);
    items.truncate(MOST_ITEMS);
    items
}

/// Longest lifetime of a feed's token: ten years.
pub const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);
/// Lifetime of a feed's token if none is requested: a year.
pub const USUAL: Duration = Duration::from_secs(366 * 86_400);

/// Returns the time at which a token issued now expires.
pub fn expiry(now: UnixMs, ttl: Duration) -> UnixMs {
    UnixMs(now.0.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recording(json: &str) -> Recording {
        let text = format!(
            r#"{{"room":"demo","nonce":"n","roomCreatedAt":1,"startedAt":1735689599999,
            "takes":{{"m1":{{"durationMs":61500}}}},{json}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn feed(of: FeedSelector) -> Feed {
        Feed { of, title: None, description: None, language: None, author: None, cover_url: None }
    }

    #[test]
    fn feeds_select_by_owner_or_tag() {
        let ann = recording(r#""profile":{"owner":"ann","tags":["news","talk"]}"#);
        let none = recording(r#""title":"x""#);
        let owner = |name: &str| feed(FeedSelector::Owner(Owner::new(name).unwrap()));
        let tag = |name: &str| feed(FeedSelector::Tag(Tag::new(name).unwrap()));
        assert!(owner("ann").has(&ann) && !owner("bob").has(&ann) && !owner("ann").has(&none));
        assert!(tag("talk").has(&ann) && !tag("other").has(&ann) && !tag("talk").has(&none));
        let item = |bits, recording: &Recording| FeedItem {
            id: RecordingId::random(bits),
            recording: recording.clone(),
        };
        let mut later = ann.clone();
        later.started_at.0 += 1;
        let found = items(&owner("ann"), [item(1, &ann), item(2, &none), item(3, &later)]);
        let found: Vec<_> = found.into_iter().map(|item| item.id).collect();
        assert_eq!(found, [RecordingId::random(3), RecordingId::random(1)]);
    }

    #[test]
    fn feed_is_rss_with_enclosures() {
        let ann = recording(
            r#""title":"Tea & <talk>","stored":{"at":9,"bytes":700},"profile":{"owner":"ann",
            "coverUrl":"https://example.org/a.png?x=1&y=2"}"#,
        );
        let feed = Feed {
            title: Title::new("Ann's radio").ok(),
            language: Language::new("en").ok(),
            ..feed(FeedSelector::Owner(Owner::new("ann").unwrap()))
        };
        let items = [FeedItem { id: RecordingId::random(7), recording: ann }];
        let links = FeedLinks { base: "https://live.example.org", token: "abc" };
        let text = feed.render(links, &items);
        for expected in [
            "<title>Ann's radio</title>",
            "<language>en</language>",
            "<title>Tea &amp; &lt;talk&gt;</title>",
            "<guid isPermaLink=\"false\">0000000000000007</guid>",
            "<pubDate>Tue, 31 Dec 2024 23:59:59 +0000</pubDate>",
            "<enclosure url=\"https://live.example.org/hls/recordings/0000000000000007/recording.m4a?token=abc\" \
             length=\"700\" type=\"audio/mp4\"/>",
            "<itunes:duration>61</itunes:duration>",
            "<itunes:image href=\"https://example.org/a.png?x=1&amp;y=2\"/>",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    proptest! {
        #[test]
        fn escaped_text_has_no_markup(text in "\\PC*|[\\x00-\\x20]*") {
            let escaped = EscapedText(&text).to_string();
            prop_assert!(!escaped.contains(['<', '>', '"']));
            prop_assert!(escaped.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')));
        }
    }
}
