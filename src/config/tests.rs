//! Tests of valid configurations, of invalid ones, and of configurations with many errors at once.

use std::io::Write;
use std::time::Duration;

use super::*;

mod admission;
mod recording;
mod sockets;
mod sources;
mod webhooks;

const LONG: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn defaults_fit_single_machine() {
    let config = defaults();
    assert_eq!(config.listen.api.to_string(), "127.0.0.1:3000");
    assert_eq!(config.hls.part, Duration::from_millis(192));
    assert_eq!(config.mixer.rtp_ports, (27_000, 28_999));
    let cores = std::thread::available_parallelism().unwrap().get() as u32;
    assert_eq!((config.janus.capacity, config.mixer.capacity), (10 * cores, (10 * cores).min(1000)));
    assert_eq!(config.auth.mode, AuthMode::Open);
    assert!(config.node.roles.rooms && config.node.roles.hls);
}

#[test]
fn config_yaml_matches_default_keys() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.yaml");
    let wanted = std::env::temp_dir().join("stentor-config.yaml");
    let reference = reference_file();
    if std::fs::read_to_string(path).ok().as_deref() != Some(&reference) {
        std::fs::write(&wanted, &reference).unwrap();
        panic!("config.yaml differs from the keys; what it should be is in {}", wanted.display());
    }
    let (from_file, _) = explain(file(&reference)).unwrap();
    assert_eq!(format!("{from_file:?}"), format!("{:?}", defaults()));
}

#[test]
fn defaults_read_back_as_written() {
    let (_, keys) = explain(file(&reference_file())).unwrap();
    for key in keys {
        assert_eq!(key.value, key.default.to_string(), "{}", key.key);
    }
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let text = "listen:\n  api: 127.0.0.1:1\n  hls: 127.0.0.1:2\n  ops: 127.0.0.1:3\n";
    let input = file(text)
        .env("STENTOR__LISTEN__API", "127.0.0.1:11")
        .env("STENTOR__LISTEN__HLS", "127.0.0.1:12")
        .env("PATH", "/bin")
        .flag("listen.api", "127.0.0.1:21");
    let (config, keys) = explain(input).unwrap();
    let ports = [config.listen.api, config.listen.hls, config.listen.ops].map(|a| a.port());
    assert_eq!(ports, [21, 12, 3]);
    let sources: Vec<_> =
        keys.iter().filter(|k| k.key.starts_with("listen.")).map(|k| k.source.to_string()).collect();
    assert_eq!(
        sources,
        [
            "flag --set",
            "default",
            "environment STENTOR__LISTEN__HLS",
            "default",
            "default",
            "test.yaml line 4",
            "default"
        ]
    );
}

#[test]
fn config_errors_are_reported_together() {
    let text = "node:\n  roles: [rooms, oracle]\nlisten:\n  api: somewhere\nhls:\n  part_ms: 5\n\
                mixers:\n  capacity: 3\nstore: etcd\njanus.mode: managed\n";
    let errors = errors(file(text).env("STENTOR__MIXER__RTP_PORT", "1").flag("rooms.max_age", "3 days"));
    let wanted = [
        "node.roles = [\"rooms\",\"oracle\"] (test.yaml line 2): \"oracle\" is not a role; roles are rooms, \
         janus, mixer, gateway, hls",
        "listen.api = \"somewhere\" (test.yaml line 4): must be an address with a port",
        "hls.part_ms = 5 (test.yaml line 6): must be a whole number from 100 to 1000",
        "rooms.max_age = \"3 days\" (flag --set): must be a duration from 1s to 720h",
        "mixers.capacity (test.yaml line 8): unknown key; did you mean mixer.capacity?",
        "mixer.rtp_port (environment STENTOR__MIXER__RTP_PORT): unknown key; did you mean mixer.rtp_ports?",
        "store (test.yaml line 9): is a section",
        "janus.mode (test.yaml line 10): keys of a file are nested",
    ];
    for line in wanted {
        assert!(errors.contains(line), "missing {line:?} in\n{errors}");
    }
    assert_eq!(errors.lines().count(), 1 + wanted.len(), "{errors}");
}

