//! Bans and roles of a room, applied to its channel on this node.

use std::sync::Arc;

use super::channel::Inner;
use super::encode::{self, BanLine};
use super::hub::{CommandError, OpenError, StageHub};
use crate::domain::ids::{RoomId, UnixMs, UserId};
use crate::domain::model::User;
use crate::domain::roles::{self, RoomRole};
use crate::domain::signalling::DisplayName;
use crate::domain::stage::{Command, Person, PersonId, StageRole};
use crate::domain::view::{StoredValue, Users};
use crate::rooms::now;

/// User who was found by a person id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPerson {
    pub user: UserId,
    pub name: Option<DisplayName>,
    /// `None`: a listener.
    pub role: Option<RoomRole>,
}

/// Maximum number of bans that hosts see. The room API lists all.
const MAX_BANS_SHOWN: usize = 100;

impl StageHub {
    /// Replaces the known users of a room. Returns true if they have changed. In this case an entry is
    /// appended, which wakes the subscribers: their streams end if bans or roles require it.
    pub(super) fn take_users(&self, inner: &mut Inner, room: &RoomId, users: Arc<Users>) -> bool {
        if Arc::ptr_eq(&inner.users, &users) {
            return false;
        }
        inner.users = users;
        let bans = self.bans(room, &inner.users);
        if bans != inner.around.bans {
            inner.around.bans = bans;
            let entry = encode::bans(&inner.around.bans, now());
            inner.show(entry);
        } else {
            inner.push(encode::heartbeat(), None);
        }
        true
    }

    /// Returns the latest bans, the newest first, without kicks.
    fn bans(&self, room: &RoomId, users: &Users) -> Vec<BanLine> {
        let mut banned: Vec<_> = users
            .iter()
            .filter(|(_, user)| !user.kicked)
            .filter_map(|(id, user)| Some((user.removed_at?, id, user)))
            .collect();
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

    /// Returns the user with this person id. Finds users who have raised a hand, have written, are in the
    /// room, or were invited to the room.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn find(&self, room: &RoomId, person: &PersonId) -> Result<Option<FoundPerson>, OpenError> {
        let channel = self.channel(room).await?;
        let on_stage = channel.lock().copy.stage().people().find(|known| known.id == *person).cloned();
        let view = self.parts.directory.room(room).unwrap_or_default();
        let is_person = |user: &UserId| self.parts.secrets.person_id(room, user.as_str()) == *person;
        let members = match &self.parts.presence {
            Some(presence) => presence.list(room).await.map_err(OpenError::Store)?,
            None => Vec::new(),
        };
        if let Some(member) = members.into_iter().find(|member| is_person(&member.user_id)) {
            let name = member.display_name.and_then(|name| DisplayName::new(&name).ok());
            let role = Some(roles::in_force(&view.users, &member.user_id, member.role));
            return Ok(Some(FoundPerson { user: member.user_id, name, role }));
        }
        if let Some(Person { subject: Some(user), name, role, .. }) = on_stage {
            let assigned = view.users.get(&user).and_then(|user| user.assigned);
            return Ok(Some(FoundPerson { user, name, role: assigned.or(role.in_room()) }));
        }
        let invited = view.users.iter().find(|(user, _)| is_person(user));
        Ok(invited.map(|(id, user)| {
            let role = roles::in_force(&view.users, id, user.role);
            FoundPerson { user: id.clone(), name: None, role: Some(role) }
        }))
    }

    /// Returns the banned user with this person id; `None` if the person is not banned.
    pub fn banned(&self, room: &RoomId, person: &PersonId) -> Option<UserId> {
        let view = self.parts.directory.room(room)?;
        let is_person = |user: &&UserId| self.parts.secrets.person_id(room, user.as_str()) == *person;
        view.banned().map(|(user, _)| user).find(is_person).cloned()
    }
}
