//! Tests of the rewind window: bounds, numbering, copies on listener nodes, duties.

use proptest::prelude::*;

use super::*;
use crate::ids::{Epoch, UnixMs};
use crate::keys::{RoomKey, RoomPart};

const SEGMENT: u64 = 2_000_000;

fn entry(sequence: u64, file: u32, discontinuity: bool) -> JournalEntry {
    JournalEntry {
        sequence,
        duration_us: SEGMENT,
        started_at: UnixMs(1_700_000_000_000 + 2000 * sequence),
        discontinuity,
        key_index: sequence / 30,
        bytes: 17_008,
        file,
        offset: 0,
        lag_us: None,
        tick_us: None,
    }
}

/// Returns a window of segments 100 to `until`, ten per media file, with a list of two minutes.
fn window(until: u64) -> RewindWindow {
    let mut window = RewindWindow::default();
    for sequence in 100..=until {
        window.push(entry(sequence, (sequence / 10) as u32, sequence % 50 == 0), 7);
        window.trim(2 * SHORTEST);
    }
    window
}

fn numbers<'a>(entries: impl Iterator<Item = &'a JournalEntry>) -> Vec<u64> {
    entries.map(|entry| entry.sequence).collect()
}

#[test]
fn list_keeps_the_span() {
    let window = window(399);
    assert_eq!(numbers(window.listed()), (340..400).collect::<Vec<_>>());
    assert_eq!(window.span(), 2 * SHORTEST);
    assert_eq!(window.discontinuity_sequence(), 7 + 5, "of segments 100, 150, … 300");
    assert_eq!(window.discontinuities(), 7 + 6);
}

#[test]
fn files_outlive_list_by_grace() {
    let window = window(399);
    assert_eq!(numbers(window.available()), (310..400).collect::<Vec<_>>(), "a minute before the list");
    assert_eq!(window.oldest_file(), Some(31));
    assert!(window.get(310).is_some() && window.get(309).is_none() && window.get(400).is_none());
    assert_eq!(window.keys(), Some(KeyWindow::new(310 / 30, 399 / 30)));
}

#[test]
fn window_starts_over_after_gap() {
    let mut window = window(399);
    window.push(entry(405, 40, true), 30);
    assert_eq!(numbers(window.listed()), [405]);
    assert_eq!((window.oldest_file(), window.discontinuity_sequence()), (Some(40), 30));
}

#[test]
fn full_disk_shrinks_window_by_files() {
    let mut window = window(399);
    let mut dropped = 0;
    while window.oldest_file() < Some(38) {
        dropped += window.shrink();
    }
    assert_eq!((dropped, numbers(window.listed())), (70, (380..400).collect()));
    assert_eq!(window.discontinuity_sequence(), 7 + 6, "the discontinuity of 350 has left the list, too");
    assert_eq!((window.shrink(), window.shrink(), window.shrink()), (10, 10, 0));
    assert_eq!((window.last(), window.keys()), (None, None));
    window.push(entry(400, 41, false), 13);
    assert_eq!((numbers(window.listed()), window.discontinuity_sequence()), (vec![400], 13));
}

#[test]
fn update_with_gap_is_refused() {
    let mut copy = window(399);
    let mut update = window(410).update(Some(399), 2, false);
    update.entries.remove(3);
    assert_eq!(copy.apply(update), Err(BrokenUpdate));
    assert_eq!(copy, window(399));
}

#[test]
fn update_lists_only_new_segments() {
    let of = |last| window(410).update(last, 2, false).entries.len();
    assert_eq!((of(Some(408)), of(Some(410)), of(None), of(Some(411)), of(Some(5))), (2, 0, 90, 90, 90));
}

/// Returns the window of the next mixer, which received the list of an earlier one with segments up to 399.
/// The files of the earlier mixer have numbers up to 39.
fn taken_over() -> RewindWindow {
    let mut next = RewindWindow::default();
    next.apply(window(399).update(None, 2, false)).unwrap();
    next
}

#[test]
fn takeover_continues_numbers_and_breaks() {
    let (mut next, mut stayed) = (taken_over(), window(399));
    for sequence in 400..430 {
        // The next mixer has other media files, whose numbers are higher.
        next.push(entry(sequence, 40 + (sequence / 7) as u32, sequence == 410), 99);
        stayed.push(entry(sequence, (sequence / 10) as u32, sequence == 410), 99);
        next.trim(2 * SHORTEST);
        stayed.trim(2 * SHORTEST);
        assert_eq!(numbers(next.listed()), numbers(stayed.listed()), "as if the room had not moved");
        assert_eq!(next.discontinuity_sequence(), stayed.discontinuity_sequence());
        assert_eq!((next.keys(), next.span()), (stayed.keys(), stayed.span()));
    }
    // The listener nodes continue with what they had from the earlier mixer.
    let mut copy = window(395);
    copy.apply(next.update(copy.last(), 2, false)).unwrap();
    assert_eq!(numbers(copy.listed()), numbers(next.listed()));
    assert_eq!(copy.discontinuity_sequence(), next.discontinuity_sequence());
}

