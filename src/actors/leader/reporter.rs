//! Writes the events of changes that are not in the store, or that no request makes: anchors who join or
//! leave, raised hands, a new peak of listeners, recordings that become ready. Runs on the leader only.
//!
//! The rules are in [`domain::reported_anchors`](crate::domain::reported_anchors),
//! [`domain::reported_hands`](crate::domain::reported_hands) and
//! [`domain::recording`](crate::domain::recording). Each step is a compare-and-swap. So an event is written
//! only once, even if two leaders run at the same time, or a new leader repeats a step whose answer was lost.
//! A failed step is tried again when its room is examined next.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use serde_json::json;
use tokio::sync::watch;

use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, Timer};
use crate::domain::ids::RoomId;
use crate::domain::keys::ModuleKind;
use crate::domain::reported_anchors::{PresentAnchor, RoomObservation, is_listener_peak, reported};
use crate::domain::reported_hands::compare;
use crate::domain::roles;
use crate::domain::signalling::DisplayName;
use crate::domain::stage::limits::{Rate, RateLimiter};
use crate::domain::stage::{Event, Hand};
use crate::domain::view::RoomView;
use crate::presence::stage::{StageContent, StageKey, StageMessage};
use crate::presence::{EventStream, MembersChanged, PresenceEntry, PresenceEvent, PresenceParts};
use crate::rooms::RoomService;
use crate::rooms::dirty_set::DirtySet;
use crate::rooms::recordings::Recordings;
use crate::store::Revision;

/// Interval at which rooms with anchors are examined, because an expired entry is found only by reading
/// presence.
const EXAMINE_EVERY: Duration = Duration::from_secs(5);
/// Minimum time between two `listener_peak` events of a room.
const PEAK_EVERY: Duration = Duration::from_secs(60);
/// Minimum time between two comparisons of a room's raised hands, unless somebody was invited. Together with
/// [`MOST_PER_WRITE`](crate::domain::events::MOST_PER_WRITE), it bounds the events of a flood of hands.
const HANDS_EVERY: Duration = Duration::from_secs(2);
/// Rate limit for the writes of changed hands in all rooms.
const HAND_WRITES: Rate = Rate { per_second: 5, burst: 50 };
/// Maximum number of rooms that are examined at the same time.
const AT_ONCE: usize = 16;

/// Actor that writes the events of changes that no request makes.
pub struct Reporter {
    context: Context,
    service: Arc<RoomService>,
    /// `None` on a node without presence, which reports no anchors and no hands.
    presence: Option<PresenceParts>,
    recordings: Arc<Recordings>,
    /// Rooms to examine.
    rooms: BTreeSet<RoomId>,
    /// For each room, the time at which its number of listeners was last reported as a new peak.
    peaks: HashMap<RoomId, Duration>,
    /// Rooms whose raised hands may have changed.
    hands: BTreeSet<RoomId>,
    /// For each room, the time of the latest comparison of its hands, if it was recent.
    compared: HashMap<RoomId, Duration>,
    hand_writes: Arc<Mutex<RateLimiter>>,
    hands_timer: Option<Timer>,
    /// True if a recording may have become ready since the recordings were last examined.
    recordings_due: bool,
    dirty: Option<DirtySet>,
    busy: bool,
    examinations: u64,
    last_error: Option<String>,
    timer: Option<Timer>,
}

pub enum Msg {
    Tick,
    RoomsChanged,
    Presence(EventStream<MembersChanged>, Option<PresenceEvent<MembersChanged>>),
    Stage(EventStream<StageMessage>, Option<PresenceEvent<StageMessage>>),
    HandsDue,
    Recordings(watch::Receiver<Option<Revision>>),
    /// Errors of an examination; empty if there were none.
    Examined(Examination),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Tick => "tick",
            Self::RoomsChanged => "rooms_changed",
            Self::Presence(..) => "presence",
            Self::Stage(..) => "stage",
            Self::HandsDue => "hands_due",
            Self::Recordings(_) => "recordings",
            Self::Examined(_) => "examined",
        }
    }
}

