//! Reading of the rules of nftables: whether packets from anywhere reach a port of this machine.
//!
//! The rules of `iptables` are part of nftables on current systems. A packet must pass every base chain of
//! the hook `input` (nft(8), "Chains"). The reading knows protocols, ports, jumps and policies. It ignores
//! rules that cannot apply to a new connection from another machine. A rule with any other condition makes
//! the result unclear, because it may apply to some senders only.
//!
//! Owns: the interpretation. Does not run `nft`.

use serde_json::Value;

/// Protocol of a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

/// Treatment of packets to a port by the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Open,
    /// A rule whose condition is not known to this module decides.
    Unclear,
    Closed,
}

/// Maximum depth of jumps between chains; the kernel permits 16 (nft(8), "Verdict statement").
const MOST_JUMPS: u32 = 16;

/// Result of a condition for a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    Unclear,
}

/// Rules as `nft -j list ruleset` prints them (libnftables-json(5)).
pub struct Ruleset(Vec<Value>);

impl Transport {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl Ruleset {
    /// Reads the output of `nft -j list ruleset`; `None` if it is something else.
    pub fn parse(json: &str) -> Option<Self> {
        let mut value: Value = serde_json::from_str(json).ok()?;
        match value["nftables"].take() {
            Value::Array(items) => Some(Self(items)),
            _ => None,
        }
    }

    /// Returns what the rules do with IPv4 packets from other machines to these ports: the worse result of
    /// the first and the last port.
    pub fn passage(&self, transport: Transport, (first, last): (u16, u16)) -> Passage {
        let chains = self.0.iter().map(|item| &item["chain"]).filter(|chain| {
            chain["hook"] == "input" && chain["type"] == "filter" && is_ipv4(&chain["family"])
        });
        let mut worst = Passage::Open;
        for chain in chains {
            for port in [first, last] {
                let passage = match self.chain(chain, &chain["name"], (transport, port), MOST_JUMPS) {
                    Some(passage) => passage,
                    None if chain["policy"] == "drop" => Passage::Closed,
                    None => Passage::Open,
                };
                worst = match (worst, passage) {
                    (Passage::Closed, _) | (_, Passage::Closed) => Passage::Closed,
                    (Passage::Unclear, _) | (_, Passage::Unclear) => Passage::Unclear,
                    _ => Passage::Open,
                };
            }
        }
        worst
    }

    /// Returns the verdict of a chain in the table of `of`; `None` if no rule decides.
    fn chain(&self, of: &Value, name: &Value, packet: (Transport, u16), jumps: u32) -> Option<Passage> {
        let is_here = |rule: &&Value| {
            (&rule["family"], &rule["table"], &rule["chain"]) == (&of["family"], &of["table"], name)
        };
        let mut unclear = false;
        for rule in self.0.iter().map(|item| &item["rule"]).filter(is_here) {
            let statements = rule["expr"].as_array().map_or(&[][..], Vec::as_slice);
            let holds = holds(statements, packet);
            if holds == Holds::No {
                continue;
            }
            let decided = statements.iter().find_map(|statement| self.verdict(of, statement, packet, jumps));
            match decided {
                Some(Verdict::Return) if holds == Holds::Yes => break,
                Some(Verdict::Final(passage)) if holds == Holds::Yes => {
                    return Some(if unclear { Passage::Unclear } else { passage });
                }
                // Nothing is known of the packets that this rule decides about.
                Some(_) => unclear = true,
                None => {}
            }
        }
        unclear.then_some(Passage::Unclear)
    }