#[test]
fn takeover_fetches_newest_file_first() {
    let next = taken_over();
    let mut below = next.newest_file().unwrap() + 1;
    let mut files = Vec::new();
    while let Some((file, size)) = next.file_before(below) {
        assert_eq!(size, 17_008);
        files.push(file);
        below = file;
    }
    assert_eq!(files, (31..=39).rev().collect::<Vec<_>>());
    assert_eq!(RewindWindow::default().file_before(5), None);
}

#[test]
fn lost_takeover_shortens_the_window() {
    let mut next = taken_over();
    next.push(entry(400, 40, false), 13);
    assert_eq!(next.drop_before(37), 60);
    assert_eq!(numbers(next.listed()), (370..=400).collect::<Vec<_>>());
    assert_eq!((next.drop_before(37), next.discontinuity_sequence()), (0, 7 + 6));
    // A gap in the numbers of the broadcast begins a new window.
    let mut after_gap = taken_over();
    after_gap.push(entry(450, 40, false), 13);
    assert_eq!(numbers(after_gap.listed()), [450]);
}

#[test]
fn three_hours_fit_into_memory() {
    let mut window = RewindWindow::default();
    for sequence in 0..20_000 {
        let entry =
            JournalEntry { duration_us: 1_920_000, ..entry(sequence, (sequence / 240) as u32, false) };
        window.push(entry, 0);
        window.trim(LONGEST);
        assert!(window.entries.len() <= 5_625 + 32 + 240, "segments, the grace, one file");
    }
    let bytes = window.entries.capacity() * size_of::<JournalEntry>();
    assert_eq!(window.listed().len(), 5_625);
    assert!(bytes <= 700_000, "{bytes}");
}

#[derive(Debug, Clone)]
enum Step {
    /// Segment with this duration, in units of 192 ms. The flags: it begins with a discontinuity, it follows
    /// a gap, it begins a new file.
    Segment(u64, bool, bool, bool),
    Shrink,
    /// The listener node fetches the changes.
    Fetch,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let flag = |weight: f64| proptest::bool::weighted(weight);
    let segment = (1..11u64, flag(0.1), flag(0.01), flag(0.1))
        .prop_map(|(long, broken, gap, file)| Step::Segment(long, broken, gap, file));
    let step = prop_oneof![40 => segment, 1 => Just(Step::Shrink), 10 => Just(Step::Fetch)];
    proptest::collection::vec(step, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]
    #[test]
    fn window_and_copy_hold_their_bounds(steps in steps(), span in 60..200u64) {
        let span = Duration::from_secs(span);
        let (mut window, mut copy) = (RewindWindow::default(), RewindWindow::default());
        let (mut next, mut file, mut breaks) = (1000, 1, 0);
        for step in steps {
            let sequence_before = window.discontinuity_sequence();
            match step {
                Step::Segment(long, broken, gap, new_file) => {
                    next += if gap { 5 } else { 0 };
                    file += u32::from(new_file);
                    let made = JournalEntry { duration_us: long * 192_000, ..entry(next, file, broken) };
                    window.push(made, breaks);
                    window.trim(span);
                    breaks += u64::from(broken);
                    next += 1;
                    prop_assert_eq!(window.last(), Some(next - 1));
                    prop_assert!(window.span() <= span);
                    prop_assert_eq!(window.discontinuities(), breaks);
                }
                Step::Shrink => {
                    let files = window.oldest_file();
                    window.shrink();
                    prop_assert!(window.oldest_file().is_none() || window.oldest_file() > files);
                }
                Step::Fetch => copy.apply(window.update(copy.last(), 2, false)).unwrap(),
            }
            prop_assert!(window.discontinuity_sequence() >= sequence_before);
            let held = numbers(window.entries.iter());
            prop_assert!(held.windows(2).all(|pair| pair[0] + 1 == pair[1]));
            prop_assert!(window.listed().len() > 0 || held.is_empty());
            if copy.last() == window.last() && window.last().is_some() {
                copy.apply(window.update(copy.last(), 2, false)).unwrap();
                prop_assert_eq!(numbers(copy.listed()), numbers(window.listed()));
                prop_assert_eq!(copy.discontinuity_sequence(), window.discontinuity_sequence());
                prop_assert_eq!(copy.keys(), window.keys());
            }
        }
    }
}

