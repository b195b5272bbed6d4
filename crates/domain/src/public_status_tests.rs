//! Tests of the public status: which heartbeats make a room's keys count.

use std::sync::Arc;

use super::*;
use crate::ids::{Epoch, MediaAddr, Nonce, UnixMs};
use crate::model::{ForwarderState, Heartbeat, JanusState, LiveMeta, LiveStatus, MixerState};
use crate::view::{ModuleView, StoredValue};

#[test]
fn unhealthy_module_degrades_room() {
    let well = [(ModuleKind::Janus, "j", Health::Healthy), (ModuleKind::Mixer, "m", Health::Healthy)];
    assert_eq!(
        shown(&on_air("run-1"), &modules(&well, "run-1")),
        Some(PublicStatus {
            status: RoomStatus::OnAir,
            janus: Some(JanusStatus::Forwarding),
            listening: true
        })
    );
    for gone in 0..2 {
        let mut sick = well;
        sick[gone].2 = Health::Unhealthy;
        for modules in [modules(&sick, "run-1"), modules(&well[1 - gone..2 - gone], "run-1")] {
            let shown = shown(&on_air("run-1"), &modules).unwrap();
            assert_eq!(shown.status, RoomStatus::Degraded);
            assert_eq!((shown.janus.is_some(), shown.listening), (gone != 0, gone != 1));
        }
    }
}

#[test]
fn keys_of_earlier_incarnation_are_ignored() {
    let well = [(ModuleKind::Janus, "j", Health::Healthy), (ModuleKind::Mixer, "m", Health::Healthy)];
    let now = modules(&well, "run-2");
    let degraded = PublicStatus { status: RoomStatus::Degraded, janus: None, listening: false };
    assert_eq!(shown(&on_air("run-1"), &now), Some(degraded));
    let mut older_version = on_air("run-2");
    older_version.janus.as_mut().unwrap().value.incarnation = None;
    assert_eq!(shown(&older_version, &now).unwrap().status, RoomStatus::OnAir);
}

#[test]
fn public_status_keeps_status_off_air() {
    let mut room = on_air("run-1");
    room.mixer = None;
    assert_eq!(shown(&room, &Modules::default()).unwrap().status, RoomStatus::Degraded);
    room.janus = None;
    assert_eq!(shown(&room, &Modules::default()).unwrap().status, RoomStatus::Starting);
    assert_eq!(shown(&RoomView::default(), &Modules::default()), None);
}

#[test]
fn starved_mixer_degrades_room() {
    let well = [(ModuleKind::Janus, "j", Health::Healthy), (ModuleKind::Mixer, "m", Health::Healthy)];
    let mut room = on_air("run-1");
    room.mixer.as_mut().unwrap().value.starved = 1;
    let shown = shown(&room, &modules(&well, "run-1")).unwrap();
    assert_eq!((shown.status, shown.listening), (RoomStatus::Degraded, true));
}

#[test]
fn missing_parts_are_named() {
    let well = [(ModuleKind::Janus, "j", Health::Healthy), (ModuleKind::Mixer, "m", Health::Healthy)];
    let healthy = modules(&well, "run-1");
    assert_eq!(missing(&on_air("run-1"), &healthy), None);
    let without_janus = modules(&well[1..], "run-1");
    assert_eq!(missing(&on_air("run-1"), &without_janus).unwrap(), "Janus j has no heartbeat");
    let nothing = missing(&on_air("run-1"), &Modules::default()).unwrap();
    assert_eq!(nothing, "Janus j has no heartbeat; mixer m has no heartbeat");
    let with = |change: fn(&mut RoomView)| {
        let mut room = on_air("run-1");
        change(&mut room);
        missing(&room, &healthy).unwrap()
    };
    let silent = with(|room| room.mixer.as_mut().unwrap().value.starved = 1);
    assert_eq!(silent, "no audio arrives at mixer m");
    let unheard = with(|room| {
        room.mixer.as_mut().unwrap().value.silent = true;
        room.janus.as_mut().unwrap().value.unheard = true;
    });
    assert_eq!(unheard, "somebody speaks, but the mix at mixer m is silent");
    let mut quiet = on_air("run-1");
    quiet.mixer.as_mut().unwrap().value.silent = true;
    assert_eq!(missing(&quiet, &healthy), None, "nobody speaks");
    let gave_up = with(|room| room.mixer.as_mut().unwrap().value.gave_up = true);
    assert_eq!(gave_up, "mixer m gave the room up");
    let stopped = with(|room| room.janus.as_mut().unwrap().value.status = JanusStatus::NotForwarding);
    assert_eq!(stopped, "Janus j does not forward to mixer m");
    let starting = with(|room| (room.janus, room.mixer) = (None, None));
    assert_eq!(starting, "Janus j has not created the room; mixer m does not wait for the audio");
    let leaving = with(|room| room.live.as_mut().unwrap().value.status = LiveStatus::Removing);
    assert_eq!(leaving, "Janus j has not released the room; mixer m has not released the room");
}

fn on_air(incarnation: &str) -> RoomView {
    let (janus_id, mixer_id) = (id("j"), id("m"));
    let rtp = MediaAddr { ip: std::net::Ipv4Addr::LOCALHOST.into(), port: 10_000 };
    let (epoch, written_by) = (Epoch(7), Some(incarnation.to_owned()));
    let janus = JanusState {
        id: janus_id.clone(),
        janus_room_id: 123_456,
        status: JanusStatus::Forwarding,
        forwarder: Some(ForwarderState { stream_id: 1, target: rtp }),
        timestamp: UnixMs(1),
        epoch,
        unheard: false,
        incarnation: written_by.clone(),
    };
    let hls_url = String::new();
    let mixer = MixerState {
        id: mixer_id.clone(),
        rtp,
        hls_url,
        epoch,
        incarnation: written_by,
        gave_up: false,
        ready: false,
        starved: 0,
        silent: false,
        unheard: false,
    };
    let live = LiveMeta {
        status: LiveStatus::OnAir,
        mixer_id,
        janus_id,
        nonce: Nonce("n".into()),
        created_at: UnixMs(1),
        discard_at: None,
        handover: None,
        epoch,
        trace: None,
        placement_reasons: Default::default(),
    };
    RoomView {
        live: versioned(live),
        janus: versioned(janus),
        mixer: versioned(mixer),
        ..RoomView::default()
    }
}

fn modules(list: &[(ModuleKind, &str, Health)], incarnation: &str) -> Modules {
    let view = |status| ModuleView {
        heartbeat: versioned(Heartbeat {
            status,
            host: String::new(),
            url: String::new(),
            capacity: 1,
            started_at: UnixMs(1),
            incarnation: incarnation.into(),
            version: String::new(),
            rtp: None,
            machine_load: None,
            secret_fingerprint: None,
        }),
        ..ModuleView::default()
    };
    list.iter().map(|(kind, name, health)| ((*kind, id(name)), Arc::new(view(*health)))).collect()
}

fn id(name: &str) -> ModuleId {
    ModuleId::new(name).unwrap()
}

fn versioned<T>(value: T) -> Option<StoredValue<T>> {
    Some(StoredValue { value, mod_revision: 1 })
}
