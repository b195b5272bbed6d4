//! Tests of the profile: normal forms, errors, merge patches, filters.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ids::RoomId;

#[test]
fn profile_fields_take_normal_form() {
    let profile = profile(json!({
        "title": "  Tea  <b>time</b> 2² ", "description": "one\r\n\n\n two ", "language": "PT-br",
        "tags": ["Tea", "TEA ", "Cake"], "coverUrl": "https://example.org/a b.png", "owner": "ann",
        "custom": {"a": {"b": 1}}, "listenerLimit": 3.0, "maxDuration": 60, "emptyTimeout": 1,
        "rewind": 0, "recordingMode": "always", "locked": true, "public": true,
        "startsAt": "2026-01-31t18:00:00.5+01:00",
    }));
    assert_eq!(
        serde_json::to_value(&profile).unwrap(),
        json!({
            "title": "Tea <b>time</b> 2²", "description": "one\n\ntwo", "language": "pt-BR",
            "tags": ["tea", "cake"], "coverUrl": "https://example.org/a%20b.png", "owner": "ann",
            "custom": {"a": {"b": 1}}, "listenerLimit": 3, "maxDuration": 60, "emptyTimeout": 1,
            "rewind": 0, "recordingMode": "always", "locked": true, "public": true,
            "startsAt": "2026-01-31T17:00:00.500Z",
        })
    );
    let read: RoomProfile = serde_json::from_value(serde_json::to_value(&profile).unwrap()).unwrap();
    assert_eq!(read, profile);
}

#[test]
fn errors_name_the_field() {
    let long = |length: usize| "x".repeat(length);
    let tags = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
    let deep = (0..8).fold(json!({}), |inner, _| json!({ "in": inner }));
    for (field, bad) in [
        ("title", json!("")),
        ("title", json!(5)),
        ("title", json!(["a"])),
        ("title", json!(long(101))),
        ("title", json!("a\u{202E}b")),
        ("title", json!("\u{200B}")),
        ("description", json!(long(2001))),
        ("description", json!("\n \n")),
        ("description", json!("a\u{0}b")),
        ("language", json!("english language")),
        ("language", json!("e")),
        ("language", json!(long(100))),
        ("tags", json!("tea")),
        ("tags", json!(["a", 1])),
        ("tags", json!([""])),
        ("tags", json!([long(33)])),
        ("tags", json!(tags(11))),
        ("coverUrl", json!("http://example.org/")),
        ("coverUrl", json!("javascript:alert(1)")),
        ("coverUrl", json!("data:image/png;base64,AA")),
        ("coverUrl", json!("https://ann:secret@example.org/")),
        ("coverUrl", json!("/cover.png")),
        ("coverUrl", json!(format!("https://example.org/{}", long(1024)))),
        ("owner", json!("")),
        ("owner", json!(" ann")),
        ("owner", json!(long(256))),
        ("custom", json!([])),
        ("custom", json!("{}")),
        ("custom", json!({ "a": long(4096) })),
        ("custom", deep),
        ("listenerLimit", json!(0)),
        ("listenerLimit", json!(-1)),
        ("listenerLimit", json!(1.5)),
        ("listenerLimit", json!(1_000_001)),
        ("listenerLimit", json!("5")),
        ("maxDuration", json!(0)),
        ("maxDuration", json!(604_801)),
        ("maxDuration", json!(u64::MAX)),
        ("emptyTimeout", json!(true)),
        ("emptyTimeout", json!(1e300)),
        ("rewind", json!(-1)),
        ("rewind", json!(10_801)),
        ("rewind", json!("1h")),
        ("recordingMode", json!("sometimes")),
        ("recordingMode", json!(true)),
        ("startsAt", json!("tomorrow")),
        ("startsAt", json!("2026-02-30T00:00:00Z")),
        ("startsAt", json!("2026-01-31T18:00:00")),
        ("startsAt", json!("1969-12-31T23:59:59Z")),
        ("startsAt", json!(1_769_875_200_000u64)),
        ("locked", json!("yes")),
        ("locked", json!(1)),
        ("public", json!("yes")),
    ] {
        let error = RoomProfile::new(&object(json!({ field: bad.clone() }))).unwrap_err();
        assert!(error.to_string().starts_with(field), "{field} {bad}: {error}");
    }
    let unknown = RoomProfile::new(&object(json!({ "titel": "x" }))).unwrap_err();
    assert_eq!(unknown.to_string(), "unknown field `titel`");
    for field in ["roomId", "pin", "maxAnchors", "backstage", "start", "createdAt", "status"] {
        let error = RoomProfile::default().merged(&object(json!({ field: "x" }))).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{field} cannot be changed: ")), "{error}");
    }
}

