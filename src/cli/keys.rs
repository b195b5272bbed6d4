//! `stentor key`: API keys that the store holds.
//!
//! Owns: the arguments and output. Does not decide anything; the room API has all the rules.

use awc::http::Method;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::output::{Table, age, cell, now, print, print_json};

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Create a key, and print its text, which cannot be shown again.
    Create {
        /// Name by which people recognise the key, such as that of the application.
        name: String,
        /// Part of the API that the key may use; may be repeated.
        #[arg(long = "scope", value_enum, required = true)]
        scopes: Vec<Scope>,
        /// Number of days after which the key expires. Without it, the key does not expire.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3650))]
        days: Option<u64>,
        #[command(flatten)]
        quotas: QuotaArgs,
    },
    /// List the keys, with their quotas and the rooms that count against them.
    List,
    /// Revoke a key: it is refused from then on. Rooms and tokens that were created with it stay.
    Revoke {
        /// Id of the key, as in the list.
        id: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Scope {
    /// Create, change, start, stop, mute, record, caption and delete rooms; add and remove sources and
    /// outputs; delete recordings.
    Rooms,
    /// Issue tokens, also those in the URLs of feeds; invite, kick, ban and remove users; change roles.
    Users,
    /// Change cordon labels; deliver events to webhooks again; list, create, change and revoke API keys; use
    /// the operations endpoints.
    Operations,
    /// Read everything except API keys.
    Read,
}

/// Limits of a new key. A limit that is not given does not apply.
#[derive(Debug, Args)]
pub struct QuotaArgs {
    /// Maximum number of existing rooms that the key has created.
    #[arg(long, value_name = "N")]
    rooms: Option<u32>,
    /// Maximum number of rooms on air that the key has created.
    #[arg(long, value_name = "N")]
    rooms_on_air: Option<u32>,
    /// Maximum number of invited users in each room that the key has created.
    #[arg(long, value_name = "N")]
    users_per_room: Option<u32>,
    /// Maximum number of tokens that each node issues to the key within a minute.
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<u32>,
}

/// Field of each quota, and the field that has its usage. The second name is empty if the API does not report
/// the usage.
const QUOTAS: [(&str, &str); 4] =
    [("rooms", "rooms"), ("roomsOnAir", "roomsOnAir"), ("usersPerRoom", ""), ("tokensPerMinute", "")];

pub async fn key(client: &Client, json: bool, command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::Create { name, scopes, days, quotas } => {
            let scopes: Vec<_> = scopes
                .iter()
                .filter_map(|scope| Some(scope.to_possible_value()?.get_name().to_owned()))
                .collect();
            let ttl = days.map(|days| days * 24 * 3600);
            let body = json!({ "name": name, "scopes": scopes, "ttl": ttl, "quotas": quotas.object() });
            let made = client.call(Method::POST, &["keys"], Some(body)).await?;
            if json {
                return print_json(&made);
            }
            let id = cell(&made["key"]["id"]);
            let fields = Table::of_fields([("id", id), ("secret", cell(&made["secret"]))]);
            print(format_args!("{fields}Keep the secret now: it is not shown again.\n"))
        }
        KeyCommand::List => {
            let listed = client.get(&["keys"]).await?;
            if json {
                return print_json(&listed["keys"]);
            }
            print(table(listed["keys"].as_array().into_iter().flatten(), now()))
        }
        KeyCommand::Revoke { id } => {
            let revoked = client.call(Method::DELETE, &["keys", &id], None).await?;
            if json {
                return print_json(&revoked["key"]);
            }
            print(format_args!("{id} ({}) is revoked\n", cell(&revoked["key"]["name"])))
        }
    }
}

impl QuotaArgs {
    fn object(&self) -> Map<String, Value> {
        let values = [self.rooms, self.rooms_on_air, self.users_per_room, self.tokens_per_minute];
        let given = QUOTAS.iter().zip(values).filter_map(|((name, _), value)| Some((name, value?)));
        given.map(|(name, value)| ((*name).to_owned(), value.into())).collect()
    }
}

fn table<'a>(keys: impl IntoIterator<Item = &'a Value>, now: u64) -> Table {
    let mut table = Table::new(&[
        "ID",
        "NAME",
        "SCOPES",
        "STATE",
        "CREATED",
        "ROOMS",
        "ON AIR",
        "USERS/ROOM",
        "TOKENS/MIN",
    ]);
    for key in keys {
        let scopes: Vec<_> = key["scopes"].as_array().into_iter().flatten().map(cell).collect();
        let state = match (key["revokedAt"].as_u64(), key["expiresAt"].as_u64()) {
            (Some(_), _) => "revoked".to_owned(),
            (None, Some(at)) if at <= now => "expired".to_owned(),
            (None, Some(at)) => format!("{} left", age(&json!(now), at)),
            (None, None) => "active".to_owned(),
        };
        let created = format!("{} ago", age(&key["createdAt"], now));
        let quotas = QUOTAS.map(|(quota, usage)| {
            let limit = key["quotas"].get(quota).map_or("-".to_owned(), cell);
            key["usage"].get(usage).map_or(limit.clone(), |used| format!("{used}/{limit}"))
        });
        let fields = [cell(&key["id"]), cell(&key["name"]), scopes.join(","), state, created];
        table.row(fields.into_iter().chain(quotas));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_shows_state_and_quotas() {
        let usage = json!({ "rooms": 2, "roomsOnAir": 1 });
        let keys = [
            json!({ "id": "a", "name": "App", "scopes": ["rooms", "read"], "createdAt": 0,
                "quotas": { "rooms": 5 },
                "usage": usage }),
            json!({ "id": "b", "name": "B", "scopes": ["read"], "createdAt": 0, "expiresAt": 120_000,
                "quotas": { "tokensPerMinute": 9 }, "usage": usage }),
            json!({ "id": "c", "name": "C", "scopes": ["users"], "createdAt": 0, "revokedAt": 1, "quotas": {},
                "usage": usage }),
        ];
        let text = table(&keys, 60_000).to_string();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let wanted = ["a", "App", "rooms,read", "active", "1m", "00s", "ago", "2/5", "1/-", "-", "-"];
        assert_eq!(rows[1], wanted);
        assert_eq!(rows[2][3..6], ["1m", "00s", "left"]);
        assert_eq!(rows[2].last(), Some(&"9"));
        assert_eq!(rows[3][3], "revoked");
    }
}
