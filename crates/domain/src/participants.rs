//! Participants of a Janus room, and which of them are talking, as Janus reports to one session.
//!
//! Owns the names behind Janus's participant numbers, and guarantees that every user reported as talking is
//! later reported as no longer talking. Never reports participants without a name: these are plain-RTP
//! participants and not users.

use std::collections::HashMap;
use std::sync::Arc;

/// Participants in the room, the session's own included, by number in Janus.
#[derive(Debug, Default)]
pub struct Participants(HashMap<u64, Participant>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    pub name: Arc<str>,
    pub talks: bool,
}

/// Report that a user has started or stopped talking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TalkingChanged {
    pub user: Arc<str>,
    pub talking: bool,
}

impl Participants {
    /// Adds a new participant, and returns the change of the user's talking state, if any. An event about a
    /// known participant is ignored, because it does not contain the talking state.
    pub fn met(&mut self, number: u64, person: Participant) -> Option<TalkingChanged> {
        if self.0.contains_key(&number) {
            return None;
        }
        let name = person.name.clone();
        self.changed(name, |all| drop(all.insert(number, person)))
    }

    /// Replaces all participants with those in the room now, and returns the differences. Earlier events may
    /// have been missed.
    pub fn found(&mut self, all: impl IntoIterator<Item = (u64, Participant)>) -> Vec<TalkingChanged> {
        let before: Vec<_> = self.talking().collect();
        self.0 = all.into_iter().collect();
        let after: Vec<_> = self.talking().collect();
        let ceased = before.iter().filter(|talk| !after.contains(talk));
        let ceased = ceased.map(|talk| TalkingChanged { talking: false, ..talk.clone() });
        ceased.chain(after.iter().filter(|talk| !before.contains(talk)).cloned()).collect()
    }

    pub fn heard(&mut self, number: u64, talking: bool) -> Option<TalkingChanged> {
        let name = self.0.get(&number)?.name.clone();
        self.changed(name, |all| {
            all.entry(number).and_modify(|person| person.talks = talking);
        })
    }

    pub fn left(&mut self, number: u64) -> Option<TalkingChanged> {
        let name = self.0.get(&number)?.name.clone();
        self.changed(name, |all| drop(all.remove(&number)))
    }

    /// Returns the users who are talking now, each once.
    pub fn talking(&self) -> impl Iterator<Item = TalkingChanged> {
        let talks = self.0.values().filter(|person| person.talks && !person.name.is_empty());
        let names: std::collections::BTreeSet<_> = talks.map(|person| person.name.clone()).collect();
        names.into_iter().map(|user| TalkingChanged { user, talking: true })
    }

    /// Applies a change. Returns whether the user with this name has started or stopped talking; `None` if
    /// neither. Two participants with the same name are an old session and its successor: the user is talking
    /// while either of them is.
    fn changed(
        &mut self,
        name: Arc<str>,
        change: impl FnOnce(&mut HashMap<u64, Participant>),
    ) -> Option<TalkingChanged> {
        let talks = |all: &HashMap<u64, Participant>| all.values().any(|p| p.talks && p.name == name);
        let before = talks(&self.0);
        change(&mut self.0);
        let after = talks(&self.0);
        (before != after && !name.is_empty()).then_some(TalkingChanged { user: name, talking: after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_talker_stops_talking() {
        let mut participants = Participants::default();
        assert_eq!(participants.met(1, person("anna", false)), None);
        assert_eq!(participants.heard(1, true), talk("anna", true));
        assert_eq!(participants.met(1, person("anna", false)), None, "another property changed");
        assert_eq!(participants.left(1), talk("anna", false));
        assert_eq!((participants.left(1), participants.heard(1, true)), (None, None));
    }

    #[test]
    fn participants_list_current_talkers() {
        let mut participants = Participants::default();
        participants.met(1, person("anna", true));
        participants.met(2, person("bert", false));
        participants.met(3, person("", true));
        assert_eq!(participants.talking().collect::<Vec<_>>(), [talk("anna", true).unwrap()]);
    }

    #[test]
    fn participants_resync_reports_changes() {
        let mut participants = Participants::default();
        participants.met(1, person("anna", true));
        participants.met(2, person("bert", true));
        participants.met(3, person("carl", false));
        let told = participants.found([(2, person("bert", true)), (3, person("carl", true))]);
        assert_eq!(told, [talk("anna", false).unwrap(), talk("carl", true).unwrap()]);
    }

    #[test]
    fn replaced_session_keeps_talking_state() {
        let mut participants = Participants::default();
        participants.met(1, person("anna", true));
        assert_eq!(participants.met(2, person("anna", true)), None);
        assert_eq!(participants.left(1), None);
        assert_eq!(participants.heard(2, false), talk("anna", false));
    }

    fn person(name: &str, talks: bool) -> Participant {
        Participant { name: name.into(), talks }
    }

    fn talk(user: &str, talking: bool) -> Option<TalkingChanged> {
        Some(TalkingChanged { user: user.into(), talking })
    }
}