#[test]
fn open_mode_refuses_public_urls_and_origins() {
    let open = |key: &str, value: &str| LoadInput::default().flag(key, value);
    let public = [
        ("http.public_hls_url", "https://live.example.org"),
        ("http.public_hls_url", "http://10.0.0.7:8080"),
        ("http.public_ws_url", "wss://live.example.org/ws"),
        ("http.public_ws_url", "ws://localhost.example.org/ws"),
        ("http.allowed_origins", "https://app.example.org"),
        ("http.allowed_origins", "http://localhost:5173,*"),
        ("http.allowed_origins", "null"),
        ("http.allowed_origins", "file://"),
        ("http.embed_origins", "https://app.example.org"),
        ("http.embed_origins", "*"),
    ];
    for (key, value) in public {
        let errors = errors(open(key, value));
        assert!(errors.starts_with("1 error") && errors.contains(key), "{value}: {errors}");
        assert!(errors.contains("set auth.mode to keys and give auth.api_keys"), "{value}: {errors}");
        assert!(load(keyed(open(key, value))).is_ok(), "{value}");
    }
    for (key, value) in [
        ("http.public_hls_url", "http://localhost:19100"),
        ("http.public_ws_url", "ws://127.0.0.1:19100/ws"),
        ("http.public_ws_url", "ws://[::1]:19100/ws"),
        ("http.public_hls_url", "http://stentor.localhost"),
        ("http.allowed_origins", "http://localhost:5173,capacitor://localhost"),
        ("http.embed_origins", "http://localhost:5173"),
    ] {
        assert!(load(open(key, value)).is_ok(), "{value}");
    }
}

#[test]
fn open_mode_is_warned_about() {
    let remarks = |input| load(input).unwrap().warnings();
    assert!(matches!(remarks(LoadInput::default())[..], [ref one] if one.contains("auth.mode is open")));
    assert_eq!(remarks(keyed(LoadInput::default())), Vec::<&str>::new());
}

#[test]
fn open_mode_refuses_non_loopback_addresses() {
    let errors = errors(LoadInput::default().flag("listen.hls", "0.0.0.0:8080"));
    assert!(errors.contains("auth.mode = \"open\" (default)"), "{errors}");
    assert!(errors.contains("listen.hls is 0.0.0.0:8080; set auth.mode to keys"), "{errors}");

    let keys = LoadInput::default().flag("listen.hls", "0.0.0.0:8080").flag("auth.mode", "keys");
    assert!(
        self::errors(keys.clone()).contains("auth.api_keys = null (default): must hold at least one key")
    );
    let keys = keys.flag("auth.api_keys", "0123456789abcdef,fedcba9876543210");
    assert!(load(keys.flag("http.public_hls_url", "https://live.example.org")).is_ok());
}

#[test]
fn a_cluster_needs_endpoints_and_shared_secrets() {
    let etcd = LoadInput::default().env("STENTOR__STORE__KIND", "etcd");
    let errors = errors(etcd.clone());
    for key in ["store.etcd.endpoints", "auth.jwt_secrets", "hls.secret"] {
        assert!(errors.contains(key), "{errors}");
    }
    let config = load(
        etcd.env("STENTOR__STORE__ETCD__ENDPOINTS", "http://a:2379, http://b:2379")
            .env("STENTOR__AUTH__JWT_SECRETS", &format!("k2:{LONG},k1:{LONG}"))
            .env("STENTOR__HLS__SECRET", LONG),
    )
    .unwrap();
    assert_eq!(config.store.etcd_endpoints, ["http://a:2379", "http://b:2379"]);
    assert_eq!(config.auth.jwt_secrets[0].kid, "k2");
}

#[test]
fn secret_config_values_are_not_printed() {
    let input = file(&format!("hls:\n  secret: {LONG}\njanus:\n  api_secert: hunter2\n"))
        .flag("auth.jwt_secrets", "k:hunter2")
        .flag("janus.url", "ws://admin:hunter2@janus");
    let errors = errors(input);
    assert!(errors.contains("at least 32 bytes") && errors.contains("janus.api_secret?"), "{errors}");
    assert!(!errors.contains("hunter2") && !errors.contains(LONG), "{errors}");

    let (config, keys) = explain(LoadInput::default().flag("hls.secret", LONG)).unwrap();
    assert!(!format!("{config:?}{keys:?}").contains(LONG));

    let broken = self::errors(file("hls: { secret: hunter2\nlog: [}"));
    assert!(broken.contains("is not valid YAML") && !broken.contains("hunter2"), "{broken}");
}

