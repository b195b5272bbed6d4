//! Icecast source connection: the request that opens it, and the meaning of the answers. This module is pure.
//!
//! The node sends an HTTP `PUT` and waits for `100 Continue`, as Icecast 2.4 and newer expect. The audio
//! follows without a length. A redirect is a failure: following it could lead to a private address.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;

use super::{OutputFormat, OutputKind, Target};

/// Maximum length of the head of an answer, bytes.
const MAX_HEAD: usize = 8192;

impl Target {
    /// Returns the head of the request that opens the connection; `None` if the target is not an Icecast
    /// server. The head contains the credentials.
    pub fn icecast_request(&self, agent: &str) -> Option<String> {
        if self.kind() != OutputKind::Icecast {
            return None;
        }
        let url = self.url();
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let path = url.path();
        // RFC 7617 section 2: the credentials are not percent-encoded.
        let plain = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let user = [plain(url.username()), plain(url.password().unwrap_or_default())].join(&b':');
        let user = BASE64_STANDARD.encode(user);
        let kind = match self.format() {
            OutputFormat::Aac => "audio/aac",
            OutputFormat::Mp3 => "audio/mpeg",
            OutputFormat::Opus => "audio/ogg",
        };
        Some(format!(
            "PUT {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {user}\r\nUser-Agent: {agent}\r\n\
             Content-Type: {kind}\r\nIce-Public: 0\r\nExpect: 100-continue\r\n\r\n"
        ))
    }
}

/// Returns the meaning of the first answer in `received`: `Ok` if the target accepts the audio, otherwise the
/// reason for the refusal, without text from the target. `None`: the head is not complete.
pub fn icecast_answer(received: &[u8]) -> Option<Result<(), String>> {
    let other = || Err("the target does not speak HTTP; is it an Icecast server?".to_owned());
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        return (received.len() > MAX_HEAD).then(other);
    };
    let head = &received[..end];
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let status = line.starts_with(b"HTTP/1.").then(|| line.split(|byte| *byte == b' ').nth(1)).flatten();
    let status =
        status.filter(|digits| digits.len() == 3).and_then(|digits| std::str::from_utf8(digits).ok());
    Some(match status.and_then(|digits| digits.parse::<u16>().ok()) {
        None => other(),
        Some(100..=299) => Ok(()),
        Some(300..=399) => Err("the target redirects to another address; redirects are not followed".into()),
        Some(401) => Err("the target refuses the credentials".into()),
        Some(403) => Err("the target refuses the mount or stream; it may be in use".into()),
        Some(404) => Err("the target does not know the path".into()),
        Some(status) => Err(format!("the target answered {status}")),
    })
}

/// Returns the second answer in `received`; empty if there is none. Icecast may refuse the audio after
/// `100 Continue`.
pub fn second_icecast_answer(received: &[u8]) -> &[u8] {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n");
    let rest = end.map_or(&[][..], |end| &received[end + 4..]);
    if rest.starts_with(b"HTTP/1.") { rest } else { &[] }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn second_answers_follow_the_first() {
        let (first, second) = ("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.0 403 Mountpoint in use\r\n\r\n");
        let rest = |text: &str| String::from_utf8(second_icecast_answer(text.as_bytes()).to_vec()).unwrap();
        assert_eq!(rest(&format!("{first}{second}")), second);
        assert_eq!([rest(first), rest("HTTP/1.1 100"), rest(&format!("{first}<html>"))], [""; 3]);
    }

    #[test]
    fn icecast_request_has_plain_credentials() {
        let url = "icecast://source:ha%3Ack%20me@[2001:db8::1]:8000/live%20a.ogg";
        let target = Target::parse(url, OutputFormat::Opus).unwrap();
        let request = target.icecast_request("stentor/1").unwrap();
        let user = BASE64_STANDARD.encode("source:ha:ck me");
        assert_eq!(
            request,
            format!(
                "PUT /live%20a.ogg HTTP/1.1\r\nHost: [2001:db8::1]:8000\r\nAuthorization: Basic {user}\r\n\
                 User-Agent: stentor/1\r\nContent-Type: audio/ogg\r\nIce-Public: 0\r\n\
                 Expect: 100-continue\r\n\r\n"
            )
        );
        let srt = Target::parse("srt://a.example.org:9", OutputFormat::Aac).unwrap();
        assert_eq!(srt.icecast_request("stentor/1"), None);
    }

    #[test]
    fn icecast_answers_have_meanings() {
        let answer = |head: &str| icecast_answer(format!("{head}\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(icecast_answer(b"HTTP/1.1 100 Continue\r\n"), None);
        assert_eq!(answer("HTTP/1.1 100 Continue"), Ok(()));
        assert_eq!(answer("HTTP/1.0 200 OK\r\nServer: Icecast 2.4"), Ok(()));
        for (head, part) in [
            ("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/", "not followed"),
            ("HTTP/1.1 401 Unauthorized", "credentials"),
            ("HTTP/1.1 403 Mountpoint in use", "in use"),
            ("HTTP/1.1 404 Not Found", "path"),
            ("HTTP/1.1 507 Full", "answered 507"),
            ("HTTP/1.1 2000 OK", "HTTP"),
            ("ICY 200 OK", "HTTP"),
            ("", "HTTP"),
        ] {
            let reason = answer(head).unwrap_err();
            assert!(reason.contains(part), "{head}: {reason}");
        }
        assert!(icecast_answer(&[b'x'; MAX_HEAD + 1]).unwrap().is_err());
    }

    proptest! {
        #[test]
        fn any_answer_is_understood_or_refused(received: Vec<u8>, text in "HTTP/1.[ 0-9a-z\r\n]{0,30}") {
            let _ = icecast_answer(&received);
            let _ = icecast_answer(text.as_bytes());
        }

        #[test]
        fn icecast_request_has_one_head(user in "[!-~]{1,9}", path in "[!-~]{1,20}") {
            if let Ok(target) = Target::parse(&format!("icecast://{user}:p@a:1/{path}"), OutputFormat::Aac)
                && let Some(request) = target.icecast_request("a")
            {
                prop_assert_eq!(request.matches("\r\n").count(), 8);
                prop_assert!(request.ends_with("\r\n\r\n"));
            }
        }
    }
}
