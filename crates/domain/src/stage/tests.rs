//! Tests of the stage: its rules, and random histories of commands.

use proptest::prelude::*;

use super::*;
use crate::ids::UserId;
use crate::signalling::DisplayName;

const NOW: UnixMs = UnixMs(1_700_000_000_000);

fn id(n: u8) -> PersonId {
    PersonId::new(&format!("{n:016x}")).unwrap()
}

fn person(n: u8, role: StageRole) -> Person {
    let name = Some(DisplayName::new(&format!("P{n}")).unwrap());
    let subject = UserId::new(&format!("p{n}")).ok();
    Person { id: id(n), name, role, verified: true, subject }
}

fn listener(n: u8) -> Person {
    person(n, StageRole::Listener)
}

fn host() -> Person {
    person(200, StageRole::Host)
}

fn stage() -> Stage {
    Stage::new(HistoryId("h".into()))
}

fn text(text: &str) -> ChatText {
    ChatText::new(text).unwrap()
}

fn raise() -> Command {
    Command::RaiseHand { note: None }
}

fn at(ms: u64) -> UnixMs {
    UnixMs(NOW.0 + ms)
}

impl Stage {
    fn run(&mut self, by: &Person, command: Command, now: UnixMs) -> Result<Vec<Event>, Refusal> {
        let events = self.decide(by, command, now)?;
        events.iter().for_each(|event| self.fold(event));
        Ok(events)
    }

    fn order(&self) -> Vec<PersonId> {
        self.hands.iter().map(|hand| hand.person.id.clone()).collect()
    }
}

#[test]
fn hands_keep_the_order_of_time() {
    let mut stage = stage();
    for n in [3, 1, 2] {
        stage.run(&listener(n), raise(), at(n.into())).unwrap();
    }
    assert_eq!(stage.order(), [id(3), id(1), id(2)]);
    assert_eq!(stage.run(&listener(1), raise(), at(9)), Ok(vec![]), "one hand per person");
    let note = Some(NoteText::new("about the budget").unwrap());
    let again = Command::RaiseHand { note: note.clone() };
    assert_eq!(stage.run(&listener(3), again, at(10)).unwrap().len(), 1);
    assert_eq!((stage.order()[0].clone(), &stage.hands[0].note), (id(3), &note), "the place is kept");
    stage.run(&listener(3), Command::LowerHand, at(11)).unwrap();
    assert_eq!(stage.run(&listener(3), Command::LowerHand, at(12)), Ok(vec![]));
    stage.run(&listener(3), raise(), at(13)).unwrap();
    assert_eq!(stage.order(), [id(1), id(2), id(3)]);
    stage.run(&host(), Command::LowerHandOf(id(1)), at(14)).unwrap();
    assert_eq!(stage.order(), [id(2), id(3)]);
}

#[test]
fn only_hosts_moderate() {
    let mut stage = stage();
    stage.run(&listener(1), raise(), NOW).unwrap();
    stage.run(&listener(1), Command::Say(text("hello")), NOW).unwrap();
    let settings = Settings { chat_open: false, ..Settings::default() };
    let moderation = [
        Command::LowerHandOf(id(1)),
        Command::Invite(id(1)),
        Command::Revoke(id(1)),
        Command::Delete(MessageId(1)),
        Command::Pin(Some(MessageId(1))),
        Command::Pin(None),
        Command::Announce(Some(text("news"))),
        Command::GiveFloor(id(1), FloorSeconds::new(30).unwrap()),
        Command::EndFloor,
        Command::Configure(settings),
    ];
    for command in moderation {
        for by in [listener(2), person(3, StageRole::Anchor)] {
            assert_eq!(stage.decide(&by, command.clone(), NOW), Err(Refusal::HostOnly), "{command:?}");
        }
        assert!(stage.decide(&host(), command, NOW).is_ok());
    }
    assert!(
        stage.decide(&listener(1), Command::Delete(MessageId(1)), NOW).is_ok(),
        "people may delete their own messages"
    );
    assert_eq!(stage.decide(&host(), raise(), NOW), Err(Refusal::OnStage));
}

#[test]
fn floor_ends_by_time_or_request() {
    let mut stage = stage();
    let give = |n, seconds| Command::GiveFloor(id(n), FloorSeconds::new(seconds).unwrap());
    assert_eq!(stage.run(&host(), Command::EndFloor, NOW), Ok(vec![]), "nobody has the floor");
    stage.run(&host(), give(1, 60), NOW).unwrap();
    let floor = Floor { person: id(1), since: NOW, until: at(60_000) };
    assert_eq!(stage.floor, Some(floor));
    stage.run(&host(), give(2, 30), at(1_000)).unwrap();
    assert_eq!(stage.floor.as_ref().map(|floor| (&floor.person, floor.until)), Some((&id(2), at(31_000))));
    let anchor = |n| person(n, StageRole::Anchor);
    assert_eq!(stage.run(&anchor(1), Command::EndFloor, at(2_000)), Err(Refusal::HostOnly));
    assert_eq!(
        stage.decide(&anchor(2), Command::EndFloor, at(31_000)),
        Ok(vec![]),
        "the time of the floor is over"
    );
    assert_eq!(stage.run(&anchor(2), Command::EndFloor, at(2_000)).unwrap().len(), 1);
    assert_eq!(stage.floor, None);
    for wrong in [0, 4, 3_601] {
        assert!(FloorSeconds::new(wrong).is_err());
    }
}

