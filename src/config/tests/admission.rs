//! Tests of the section `admission`.

use super::*;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn with(text: &str) -> Result<Config, String> {
    load(file(text)).map_err(|errors| errors.to_string())
}

#[test]
fn admission_has_address_and_secret() {
    let text = format!(
        "admission: {{url: \"https://app.example/admit\", secret: whsec_{KEY}, timeout: 500ms, \
         on_failure: allow}}"
    );
    let admission = with(&text).unwrap().admission;
    assert_eq!(admission.url.as_deref(), Some("https://app.example/admit"));
    assert_eq!(admission.secret.unwrap().0, b"0123456789abcdef0123456789abcdef");
    assert_eq!((admission.timeout.as_millis(), admission.on_failure), (500, FailurePolicy::Allow));
    let admission = defaults().admission;
    assert!(admission.url.is_none() && admission.on_failure == FailurePolicy::Deny);
}

#[test]
fn wrong_admission_names_the_remedy() {
    let secret = format!("secret: whsec_{KEY}");
    let url = "url: \"http://a\"";
    for (keys, problem) in [
        (url.to_owned(), "admission.secret"),
        (secret.clone(), "admission.url"),
        (format!("{url}, secret: {KEY}"), "whsec_"),
        (format!("url: \"ftp://a\", {secret}"), "admission.url"),
        (format!("{url}, {secret}, timeout: 11s"), "admission.timeout"),
        (format!("{url}, {secret}, on_failure: maybe"), "admission.on_failure"),
        (format!("{url}, {secret}, timeout: 5s}}\nws: {{call_timeout: 5s"), "ws.call_timeout"),
    ] {
        let errors = with(&format!("admission: {{{keys}}}\n")).unwrap_err();
        assert!(errors.contains(problem) && !errors.contains(KEY), "{keys}\n{errors}");
    }
}
