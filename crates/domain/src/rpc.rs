//! JSON-RPC 2.0 envelope (<https://www.jsonrpc.org/specification>): reads requests, and writes the responses
//! once all calls of a text are answered.
//!
//! Owns the envelope, its limits and its errors, and the order of the answers in a batch. Does not interpret
//! the methods.

use serde::Serialize;
use serde_json::{Value, json};

use super::signalling::error::{ErrorCode, RpcError};
use super::trace_context::TraceContext;

/// Largest accepted nesting depth of arrays and objects. Our methods need at most five.
pub const MAX_DEPTH: usize = 16;
/// Maximum number of entries in one batch.
pub const MAX_BATCH: usize = 16;

/// Id of a request: a string, a number or null. The response repeats it unchanged.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Id(Value);

/// Request from the client.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// `None`: a notification, which is never answered, not even with an error.
    pub id: Option<Id>,
    pub method: String,
    /// An object or an array.
    pub params: Option<Value>,
    /// Trace that the call continues, from the member `traceparent` of the request. An invalid value is
    /// ignored (W3C Trace Context, 4.3).
    pub trace: Option<TraceContext>,
}

/// One entry of a packet: a call, or the response to an entry that is not a valid call.
pub type Entry = Result<Call, Response>;

/// Content of one text message.
#[derive(Debug, Clone, PartialEq)]
pub enum Packet {
    Single(Entry),
    /// 1 to [`MAX_BATCH`] entries, answered with one array.
    Batch(Vec<Entry>),
}

/// Response to one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub id: Id,
    pub outcome: Result<Value, RpcError>,
}

/// Text messages with unanswered calls. `T`: the caller's record of a running call.
#[derive(Debug, Default)]
pub struct PendingTexts<T> {
    texts: Vec<PendingText<T>>,
    next: u64,
}

/// Calls of one text message. Their numbers are consecutive.
#[derive(Debug)]
struct PendingText<T> {
    first: u64,
    batch: bool,
    calls: Vec<PendingCall<T>>,
    /// Number of calls that were not refused.
    run: usize,
}

#[derive(Debug)]
struct PendingCall<T> {
    /// `None`: a notification, which is not answered.
    id: Option<Id>,
    /// `None` if the call was refused or has been answered.
    running: Option<T>,
    outcome: Option<Result<Value, RpcError>>,
}

/// Text message whose calls are all answered.
#[derive(Debug)]
pub struct AnsweredText {
    /// Number of calls that were not refused.
    pub run: usize,
    /// Response; `None` if none of the calls expects one.
    pub response: Option<String>,
}

impl Id {
    /// Id in the response to a request whose id is not known.
    pub const NULL: Self = Self(Value::Null);

    fn new(value: &Value) -> Option<Self> {
        matches!(value, Value::Null | Value::Number(_) | Value::String(_)).then(|| Self(value.clone()))
    }
}

/// Reads one text message. Entries that cannot be read are replaced by their error responses.
pub fn read(text: &str) -> Packet {
    if depth(text.as_bytes()) > MAX_DEPTH {
        return refused(ErrorCode::TooDeep);
    }
    match serde_json::from_str(text) {
        Err(_) => refused(ErrorCode::ParseError),
        Ok(Value::Array(entries)) if entries.is_empty() => refused(ErrorCode::InvalidRequest),
        Ok(Value::Array(entries)) if entries.len() > MAX_BATCH => refused(ErrorCode::BatchTooLarge),
        Ok(Value::Array(entries)) => Packet::Batch(entries.into_iter().map(entry).collect()),
        Ok(value) => Packet::Single(entry(value)),
    }
}

fn refused(code: ErrorCode) -> Packet {
    Packet::Single(Err(Response { id: Id::NULL, outcome: Err(code.into()) }))
}

