//! What the simulation does not look at: Janus rooms that refuse our secret.

use super::*;

const NOW: Duration = Duration::from_secs(1);

#[test]
fn a_locked_room_is_tried_once_per_connection_and_the_actor_stays_to_name_it() {
    let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
    let mut machine = JanusRoom::new(ModuleId::new("here").unwrap(), "i".into(), backoff);
    let left = Found { janus_room_id: 123_456, created_at: Epoch(1), forwarders: None };
    for _ in 0..2 {
        machine.linked(Some(vec![left.clone()]));
        let plan = machine.plan(&RoomView::default(), NOW, UnixMs(0));
        assert!(
            matches!(plan, Plan::Do { effect: Effect::Destroy { janus_room_id: 123_456 }, .. }),
            "{plan:?}"
        );
        machine.done(Outcome::Locked { janus_room_id: 123_456 }, NOW, 0.5);
        let Plan::Wait { reason, until: None } = machine.plan(&RoomView::default(), NOW, UnixMs(0)) else {
            panic!("it is final, and not finished");
        };
        assert!(reason.contains("123456") && reason.contains("hls.secret"), "{reason}");
        assert_eq!((machine.attempt(), machine.retry_due()), (0, None));
    }
}