impl Reporter {
    pub fn new(
        context: Context,
        service: Arc<RoomService>,
        presence: Option<PresenceParts>,
        recordings: Arc<Recordings>,
    ) -> Self {
        Self {
            context,
            service,
            presence,
            recordings,
            rooms: BTreeSet::new(),
            peaks: HashMap::new(),
            hands: BTreeSet::new(),
            compared: HashMap::new(),
            hand_writes: Arc::new(Mutex::new(RateLimiter::new(HAND_WRITES))),
            hands_timer: None,
            recordings_due: false,
            dirty: None,
            busy: false,
            examinations: 0,
            last_error: None,
            timer: None,
        }
    }

    /// Examines the rooms and recordings that are due. If an examination is in progress, the next one starts
    /// when it ends.
    fn examine(&mut self, cx: &mut Cx<Self>) {
        // Before the first list, no room is known.
        if self.busy || !self.context.rooms_listed() {
            return;
        }
        let now = self.context.clock.now();
        self.compared.retain(|_, at| now < *at + HANDS_EVERY);
        let due = self.hands.iter().filter(|room| !self.compared.contains_key(*room));
        self.rooms.extend(due.cloned());
        let mut rooms = Vec::new();
        for room in std::mem::take(&mut self.rooms) {
            let hands = !self.compared.contains_key(&room) && self.hands.remove(&room);
            if let Some(view) = self.context.directory.room(&room).filter(|view| view.is_open()) {
                let listeners = self.new_peak(&room, &view).unwrap_or(0);
                if self.presence.is_some() || listeners > 0 {
                    self.peaks.extend((listeners > 0).then(|| (room.clone(), now)));
                    self.compared.extend(hands.then(|| (room.clone(), now)));
                    rooms.push(OpenRoom { room, view, listeners, hands, now });
                }
            }
        }
        if !self.hands.is_empty() && self.hands_timer.is_none() {
            self.hands_timer = Some(cx.after(HANDS_EVERY, Msg::HandsDue));
        }
        let ready = match std::mem::take(&mut self.recordings_due) {
            true => self.recordings.to_be_reported(),
            false => Vec::new(),
        };
        if rooms.is_empty() && ready.is_empty() {
            return;
        }
        (self.busy, self.examinations) = (true, self.examinations + 1);
        let (presence, service, recordings) =
            (self.presence.clone(), self.service.clone(), self.recordings.clone());
        let hand_writes = self.hand_writes.clone();
        let examination = async move {
            let reports = stream::iter(rooms).map(|open| {
                let (presence, service, writes) = (presence.clone(), service.clone(), hand_writes.clone());
                async move {
                    let outcome = report(presence.as_ref(), &service, &open, &writes).await;
                    (open, outcome)
                }
            });
            let mut reports = reports.buffer_unordered(AT_ONCE);
            let mut done = Examination::default();
            while let Some((open, outcome)) = reports.next().await {
                if open.hands
                    && outcome.as_ref().map_or(true, |reported| *reported == ReportOutcome::WithoutHands)
                {
                    done.hands_due.push(open.room.clone());
                }
                done.errors.extend(outcome.err().map(|error| format!("{}: {error}", open.room)));
            }
            for known in ready {
                let outcome = recordings.report_ready(&known, service.ledger()).await;
                done.errors.extend(outcome.err().map(|error| format!("recording {}: {error}", known.id)));
            }
            done
        };
        cx.run(examination, Msg::Examined);
    }

    /// Returns the number of listeners of a room if it must be reported as the largest number so far. The
    /// number comes from the mixer's last report and is a few seconds old.
    fn new_peak(&self, room: &RoomId, view: &RoomView) -> Option<u64> {
        let mixer = self.context.directory.module(ModuleKind::Mixer, &view.live.as_ref()?.mixer_id)?;
        let listeners = mixer.listeners.as_ref()?.0.get(room).copied()? as u64;
        let last = self.peaks.get(room);
        let is_due = last.is_none_or(|last| self.context.clock.now() >= *last + PEAK_EVERY);
        (is_due && is_listener_peak(view, listeners)).then_some(listeners)
    }

    fn examined(&mut self, Examination { errors, hands_due }: Examination) {
        self.busy = false;
        self.hands.extend(hands_due);
        let first = errors.into_iter().next();
        if let Some(error) = first.as_ref().filter(|_| self.last_error.is_none()) {
            tracing::warn!(error, "events of anchors, hands or recordings were not written; will retry");
        }
        self.last_error = first;
    }

