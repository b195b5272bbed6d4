//! `stentor events` and `stentor webhooks`: the event ledger, and its delivery to endpoints.
//!
//! Owns: the arguments and output. Does not deliver an event; the leader does.

use std::time::Duration;

use awc::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use stentor::http::error::Code;

use super::client::{Client, refusal_code};
use super::output::{Table, age, cell, now, print, print_json};

/// Interval between requests with `--follow`.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Cursor after which to begin. Default: the oldest event that is kept; with --follow, the next new
    /// event.
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Print new events as they happen, until Ctrl-C.
    #[arg(long)]
    follow: bool,
    /// Only events of this room.
    #[arg(long)]
    room: Option<String>,
    /// Only events of this type, such as room_ended.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// List the endpoints, with their progress and the number of rooms whose events wait.
    List,
    /// Deliver events again, from a cursor.
    Replay {
        /// Name of the endpoint.
        name: String,
        /// Cursor of an event; the events after it are delivered. 0: all that are kept.
        #[arg(long, value_name = "CURSOR")]
        after: String,
    },
    /// List the events that were given up, or send them again.
    Dead {
        /// Name of the endpoint.
        name: String,
        /// Send them again, the oldest first, until one is not accepted. Accepted events leave the list.
        #[arg(long)]
        redeliver: bool,
    },
}

pub async fn events(client: &Client, json: bool, args: EventsArgs) -> anyhow::Result<()> {
    let EventsArgs { after, follow, room, kind } = args;
    let mut after = match after {
        Some(after) => after,
        None if follow => end(client).await?,
        None => "0".to_owned(),
    };
    loop {
        let mut query = vec![("limit", "1000"), ("after", &after)];
        query.extend(room.as_deref().map(|room| ("room", room)));
        query.extend(kind.as_deref().map(|kind| ("type", kind)));
        let page = client.query(&["events"], &query).await?;
        for event in page["events"].as_array().into_iter().flatten() {
            print(if json { format!("{event}\n") } else { line(event) })?;
        }
        after = cell(&page["next"]);
        if page["more"] != true {
            if !follow {
                return Ok(());
            }
            tokio::time::sleep(FOLLOW_EVERY).await;
        }
    }
}

/// Returns the cursor of the newest event.
async fn end(client: &Client) -> anyhow::Result<String> {
    let mut after = "0".to_owned();
    loop {
        let page = client.query(&["events"], &[("limit", "1000"), ("after", &after)]).await?;
        after = cell(&page["next"]);
        if page["more"] != true {
            return Ok(after);
        }
    }
}

fn line(event: &Value) -> String {
    let [cursor, time, kind, room] = ["cursor", "time", "type", "roomId"].map(|field| cell(&event[field]));
    format!("{cursor}  {time}  {kind}  {room}  {}\n", event["data"])
}

pub async fn webhooks(client: &Client, json: bool, command: WebhookCommand) -> anyhow::Result<()> {
    match command {
        WebhookCommand::List => {
            let answer = client.get(&["webhooks"]).await?;
            if json {
                return print_json(&answer["webhooks"]);
            }
            print(table(answer["webhooks"].as_array().into_iter().flatten()))
        }
        WebhookCommand::Replay { name, after } => {
            let body = json!({ "after": after });
            let answer = client.call(Method::POST, &["webhooks", &name, "replay"], Some(body)).await?;
            if json {
                return print_json(&answer["webhook"]);
            }
            print(table([&answer["webhook"]]))
        }
        WebhookCommand::Dead { name, redeliver: false } => {
            let answer = client.get(&["webhooks", &name, "dead"]).await?;
            if json {
                return print_json(&answer["deadLetters"]);
            }
            let header = ["EVENT", "CURSOR", "TYPE", "ROOM", "ATTEMPTS", "GIVEN UP", "ERROR"];
            let mut table = Table::new(&header);
            let now = now();
            for letter in answer["deadLetters"].as_array().into_iter().flatten() {
                let event = ["id", "cursor", "type", "roomId"].map(|field| cell(&letter["event"][field]));
                let at = format!("{} ago", age(&letter["at"], now));
                table.row(event.into_iter().chain([cell(&letter["attempts"]), at, cell(&letter["error"])]));
            }
            print(table)
        }
        WebhookCommand::Dead { name, redeliver: true } => redeliver(client, json, &name).await,
    }
}

/// Sends the dead letters, the oldest first. Stops at the first one that is not accepted, so that the events
/// stay in order.
async fn redeliver(client: &Client, json: bool, name: &str) -> anyhow::Result<()> {
    let listed = client.get(&["webhooks", name, "dead"]).await?;
    for letter in listed["deadLetters"].as_array().into_iter().flatten() {
        let id = cell(&letter["event"]["id"]);
        let sent = client.call(Method::POST, &["webhooks", name, "dead", &id], None).await;
        match sent {
            // The event was delivered in the meantime, or a newer dead letter has replaced it in the list.
            Err(error) if is_gone(&error) => continue,
            sent => sent?,
        };
        print(if json {
            format!("{}\n", json!({ "delivered": id }))
        } else {
            format!("{id} is delivered\n")
        })?;
    }
    Ok(())
}

fn is_gone(error: &anyhow::Error) -> bool {
    refusal_code(error) == Some(Code::DeadLetterNotFound)
}

fn table<'a>(webhooks: impl IntoIterator<Item = &'a Value>) -> Table {
    let mut table = Table::new(&["NAME", "CURSOR", "STATE", "WAITING ROOMS", "DEAD LETTERS", "ERROR", "URL"]);
    let now = now();
    for webhook in webhooks {
        let unavailable = &webhook["unavailable"];
        let waiting: Vec<&Value> = webhook["waiting"].as_array().into_iter().flatten().collect();
        let refused = waiting.iter().find(|room| !room["error"].is_null());
        let (state, error) = match (unavailable.is_null(), refused) {
            (false, _) => {
                (format!("unavailable for {}", age(&unavailable["since"], now)), &unavailable["error"])
            }
            (true, Some(room)) => ("retrying".to_owned(), &room["error"]),
            (true, None) if webhook["cursor"].is_null() => ("not begun".to_owned(), &Value::Null),
            (true, None) => ("delivering".to_owned(), &Value::Null),
        };
        table.row([
            cell(&webhook["name"]),
            cell(&webhook["cursor"]),
            state,
            waiting.len().to_string(),
            cell(&webhook["deadLetters"]),
            cell(error),
            cell(&webhook["url"]),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_shows_worst_state_first() {
        let webhooks = [
            json!({ "name": "a", "url": "http://a", "cursor": "9.0", "waiting": [], "deadLetters": 0 }),
            json!({ "name": "b", "url": "http://b", "cursor": "7.0", "deadLetters": 2,
                "waiting": [{ "roomId": "tea", "error": "the endpoint answered 400" }] }),
            json!({ "name": "c", "url": "http://c", "waiting": [], "deadLetters": 0 }),
        ];
        let text = table(&webhooks).to_string();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["a", "9.0", "delivering", "0", "0", "http://a"]);
        assert_eq!(&rows[2][..5], ["b", "7.0", "retrying", "1", "2"]);
        assert_eq!(rows[3], ["c", "not", "begun", "0", "0", "http://c"]);
    }
}
