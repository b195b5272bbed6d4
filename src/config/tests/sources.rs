//! Tests of environment variables, and of values whose form is easily mistaken.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

#[test]
fn misspelt_variables_are_warned_about() {
    let variables = ["STENTOR_LISTEN_API", "STENTOR_STORE__KIND", "STENTOR_HTTP_PUBLIC_WS_URI"];
    let ours = ["STENTOR_API", "STENTOR_OPS", "STENTOR_API_KEY", "STENTOR_HOST", "STENTOR_VERSION"];
    let by_kubernetes = [
        "STENTOR_SERVICE_HOST",
        "STENTOR_SERVICE_PORT",
        "STENTOR_SERVICE_PORT_HLS",
        "STENTOR_PORT",
        "STENTOR_PORT_3000_TCP",
        "STENTOR_PORT_3000_TCP_ADDR",
    ];
    let names = variables.iter().chain(&ours).chain(&by_kubernetes);
    let input = names.fold(keyed(LoadInput::default()), |input, name| input.env(name, "x"));
    let remarks = load(input).unwrap().warnings();
    let rights = ["STENTOR__HTTP__PUBLIC_WS_URL", "STENTOR__LISTEN__API", "STENTOR__STORE__KIND"];
    assert_eq!(remarks.len(), rights.len(), "{remarks:?}");
    for (remark, right) in remarks.iter().zip(rights) {
        assert!(remark.ends_with(&format!(" is {right}")), "{remark}");
    }
}

#[test]
fn single_ports_are_no_ranges() {
    let errors = errors(file("janus:\n  webrtc_ports: 20000\nmixer:\n  rtp_ports: 27000\n"));
    for example in ["like 20000-24999", "like 27000-28999"] {
        assert!(errors.contains(example), "{errors}");
    }
}

#[test]
fn log_filters_may_name_fields() {
    let filter = "info, stentor[room{id=a,b=c}]=debug,[{x}]=trace";
    let read = load(LoadInput::default().flag("log.filter", filter)).unwrap().log.filter;
    let parts: Vec<_> = log_directives(&read).collect();
    assert_eq!(parts, ["info", "stentor[room{id=a,b=c}]=debug", "[{x}]=trace"]);
    let wrong = errors(LoadInput::default().flag("log.filter", "info,stentor[room{id=a,b=c}=debug"));
    assert!(wrong.contains("\"stentor[room{id=a,b=c}=debug\" is not"), "{wrong}");
}

#[test]
fn exposed_configuration_with_secret_is_warned_about() {
    let with_secret = format!("hls: {{ secret: \"{LONG}\" }}\n");
    let file = kept(&with_secret);
    let remarks = |text: &str, mode| {
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
        let file = ConfigFile { name: file.path().display().to_string(), text: text.to_owned() };
        let input = LoadInput { file: Some(file), ..LoadInput::default() };
        load(keyed(input)).unwrap().warnings()
    };
    assert_eq!(remarks("", 0o644), Vec::<String>::new());
    assert_eq!(remarks(&with_secret, 0o600), Vec::<String>::new());
    let open = remarks(&with_secret, 0o644);
    assert!(
        matches!(&open[..], [one] if one.starts_with("hls.secret:") && one.contains("chmod 600")),
        "{open:?}"
    );
}

#[test]
fn exposed_secret_files_are_warned_about() {
    let secret = kept(LONG);
    let key = tempfile::NamedTempFile::new().unwrap();
    let certificate = tempfile::NamedTempFile::new().unwrap();
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(key.path(), own.signing_key.serialize_pem()).unwrap();
    std::fs::write(certificate.path(), own.cert.pem()).unwrap();
    let input = keyed(LoadInput::default())
        .flag("hls.secret_file", &secret.path().display().to_string())
        .flag("tls.key_file", &key.path().display().to_string())
        .flag("tls.certificate_file", &certificate.path().display().to_string());
    let remarks = || load(input.clone()).unwrap().warnings();
    assert_eq!(remarks(), Vec::<&str>::new());
    let open = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    for (path, mode, name) in [(secret.path(), 0o640, "hls.secret_file"), (key.path(), 0o604, "tls.key_file")]
    {
        open(path, mode);
        let (shown, remarks) = (path.display(), remarks());
        let wanted = format!("can be read by others (mode {mode:04o}); run: chmod 600 {shown}");
        assert!(
            matches!(&remarks[..], [one] if one.starts_with(name) && one.ends_with(&wanted)),
            "{remarks:?}"
        );
        open(path, 0o600);
    }
}