#[test]
fn secret_key_and_file_are_exclusive() {
    let secrets = kept(&format!("# rotated in May\nnew:{LONG}\n\nold:{LONG}\n"));
    let path = secrets.path().to_str().unwrap();
    let input = LoadInput::default().flag("auth.jwt_secrets_file", path);
    let kids: Vec<_> = load(input.clone()).unwrap().auth.jwt_secrets.into_iter().map(|s| s.kid).collect();
    assert_eq!(kids, ["new", "old"]);

    let both = errors(input.flag("auth.jwt_secrets", &format!("k:{LONG}")));
    assert!(both.contains("both auth.jwt_secrets and auth.jwt_secrets_file are set"), "{both}");
    let missing = errors(LoadInput::default().flag("hls.secret_file", "/nowhere"));
    assert!(missing.contains("hls.secret_file = \"/nowhere\" (flag --set): the file: cannot be read"));
}

#[test]
fn jwt_secrets_need_unique_kids() {
    let text = format!("auth:\n  jwt_secrets:\n    - {{kid: a, secret: {LONG}}}\n");
    assert!(load(file(&text)).is_ok());
    let twice = format!("{text}    - {{kid: a, secret: {LONG}}}\n");
    assert!(errors(file(&twice)).contains("each kid must be unique"));
}

#[test]
fn bad_values_are_refused() {
    let bad = [
        ("mixer.rtp_ports", "80-90"),
        ("mixer.rtp_ports", "20001-20002"),
        ("mixer.rtp_ports", "30000-20000"),
        ("mixer.rtp_ports", "20000"),
        ("node.cluster", "a/b"),
        ("node.roles", ""),
        ("node.advertise", "host:80"),
        ("listen.media", "0.0.0.0"),
        ("listen.api", "127.0.0.1"),
        ("http.body_limit", "-1"),
        ("http.allowed_origins", "example.org"),
        ("http.allowed_origins", "https://example.org/"),
        ("http.allowed_origins", "https://example.org:443"),
        ("http.allowed_origins", "capacitor://localhost/index.html"),
        ("http.allowed_origins", "capacitor://"),
        ("http.embed_origins", "null"),
        ("http.embed_origins", "file://"),
        ("http.embed_origins", "https://example.org/page"),
        ("http.embed_origins", "https://*"),
        ("http.embed_origins", "https://a.*.example.org"),
        ("http.embed_origins", "foo://a;script-src"),
        ("http.embed_origins", "'self'"),
        ("http.public_hls_url", "https://example.org/live"),
        ("http.public_hls_url", "https://example.org?a=b"),
        ("http.public_ws_url", "wss://example.org/ws?a=b"),
        ("http.public_ws_url", "wss://example.org/ws#a"),
        ("store.etcd.endpoints", "a:2379"),
        ("auth.api_keys", "short"),
        ("log.filter", "stentor=loud"),
        ("log.filter", "info,debgu"),
        ("hls.window", "2"),
        ("rooms.heartbeat_ttl", "0s"),
        ("rooms.max_age", "99999999999999999999h"),
        ("presence.kind", "redis"),
        ("listen.ws", "localhost"),
        ("janus.webrtc_ports", "80-90"),
        ("janus.webrtc_ports", "20000-20000"),
        ("janus.webrtc_ports", "20000"),
        ("janus.public_ip", "example.org"),
        ("janus.public_ip", "0.0.0.0"),
        ("janus.public_ip", "2001:db8::7"),
        ("ws.dead_after", "9s"),
        ("ws.frame_limit", "10"),
        ("ws.sdp_limit", "65536"),
        ("ws.candidate_limit", "0"),
    ];
    for (key, value) in bad {
        assert!(errors(LoadInput::default().flag(key, value)).contains(key), "{key}={value}");
    }
}

