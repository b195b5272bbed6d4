//! Data of this node for the dashboards of other nodes, at the address at which listener nodes fetch.
//!
//! Every request carries the token of nodes, which is made from a secret that all nodes share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::web::{Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Dashboard;
use crate::auth::Secrets;
use crate::domain::ids::{ModuleId, RoomId};
use crate::domain::relay_protocol::TOKEN;
use crate::http::error::{ApiError, Code};
use crate::http::methods::only_get;
use crate::store::StoreError;

/// Kind of the actor whose reason names the rooms that cannot move.
const FAILOVER: &str = "failover";
/// Age from which the figures of another node are not shown any more; they are fetched every two seconds.
const OUTDATED: Duration = Duration::from_secs(8);

/// Figures of a room that only the node that mixes it knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RoomFigures {
    /// Age of the newest audio, in milliseconds.
    pub media_age_ms: Option<u64>,
    /// Figures of the mix, such as silent and clipped seconds.
    pub mix: Option<Value>,
}

/// Figures of the rooms that other nodes mix, as these nodes last sent them.
#[derive(Default)]
pub struct RemoteFigures(Mutex<HashMap<String, (Instant, RoomFigures)>>);

#[derive(Serialize, Deserialize)]
struct FiguresAnswer {
    rooms: HashMap<String, RoomFigures>,
}

