//! Dashboard of the installation: live data for the page at `/` of the operations address, and actions of
//! operators.
//!
//! ```text
//!  Overview ──every 2 s, rendered once──▶ Feed ──▶ GET /dashboard/live    (server-sent events)
//!  actors   ──every 2 s, rendered once──▶ Feed ──▶ GET /dashboard/actors  (server-sent events)
//!  Readings ──every 10 s────────────────▶ History (sent at the start of /dashboard/live)
//! ```
//! Without viewers, nothing is rendered. Owns: the paths, the formats, the limit on viewers. Does not
//! wait for an actor.

mod feed;
mod operators;
mod overview;
mod peers;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::web::{Bytes, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use futures::{StreamExt, stream};
use serde::Serialize;
use serde_json::json;

use crate::domain::ids::{ModuleId, UnixMs};
use crate::rooms::{RoomError, now};
use crate::telemetry::Metrics;
use crate::telemetry::history::{self, History};

use super::error::{ApiError, Code};
use super::event_stream;
use super::extract::RoomPath;
use super::methods::only_get;
use super::ops::OpsSource;

use feed::{Feed, Viewer};
pub use operators::Operators;
pub use overview::OverviewSources;
pub use peers::configure as configure_peers;

/// Interval between snapshots.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(2);
/// Number of snapshots per sample of the history.
const SAMPLE_EVERY: u64 = history::INTERVAL.as_secs() / SNAPSHOT_EVERY.as_secs();

/// State of the dashboard: the snapshots, the history and the operators.
pub struct Dashboard {
    sources: OverviewSources,
    node: Arc<dyn OpsSource>,
    operators: Operators,
    metrics: Metrics,
    history: Mutex<History>,
    overview: Feed,
    actors: Feed,
}

impl Dashboard {
    pub fn new(
        sources: OverviewSources,
        node: Arc<dyn OpsSource>,
        operators: Operators,
        metrics: Metrics,
    ) -> Self {
        let (overview, actors) = (Feed::default(), Feed::default());
        Self { sources, node, operators, metrics, history: Mutex::default(), overview, actors }
    }

    /// Renders the snapshots and records the history until [`close`](Self::close).
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.publish(), self.follow_other_nodes());
    }

    /// Fetches the figures that only other nodes have, while somebody views the overview.
    async fn follow_other_nodes(&self) {
        let mut ticks = tokio::time::interval(SNAPSHOT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.overview.is_closed() {
                return;
            }
            if self.overview.has_viewers() {
                self.fetch_figures().await;
            }
        }
    }

    async fn publish(&self) {
        let mut ticks = tokio::time::interval(SNAPSHOT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for tick in 0_u64.. {
            ticks.tick().await;
            if self.overview.is_closed() {
                return;
            }
            if tick.is_multiple_of(SAMPLE_EVERY) {
                self.sample();
            }
            if self.overview.has_viewers() {
                self.overview.publish(self.render_overview());
            }
            if self.actors.has_viewers() {
                self.actors.publish(event("actors", &self.node.actors()));
            }
        }
    }

    /// Ends all streams. Called when the node stops.
    pub fn close(&self) {
        self.overview.close();
        self.actors.close();
    }

    fn sample(&self) {
        self.sources.note_heartbeats();
        let (rooms, listeners) = self.sources.totals();
        let readings = self.metrics.readings(rooms, listeners);
        self.history().record(now(), readings);
    }

    fn render_overview(&self) -> Bytes {
        let sample = self.history().latest();
        event("overview", &self.sources.overview(&*self.node, sample))
    }

    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        // A panic cannot leave a change half done, so a poisoned lock is usable.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registers the endpoints of the dashboard, without the page.
pub fn configure(config: &mut ServiceConfig, dashboard: Data<Dashboard>) {
    config
        .app_data(dashboard)
        .service(only_get("/dashboard/live", live))
        .service(only_get("/dashboard/actors", actors))
        .service(only_get("/dashboard/nodes", nodes))
        .service(only_get("/dashboard/nodes/{id}/actors", node_actors))
        .service(only_get("/dashboard/rooms/{id}", room))
        .service(only_get("/dashboard/rooms/{id}/actors", room_actors));
    operators::configure(config);
}

/// Streams the event `history` once, then the event `overview` every two seconds.
async fn live(request: HttpRequest, dashboard: Data<Dashboard>) -> Result<HttpResponse, ApiError> {
    let viewer = dashboard.overview.view(|| dashboard.render_overview()).ok_or_else(too_many)?;
    let history = event("history", &json!({ "samples": dashboard.history().samples() }));
    Ok(streamed(&request, Some(history), viewer))
}

/// Streams the event `actors`, which contains the supervision tree of this node, every two seconds.
async fn actors(request: HttpRequest, dashboard: Data<Dashboard>) -> Result<HttpResponse, ApiError> {
    let render = || event("actors", &dashboard.node.actors());
    let viewer = dashboard.actors.view(render).ok_or_else(too_many)?;
    Ok(streamed(&request, None, viewer))
}

/// Returns the anchors of a room and its latest events.
async fn room(room: RoomPath, dashboard: Data<Dashboard>) -> Result<HttpResponse, ApiError> {
    let detail = dashboard.sources.room(&room.0).await;
    let detail = detail.ok_or_else(|| ApiError::new(Code::RoomNotFound, "there is no such room"))?;
    Ok(HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(detail))
}

/// Returns the ids of the nodes of the installation, this one first.
async fn nodes(dashboard: Data<Dashboard>) -> Result<HttpResponse, ApiError> {
    let nodes = dashboard.node_ids().await.map_err(RoomError::from)?;
    Ok(HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(json!({ "nodes": nodes })))
}

/// Returns the supervision tree of a node as `actors`, or the `error` why it is not known.
async fn node_actors(node: Path<ModuleId>, dashboard: Data<Dashboard>) -> HttpResponse {
    let answer = match dashboard.actors_of_node(&node).await {
        Ok(actors) => json!({ "actors": actors }),
        Err(error) => json!({ "error": error }),
    };
    HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(answer)
}

/// Returns the reason why a room does not work fully, and its actors on each node of the installation.
async fn room_actors(room: RoomPath, dashboard: Data<Dashboard>) -> Result<HttpResponse, ApiError> {
    let missing = dashboard.sources.missing(&room.0);
    let missing = missing.ok_or_else(|| ApiError::new(Code::RoomNotFound, "there is no such room"))?;
    let mut answer = dashboard.actors_everywhere(&room.0).await;
    answer["waitsFor"] = json!(missing);
    Ok(HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(answer))
}

fn streamed(request: &HttpRequest, first: Option<Bytes>, viewer: Viewer) -> HttpResponse {
    let events = stream::iter(first).chain(stream::unfold(viewer, Viewer::next));
    event_stream::answer(request, events.map(Ok::<_, Infallible>))
}

fn too_many() -> ApiError {
    ApiError::new(Code::TooManyClients, "too many dashboards are open on this node")
}

/// Encodes a server-sent event.
fn event(name: &str, data: &impl Serialize) -> Bytes {
    // Cannot fail: the types are plain structs with string keys.
    let data = serde_json::to_string(data).expect("plain values are JSON");
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// Returns the time since `at` in milliseconds; 0 if the clock was set back.
fn since(at: UnixMs) -> u64 {
    now().0.saturating_sub(at.0)
}

#[cfg(test)]
mod tests;