    /// Adds the rooms that satisfy `wanted` to the rooms to examine.
    fn examine_later(&mut self, wanted: impl Fn(&RoomView) -> bool) {
        let rooms = self.context.directory.rooms();
        self.rooms.extend(rooms.iter().filter(|(_, view)| wanted(view)).map(|(room, _)| room.clone()));
    }

    /// Adds all open rooms to the rooms to examine, together with their hands.
    fn examine_all(&mut self) {
        self.examine_later(RoomView::is_open);
        self.hands.extend(self.rooms.iter().cloned());
    }

    fn stage_changed(&mut self, event: PresenceEvent<StageMessage>) {
        match event {
            PresenceEvent::Told(message) => {
                // Invitations come from hosts, who have a rate limit of their own. An invitation that is
                // accepted before the next comparison would have no event.
                if hand_events(&message).any(|event| matches!(event, Event::Invited { .. })) {
                    self.compared.remove(&message.room);
                }
                self.hands.insert(message.room);
            }
            PresenceEvent::LookAgain => self.examine_all(),
        }
    }

    fn presence_changed(&mut self, event: PresenceEvent<MembersChanged>) {
        match event {
            PresenceEvent::Told(MembersChanged { room }) => drop(self.rooms.insert(room)),
            PresenceEvent::LookAgain => self.examine_all(),
        }
    }

    fn rooms_changed(&mut self) {
        let Some(changed) = self.dirty.as_ref().map(DirtySet::take) else { return };
        self.recordings_due |= changed.relisted || !changed.rooms.is_empty();
        // The end of a write is a change, too: the hands that it left out are then compared.
        self.hands.extend(changed.rooms.iter().cloned());
        self.rooms.extend(changed.rooms);
        if changed.relisted {
            self.examine_all();
        }
    }

    fn tick(&mut self, cx: &mut Cx<Self>) {
        match self.last_error {
            // The last examination failed. It may have failed for a room whose first anchor is not reported
            // yet, so examine all open rooms.
            Some(_) => self.examine_all(),
            None => self.examine_later(|view| reported(view).is_some_and(|known| !known.anchors.is_empty())),
        }
        let rooms = self.context.directory.rooms();
        self.peaks.retain(|room, _| rooms.get(room).is_some_and(|view| view.is_open()));
        let peaks = rooms.iter().filter(|(room, view)| self.new_peak(room, view).is_some());
        let peaks: Vec<_> = peaks.map(|(room, _)| room.clone()).collect();
        self.rooms.extend(peaks);
        // A recording can also become ready because a mixer that had not finished it is gone.
        self.recordings_due = true;
        self.timer = Some(cx.after(EXAMINE_EVERY, Msg::Tick));
    }
}