#[test]
fn merge_patch_replaces_and_removes() {
    let before = profile(json!({ "title": "Tea", "tags": ["a"], "custom": { "a": 1, "b": { "c": 1 } } }));
    let after = before.merged(&object(json!({
        "title": null, "language": "en", "custom": { "a": null, "b": { "d": [null] } },
    })));
    let expected = json!({ "tags": ["a"], "language": "en", "custom": { "b": { "c": 1, "d": [null] } } });
    assert_eq!(serde_json::to_value(after.unwrap()).unwrap(), expected);
    assert_eq!(before.merged(&Map::new()), Ok(before.clone()), "nothing to change");
    let cleared = before.merged(&object(json!({ "tags": [], "custom": null }))).unwrap();
    assert_eq!((cleared.tags, cleared.custom), (None, None));
    assert!(before.merged(&object(json!({ "title": "New", "tags": 5 }))).is_err(), "all or nothing");
}

/// Cases of RFC 7396 appendix A whose target and patch are objects.
#[test]
fn merge_follows_rfc_7396() {
    for (target, patch, result) in [
        (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
        (json!({"a":"b"}), json!({"a":null}), json!({})),
        (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
        (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
        (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
        (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
        (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
        (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
    ] {
        let mut merged = object(target.clone());
        merge(&mut merged, &object(patch.clone()));
        assert_eq!(Value::Object(merged), result, "{target} with {patch}");
    }
}

#[test]
fn filter_matches_tag_owner_and_text() {
    let room = RoomId::new("tea-room").unwrap();
    let profile = profile(json!({
        "title": "Änne's Tea", "description": "About Cake", "tags": ["News"], "owner": "ann"
    }));
    let any = RoomFilter::default;
    let tag = |tag| RoomFilter { tag: Some(Tag::new(tag).unwrap()), ..any() };
    let owner = |owner| RoomFilter { owner: Some(Owner::new(owner).unwrap()), ..any() };
    let text = |text: &str| RoomFilter { text: Some(text.to_lowercase()), ..any() };
    let found = [tag("NEWS"), owner("ann"), text("ÄNNE"), text("cake"), text("a-ro"), text("new")];
    for filter in found.into_iter().chain([RoomFilter::default()]) {
        assert!(filter.fits(&room, &profile), "{filter:?}");
    }
    for filter in
        [tag("new"), owner("Ann"), text("coffee"), RoomFilter { text: text("coffee").text, ..tag("news") }]
    {
        assert!(!filter.fits(&room, &profile), "{filter:?}");
    }
    assert!(!tag("news").fits(&room, &RoomProfile::default()));
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn profile(fields: Value) -> RoomProfile {
    RoomProfile::new(&object(fields)).unwrap()
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// An accepted profile is read back from the store, and a repeated patch changes nothing more.
    #[test]
    fn accepted_profiles_are_stable(values in prop::collection::vec(any_json(), 14)) {
        let names = ["title", "description", "language", "tags", "coverUrl", "owner", "custom",
            "listenerLimit", "maxDuration", "emptyTimeout", "locked", "public",
            "startsAt", "recordingMode"];
        for (name, value) in names.into_iter().zip(values) {
            let patch = Map::from_iter([(name.to_owned(), value)]);
            let Ok(profile) = RoomProfile::new(&patch) else { continue };
            let stored = serde_json::to_vec(&profile).unwrap();
            prop_assert_eq!(serde_json::from_slice::<RoomProfile>(&stored).unwrap(), profile.clone());
            prop_assert_eq!(profile.merged(&patch).unwrap(), profile);
        }
    }
}
