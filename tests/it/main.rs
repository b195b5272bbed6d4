//! Integration tests that cross a process or the network, on real components; one binary, to link only once.

// A failed unwrap is a failed test. Helpers are `async` even if they do not wait, for uniform calls.
#![allow(clippy::unwrap_used, clippy::unused_async)]

mod abuse;
mod admission;
mod alone;
mod anchors;
mod api_keys;
mod backstage;
mod bad_input;
mod canary;
mod channel;
mod cli;
mod cluster;
mod dashboard;
mod documentation;
mod events;
mod examples;
mod faults;
mod flood;
mod identity_provider;
mod janus;
mod listening;
mod media;
mod mixer;
mod moderation;
mod open_mode;
mod operations;
mod package;
mod people;
mod presence;
mod recording;
mod rewind;
mod room_fields;
mod rooms;
mod sdk;
mod secure;
mod secured_backends;
mod service;
mod signalling;
mod storage;
mod store;
mod support;
mod webhooks;
mod whip;
mod ws;
