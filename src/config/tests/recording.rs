//! Tests of the section `recording`.

use super::*;

fn with(text: &str) -> Result<Config, String> {
    load(file(text)).map_err(|errors| errors.to_string())
}

#[test]
fn storage_needs_bucket_and_keys() {
    let keys = "access_key: me\n    secret_key: hidden";
    let good = |url: &str| {
        let text = format!("recording:\n  storage:\n    url: {url}\n    {keys}\n");
        let storage = with(&text).unwrap().recording.storage.unwrap();
        (storage.bucket, storage.prefix, storage.region)
    };
    let region = || "us-east-1".to_owned();
    assert_eq!(good("s3://radio"), ("radio".into(), String::new(), region()));
    assert_eq!(good("s3://my.radio/a/b/"), ("my.radio".into(), "a/b".into(), region()));
    assert!(defaults().recording.storage.is_none());
    let kept = |value: &str| {
        let text =
            format!("recording:\n  storage:\n    url: s3://radio\n    {keys}\n    keep_local: {value}\n");
        with(&text).unwrap().recording.storage.unwrap().keep_local
    };
    assert_eq!([kept("true"), kept("false")], [None, Some(Duration::ZERO)]);
    assert_eq!(kept("36h"), Some(Duration::from_secs(129_600)));
    for (rest, problem) in [
        (format!("url: s3://radio\n    {}", keys.split('\n').next().unwrap()), "secret_key"),
        ("url: s3://radio\n    secret_key: hidden".to_owned(), "access_key"),
        (format!("url: https://radio\n    {keys}"), "must be s3://bucket"),
        (format!("url: s3://r\n    {keys}"), "must be s3://bucket"),
        (format!("url: s3://radio/a//b\n    {keys}"), "must be s3://bucket"),
        (format!("url: s3://radio/a b\n    {keys}"), "must be s3://bucket"),
        (format!("url: s3://radio\n    keep_local: week\n    {keys}"), "must be true, false, or a duration"),
        (format!("url: s3://radio\n    endpoint: ftp://a\n    {keys}"), "recording.storage.endpoint"),
    ] {
        let errors = with(&format!("recording:\n  storage:\n    {rest}\n")).unwrap_err();
        assert!(errors.contains(problem) && !errors.contains("hidden"), "{rest}: {errors}");
    }
}