/// Returns a room on air on mixer `m`, with this profile.
fn on_air(profile: &str) -> RoomView {
    let mut view = RoomView::default();
    let meta =
        format!(r#"{{"pin":"abc123","maxAnchors":3,"hlsPath":"/h","createdAt":1,"profile":{profile}}}"#);
    let live = r#"{"status":"onair","mixerId":"m","janusId":"j","nonce":"n","createdAt":1,"epoch":1}"#;
    view.apply(RoomKey::Part(RoomPart::Meta), Some((meta.as_bytes(), 1))).unwrap();
    view.apply(RoomKey::Part(RoomPart::LiveMeta), Some((live.as_bytes(), 1))).unwrap();
    view
}

#[test]
fn room_field_replaces_the_default() {
    let hour = Duration::from_secs(3600);
    let of = |profile, default| offered(&on_air(profile), default);
    assert_eq!(of("{}", hour), Some(hour));
    assert_eq!(of("{}", Duration::ZERO), None);
    assert_eq!(of(r#"{"rewind":0}"#, hour), None);
    assert_eq!(of(r#"{"rewind":600}"#, Duration::ZERO), Some(Duration::from_secs(600)));
    assert_eq!(of(r#"{"rewind":5}"#, hour), Some(SHORTEST), "longer than the live window");
    assert_eq!(offered(&RoomView::default(), hour), None);
}

#[test]
fn rewind_duties_follow_the_broadcast() {
    let hour = Duration::from_secs(3600);
    let (me, other) = (ModuleId::new("m").unwrap(), ModuleId::new("o").unwrap());
    let (this, earlier) = (Nonce("n".into()), Nonce("e".into()));
    let of = |nonce| Some(KeptWindow { nonce, lent: false });
    let view = on_air("{}");
    let keep = RewindDuty::Keep { nonce: this.clone(), span: hour };
    assert_eq!(duty(&view, &me, hour, None), keep);
    assert_eq!(duty(&view, &me, hour, of(&this)), keep);
    assert_eq!(duty(&view, &me, hour, of(&earlier)), RewindDuty::Erase);
    assert_eq!(duty(&view, &other, hour, None), RewindDuty::Nothing);
    assert_eq!(duty(&view, &other, hour, of(&this)), RewindDuty::Erase, "moved away");
    assert_eq!(duty(&view, &me, Duration::ZERO, of(&this)), RewindDuty::Erase, "switched off");
    assert_eq!(duty(&RoomView::default(), &me, hour, of(&this)), RewindDuty::End);
    assert_eq!(duty(&RoomView::default(), &me, hour, None), RewindDuty::Nothing);
}

#[test]
fn window_is_lent_to_the_successor() {
    let hour = Duration::from_secs(3600);
    let (new, old) = (ModuleId::new("m").unwrap(), ModuleId::new("o").unwrap());
    let (this, earlier) = (Nonce("n".into()), Nonce("e".into()));
    let of = |nonce, lent| Some(KeptWindow { nonce, lent });
    let mut view = on_air("{}");
    assert_eq!(duty(&view, &old, hour, of(&this, true)), RewindDuty::Lend, "whatever happens to the record");
    let record = Handover { mixer_id: old.clone(), hls_url: "http://o:1".into(), epoch: Epoch(0) };
    view.live.as_mut().unwrap().value.handover = Some(Box::new(record.clone()));
    assert_eq!(predecessor(&view, &new, &this), Some(&record));
    assert_eq!((predecessor(&view, &old, &this), predecessor(&view, &new, &earlier)), (None, None));
    let keep = RewindDuty::Keep { nonce: this.clone(), span: hour };
    assert_eq!(duty(&view, &old, hour, of(&this, false)), keep, "listeners still hear it");
    let key = r#"{"id":"m","ip":"127.0.0.1","port":20000,"hlsUrl":"http://m:1","epoch":1,"ready":true}"#;
    view.apply(RoomKey::Part(RoomPart::Mixer), Some((key.as_bytes(), 1))).unwrap();
    assert_eq!(duty(&view, &old, hour, of(&this, false)), RewindDuty::Lend);
    assert_eq!(duty(&view, &old, hour, of(&earlier, true)), RewindDuty::Erase);
    assert_eq!(duty(&view, &old, Duration::ZERO, of(&this, true)), RewindDuty::Erase, "switched off");
    assert_eq!(duty(&view, &new, hour, of(&this, true)), RewindDuty::Erase, "came back: has a gap");
}
