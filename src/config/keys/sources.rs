//! Keys of the section `sources`, and their values.

use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::json;

use super::super::parse::{list, network, one_of, path};
use super::super::reader::Reader;
use crate::domain::sources::{Scheme, SourcePolicy};

/// Settings of the URLs and files that can be played in a room.
#[derive(Debug, Clone)]
pub struct SourcesConfig {
    pub schemes: Vec<Scheme>,
    pub networks: Vec<IpNet>,
    /// `None`: no file can be played.
    pub folder: Option<PathBuf>,
}

impl SourcesConfig {
    pub fn policy(&self) -> SourcePolicy {
        SourcePolicy {
            schemes: self.schemes.clone(),
            networks: self.networks.clone(),
            files: self.folder.is_some(),
        }
    }
}

pub(super) fn sources(r: &mut Reader) -> SourcesConfig {
    let schemes =
        &[("http", Scheme::Http), ("https", Scheme::Https), ("rtmp", Scheme::Rtmp), ("srt", Scheme::Srt)];
    SourcesConfig {
        schemes: r.read(
            "sources.schemes",
            json!([]),
            "URLs that can be played in rooms: any of http, https, rtmp, srt; empty: none.",
            list(one_of(schemes)),
        ),
        networks: r.read(
            "sources.networks",
            json!([]),
            "Networks that these URLs may lead to besides public addresses, like 10.0.0.0/8.",
            list(network),
        ),
        folder: r.optional(
            "sources.folder",
            "Folder of files that can be played in rooms, on each node with the role janus; null: none.",
            path,
        ),
    }
}
