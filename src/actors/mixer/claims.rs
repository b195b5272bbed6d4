//! A room's store effects as transactions that hold only while what they rest on is true.

use crate::actors::context::Context;
use crate::domain::ids::RoomId;
use crate::domain::keys::{self, RoomPart};
use crate::domain::mixer_room::{KeyClaim, Reservation, StoreEffect};
use crate::domain::plan::{Failure, WriteOutcome};
use crate::store::Txn;

pub async fn write(context: Context, room: RoomId, effect: StoreEffect) -> WriteOutcome {
    match transaction(&room, &effect) {
        Ok(txn) => context.write(txn).await,
        Err(error) => WriteOutcome::Failed(Failure::Refused(error.to_string())),
    }
}

fn transaction(room: &RoomId, effect: &StoreEffect) -> Result<Txn, serde_json::Error> {
    let key = |part| keys::room(room, part);
    Ok(match effect {
        StoreEffect::Claim { live_revision, key: claim, numbers } => {
            let mut txn = Txn::new().when(key(RoomPart::LiveMeta), *live_revision);
            if let Some(KeyClaim { state, key_revision }) = claim {
                let json = serde_json::to_vec(state)?;
                txn = txn.when(key(RoomPart::Mixer), *key_revision).put(key(RoomPart::Mixer), json);
            }
            if let Some(Reservation { ceiling, key_revision, .. }) = numbers {
                let json = serde_json::to_vec(ceiling)?;
                txn = txn.when(key(RoomPart::Sequence), *key_revision).put(key(RoomPart::Sequence), json);
            }
            txn
        }
        StoreEffect::DeleteKey { key_revision } => {
            Txn::new().when(key(RoomPart::Mixer), *key_revision).delete(key(RoomPart::Mixer))
        }
        StoreEffect::Release { exact, key_revision } => Txn::new()
            .when(key(RoomPart::Sequence), *key_revision)
            .put(key(RoomPart::Sequence), serde_json::to_vec(exact)?),
    })
}