/// Result of one examination.
#[derive(Debug, Default)]
pub struct Examination {
    errors: Vec<String>,
    /// Rooms whose hands must be compared again.
    hands_due: Vec<RoomId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReportOutcome {
    Complete,
    /// Hands were raised and lowered too often in all rooms together, so their changes are written later.
    WithoutHands,
}

/// Open room to be examined.
struct OpenRoom {
    room: RoomId,
    view: Arc<RoomView>,
    /// Number of listeners if it is a new peak; otherwise 0.
    listeners: u64,
    /// True if the raised hands are to be compared.
    hands: bool,
    /// Time since the node started.
    now: Duration,
}

/// Reports the changes of one room.
async fn report(
    presence: Option<&PresenceParts>,
    service: &RoomService,
    open: &OpenRoom,
    hand_writes: &Mutex<RateLimiter>,
) -> anyhow::Result<ReportOutcome> {
    let OpenRoom { room, view, listeners, now, .. } = open;
    let (mut anchors, mut hands) = (None, None);
    if let Some(PresenceParts { presence, stages }) = presence {
        let members = presence.list(room).await?;
        anchors = Some(members.into_iter().map(|member| present(view, member)).collect::<Vec<_>>());
        if let Some(meta) = view.meta.as_ref().filter(|_| open.hands) {
            let key = StageKey { room: room.clone(), created_at: meta.created_at };
            // Presence may have lost the stage. Then nodes have copies, and one of them writes it again.
            hands = stages.read(&key).await?.map(|stage| stage.hands);
        }
    }
    let too_many = hands.as_deref().is_some_and(|hands| {
        let mut writes = hand_writes.lock().unwrap_or_else(PoisonError::into_inner);
        differs(view, hands) && writes.take(0, *now).is_err()
    });
    let hands = hands.as_deref().filter(|_| !too_many);
    let observed = RoomObservation { present: anchors.as_deref(), hands, listeners: *listeners };
    service.report_anchors(room, view, observed).await?;
    Ok(if too_many { ReportOutcome::WithoutHands } else { ReportOutcome::Complete })
}

fn differs(view: &RoomView, hands: &[Hand]) -> bool {
    let known = reported(view).map(|known| known.hands.clone()).unwrap_or_default();
    compare(&known, hands, usize::MAX).0 != known
}

/// Returns those events of a message that change raised hands.
fn hand_events(message: &StageMessage) -> impl Iterator<Item = &Event> {
    let events = match &message.content {
        StageContent::Changed { events, .. } => &events[..],
        StageContent::Passing(_) => &[],
    };
    events.iter().filter(|event| {
        matches!(
            event,
            Event::HandRaised { .. }
                | Event::HandLowered { .. }
                | Event::Invited { .. }
                | Event::InvitationRevoked { .. }
        )
    })
}

fn present(view: &RoomView, member: PresenceEntry) -> PresentAnchor {
    PresentAnchor {
        role: roles::in_force(&view.users, &member.user_id, member.role),
        user: member.user_id,
        source: member.source,
        joining: member.joining,
        consent: member.consent,
        name: member.display_name.and_then(|name| DisplayName::new(&name).ok()),
    }
}

fn next_presence(mut stream: EventStream<MembersChanged>, cx: &mut Cx<Reporter>) {
    let next = async move {
        let event = stream.next().await;
        (stream, event)
    };
    cx.run(next, |(stream, event)| Msg::Presence(stream, event));
}

/// Waits for the next message that changes raised hands.
fn next_stage(mut stream: EventStream<StageMessage>, cx: &mut Cx<Reporter>) {
    let next = async move {
        loop {
            match stream.next().await {
                Some(PresenceEvent::Told(message)) if hand_events(&message).next().is_none() => {}
                event => return (stream, event),
            }
        }
    };
    cx.run(next, |(stream, event)| Msg::Stage(stream, event));
}

fn next_recordings(mut changes: watch::Receiver<Option<Revision>>, cx: &mut Cx<Reporter>) {
    let next = async move {
        // Cannot fail: the sender is in the `Recordings`, which this actor holds.
        let _ = changes.changed().await;
        changes
    };
    cx.run(next, Msg::Recordings);
}

impl Behaviour for Reporter {
    const KIND: &'static str = "reporter";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let me = cx.me();
        // The wake-up fails only if this actor is gone; then no wake-up is needed.
        self.dirty = Some(self.context.subscribe(move || {
            let _ = me.tell_latest("rooms_changed", Msg::RoomsChanged);
        }));
        if let Some(PresenceParts { presence, stages }) = &self.presence {
            next_presence(presence.subscribe(), cx);
            next_stage(stages.follow(), cx);
        }
        next_recordings(self.recordings.changes(), cx);
        self.tick(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Tick => self.tick(cx),
            Msg::RoomsChanged => self.rooms_changed(),
            Msg::Presence(stream, Some(event)) => {
                self.presence_changed(event);
                next_presence(stream, cx);
            }
            // The next incarnation starts by reading everything.
            Msg::Presence(_, None) => return cx.fail("the stream of presence events ended"),
            Msg::Stage(stream, Some(event)) => {
                self.stage_changed(event);
                next_stage(stream, cx);
            }
            Msg::Stage(_, None) => return cx.fail("the stream of stage messages ended"),
            Msg::HandsDue => self.hands_timer = None,
            Msg::Recordings(changes) => {
                self.recordings_due = true;
                next_recordings(changes, cx);
            }
            Msg::Examined(done) => self.examined(done),
        }
        self.examine(cx);
    }

    fn observe(&self) -> ActorState {
        ActorState {
            observed: json!({ "examinations": self.examinations, "waiting": self.rooms.len() }),
            reason: self.last_error.clone(),
            ..ActorState::state(if self.busy { "working" } else { "resting" })
        }
    }
}