#[test]
fn nameless_people_only_watch() {
    let nameless = Person { name: None, ..listener(1) };
    for command in [raise(), Command::Say(text("hello"))] {
        assert_eq!(stage().decide(&nameless, command, NOW), Err(Refusal::NameRequired));
    }
}

#[test]
fn notes_change_without_a_name() {
    let mut stage = stage();
    stage.run(&listener(1), raise(), NOW).unwrap();
    let nameless = Person { name: None, ..listener(1) };
    let note = Some(NoteText::new("about the budget").unwrap());
    stage.run(&nameless, Command::RaiseHand { note: note.clone() }, at(1)).unwrap();
    assert_eq!((&stage.hands[0].note, &stage.hands[0].person.name), (&note, &listener(1).name));
    let again = stage.run(&nameless, Command::RaiseHand { note }, at(2));
    assert_eq!(again, Ok(vec![]), "nothing changes");
}

#[test]
fn invitations_need_a_hand() {
    let mut stage = stage();
    assert_eq!(stage.run(&host(), Command::Invite(id(1)), NOW), Err(Refusal::NoHand));
    stage.run(&listener(1), raise(), NOW).unwrap();
    assert_eq!(stage.run(&listener(1), Command::Accept, NOW), Err(Refusal::NotInvited));
    stage.run(&host(), Command::Invite(id(1)), NOW).unwrap();
    assert_eq!(stage.run(&host(), Command::Invite(id(1)), NOW), Ok(vec![]));
    stage.run(&host(), Command::Revoke(id(1)), NOW).unwrap();
    assert_eq!(stage.run(&listener(1), Command::Accept, NOW), Err(Refusal::NotInvited));
    stage.run(&host(), Command::Invite(id(1)), NOW).unwrap();
    let accepted = Event::HandLowered { at: NOW, person: id(1), why: LoweringReason::Accepted };
    assert_eq!(stage.run(&listener(1), Command::Accept, NOW), Ok(vec![accepted]));
    assert_eq!(stage.run(&listener(1), Command::Accept, NOW), Err(Refusal::NotInvited), "once");
}

#[test]
fn slow_mode_binds_listeners() {
    let mut stage = stage();
    stage.run(&host(), Command::Configure(Settings::new(true, true, 10).unwrap()), NOW).unwrap();
    let say = || Command::Say(text("hello"));
    stage.run(&listener(1), say(), at(0)).unwrap();
    assert_eq!(stage.run(&listener(1), say(), at(4000)), Err(Refusal::SlowMode { wait_ms: 6000 }));
    assert!(stage.run(&listener(2), say(), at(4000)).is_ok() && stage.run(&host(), say(), at(4001)).is_ok());
    assert!(stage.run(&host(), say(), at(4002)).is_ok(), "slow mode does not apply to hosts");
    assert!(stage.run(&listener(1), say(), at(10_000)).is_ok());
    let mut ahead = stage.clone();
    ahead.run(&listener(3), say(), at(500_000)).unwrap();
    assert!(ahead.run(&listener(3), say(), at(20_000)).is_ok(), "a clock that is ahead keeps nobody out");
    assert!(Settings::new(true, true, 601).is_err());
}

#[test]
fn closed_chat_takes_only_speakers() {
    let mut stage = stage();
    stage.run(&host(), Command::Configure(Settings::new(false, false, 0).unwrap()), NOW).unwrap();
    let say = || Command::Say(text("hello"));
    assert_eq!(stage.run(&listener(1), say(), NOW), Err(Refusal::ChatClosed));
    assert_eq!(stage.run(&listener(1), raise(), NOW), Err(Refusal::HandsClosed));
    assert!(stage.run(&person(2, StageRole::Anchor), say(), NOW).is_ok());
}

#[test]
fn deleted_messages_are_unpinned() {
    let mut stage = stage();
    stage.run(&listener(1), Command::Say(text("one")), NOW).unwrap();
    stage.run(&host(), Command::Pin(Some(MessageId(1))), NOW).unwrap();
    for n in 0..MAX_MESSAGES as u64 {
        stage.run(&listener(2), Command::Say(text("more")), at(1000 * n)).unwrap();
    }
    assert!(stage.messages.len() == MAX_MESSAGES && stage.pinned.is_some());
    stage.run(&host(), Command::Delete(MessageId(1)), NOW).unwrap();
    assert_eq!(stage.pinned, None);
    assert_eq!(stage.run(&host(), Command::Delete(MessageId(1)), NOW), Err(Refusal::NoMessage));
}

