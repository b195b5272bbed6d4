//! Tests of a link's switchboard without a socket: routing, liveness, reasons to end.

use super::*;

type Answer = oneshot::Receiver<Result<Bytes, JanusError>>;

/// Switchboard with its output, without a socket.
struct Bench {
    board: Switchboard,
    out: mpsc::UnboundedSender<Message>,
    written: mpsc::UnboundedReceiver<Message>,
}

#[test]
fn ack_does_not_complete_request() {
    let mut bench = Bench::new();
    let mut join = bench.send("message");
    bench.hear(r#"{"janus":"ack","transaction":"1"}"#);
    assert!(join.try_recv().is_err(), "not yet");
    bench.hear(r#"{"janus":"event","sender":7,"transaction":"1","plugindata":{}}"#);
    assert!(join.try_recv().unwrap().unwrap().starts_with(br#"{"janus":"event""#));
}

#[test]
fn ack_completes_keepalive() {
    let mut bench = Bench::new();
    let mut keepalive = bench.send("keepalive");
    bench.hear(r#"{"janus":"ack","transaction":"1"}"#);
    assert!(keepalive.try_recv().unwrap().is_ok());
}

#[test]
fn replies_match_requests_in_any_order() {
    let mut bench = Bench::new();
    let (mut first, mut second) = (bench.send("message"), bench.send("message"));
    bench.hear(r#"{"janus":"success","transaction":"2"}"#);
    assert!(first.try_recv().is_err() && second.try_recv().unwrap().is_ok());
    bench.hear(r#"{"janus":"success","transaction":"2"}"#);
    bench.hear(r#"{"janus":"success","transaction":"of somebody else"}"#);
    bench.hear(r#"{"janus":"error","transaction":"1"}"#);
    assert!(first.try_recv().unwrap().is_ok(), "an error is an answer; the link does not interpret it");
}

#[test]
fn api_secret_is_sent_not_printed() {
    let mut bench = Bench::new();
    let _answer = bench.send("message");
    let Message::Text(json) = bench.written.try_recv().unwrap() else { panic!("text") };
    assert!(json.contains(r#""apisecret":"hush""#), "{json}");
    assert!(!format!("{:?}", bench.board.api_secret).contains("hush"));
}

#[test]
fn events_reach_their_handle_only() {
    let mut bench = Bench::new();
    let (mut ours, mut others) = (bench.subscribe(7, 4), bench.subscribe(8, 4));
    bench.hear(r#"{"janus":"event","sender":7,"plugindata":{"plugin":"p","data":{"audiobridge":"left"}}}"#);
    bench.hear(r#"{"janus":"hangup","sender":7,"reason":"ICE failed"}"#);
    let event = ours.try_recv().unwrap();
    assert_eq!((event.kind.as_str(), &event.data["audiobridge"]), ("event", &"left".into()));
    let event = ours.try_recv().unwrap();
    assert_eq!((event.kind.as_str(), &event.data["reason"]), ("hangup", &"ICE failed".into()));
    assert!(others.try_recv().is_err());
}

#[test]
fn slow_subscriber_is_disconnected() {
    let mut bench = Bench::new();
    let mut events = bench.subscribe(7, 1);
    for _ in 0..3 {
        assert!(bench.hear(r#"{"janus":"media","sender":7}"#).is_none());
    }
    assert!(events.try_recv().is_ok());
    assert_eq!(events.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
}

#[test]
fn unanswered_pings_end_link() {
    let mut bench = Bench::new();
    for _ in 0..UNANSWERED_PINGS {
        assert!(bench.board.ping(&bench.out).is_none());
    }
    bench.board.hear(IncomingFrame::Nothing, &bench.out);
    for _ in 0..UNANSWERED_PINGS {
        assert!(bench.board.ping(&bench.out).is_none());
    }
    assert!(matches!(bench.board.ping(&bench.out), Some(End::Down(DownReason::Silent))));
}

#[test]
fn abandoned_request_is_forgotten() {
    let mut bench = Bench::new();
    drop(bench.send("message"));
    let _waits = bench.send("message");
    bench.board.ping(&bench.out);
    assert_eq!(bench.board.pending.keys().collect::<Vec<_>>(), [&2]);
}

#[test]
fn lost_session_or_garbage_ends_link() {
    let mut bench = Bench::new();
    bench.board.carry_out(Command::DependOn { session: 1 }, &bench.out);
    let lost = bench.hear(r#"{"janus":"timeout","session_id":1}"#);
    assert!(matches!(lost, Some(End::Down(DownReason::SessionLost))));
    assert!(matches!(Bench::new().hear("no JSON"), Some(End::Down(DownReason::Failed(_)))));
}

#[test]
fn ended_session_closes_only_its_handles() {
    let mut bench = Bench::new();
    bench.board.carry_out(Command::DependOn { session: 1 }, &bench.out);
    let (mut theirs, mut ours) = (bench.subscribe_in(2, 7, 4), bench.subscribe(8, 4));
    assert!(bench.hear(r#"{"janus":"timeout","session_id":2}"#).is_none());
    assert_eq!(theirs.try_recv().unwrap().kind, "timeout");
    assert_eq!(theirs.try_recv(), Err(mpsc::error::TryRecvError::Disconnected), "it comes last");
    assert_eq!(ours.try_recv(), Err(mpsc::error::TryRecvError::Empty));
}

#[test]
fn oversized_reply_fails_its_request() {
    let mut bench = Bench::new();
    let (mut small, mut large) = (bench.send("message"), bench.send("message"));
    let beginning = Bytes::from_static(br#"{"janus":"success","session_id":1,"transaction":"2","plugin"#);
    assert!(bench.board.hear(IncomingFrame::TooLarge(beginning), &bench.out).is_none());
    assert!(matches!(large.try_recv().unwrap(), Err(JanusError::TooLarge { .. })));
    assert!(small.try_recv().is_err(), "still waits");
}

impl Bench {
    fn new() -> Self {
        let (out, written) = mpsc::unbounded_channel();
        Self { board: Switchboard::new(Some(Secret("hush".to_owned()))), out, written }
    }

    fn send(&mut self, janus: &'static str) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.board.carry_out(Command::Request { request: Request::new(janus), reply }, &self.out);
        answer
    }

    fn subscribe(&mut self, handle: u64, queue: usize) -> mpsc::Receiver<HandleEvent> {
        self.subscribe_in(1, handle, queue)
    }

    fn subscribe_in(&mut self, session: u64, handle: u64, queue: usize) -> mpsc::Receiver<HandleEvent> {
        let (events, stream) = mpsc::channel(queue);
        self.board.carry_out(Command::Subscribe { session, handle, events }, &self.out);
        stream
    }

    fn hear(&mut self, json: &'static str) -> Option<End> {
        self.board.hear(IncomingFrame::Message(Bytes::from_static(json.as_bytes())), &self.out)
    }
}