    fn verdict(
        &self,
        of: &Value,
        statement: &Value,
        packet: (Transport, u16),
        jumps: u32,
    ) -> Option<Verdict> {
        let (name, target) = statement.as_object()?.iter().next()?;
        match name.as_str() {
            "accept" => Some(Verdict::Final(Passage::Open)),
            "drop" | "reject" => Some(Verdict::Final(Passage::Closed)),
            "return" => Some(Verdict::Return),
            "jump" | "goto" if jumps > 0 => {
                let passage = self.chain(of, &target["target"], packet, jumps - 1);
                // After `goto`, the packet does not come back to this chain.
                let ends = passage.is_none() && name == "goto";
                passage.map(Verdict::Final).or(ends.then_some(Verdict::Return))
            }
            // An extension of iptables with a target of its own, or a map of conditions to verdicts.
            "xt" if target["type"] == "target" && target["name"] != "LOG" => {
                Some(Verdict::Final(Passage::Unclear))
            }
            "vmap" => Some(Verdict::Final(Passage::Unclear)),
            _ => None,
        }
    }
}

enum Verdict {
    Final(Passage),
    Return,
}

fn is_ipv4(family: &Value) -> bool {
    family == "ip" || family == "inet"
}

/// Returns whether all conditions of a rule hold for a new packet from another machine to the port.
fn holds(statements: &[Value], packet: (Transport, u16)) -> Holds {
    let names_port = statements.iter().any(|one| one["match"]["left"]["payload"]["field"] == "dport");
    let mut all = Holds::Yes;
    for statement in statements {
        let Some((name, condition)) = statement.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        let one = match name.as_str() {
            "match" => matches(condition, packet),
            "vmap" if condition["key"]["ct"]["key"] == "state" => Holds::No,
            // Without a port, such a rule is nearly always about existing connections.
            "xt" if condition["name"] == "conntrack" && !names_port => Holds::No,
            "xt" if condition["type"] == "match" => Holds::Unclear,
            "vmap" | "limit" => Holds::Unclear,
            _ => Holds::Yes,
        };
        match one {
            Holds::No => return Holds::No,
            Holds::Unclear => all = Holds::Unclear,
            Holds::Yes => {}
        }
    }
    all
}

fn matches(condition: &Value, (transport, port): (Transport, u16)) -> Holds {
    let (left, right) = (&condition["left"], &condition["right"]);
    let (protocol, field) = (&left["payload"]["protocol"], &left["payload"]["field"]);
    let (meta, ct, own) = (&left["meta"]["key"], &left["ct"]["key"], transport.as_str());
    if (protocol == "tcp" || protocol == "udp") && protocol != own {
        return Holds::No;
    }
    let contained = if ct == "state" {
        Some(names(right, "new"))
    } else if ct == "status" || ((meta == "iif" || meta == "iifname") && names(right, "lo")) {
        Some(false)
    } else if meta == "l4proto" || field == "protocol" {
        Some(names(right, own))
    } else if field == "dport" {
        has_port(right, port)
    } else {
        None
    };
    match contained {
        None => Holds::Unclear,
        Some(contained) if contained != (condition["op"] == "!=") => Holds::Yes,
        Some(_) => Holds::No,
    }
}

/// Returns true if the value is this name, or a list or set that has it.
fn names(value: &Value, name: &str) -> bool {
    let list = value.as_array().or_else(|| value["set"].as_array());
    value == name || list.is_some_and(|list| list.iter().any(|item| item == name))
}

/// Returns whether the value is this port, or a range or set that has it; `None` for a named set.
fn has_port(value: &Value, port: u16) -> Option<bool> {
    let is_it = |item: &Value| match item["range"].as_array().map(Vec::as_slice) {
        Some([low, high]) => low.as_u64() <= Some(u64::from(port)) && Some(u64::from(port)) <= high.as_u64(),
        _ => item.as_u64() == Some(u64::from(port)),
    };
    match value {
        Value::String(_) => None,
        value => Some(value["set"].as_array().map_or_else(|| is_it(value), |set| set.iter().any(is_it))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MEDIA: (u16, u16) = (20_000, 24_999);

    #[test]
    fn machines_without_rules_are_open() {
        for json in [r#"{"nftables":[]}"#, r#"{"nftables":[{"metainfo":{"version":"1.0.6"}}]}"#] {
            assert_eq!(Ruleset::parse(json).unwrap().passage(Transport::Udp, MEDIA), Passage::Open);
        }
        assert!(Ruleset::parse("nonsense").is_none() && Ruleset::parse("{}").is_none());
    }

    #[test]
    fn policy_drop_closes_other_ports() {
        let rules = [
            rule(vec![equal(ct_state(), json!(["established", "related"])), verdict("accept")]),
            rule(vec![equal(meta("iif"), json!("lo")), verdict("accept")]),
            rule(vec![
                equal(dport("tcp"), json!({ "set": [22, { "range": [8080, 8081] }] })),
                verdict("accept"),
            ]),
            rule(vec![equal(dport("udp"), json!({ "range": [20_000, 24_000] })), verdict("accept")]),
        ];
        let rules = ruleset("drop", rules);
        assert_eq!(rules.passage(Transport::Udp, (20_000, 24_000)), Passage::Open);
        assert_eq!(rules.passage(Transport::Udp, MEDIA), Passage::Closed, "the last port");
        assert_eq!(rules.passage(Transport::Tcp, (8081, 8081)), Passage::Open);
        assert_eq!(rules.passage(Transport::Tcp, (20_000, 20_000)), Passage::Closed);
    }

    #[test]
    fn conditions_on_senders_are_unclear() {
        let saddr = json!({ "payload": { "protocol": "ip", "field": "saddr" } });
        let private = rule(vec![equal(saddr, json!("10.0.0.7")), verdict("accept")]);
        assert_eq!(ruleset("drop", [private.clone()]).passage(Transport::Udp, MEDIA), Passage::Unclear);
        let set = rule(vec![equal(dport("udp"), json!("@media")), verdict("accept")]);
        assert_eq!(ruleset("drop", [set]).passage(Transport::Udp, MEDIA), Passage::Unclear);
        let open = rule(vec![equal(dport("udp"), json!({ "range": [1, 65_535] })), verdict("accept")]);
        assert_eq!(ruleset("drop", [open, private]).passage(Transport::Udp, MEDIA), Passage::Open);
    }

    #[test]
    fn jumps_and_returns_are_followed() {
        let jump = rule(vec![equal(meta("l4proto"), json!("udp")), json!({ "jump": { "target": "udp" } })]);
        let mut closed = rule(vec![equal(dport("udp"), json!(20_000)), verdict("drop")]);
        closed["rule"]["chain"] = json!("udp");
        let rules = ruleset("accept", [jump.clone(), closed.clone()]);
        assert_eq!(rules.passage(Transport::Udp, MEDIA), Passage::Closed);
        assert_eq!(rules.passage(Transport::Tcp, MEDIA), Passage::Open);
        let mut back = rule(vec![verdict("return")]);
        back["rule"]["chain"] = json!("udp");
        assert_eq!(ruleset("accept", [jump, back, closed]).passage(Transport::Udp, MEDIA), Passage::Open);
    }

    #[test]
    fn every_base_chain_must_accept() {
        let accepts = rule(vec![verdict("accept")]);
        let mut rules = ruleset("accept", [accepts]).0;
        rules.push(json!({ "chain": { "family": "ip", "table": "other", "name": "input", "type": "filter",
                                      "hook": "input", "policy": "drop" } }));
        assert_eq!(Ruleset(rules).passage(Transport::Udp, MEDIA), Passage::Closed);
    }

    #[test]
    fn negated_ports_exclude_only_these() {
        let other = json!({ "match": { "op": "!=", "left": dport("udp"), "right": 5000 } });
        let rules = ruleset("accept", [rule(vec![other, verdict("drop")])]);
        assert_eq!(rules.passage(Transport::Udp, MEDIA), Passage::Closed);
        assert_eq!(rules.passage(Transport::Udp, (5000, 5000)), Passage::Open);
        assert_eq!(rules.passage(Transport::Tcp, MEDIA), Passage::Open, "a rule for UDP");
    }

    fn ruleset<const N: usize>(policy: &str, rules: [Value; N]) -> Ruleset {
        let chain = json!({ "chain": { "family": "inet", "table": "filter", "name": "input",
                                       "type": "filter", "hook": "input", "policy": policy } });
        Ruleset([vec![chain], rules.to_vec()].concat())
    }

    fn rule(expr: Vec<Value>) -> Value {
        json!({ "rule": { "family": "inet", "table": "filter", "chain": "input", "expr": expr } })
    }

    fn equal(left: Value, right: Value) -> Value {
        json!({ "match": { "op": "==", "left": left, "right": right } })
    }

    fn verdict(name: &str) -> Value {
        json!({ name: null })
    }

    fn dport(transport: &str) -> Value {
        json!({ "payload": { "protocol": transport, "field": "dport" } })
    }

    fn meta(key: &str) -> Value {
        json!({ "meta": { "key": key } })
    }

    fn ct_state() -> Value {
        json!({ "ct": { "key": "state" } })
    }
}