impl RemoteFigures {
    /// Returns the figures of a room, if a node sent them recently.
    pub(super) fn of(&self, room: &RoomId) -> Option<RoomFigures> {
        let known = self.lock();
        known.get(room.as_str()).filter(|(at, _)| at.elapsed() < OUTDATED).map(|(_, figures)| figures.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, RoomFigures)>> {
        // A panic cannot leave a change half done, so a poisoned lock is usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Mounts the endpoints for other nodes.
pub fn configure(config: &mut ServiceConfig, dashboard: Data<Dashboard>, secrets: Data<Arc<Secrets>>) {
    config
        .service(only_get("/relay/node/actors", tree).app_data(dashboard.clone()).app_data(secrets.clone()))
        .service(only_get("/relay/node/rooms", rooms).app_data(dashboard.clone()).app_data(secrets.clone()))
        .service(only_get("/relay/node/rooms/{room}/actors", actors).app_data(dashboard).app_data(secrets));
}

fn admit(request: &HttpRequest, secrets: &Secrets) -> Result<(), ApiError> {
    let token = request.headers().get(TOKEN).map_or(&b""[..], |token| token.as_bytes());
    match secrets.is_node_token(token) {
        true => Ok(()),
        false => Err(ApiError::new(Code::TokenInvalid, "only nodes of this installation may ask here")),
    }
}

/// Returns the figures of the rooms that this node mixes.
async fn rooms(
    request: HttpRequest,
    dashboard: Data<Dashboard>,
    secrets: Data<Arc<Secrets>>,
) -> Result<HttpResponse, ApiError> {
    admit(&request, &secrets)?;
    Ok(HttpResponse::Ok().json(FiguresAnswer { rooms: dashboard.sources.figures(&*dashboard.node) }))
}

/// Returns the supervision tree of this node.
async fn tree(
    request: HttpRequest,
    dashboard: Data<Dashboard>,
    secrets: Data<Arc<Secrets>>,
) -> Result<HttpResponse, ApiError> {
    admit(&request, &secrets)?;
    Ok(HttpResponse::Ok().json(dashboard.node.actors()))
}

/// Returns the actors of a room on this node.
async fn actors(
    request: HttpRequest,
    room: Path<RoomId>,
    dashboard: Data<Dashboard>,
    secrets: Data<Arc<Secrets>>,
) -> Result<HttpResponse, ApiError> {
    admit(&request, &secrets)?;
    Ok(HttpResponse::Ok().json(json!({ "actors": actors_of(&room, dashboard.node.actors()) })))
}

/// Returns the actors of a room in a supervision tree, without their children, and the actor that moves rooms
/// if it waits.
fn actors_of(room: &RoomId, mut actor: Value) -> Vec<Value> {
    let children = actor["children"].take();
    let is_wanted = actor["name"].as_str().and_then(|name| name.strip_prefix("room:")) == Some(room.as_str())
        || (actor["kind"] == FAILOVER && !actor["reason"].is_null());
    let mut found: Vec<_> = is_wanted.then_some(actor).into_iter().collect();
    if let Value::Array(children) = children {
        found.extend(children.into_iter().flat_map(|child| actors_of(room, child)));
    }
    found
}

impl Dashboard {
    /// Returns the actors of a room on every node of the installation.
    pub(super) async fn actors_everywhere(&self, room: &RoomId) -> Value {
        let here = json!({ "node": self.sources.me, "actors": actors_of(room, self.node.actors()) });
        let asked = match &self.sources.peers {
            Some(peers) => peers.ask(&format!("rooms/{room}/actors"), |_| true).await,
            None => Ok(vec![]),
        };
        let line = |(node, answer): (ModuleId, Result<Value, String>)| match answer {
            Ok(mut answer) => json!({ "node": node, "actors": answer["actors"].take() }),
            Err(error) => json!({ "node": node, "error": error }),
        };
        let mut nodes = vec![here];
        let error = match asked {
            Ok(others) => {
                nodes.extend(others.into_iter().map(line));
                None
            }
            Err(error) => Some(error),
        };
        json!({ "nodes": nodes, "error": error })
    }

    /// Returns the ids of the nodes, this one first.
    ///
    /// # Errors
    /// The store does not list the nodes.
    pub(super) async fn node_ids(&self) -> Result<Vec<ModuleId>, StoreError> {
        let me = &self.sources.me;
        let mut ids = vec![me.clone()];
        if let Some(peers) = &self.sources.peers {
            let nodes = peers.nodes.list().await?;
            ids.extend(nodes.iter().map(|(id, _)| id.clone()).filter(|id| id != me));
        }
        Ok(ids)
    }

    /// Returns the supervision tree of a node. The text of an error says why it is not known.
    pub(super) async fn actors_of_node(&self, node: &ModuleId) -> Result<Value, String> {
        if *node == self.sources.me {
            return Ok(self.node.actors());
        }
        let answers = match &self.sources.peers {
            Some(peers) => peers.ask("actors", |id| id == node).await?,
            None => vec![],
        };
        let unknown = || Err("there is no such node".to_owned());
        answers.into_iter().next().map_or_else(unknown, |(_, answer)| answer)
    }

    /// Fetches the figures of the rooms that other nodes mix.
    pub(super) async fn fetch_figures(&self) {
        let Some(peers) = &self.sources.peers else { return };
        let mixers = self.sources.mixers();
        let Ok(answers) = peers.ask("rooms", |node| mixers.contains(node)).await else { return };
        let now = Instant::now();
        let answers = answers.into_iter().filter_map(|(_, answer)| answer.ok());
        let read = answers.filter_map(|answer| serde_json::from_value::<FiguresAnswer>(answer).ok());
        let rooms: Vec<_> = read.flat_map(|answer| answer.rooms).collect();
        let mut known = self.sources.remote.lock();
        known.retain(|_, (at, _)| at.elapsed() < OUTDATED);
        known.extend(rooms.into_iter().map(|(room, figures)| (room, (now, figures))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_of_room_are_found() {
        fn child(name: &str, kind: &str, reason: Option<&str>) -> Value {
            json!({ "name": name, "kind": kind, "reason": reason, "children": [] })
        }
        let deep = json!({ "name": "room:tea", "kind": "mixer_room", "reason": null,
                           "children": [child("room:tea", "recorder", None)] });
        let children = json!([deep, child("room:team", "mixer_room", None), child("f", FAILOVER, None)]);
        let tree = json!({ "name": "node", "kind": "node", "children": children });
        let room = RoomId::new("tea").unwrap();
        let kinds: Vec<_> = actors_of(&room, tree).iter().map(|actor| actor["kind"].clone()).collect();
        assert_eq!(kinds, ["mixer_room", "recorder"]);
        let waits = child("f", FAILOVER, Some("tea: no mixer takes the room"));
        assert_eq!(actors_of(&room, waits).len(), 1);
    }
}
