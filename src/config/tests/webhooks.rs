//! Tests of the section `webhooks`.

use super::*;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn with(text: &str) -> Result<Config, String> {
    load(file(text)).map_err(|errors| errors.to_string())
}

#[test]
fn endpoints_have_filters_and_secrets() {
    let config = with(&format!(
        "webhooks:\n  endpoints:\n  - {{name: a, url: \"https://a.example/hook?x=1\"}}\n  \
         - {{name: b, url: \"http://b:80/\", types: [room_ended], rooms: [demo, team-*]}}\n  \
         secrets: [{{name: a, secret: whsec_{KEY}}}, {{name: b, secret: whsec_{KEY}}}, \"b:whsec_{KEY}\"]\n"
    ))
    .unwrap()
    .webhooks;
    let [a, b] = &config.endpoints[..] else { panic!("{config:?}") };
    assert_eq!((a.name.as_str(), a.url.as_str()), ("a", "https://a.example/hook?x=1"));
    assert_eq!(
        (&b.filter.types[..], &b.filter.rooms[..]),
        (&["room_ended".to_owned()][..], &["demo".to_owned(), "team-*".to_owned()][..])
    );
    assert_eq!((config.secrets_of("a").count(), config.secrets_of("b").count()), (1, 2));
    assert_eq!(config.secrets_of("a").next().unwrap().0, b"0123456789abcdef0123456789abcdef");
}

#[test]
fn endpoints_fit_into_one_text() {
    let input = LoadInput::default()
        .flag("webhooks.endpoints", "a=http://127.0.0.1:1/x=y")
        .flag("webhooks.secrets", &format!("a:whsec_{KEY}"));
    let config = load(input).unwrap().webhooks;
    assert_eq!(config.endpoints[0].url, "http://127.0.0.1:1/x=y");
}

#[test]
fn wrong_webhooks_name_the_remedy() {
    let secrets = format!("secrets: [{{name: a, secret: whsec_{KEY}}}]");
    let good = "{name: a, url: \"http://a\"}";
    for (endpoints, rest, problem) in [
        (good, String::new(), "must have one secret for the endpoint a"),
        ("", secrets.clone(), "a secret for a, which webhooks.endpoints does not have"),
        (good, "secrets: [\"a:whsec_c2hvcnQ=\"]".into(), "base64 of 24 to 64"),
        (good, format!("secrets: [\"a:{KEY}\"]"), "base64 of 24 to 64"),
        ("{name: a b, url: \"http://a\"}", secrets.clone(), "name (1 to 32 characters"),
        ("{name: a, url: \"ftp://a\"}", secrets.clone(), "the url of a must be a URL"),
        ("{name: a, url: \"http://u:p@a\"}", secrets.clone(), "without user or password"),
        (
            "{name: a, url: \"http://a\", types: [started]}",
            secrets.clone(),
            "types must be any of room_created",
        ),
        ("{name: a, url: \"http://a\", rooms: [\"a*b\"]}", secrets.clone(), "beginnings of ids"),
        ("{name: a, url: \"http://a\", retries: 3}", secrets.clone(), "may have types and rooms"),
        ("{name: a, url: \"http://a\"}, {name: a, url: \"http://b\"}", secrets.clone(), "must be unique"),
        (good, format!("{secrets}\nevents: {{retention: 95h}}"), "events.retention"),
    ] {
        let text = format!("webhooks:\n  endpoints: [{endpoints}]\n  {rest}\n");
        let errors = with(&text).unwrap_err();
        assert!(errors.contains(problem), "{text}\n{errors}");
    }
}

#[test]
fn webhook_secrets_are_never_shown() {
    let text = format!("webhooks:\n  endpoints: [{{name: a, url: \"http://a\", secret: whsec_{KEY}}}]\n");
    let errors = with(&text).unwrap_err();
    assert!(!errors.contains(KEY) && errors.contains("secrets belong to webhooks.secrets"), "{errors}");
    let text = format!(
        "webhooks:\n  endpoints: [{{name: a, url: \"http://a\"}}]\n  secrets: [{{name: a, secret: whsec_{KEY}}}]\n"
    );
    let (config, keys) = explain(file(&text)).unwrap();
    let shown = format!("{config:?} {keys:?}");
    assert!(!shown.contains(KEY) && !shown.contains("0123456789abcdef"), "{shown}");
}