#[test]
fn texts_are_bounded_and_visible() {
    assert!(ChatText::new(&"ü".repeat(500)).is_ok() && ChatText::new(&"ü".repeat(501)).is_err());
    assert!(NoteText::new(&"x".repeat(140)).is_ok() && NoteText::new(&"x".repeat(141)).is_err());
    for bad in ["", " ", "\u{202E}evil", "\u{200B}", &"\u{FDFA}\u{301}".repeat(9000)] {
        assert!(ChatText::new(bad).is_err() && NoteText::new(bad).is_err(), "{bad:?}");
    }
}

#[derive(Debug, Clone)]
struct Step {
    by: u8,
    role: StageRole,
    command: Command,
    gap: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let someone = || (0_u8..6).prop_map(id);
    let message = || (0_u64..40).prop_map(MessageId);
    let command = prop_oneof![
        4 => Just(raise()),
        2 => Just(Command::LowerHand),
        1 => someone().prop_map(Command::LowerHandOf),
        4 => someone().prop_map(Command::Invite),
        1 => someone().prop_map(Command::Revoke),
        4 => Just(Command::Accept),
        8 => Just(Command::Say(text("hello"))),
        1 => message().prop_map(Command::Delete),
        1 => prop::option::of(message()).prop_map(Command::Pin),
        1 => prop::option::of(Just(text("news"))).prop_map(Command::Announce),
        1 => (any::<bool>(), any::<bool>(), 0_u32..4).prop_map(|(hands, chat, slow)| {
            Command::Configure(Settings::new(hands, chat, slow).unwrap())
        }),
    ];
    let role = prop_oneof![
        3 => Just(StageRole::Listener), 1 => Just(StageRole::Anchor), 2 => Just(StageRole::Host)
    ];
    let step = (0_u8..6, role, command, 0_u64..1500);
    prop::collection::vec(step.prop_map(|(by, role, command, gap)| Step { by, role, command, gap }), 1..200)
}

proptest! {
    #[test]
    fn histories_keep_the_rules(steps in steps()) {
        let (mut stage, mut copy, mut now) = (stage(), stage(), 0);
        for Step { by, role, command, gap } in steps {
            now += gap;
            let by = person(by, role);
            let before = stage.clone();
            let Ok(events) = stage.decide(&by, command.clone(), at(now)) else { continue };
            prop_assert_eq!(&stage, &before, "decide changes nothing");
            for event in &events {
                stage.fold(event);
                // Serialize the event, as it is sent to other nodes.
                let sent: Event = serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
                copy.fold(&sent);
            }
            prop_assert_eq!(&stage, &copy);
            prop_assert_eq!(stage.version, before.version + events.len() as u64);
            // A repeated command changes nothing, except for these three.
            if !matches!(command, Command::Say(_) | Command::Delete(_) | Command::Accept) {
                prop_assert_eq!(stage.decide(&by, command.clone(), at(now)), Ok(vec![]), "{:?}", command);
            }
            let mut ids = stage.order();
            prop_assert!(stage.hands.is_sorted_by_key(|hand| hand.raised_at));
            ids.sort();
            ids.dedup();
            prop_assert_eq!(ids.len(), stage.hands.len());
            prop_assert!(stage.messages.iter().map(|m| m.id).is_sorted_by(|a, b| a < b));
            prop_assert!(stage.messages.len() <= MAX_MESSAGES && stage.hands.len() <= MAX_HANDS);
            prop_assert!(stage.last_message.len() <= MAX_TALKERS);
            let invited = |stage: &Stage| stage.hands.iter().filter(|hand| hand.invited).count();
            if role != StageRole::Host {
                prop_assert!(invited(&stage) <= invited(&before), "only hosts invite");
                prop_assert_eq!(stage.settings, before.settings);
            }
        }
        let read: Stage = serde_json::from_str(&serde_json::to_string(&stage).unwrap()).unwrap();
        prop_assert_eq!(read, stage);
    }

    #[test]
    fn slow_mode_holds_for_every_history(gaps in prop::collection::vec(0_u64..4000, 1..100)) {
        let (mut stage, mut now, mut last) = (stage(), 0, None);
        stage.run(&host(), Command::Configure(Settings::new(true, true, 2).unwrap()), NOW).unwrap();
        for gap in gaps {
            now += gap;
            if stage.run(&listener(1), Command::Say(text("x")), at(now)).is_ok() {
                prop_assert!(last.is_none_or(|last| now - last >= 2000));
                last = Some(now);
            }
        }
    }
}