fn entry(value: Value) -> Entry {
    let invalid = |id: Option<Id>, why: &'static str| {
        let outcome = Err(RpcError::new(ErrorCode::InvalidRequest, why));
        Err(Response { id: id.unwrap_or(Id::NULL), outcome })
    };
    let Value::Object(mut fields) = value else { return invalid(None, "a request is an object") };
    let id = match fields.get("id").map(Id::new) {
        Some(None) => return invalid(None, "id must be a string, a number or null"),
        Some(id) => id,
        None => None,
    };
    if fields.get("jsonrpc") != Some(&json!("2.0")) {
        return invalid(id, "jsonrpc must be \"2.0\"");
    }
    let Some(Value::String(method)) = fields.remove("method") else {
        return invalid(id, "method must be a string");
    };
    let params = fields.remove("params");
    if !matches!(params, None | Some(Value::Object(_) | Value::Array(_))) {
        return invalid(id, "params must be an object or an array");
    }
    let trace = fields.get("traceparent").and_then(|value| value.as_str()?.parse().ok());
    Ok(Call { id, method, params, trace })
}

/// Returns the nesting depth of arrays and objects, counted before the text is parsed.
fn depth(text: &[u8]) -> usize {
    let (mut now, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => now += 1,
            b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(now);
    }
    deepest
}

/// Returns the text to send: one object, or one array for a batch. `None` if there are no responses.
pub fn write(responses: &[Response], batch: bool) -> Option<String> {
    match responses {
        [] => None,
        [one] if !batch => Some(value(one).to_string()),
        all => Some(Value::Array(all.iter().map(value).collect()).to_string()),
    }
}

fn value(response: &Response) -> Value {
    match &response.outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": response.id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": response.id, "error": error.to_json() }),
    }
}

impl<T> PendingTexts<T> {
    /// Returns an unused number for a call that did not arrive in a text message.
    pub fn reserve(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Returns the record of a running call.
    pub fn record(&self, number: u64) -> Option<&T> {
        let text = self.texts.iter().find(|text| text.has(number))?;
        text.calls[(number - text.first) as usize].running.as_ref()
    }

    /// Adds the calls of one text message, including the refused ones. Returns the calls to run, with their
    /// numbers. If all calls were refused, none is left to run, and the response to the message is returned
    /// as well.
    pub fn begin<M>(
        &mut self,
        entries: Vec<(Option<Id>, Result<M, RpcError>)>,
        batch: bool,
        record: impl Fn(&M) -> T,
    ) -> (Vec<(u64, M)>, Option<AnsweredText>) {
        let first = self.next;
        let mut methods = Vec::new();
        let mut calls = Vec::with_capacity(entries.len());
        for (number, (id, method)) in (first..).zip(entries) {
            calls.push(match method {
                Ok(method) => {
                    let running = Some(record(&method));
                    methods.push((number, method));
                    PendingCall { id, running, outcome: None }
                }
                Err(refused) => PendingCall { id, running: None, outcome: Some(Err(refused)) },
            });
        }
        self.next += calls.len() as u64;
        let text = PendingText { first, batch, calls, run: methods.len() };
        if methods.is_empty() {
            return (methods, Some(text.answered()));
        }
        self.texts.push(text);
        (methods, None)
    }

    /// Stores the outcome of a call. Returns the record of the call and, if all calls of its message are now
    /// answered, the response. Returns `None` for a call that is unknown or already answered.
    pub fn answer(
        &mut self,
        number: u64,
        outcome: Result<Value, RpcError>,
    ) -> Option<(T, Option<AnsweredText>)> {
        let index = self.texts.iter().position(|text| text.has(number))?;
        let text = &mut self.texts[index];
        let call = &mut text.calls[(number - text.first) as usize];
        let record = call.running.take()?;
        call.outcome = Some(outcome);
        let complete = text.calls.iter().all(|call| call.outcome.is_some());
        Some((record, complete.then(|| self.texts.remove(index).answered())))
    }
}

impl<T> PendingText<T> {
    fn has(&self, number: u64) -> bool {
        (self.first..self.first + self.calls.len() as u64).contains(&number)
    }