#[test]
fn keys_are_checked_against_each_other() {
    let short = LoadInput::default().flag("hls.part_ms", "900").flag("hls.segment_ms", "1700");
    assert!(errors(short).contains("at least two parts, 1800 ms"));
    let eager = LoadInput::default().flag("hls.part_ms", "500").flag("mixer.watchdog", "999ms");
    assert!(
        errors(eager)
            .contains("mixer.watchdog = \"999ms\" (flag --set): must be at least two parts, 1000 ms")
    );
    let crowded = LoadInput::default().flag("mixer.rtp_ports", "30001-30004").flag("mixer.capacity", "2");
    assert!(errors(crowded).contains("must not be above 1"));
    let small = load(LoadInput::default().flag("mixer.rtp_ports", "30001-30004")).unwrap();
    assert_eq!((small.mixer.capacity, small.mixer.port_pairs()), (1, 1));
    let spare = load(LoadInput::default().flag("mixer.rtp_ports", "30000-30009")).unwrap();
    assert_eq!((spare.mixer.capacity, spare.mixer.port_pairs()), (4, 5), "one for a room that is repaired");
    let external = LoadInput::default().flag("janus.mode", "external");
    assert!(errors(external).contains("janus.url = null (default): must be set"));
    let one_server = LoadInput::default().flag("listen.api", "127.0.0.1:8080");
    assert!(load(one_server).is_ok(), "two roles may share one server");
}

#[test]
fn nodes_require_public_urls_they_announce() {
    let node = |roles: &str| keyed(LoadInput::default().flag("node.roles", roles));
    let hls = ("http.public_hls_url", "https://live.example.org");
    let ws = ("http.public_ws_url", "wss://live.example.org/ws");
    let api = errors(node("rooms"));
    assert!(api.contains("http.public_hls_url = null (default): must be set"), "{api}");
    assert!(
        api.contains("must be set to the URL of the gateways, like wss://live.example.org/ws, because"),
        "{api}"
    );
    let api = load(node("rooms").flag(hls.0, hls.1).flag(ws.0, ws.1)).unwrap();
    assert_eq!((api.hls_base_url(), api.ws_url()), (hls.1.to_owned(), Some(ws.1.to_owned())));

    let gateway = |config: Config| config.ws_url();
    assert_eq!(gateway(load(node("hls,gateway")).unwrap()).unwrap(), "ws://127.0.0.1:8081/ws");
    assert_eq!(gateway(load(node("hls")).unwrap()), None, "a listener node has no gateway to name");
    assert_eq!(gateway(load(node("hls").flag(ws.0, ws.1)).unwrap()).unwrap(), ws.1);
}

#[test]
fn wildcard_address_requires_public_url() {
    let node = |roles: &str, key: &str, any: &str| {
        keyed(LoadInput::default()).flag("node.roles", roles).flag(key, any)
    };
    for (roles, listen, public, url) in [
        ("rooms,hls,gateway", "listen.hls", "http.public_hls_url", "https://live.example.org"),
        ("rooms,hls,gateway", "listen.ws", "http.public_ws_url", "wss://live.example.org/ws"),
        ("hls,gateway", "listen.ws", "http.public_ws_url", "wss://live.example.org/ws"),
    ] {
        for any in ["0.0.0.0:8000", "[::]:8000", "[::ffff:0.0.0.0]:8000"] {
            let errors = errors(node(roles, listen, any));
            let told =
                format!("{public} = null (default): must be set, because {listen} is {any}, to which no");
            assert!(errors.contains(&told) && errors.lines().count() == 2, "{errors}");
            assert!(load(node(roles, listen, any).flag(public, url)).is_ok(), "{roles} {listen} {any}");
        }
        assert!(load(node(roles, listen, "10.0.0.7:8000")).is_ok(), "{roles} {listen}");
    }
    for (roles, listen) in
        [("mixer", "listen.hls"), ("hls", "listen.hls"), ("hls", "listen.ws"), ("gateway", "listen.ws")]
    {
        assert!(load(node(roles, listen, "0.0.0.0:8000")).is_ok(), "{roles} gives no {listen} out");
    }
}

