//! Tests of the methods of hosts and co-hosts.

use super::*;
use crate::roles::{ClaimedRole, RoleOrder, RoomRole};
use crate::users::BanOrder;

const HOST: &str = r#"{"role":"host","createdAt":0}"#;
const INVITED: &str = r#"{"role":"anchor","createdAt":0}"#;

/// Returns all methods that need a right, with their parameters.
fn moderation() -> Vec<(&'static str, Value)> {
    let bert = json!({ "userId": "bert" });
    vec![
        ("mute", bert.clone()),
        ("unmute", bert.clone()),
        ("ban", bert.clone()),
        ("unban", bert.clone()),
        ("setRole", json!({ "userId": "bert", "role": "co_host" })),
        ("transferHost", bert),
        ("muteAll", json!({})),
        ("lock", json!({})),
        ("unlock", json!({})),
        ("goLive", json!({})),
    ]
}

fn change(id: u64, order: RoomOrder) -> Effect {
    Effect::ChangeRoom(CallId(id), order)
}

fn member(name: &str, role: UserRole) -> PresenceEntry {
    let display_name = Some(format!("The {name}"));
    PresenceEntry { user_id: user(name), role, display_name, ..entry(5, ActivityStatus::Idle, false) }
}

fn listed(rig: &mut Rig, id: u64, members: &[PresenceEntry]) -> Vec<Effect> {
    rig.feed(Input::Listed(Waiter::Call(CallId(id)), Ok(members.to_vec())))
}

#[test]
fn moderation_needs_the_role_in_force() {
    for (name, params) in moderation() {
        let mut rig = Rig::connected();
        assert_eq!(rig.call(1, name, params.clone()), [refused(1, ErrorCode::Forbidden)], "{name}");
        let mut rig = Rig::connected_as(UserRole::Host);
        let effects = rig.call(1, name, params);
        assert!(!matches!(effects[..], [Effect::Reply(..)]), "{name}: {effects:?}");
    }
}

#[test]
fn moderation_checks_token_and_room_again() {
    for (name, params) in moderation() {
        let mut rig = Rig::connected_as(UserRole::Host);
        rig.at.wall = UnixMs(3_600_000);
        let effects = [refused(1, ErrorCode::RoomOver), Effect::Close(CloseCode::TokenInvalid)];
        assert_eq!(rig.call(1, name, params.clone()), effects, "{name}");
        let mut rig = Rig::connected_as(UserRole::Host);
        rig.at.room = Some(Arc::default());
        let close = Effect::Close(CloseCode::RoomClosed);
        let effects = [refused(1, ErrorCode::RoomOver), room_closed("deleted"), close];
        assert_eq!(rig.call(1, name, params), effects, "{name}");
    }
}

#[test]
fn hosts_change_the_room() {
    let bert = || json!({ "userId": "bert" });
    let muted = |muted| Effect::MuteUser { call: CallId(1), user: user("bert"), muted };
    for (name, params, effect) in [
        ("mute", bert(), muted(true)),
        ("unmute", bert(), muted(false)),
        ("unban", bert(), change(1, RoomOrder::Unban(user("bert")))),
        ("muteAll", json!({}), change(1, RoomOrder::MuteAll)),
        ("lock", json!({}), change(1, RoomOrder::SetLocked(true))),
        ("unlock", json!({}), change(1, RoomOrder::SetLocked(false))),
        ("goLive", json!({}), change(1, RoomOrder::GoLive)),
    ] {
        let mut rig = Rig::connected_as(UserRole::Host);
        assert_eq!(rig.call(1, name, params), [effect]);
        assert_eq!(rig.finish(1), [done(1)]);
    }
}