    fn answered(self) -> AnsweredText {
        let response = |call: PendingCall<T>| Some(Response { id: call.id?, outcome: call.outcome? });
        let responses: Vec<_> = self.calls.into_iter().filter_map(response).collect();
        AnsweredText { run: self.run, response: write(&responses, self.batch) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Entry {
        match read(text) {
            Packet::Single(entry) => entry,
            Packet::Batch(_) => panic!("{text} is no batch"),
        }
    }

    /// Returns the id and the error number in the response to `text`.
    fn error(text: &str) -> (Value, i64) {
        refusal(one(text))
    }

    fn refusal(entry: Entry) -> (Value, i64) {
        let response = entry.expect_err("a refusal");
        (response.id.0, response.outcome.expect_err("an error").code.number())
    }

    #[test]
    fn rpc_reads_calls_and_notifications() {
        let call = one(r#"{"jsonrpc":"2.0","method":"join","params":{"pin":"abc123"},"id":7}"#).unwrap();
        assert_eq!((call.method.as_str(), &call.params), ("join", &Some(json!({ "pin": "abc123" }))));
        assert_eq!(call.id, Some(Id(json!(7))));
        assert_eq!(one(r#"{"jsonrpc":"2.0","method":"leave"}"#).unwrap().id, None);
        let with_null = one(r#"{"jsonrpc":"2.0","method":"leave","id":null}"#).unwrap();
        assert_eq!(with_null.id, Some(Id::NULL), "null is an id; only its absence makes a notification");
    }

    #[test]
    fn calls_name_their_trace() {
        let call = |member: &str| {
            one(&format!(r#"{{"jsonrpc":"2.0","method":"goLive","id":1{member}}}"#)).unwrap().trace
        };
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(call(&format!(r#","traceparent":"{parent}""#)), Some(parent.parse().unwrap()));
        for none in ["", r#","traceparent":7"#, r#","traceparent":null"#, r#","traceparent":"00-1-2-01""#] {
            assert_eq!(call(none), None, "{none}");
        }
    }

    #[test]
    fn rpc_ids_round_trip() {
        for id in ["1", "-3", "0.25", "1.5e300", "18446744073709551615", "\"\"", "\"ä\\u0000\"", "null"] {
            let call = one(&format!(r#"{{"jsonrpc":"2.0","method":"x","id":{id}}}"#)).unwrap();
            let answer = Response { id: call.id.unwrap(), outcome: Ok(json!(1)) };
            let written: Value = serde_json::from_str(&write(&[answer], false).unwrap()).unwrap();
            assert_eq!(written["id"], serde_json::from_str::<Value>(id).unwrap());
        }
    }

    #[test]
    fn rpc_errors_follow_json_rpc() {
        for garbage in
            ["", " ", "{", "nonsense", "{\"jsonrpc\": \"2.0\", \"method\": \"foobar, \"params\": 1]", "1 2"]
        {
            assert_eq!(error(garbage), (Value::Null, -32700), "{garbage}");
        }
        for (invalid, id) in [
            ("[]", json!(null)),
            ("1", json!(null)),
            (r#""text""#, json!(null)),
            ("null", json!(null)),
            ("{}", json!(null)),
            (r#"{"jsonrpc":"2.0","method":1,"params":"bar"}"#, json!(null)),
            (r#"{"jsonrpc":"1.0","method":"join","id":4}"#, json!(4)),
            (r#"{"jsonrpc":2.0,"method":"join","id":4}"#, json!(4)),
            (r#"{"jsonrpc":"2.0","method":"join","params":"bar","id":"a"}"#, json!("a")),
            (r#"{"jsonrpc":"2.0","method":"join","params":null,"id":"a"}"#, json!("a")),
            (r#"{"jsonrpc":"2.0","method":"join","id":{}}"#, json!(null)),
            (r#"{"jsonrpc":"2.0","method":"join","id":true}"#, json!(null)),
            (r#"{"jsonrpc":"2.0","result":1,"id":1}"#, json!(1)),
        ] {
            assert_eq!(error(invalid), (id, -32600), "{invalid}");
        }
    }

    #[test]
    fn rpc_batch_is_read_per_entry() {
        let Packet::Batch(entries) = read(
            r#"[
                1, {"jsonrpc":"2.0","method":"a","id":1}, {"foo":"boo"}, [], {"jsonrpc":"2.0","method":"b"}
            ]"#,
        ) else {
            panic!("a batch")
        };
        let refused: Vec<_> = entries.iter().map(Result::is_err).collect();
        assert_eq!(refused, [true, false, true, true, false]);
        assert_eq!(refusal(entries[2].clone()), (Value::Null, -32600));
        let many = |n: usize| format!("[{}]", vec![r#"{"jsonrpc":"2.0","method":"a"}"#; n].join(","));
        assert!(matches!(read(&many(16)), Packet::Batch(all) if all.len() == 16));
        assert_eq!(error(&many(17)), (Value::Null, -32600));
    }

    #[test]
    fn rpc_nesting_depth_is_bounded() {
        assert_eq!(error(&"[".repeat(60_000)), (Value::Null, -32600));
        assert_eq!(error(&r#"{"a":"#.repeat(10_000)), (Value::Null, -32600));
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let params = |n| format!(r#"{{"jsonrpc":"2.0","method":"a","params":{}}}"#, nested(n));
        assert!(one(&params(MAX_DEPTH - 1)).is_ok());
        assert_eq!(error(&params(MAX_DEPTH)), (Value::Null, -32600));
        assert_eq!(depth(br#"{"a":"[[[[\"[[[","b":[1]}"#), 2, "brackets in a text do not count");
    }

    #[test]
    fn notifications_get_no_response() {
        assert_eq!(write(&[], false), None);
        assert_eq!(write(&[], true), None);
        let response = Response { id: Id(json!(1)), outcome: Ok(json!({})) };
        assert!(write(std::slice::from_ref(&response), true).unwrap().starts_with('['));
        assert!(write(&[response], false).unwrap().starts_with('{'));
    }

    #[test]
    fn batch_is_answered_in_order_of_calls() {
        let mut texts = PendingTexts::default();
        let id = |n: u64| Some(Id(json!(n)));
        let refused = || Err::<&str, RpcError>(ErrorCode::InvalidRequest.into());
        let (none, answered) =
            texts.begin(vec![(id(1), refused()), (None, refused())], true, |name| name.len());
        assert!(none.is_empty());
        let answered = answered.expect("all calls were refused");
        let responses: Vec<Value> = serde_json::from_str(&answered.response.unwrap()).unwrap();
        assert_eq!((answered.run, responses.len()), (0, 1));
        let calls = vec![(id(2), Ok("one")), (id(3), refused()), (None, Ok("four")), (id(4), Ok("three"))];
        let (calls, answered) = texts.begin(calls, true, |name| name.len());
        assert_eq!((calls, answered.is_none()), (vec![(2, "one"), (4, "four"), (5, "three")], true));
        let mut answer = |number| texts.answer(number, Ok(json!({})));
        assert!(matches!(answer(5), Some((5, None))));
        assert!(answer(5).is_none() && answer(3).is_none() && answer(9).is_none(), "answered or unknown");
        assert!(matches!(answer(2), Some((3, None))));
        let (length, answered) = answer(4).unwrap();
        let answered = answered.expect("the last call");
        assert_eq!((length, answered.run), (4, 3));
        let responses: Vec<Value> = serde_json::from_str(&answered.response.unwrap()).unwrap();
        let ids: Vec<_> = responses.iter().map(|response| response["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, [2, 3, 4], "in the order of the calls, without the notification");
        assert!(answer(2).is_none(), "the text is answered completely");
    }

    proptest! {
        /// Any text is read without a panic, and a batch has at most [`MAX_BATCH`] entries.
        #[test]
        fn rpc_reads_any_text(text in "\\PC*|[\\[\\]{}\",:0-9a-z\\\\ ]{0,200}") {
            match read(&text) {
                Packet::Single(_) => {}
                Packet::Batch(entries) => prop_assert!((1..=MAX_BATCH).contains(&entries.len())),
            }
        }

        #[test]
        fn rpc_reads_any_json(value in json_value()) {
            let entries = match read(&value.to_string()) {
                Packet::Single(entry) => vec![entry],
                Packet::Batch(entries) => entries,
            };
            for response in entries.into_iter().filter_map(Result::err) {
                let text = write(&[response], false).unwrap();
                let answer: Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(&answer["jsonrpc"], "2.0");
                prop_assert!(answer["error"]["code"].is_i64() && answer["error"]["data"]["code"].is_string());
                prop_assert!(answer.get("result").is_none() && answer.get("id").is_some());
            }
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z2.0]{0,6}".prop_map(Value::from),
        ];
        let key = prop_oneof![Just("jsonrpc"), Just("method"), Just("params"), Just("id"), Just("x")];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..5).prop_map(|fields| {
                    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
                }),
            ]
        })
    }
}