#[test]
fn webrtc_ports_must_not_overlap_others() {
    let ports = |range: &str| LoadInput::default().flag("janus.webrtc_ports", range);
    let plain = errors(ports("24000-25000"));
    assert!(
        plain.contains("janus.webrtc_ports = \"24000-25000\" (flag --set): must not overlap 25000-26999")
    );
    let mixers = errors(ports("28999-30000"));
    assert!(mixers.contains("must not overlap mixer.rtp_ports, 27000-28999; move one of them"), "{mixers}");
    let plain = errors(LoadInput::default().flag("mixer.rtp_ports", "26000-27999"));
    assert!(plain.contains("mixer.rtp_ports = \"26000-27999\" (flag --set): must not overlap 25000-26999"));
    let moved = errors(LoadInput::default().flag("mixer.rtp_ports", "24990-24999"));
    assert!(
        moved.contains("janus.webrtc_ports = \"20000-24999\" (default): must not overlap mixer.rtp_ports")
    );
    assert_eq!(load(ports("29000-30000")).unwrap().janus.webrtc_ports, (29_000, 30_000));
    let without_mixer = ports("28000-30000").flag("node.roles", "janus");
    assert!(load(without_mixer).is_ok(), "mixers have their ports on their own machines");
    let external =
        ports("25000-28000").flag("janus.mode", "external").flag("janus.url", "ws://10.0.0.5:8188");
    assert!(load(external.clone()).is_ok(), "which Janus has in a file of its own");
    let mapped = errors(external.flag("janus.public_ip", "203.0.113.7"));
    assert!(mapped.contains("set nat_1_1_mapping in its janus.jcfg"), "{mapped}");
}

#[test]
fn cluster_gateway_without_redis_warns() {
    let cluster = |roles: &str| {
        let etcd = LoadInput::default().flag("store.kind", "etcd");
        let etcd = keyed(etcd).flag("store.etcd.endpoints", "http://a:2379").flag("listen.media", "10.0.0.7");
        let etcd = etcd.flag("node.advertise", "10.0.0.7").flag("node.roles", roles);
        let etcd = etcd.flag("http.public_ws_url", "ws://10.0.0.8:8081/ws");
        etcd.flag("auth.jwt_secrets", &format!("k:{LONG}")).flag("hls.secret", LONG)
    };
    let remarks = load(cluster("gateway")).unwrap().warnings();
    assert!(
        matches!(remarks[..], [ref one] if one.contains("set presence.kind: redis and presence.redis.url"))
    );
    let redis =
        cluster("gateway").flag("presence.kind", "redis").flag("presence.redis.url", "redis://r:6379");
    for fine in [redis, cluster("hls,mixer"), keyed(LoadInput::default())] {
        assert_eq!(load(fine).unwrap().warnings(), Vec::<&str>::new());
    }
    let remarks = load(cluster("janus,mixer")).unwrap().warnings();
    assert!(matches!(remarks[..], [ref one] if one.contains("set janus.mode: external")), "{remarks:?}");
    for (key, value, told) in [
        ("listen.media", "127.0.0.1", "set listen.media to an address"),
        ("node.advertise", "localhost", "set node.advertise to an address"),
        ("store.request_timeout", "10s", "set store.request_timeout to a third"),
    ] {
        let remarks = load(cluster("hls,mixer").flag(key, value)).unwrap().warnings();
        assert!(matches!(remarks[..], [ref one] if one.contains(told)), "{key}: {remarks:?}");
    }
}

#[test]
fn identity_providers_need_their_claims() {
    let errors_of = |flags: &[(&str, &str)]| {
        errors(flags.iter().fold(LoadInput::default(), |input, (key, value)| input.flag(key, value)))
    };
    let (url, issuer) = (("auth.jwks.url", "https://id.example.org/keys"), ("auth.jwks.issuer", "x"));
    let audience = ("auth.jwks.audience", "y");
    for (flags, wrong) in [
        (&[url, issuer][..], "auth.jwks.audience"),
        (&[issuer, audience], "auth.jwks.issuer"),
        (&[url, issuer, audience, ("auth.jwks.file", "/keys.json")], "auth.jwks.url"),
        (&[("auth.jwks.url", "http://id.example.org"), issuer, audience], "must be an https URL"),
        (&[url, audience, ("auth.jwks.issuer", "stentor")], "must differ from auth.issuer"),
    ] {
        let errors = errors_of(flags);
        assert!(errors.contains(wrong), "{wrong}: {errors}");
    }
    let all = [url, issuer, audience];
    let input = all.iter().fold(LoadInput::default(), |input, (key, value)| input.flag(key, value));
    assert_eq!(load(input).unwrap().auth.jwks.role_claim, "role");
}

