//! Members of a room in its channel: the people who may speak, and those who talk.
//!
//! Listeners do not see who is in a backstage.

use std::collections::BTreeSet;

use super::encode::{self, MemberLine};
use super::hub::StageHub;
use crate::domain::ids::RoomId;
use crate::domain::roles::{self, RoomRole};
use crate::domain::signalling::DisplayName;
use crate::domain::stage::PersonId;
use crate::rooms::now;

impl StageHub {
    /// Reads the members of a room and shows them if they have changed.
    pub async fn reread_members(&self, room: &RoomId) {
        let (Some(channel), Some(presence)) = (self.known(room), &self.parts.presence) else { return };
        let Ok(members) = presence.list(room).await else { return };
        let view = self.parts.directory.room(room);
        let hidden = view.as_ref().is_some_and(|view| view.is_backstage());
        let off_stage = |user: &_| view.as_ref().is_some_and(|view| view.is_off_stage(user));
        let lines = members.into_iter().filter(|member| !hidden && !off_stage(&member.user_id));
        let lines = lines.map(|member| MemberLine {
            id: self.parts.secrets.person_id(room, member.user_id.as_str()),
            name: member.display_name.and_then(|name| DisplayName::new(&name).ok()),
            role: match &view {
                Some(view) => roles::in_force(&view.users, &member.user_id, member.role).into(),
                None => RoomRole::from(member.role).into(),
            },
            muted: member.muted,
        });
        let lines: Vec<_> = lines.collect();
        let talkers = self.talkers(room);
        channel.publish(|inner| {
            if inner.around.members == lines {
                return;
            }
            inner.around.members = lines;
            let known = inner.around.talking.clone();
            inner.around.talking.extend(talkers);
            let entry = encode::members(&inner.around.members, now());
            inner.show(entry);
            inner.around.talking = inner.talking_members();
            if inner.around.talking != known {
                let entry = encode::talking(&inner.around.talking, now());
                inner.show(entry);
            }
        });
    }

    /// Returns the people who talk and may be shown.
    pub(super) fn talkers(&self, room: &RoomId) -> BTreeSet<PersonId> {
        let hidden = self.parts.directory.room(room).is_some_and(|view| view.is_backstage());
        if hidden { BTreeSet::new() } else { self.talking().get(room).cloned().unwrap_or_default() }
    }
}
