//! Stentor: live-audio rooms. Lists the modules and their permitted imports; `ARCHITECTURE.md` explains them.
//!
//! The crates below `crates/` are re-exported here as modules. They depend on nothing in this package, so
//! they need no row.
//!
//! | module | is | may import |
//! |---|---|---|
//! | `tls` | certificate of the listening sockets, and its replacement; trust of outgoing requests | `domain` |
//! | `clock` | monotonic and wall clock, random unit | `domain` |
//! | `frames` | WebSocket frames: bytes to messages and back | `domain` |
//! | `config` | raw keys to a validated [`config::Config`] | `domain`, `process`, `tls` |
//! | `etcd` | the store of a cluster, in etcd | `store` |
//! | `presence` | connection locks and presence entries of rooms, embedded and Redis | `domain` |
//! | `janus` | AudioBridge client, managed Janus | `frames`, `domain`, `process` |
//! | `ffmpeg` | FFmpeg of a room: command, process, log | `domain`, `process` |
//! | `spool` | recordings and rewind windows on this node's disk | `domain`, `packager` |
//! | `storage` | object storage for copies of recordings | `domain`, `tls`, `config` |
//! | `auth` | tokens, API keys, secrets | `domain`, `config` |
//! | `telemetry` | metrics, operational events, traces, log setup | `domain`, `config`, `tls` |
//! | `rooms` | the room API as store transactions | `domain`, `store`, `telemetry`; in tests also `presence` |
//! | `delivery` | everything that listeners fetch, for rooms mixed on any node | `clock`, `domain`, `config`, `packager`, `spool`, `storage`, `auth`, `telemetry`, `rooms` |
//! | `stage` | listener channel: shared event buffers and commands of rooms | `frames`, `domain`, `presence`, `auth`, `telemetry`, `rooms`, `delivery`; in tests also `config` |
//! | `acme` | certificates through ACME: orders, files, answers to challenges | `domain`, `tls`, `config`, `store`, `auth` |
//! | `webhooks` | signed delivery of events to endpoints, and its records | `domain`, `tls`, `config`, `store`, `telemetry`, `rooms` |
//! | `actors` | shells around `domain`; supervision | all of the above |
//! | `http` | REST, HLS, plain streams, operations | `acme`, `clock`, `frames`, `domain`, `store`, `presence`, `packager`, `auth`, `telemetry`, `rooms`, `delivery`, `stage`, `webhooks`; in tests also `config`, `tls` |
//! | `ws` | the WebSocket transport of signalling | `clock`, `frames`, `domain`, `auth`, `actors`, `http` |
//! | `whip` | WHIP, the signalling of broadcast software | `frames`, `domain`, `config`, `auth`, `telemetry`, `actors`, `http`, `ws` |
//! | `app` | composition root, the only module that names concrete backends | all |
//! | `demo` | a node with a room on air and a test tone, shown on one screen | all |

#![forbid(unsafe_code)]

pub use stentor_domain as domain;
pub use stentor_packager as packager;
pub use stentor_probe as probe;
pub use stentor_process as process;
pub use stentor_store as store;

pub mod acme;
pub mod actors;
pub mod app;
pub mod auth;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod demo;
pub mod etcd;
pub mod ffmpeg;
pub mod frames;
pub mod http;
pub mod janus;
pub mod presence;
pub mod rooms;
pub mod spool;
pub mod stage;
pub mod storage;
pub mod telemetry;
pub mod tls;
pub mod webhooks;
pub mod whip;
pub mod ws;