#[test]
fn roles_change_for_members_present() {
    let anna = || ClaimedRole { user: user("anna"), claimed: UserRole::Host };
    let to = || ClaimedRole { user: user("bert"), claimed: UserRole::Anchor };
    let assign = RoleOrder::Assign { to: to(), role: RoomRole::CoHost, by: Some(anna()) };
    let transfer = RoleOrder::Transfer { to: to(), by: anna() };
    for (name, params, order) in [
        ("setRole", json!({ "userId": "bert", "role": "co_host" }), assign),
        ("transferHost", json!({ "userId": "bert" }), transfer),
    ] {
        let mut rig = Rig::connected_as(UserRole::Host);
        let waiter = Waiter::Call(CallId(1));
        assert_eq!(rig.call(1, name, params.clone()), [Effect::ListMembers(waiter)]);
        let effects = listed(&mut rig, 1, &[member("bert", UserRole::Anchor)]);
        assert_eq!(effects, [change(1, RoomOrder::ChangeRole(order))]);
        rig.call(2, name, params.clone());
        assert_eq!(listed(&mut rig, 2, &[]), [refused(2, ErrorCode::NoSuchMember)]);
        rig.call(3, name, params);
        let failed = rig.feed(Input::Listed(Waiter::Call(CallId(3)), Err(Unavailable)));
        assert_eq!(failed, [refused_for(3, ErrorCode::Unavailable, AWAY)]);
    }
}

#[test]
fn bans_follow_the_target_role() {
    let ban = |name: Option<&str>| {
        let name = name.and_then(|name| crate::signalling::DisplayName::new(name).ok());
        change(1, RoomOrder::Ban(BanOrder { user: user("bert"), name, by: Some(user("anna")) }))
    };
    let co_host = r#"{"role":"anchor","createdAt":0,"assigned":"co_host"}"#;
    let (anchor, host) = (vec![member("bert", UserRole::Anchor)], vec![member("bert", UserRole::Host)]);
    for (users, present, effect) in [
        (vec![], anchor.clone(), ban(Some("The bert"))),
        (vec![("bert", INVITED)], vec![], ban(None)),
        (vec![], vec![], refused(1, ErrorCode::NoSuchMember)),
        (vec![("anna", co_host)], anchor, ban(Some("The bert"))),
        (vec![("anna", co_host)], host, refused(1, ErrorCode::Forbidden)),
        (vec![("anna", co_host), ("bert", HOST)], vec![], refused(1, ErrorCode::Forbidden)),
    ] {
        let mut rig = Rig::connected_as(UserRole::Host);
        rig.at.room = Some(room(OPEN, &users));
        rig.call(1, "ban", json!({ "userId": "bert" }));
        assert_eq!(listed(&mut rig, 1, &present), [effect], "{users:?}");
    }
    let mut rig = Rig::connected_as(UserRole::Host);
    rig.call(1, "ban", json!({ "userId": "anna" }));
    assert_eq!(listed(&mut rig, 1, &[member("anna", UserRole::Host)]), [refused(1, ErrorCode::Forbidden)]);
}

#[test]
fn kick_needs_the_right_to_ban() {
    let mut rig = Rig::connected_as(UserRole::Host);
    rig.call(1, "kick", json!({ "userId": "bert" }));
    let name = crate::signalling::DisplayName::new("The bert").ok();
    let order = RoomOrder::Kick(BanOrder { user: user("bert"), name, by: Some(user("anna")) });
    assert_eq!(listed(&mut rig, 1, &[member("bert", UserRole::Anchor)]), [change(1, order)]);
    let co_host = r#"{"role":"anchor","createdAt":0,"assigned":"co_host"}"#;
    rig.at.room = Some(room(OPEN, &[("anna", co_host)]));
    rig.call(2, "kick", json!({ "userId": "bert" }));
    assert_eq!(listed(&mut rig, 2, &[member("bert", UserRole::Host)]), [refused(2, ErrorCode::Forbidden)]);
}

#[test]
fn ban_works_while_presence_is_away() {
    let mut rig = Rig::connected_as(UserRole::Host);
    rig.at.room = Some(room(OPEN, &[("bert", INVITED)]));
    rig.call(1, "ban", json!({ "userId": "bert" }));
    let effects = rig.feed(Input::Listed(Waiter::Call(CallId(1)), Err(Unavailable)));
    assert!(matches!(effects[..], [Effect::ChangeRoom(CallId(1), RoomOrder::Ban(_))]), "{effects:?}");
}

#[test]
fn role_lost_meanwhile_refuses_the_change() {
    let mut rig = Rig::connected_as(UserRole::Host);
    rig.call(1, "setRole", json!({ "userId": "bert", "role": "co_host" }));
    let demoted = r#"{"role":"host","createdAt":0,"assigned":"anchor"}"#;
    rig.at.room = Some(room(OPEN, &[("anna", demoted)]));
    let effects = listed(&mut rig, 1, &[member("bert", UserRole::Anchor)]);
    assert_eq!(effects, [refused(1, ErrorCode::Forbidden)]);
}
