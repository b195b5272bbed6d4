//! Bans of a room on this node's channel: shown to hosts, and ended for those banned.

use std::sync::Arc;

use super::channel::Inner;
use super::encode::{self, BanLine};
use super::hub::{CommandError, OpenError, StageHub};
use crate::domain::ids::{RoomId, UnixMs, UserId};
use crate::domain::model::User;
use crate::domain::signalling::DisplayName;
use crate::domain::stage::{Command, Person, PersonId, StageRole};
use crate::domain::view::{StoredValue, Users};
use crate::rooms::now;

/// Most bans that hosts see. The room API lists all.
const MAX_BANS_SHOWN: usize = 100;

impl StageHub {
    /// Takes over the users of a room. A changed list of bans is an entry, which also wakes the subscribers.
    pub(super) fn show_bans(&self, inner: &mut Inner, room: &RoomId, users: Arc<Users>) {
        if Arc::ptr_eq(&inner.users, &users) {
            return;
        }
        inner.users = users;
        let bans = self.bans(room, &inner.users);
        if bans != inner.around.bans {
            inner.around.bans = bans;
            let entry = encode::bans(&inner.around.bans, now());
            inner.show(entry);
        }
    }

    /// Returns the newest bans, newest first.
    fn bans(&self, room: &RoomId, users: &Users) -> Vec<BanLine> {
        let mut banned: Vec<_> =
            users.iter().filter_map(|(id, user)| Some((user.removed_at?, id, user))).collect();
        banned.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        let line = |(banned_at, id, user): (UnixMs, &UserId, &StoredValue<User>)| BanLine {
            id: self.parts.secrets.person_id(room, id.as_str()),
            name: user.banned_name.clone(),
            banned_at,
        };
        banned.into_iter().take(MAX_BANS_SHOWN).map(line).collect()
    }

    /// Lowers the hand of a banned person.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn lower_banned(&self, room: &RoomId, person: PersonId) -> Result<(), CommandError> {
        let system =
            Person { id: person.clone(), name: None, role: StageRole::Host, verified: false, subject: None };
        self.command(room, &system, Command::LowerHandOf(person)).await.map(|_| ())
    }

    /// Returns the user who is this person, and the name of the person: somebody who has a hand raised, has
    /// written, is in the room, or was invited to it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn find(
        &self,
        room: &RoomId,
        person: &PersonId,
    ) -> Result<Option<(UserId, Option<DisplayName>)>, OpenError> {
        let channel = self.channel(room).await?;
        let on_stage = channel.lock().stage.people().find(|known| known.id == *person).cloned();
        if let Some(Person { subject: Some(user), name, .. }) = on_stage {
            return Ok(Some((user, name)));
        }
        let is_person = |user: &UserId| self.parts.secrets.person_id(room, user.as_str()) == *person;
        let members = match &self.parts.presence {
            Some(presence) => presence.list(room).await.map_err(OpenError::Store)?,
            None => Vec::new(),
        };
        if let Some(member) = members.into_iter().find(|member| is_person(&member.user_id)) {
            let name = member.display_name.and_then(|name| DisplayName::new(&name).ok());
            return Ok(Some((member.user_id, name)));
        }
        let view = self.parts.directory.room(room).unwrap_or_default();
        Ok(view.users.keys().find(|user| is_person(user)).map(|user| (user.clone(), None)))
    }

    /// Returns the banned user who is this person; `None` if the person is not banned.
    pub fn banned(&self, room: &RoomId, person: &PersonId) -> Option<UserId> {
        let view = self.parts.directory.room(room)?;
        let is_person = |user: &&UserId| self.parts.secrets.person_id(room, user.as_str()) == *person;
        view.banned().map(|(user, _)| user).find(is_person).cloned()
    }
}