#[test]
fn contradicting_settings_warn() {
    let public = |ws: &'static str| {
        vec![("http.public_hls_url", "https://live.example.org"), ("http.public_ws_url", ws)]
    };
    let remarks = |flags: &[(&str, &str)]| {
        let input = keyed(LoadInput::default());
        load(flags.iter().fold(input, |input, (key, value)| input.flag(key, value))).unwrap().warnings()
    };
    let suspicious = [
        (vec![("listen.ops", "0.0.0.0:9464")], "an API key with the scope operations"),
        (vec![("auth.listener_token_ttl", "2h")], "auth.listener_token_ttl is shorter than rooms.max_age"),
        (
            vec![("rooms.max_age", "13h"), ("auth.listener_token_ttl", "13h")],
            "auth.anchor_token_ttl is shorter",
        ),
        (public("ws://live.example.org/ws"), "set http.public_ws_url to a wss URL, or name ws"),
        (vec![("node.roles", "hls")], "listeners who are invited to the stage"),
    ];
    for (flags, told) in suspicious {
        let remarks = remarks(&flags);
        assert!(matches!(remarks[..], [ref one] if one.contains(told)), "{flags:?}: {remarks:?}");
    }
    for fine in [vec![("auth.listener_token_ttl", "3h")], public("wss://live.example.org/ws")] {
        assert_eq!(remarks(&fine), Vec::<&str>::new(), "{fine:?}");
    }
}

#[test]
fn short_presence_timeout_warns() {
    let waits = |timeout: &str| load(keyed(LoadInput::default()).flag("presence.timeout", timeout)).unwrap();
    let remarks = waits("19s").warnings();
    assert!(matches!(&remarks[..], [one] if one.contains("set presence.timeout to 20s or more")));
    assert_eq!(waits("20s").warnings(), Vec::<&str>::new());
}

#[test]
fn hls_patience_covers_three_target_durations() {
    for (millis, target, patience) in [(500, 1, 10), (2000, 2, 10), (2500, 3, 12), (10_000, 10, 40)] {
        let hls = load(LoadInput::default().flag("hls.segment_ms", &millis.to_string())).unwrap().hls;
        assert_eq!((hls.target_duration().as_secs(), hls.patience().as_secs()), (target, patience));
    }
}

#[test]
fn duplicate_keys_are_named() {
    let text = errors(file("hls:\n  window: 6\n  window: 7\n"));
    assert!(text.contains("duplicate mapping key: window at line 3"), "{text}");
}

#[test]
fn empty_files_and_sections_are_valid() {
    for text in ["", "# nothing\n", "janus:\nlisten:\n  # api: 127.0.0.1:1\n"] {
        assert!(load(file(text)).is_ok(), "{text:?}");
    }
}

#[test]
fn deep_nesting_is_an_error() {
    for text in ["[".repeat(10_000), "{a: ".repeat(50), format!("hls: {}", "[".repeat(50))] {
        assert!(errors(file(&text)).contains("is not valid YAML"), "{}", errors(file(&text)));
    }
}

fn file(text: &str) -> LoadInput {
    let file = ConfigFile { name: "test.yaml".into(), text: text.into() };
    LoadInput { file: Some(file), ..LoadInput::default() }
}

/// Sets `auth.mode` to `keys`, with one API key.
fn keyed(input: LoadInput) -> LoadInput {
    input.flag("auth.mode", "keys").flag("auth.api_keys", "0123456789abcdef")
}

fn errors(input: LoadInput) -> String {
    load(input).unwrap_err().to_string()
}

fn kept(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

impl LoadInput {
    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.flags.push((key.into(), value.into()));
        self
    }
}
