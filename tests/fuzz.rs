//! Fuzz tests of the node's parsers: valid configurations, tokens and playlists of other nodes, changed in
//! random places.

use std::time::Duration;

use bolero::check;
use stentor::auth::Tokens;
use stentor::config::{self, ConfigFile, JwtSecret, LoadInput, Secret};
use stentor::domain::ids::{RoomId, UnixMs};
use stentor::packager::relayed;
use stentor::packager::{MediaFile, NonceHint};
use stentor_fuzz::{Corpus, Mutations};

const NOW: UnixMs = UnixMs(1_700_000_000_000);

#[test]
fn fuzz_configuration_files() {
    let reference = config::reference_file();
    let corpus = Corpus::new([reference.as_str(), include_str!("corpus/cluster.yaml")]);
    check!().with_type().for_each(|mutations: &Mutations| {
        let file = ConfigFile { name: "config.yaml".to_owned(), text: corpus.text(mutations) };
        if let Err(errors) = config::load(LoadInput { file: Some(file), ..LoadInput::default() }) {
            assert!(!errors.0.is_empty() && !errors.to_string().is_empty());
        }
    });
}

#[test]
fn fuzz_signed_tokens() {
    let secret = JwtSecret { kid: "a".to_owned(), secret: Secret(vec![7; 32]) };
    let tokens = Tokens::new(&[secret], "stentor", Duration::from_secs(3600));
    let room = RoomId::new("demo").unwrap();
    let issued =
        [tokens.issue_listener(&room, None, NOW).token, tokens.issue_listener(&room, Some(NOW), NOW).token];
    let corpus = Corpus::new(&issued);
    for token in &issued {
        assert!(tokens.verify_listener(token, &room, NOW).is_ok());
    }
    check!().with_type().for_each(|mutations: &Mutations| {
        let token = corpus.text(mutations);
        assert!(issued.contains(&token) || tokens.verify_listener(&token, &room, NOW).is_err(), "{token}");
    });
}

#[test]
fn fuzz_playlists_of_other_nodes() {
    let hint: NonceHint = "0011aabbccdd".parse().unwrap();
    let corpus = Corpus::new([include_str!("corpus/playlist.m3u8")]);
    let next = Some((8, 2));
    assert_eq!(relayed::refusal(corpus.inputs().next().unwrap(), hint, next), None);
    check!().with_type().for_each(|mutations: &Mutations| {
        let playlist = corpus.input(mutations);
        if relayed::refusal(&playlist, hint, next).is_none() {
            let text = String::from_utf8(playlist).expect("a listed playlist is text");
            let names = text.lines().filter(|line| !line.starts_with('#'));
            assert!(
                names.map(|name| name.parse::<MediaFile>()).all(|file| file.unwrap().hint() == hint),
                "{text}"
            );
            assert!(!text.contains("//"), "an address of another host: {text}");
        }
    });
}
