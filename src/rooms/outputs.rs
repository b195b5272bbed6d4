//! Outputs of rooms: requests of the room API, and reports of the nodes that push.

use crate::domain::ids::{Nonce, RoomId};
use crate::domain::keys::{self, RoomPart};
use crate::domain::output::{
    Output, OutputDenied, OutputId, OutputStates, OutputStatus, admit_add, admit_remove,
};
use crate::domain::view::RoomView;
use crate::store::{Store, Txn, TxnOutcome};

use super::txn::{self, RoomRead};
use super::{RoomError, RoomService};

/// Maximum number of attempts to write a report. Conflicts are rare: few actors write the states of a room.
const ATTEMPTS: usize = 8;

impl RoomService {
    /// Adds an output to a room, on air or not. `most`: maximum number of outputs of a room.
    ///
    /// # Errors
    /// [`RoomError::Output`], or a store error.
    pub async fn add_output(
        &self,
        room: &RoomId,
        id: &OutputId,
        output: &Output,
        most: usize,
    ) -> Result<RoomView, RoomError> {
        self.change(room, |read: &RoomRead| Ok(admit_add(&read.view, id, output, most)?)).await
    }

    /// Removes an output. The room's mixer then ends the connection to the target.
    ///
    /// # Errors
    /// [`RoomError::Output`], or a store error.
    pub async fn remove_output(&self, room: &RoomId, id: &OutputId) -> Result<RoomView, RoomError> {
        self.change(room, |read: &RoomRead| Ok(admit_remove(&read.view, id)?)).await
    }
}

/// Writes the state of an output and the event of the change. Writes nothing if the room or the output no
/// longer exists.
///
/// # Errors
/// A store error, an unreadable value, or [`RoomError::Busy`].
pub async fn report(
    store: &dyn Store,
    room: &RoomId,
    id: &OutputId,
    nonce: &Nonce,
    status: &OutputStatus,
) -> Result<(), RoomError> {
    let key = |part| keys::room(room, part);
    for _ in 0..ATTEMPTS {
        let RoomRead { view, .. } = txn::read(store, room).await?;
        let Some(output) = view.outputs.as_ref().and_then(|outputs| outputs.0.get(id)) else { return Ok(()) };
        let known = view.output_states.as_ref();
        let (states, event) =
            OutputStates::with(known.map(|states| &states.value), &view, (id, output), nonce, status.clone());
        let meta = view.meta.as_ref().map_or(0, |meta| meta.mod_revision);
        let states_key = key(RoomPart::OutputStates);
        let txn = Txn::new().when(key(RoomPart::Meta), meta);
        let txn = txn.when(&states_key, known.map_or(0, |known| known.mod_revision));
        let txn =
            txn::with_events(txn.put(states_key, txn::json(&states)), room, event.into_iter().collect());
        if let TxnOutcome::Committed(_) = store.txn(txn).await? {
            return Ok(());
        }
    }
    Err(RoomError::Busy)
}

impl From<OutputDenied> for RoomError {
    fn from(denied: OutputDenied) -> Self {
        match denied {
            OutputDenied::NoSuchRoom => Self::NotFound,
            denied => Self::Output(denied),
        }
    }
}
