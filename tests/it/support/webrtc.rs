//! A WebRTC client without a browser (str0m): publishes a tone, or nothing, and keeps received audio.
//!
//! Real ICE, DTLS and SRTP over a real interface: Janus gathers no candidate on loopback, and packets to an
//! address of this machine stay on it. Owns: the peer connection and its task. Does not signal.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stentor::probe::hearing::level;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::opus::FRAME_SAMPLES;

/// Number of most recent received frames that are kept.
const KEPT_FRAMES: usize = 500;
/// Frames in a fifth of a second.
const FIFTH: u64 = 10;
/// Time limit for every event.
const PATIENCE: Duration = Duration::from_secs(60);
/// Audio level of speech, as a client reports it: RFC 6464, -dBov.
const LEVEL: i8 = -20;

/// Properties of the audio that a client sends, and of the network that carries it.
#[derive(Debug, Clone, Copy)]
pub struct Uplink {
    /// Samples per frame at 48 kHz.
    pub frame_samples: u64,
    /// Returns true if the frame with this number is sent. With discontinuous transmission (DTX), most frames
    /// of a pause are not sent.
    pub sends: fn(u64) -> bool,
    /// Returns the outcome for the audio packet with this number.
    pub network: Network,
}

pub type Network = fn(u64) -> Delivery;

#[derive(Debug, Clone, Copy)]
pub enum Delivery {
    InOrder,
    /// Arrives after the next packet.
    Late,
    Lost,
}

impl Default for Uplink {
    /// Returns the uplink of a usual client on a perfect network.
    fn default() -> Self {
        Self { frame_samples: FRAME_SAMPLES, sends: |_| true, network: |_| Delivery::InOrder }
    }
}

/// State of the connection so far.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    pub connected: bool,
    /// Audio packets sent.
    pub sent: u64,
    pub received: u64,
    /// The newest frames, oldest first.
    pub frames: Vec<Vec<u8>>,
}

/// The client. When dropped it ends with its task and sends nothing to Janus, like a browser that crashed.
pub struct WebRtcClient {
    offer: String,
    candidate: String,
    progress: watch::Receiver<Progress>,
    task: Option<JoinHandle<()>>,
    orders: mpsc::UnboundedSender<Order>,
    /// Factor applied to received audio.
    gain: f32,
}

struct PeerConnection {
    rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    mid: Mid,
    tone: Vec<Arc<[u8]>>,
    progress: watch::Sender<Progress>,
    orders: mpsc::UnboundedReceiver<Order>,
    unanswered: Option<SdpPendingOffer>,
    /// Local candidate to add once the answer has replaced the previous candidates.
    moved: Option<Candidate>,
    uplink: Uplink,
    /// Time at which frame 0 is due; `None`: when the connection is established.
    since: Option<Instant>,
    /// Audio packets that left the client, lost ones included.
    packets: u64,
    /// Packet that arrives after the next one.
    late: Option<(Vec<u8>, SocketAddr)>,
}

/// Order to a running peer connection.
enum Order {
    Answer(SdpAnswer),
    /// Remote candidate.
    Candidate(Candidate),
    /// Moves to this address with an ICE restart. The reply is the offer, and the candidate missing in it.
    Move(IpAddr, oneshot::Sender<(String, Candidate)>),
    Close,
}

impl WebRtcClient {
    /// Creates a client at [`media_ip`]. `tone`: the frames to publish; empty publishes nothing.
    pub async fn new(tone: Vec<Arc<[u8]>>) -> Self {
        Self::at(media_ip(), tone).await
    }

    /// Creates a client with this uplink at [`media_ip`].
    pub async fn over(uplink: Uplink, tone: Vec<Arc<[u8]>>) -> Self {
        let socket = UdpSocket::bind((media_ip(), 0)).await.expect("a free port");
        Self::create(socket, uplink, tone, None)
    }

    /// Creates a client with this uplink that sends, whenever it is connected, the frame that is due: frame
    /// `n` is due `n` frame durations after `since`.
    pub async fn in_step(uplink: Uplink, tone: Vec<Arc<[u8]>>, since: Instant) -> Self {
        let socket = UdpSocket::bind((media_ip(), 0)).await.expect("a free port");
        Self::create(socket, uplink, tone, Some(since))
    }

    /// Creates a client at this address of this machine.
    pub async fn at(ip: IpAddr, tone: Vec<Arc<[u8]>>) -> Self {
        Self::on(UdpSocket::bind((ip, 0)).await.expect("a free port"), tone)
    }

    /// Creates a client on a bound socket, which may belong to another network namespace.
    pub fn on(socket: UdpSocket, tone: Vec<Arc<[u8]>>) -> Self {
        Self::create(socket, Uplink::default(), tone, None)
    }

    fn create(socket: UdpSocket, uplink: Uplink, tone: Vec<Arc<[u8]>>, since: Option<Instant>) -> Self {
        let address = socket.local_addr().expect("a bound socket");
        let mut rtc = Rtc::builder().clear_codecs().enable_opus(true, false).build(Instant::now());
        let candidate = Candidate::host(address, "udp").expect("a host candidate");
        rtc.add_local_candidate(candidate.clone());
        let mut change = rtc.sdp_api();
        let mid = change.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let (offer, pending) = change.apply().expect("there is something to offer");
        let (sender, progress) = watch::channel(Progress::default());
        let (orders, inbox) = mpsc::unbounded_channel();
        let peer = PeerConnection {
            rtc,
            socket,
            address,
            mid,
            tone,
            progress: sender,
            orders: inbox,
            unanswered: Some(pending),
            moved: None,
            uplink,
            since,
            packets: 0,
            late: None,
        };
        Self {
            offer: offer.to_sdp_string(),
            candidate: candidate.to_sdp_string(),
            progress,
            task: Some(tokio::spawn(peer.run())),
            orders,
            gain: 1.0,
        }
    }

    /// Moves to another address of this machine, as a phone does when it changes networks. The old socket
    /// closes at once, and no media pass until the new offer is answered.
    pub async fn move_to(&mut self, ip: IpAddr) {
        let (reply, moved) = oneshot::channel();
        self.order(Order::Move(ip, reply));
        let (offer, candidate) = moved.await.expect("it runs");
        self.candidate = candidate.to_sdp_string();
        self.offer = without_candidates(&offer) + &format!("a={}\r\na=end-of-candidates\r\n", self.candidate);
    }

    /// Returns the offer, including all candidates.
    pub fn offer(&self) -> String {
        self.offer.clone()
    }

    /// Returns the offer without candidates, for trickle ICE.
    pub fn offer_without_candidates(&self) -> String {
        without_candidates(&self.offer)
    }

    pub fn candidate(&self) -> String {
        self.candidate.clone()
    }

    /// Returns address and port of each candidate in an answer.
    pub fn candidates(sdp: &str) -> Vec<(IpAddr, u16)> {
        let lines = sdp.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
        let address = |line: &str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            (fields[4].parse().expect("an address"), fields[5].parse().expect("a port"))
        };
        lines.map(address).collect()
    }

    /// Applies the answer. Use [`Self::until`] to wait for media.
    pub fn answer(&self, sdp: &str) {
        self.order(Order::Answer(SdpAnswer::from_sdp_string(sdp).expect("an SDP answer")));
    }

    /// Adds a remote candidate, in the attribute's syntax.
    pub fn add_candidate(&self, text: &str) {
        self.order(Order::Candidate(Candidate::from_sdp_string(text).expect("a candidate")));
    }

    /// Closes the connection properly, as a browser does when its page is closed.
    pub async fn close(mut self) {
        self.order(Order::Close);
        let task = self.task.take().expect("it is closed once");
        tokio::time::timeout(PATIENCE, task).await.expect("it ends").expect("without a panic");
    }

    fn order(&self, order: Order) {
        assert!(self.orders.send(order).is_ok(), "the peer connection is over");
    }

    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until `condition` holds for the progress, and returns it.
    pub async fn until(&self, what: &str, condition: impl FnMut(&Progress) -> bool) -> Progress {
        let mut progress = self.progress.clone();
        match tokio::time::timeout(PATIENCE, progress.wait_for(condition)).await {
            Ok(Ok(progress)) => progress.clone(),
            Ok(Err(_)) => panic!("the client ended before {what}"),
            Err(_) => {
                let Progress { connected, sent, received, .. } = self.progress();
                panic!("{what} did not happen; connected: {connected}, sent {sent}, received {received}")
            }
        }
    }

    /// Restores the level of the mix, as clients do with `mixGainDb`.
    pub fn amplify(&mut self, mix_gain_db: f64) {
        self.gain = 10f64.powf(mix_gain_db / 20.0) as f32;
    }

    /// Receives `frames` more and returns their samples, amplified.
    pub async fn hear(&self, frames: u64) -> Vec<f32> {
        let until = self.progress.borrow().received + frames;
        let progress = self.until("enough audio", |p| p.received >= until).await;
        let wanted = progress.frames.len().saturating_sub(frames as usize);
        let heard = super::opus::decode(&progress.frames[wanted..]);
        heard.into_iter().map(|sample| sample * self.gain).collect()
    }

    /// Waits until the client hears these tones, and none of `others`, for a fifth of a second.
    pub async fn until_hears(&self, tones: &[f64], others: &[f64]) {
        super::until(&format!("{tones:?} Hz heard without {others:?}"), async || {
            let heard = self.hear(FIFTH).await;
            let level = |hz: &f64| level(&heard, *hz);
            tones.iter().all(|hz| level(hz) > 0.05) && others.iter().all(|hz| level(hz) < 0.005)
        })
        .await;
    }
}

impl Drop for WebRtcClient {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl PeerConnection {
    async fn run(mut self) {
        let frame = Duration::from_micros(self.uplink.frame_samples * 1_000 / 48);
        let mut ticks = tokio::time::interval(frame);
        let mut packet = vec![0; 2000];
        let mut next = None;
        while let Some(due) = self.drain().await {
            tokio::select! {
                received = self.socket.recv_from(&mut packet) => match received {
                    Ok((length, source)) => self.take(&packet[..length], source),
                    Err(e) => panic!("the socket: {e}"),
                },
                // Sleep: the clock of the connection, not a wait for a condition.
                () = tokio::time::sleep_until(due.into()) => self.feed(Input::Timeout(Instant::now())),
                order = self.orders.recv() => match order {
                    Some(Order::Close) | None => {
                        self.rtc.close().expect("a goodbye");
                        self.drain().await;
                        return;
                    }
                    Some(order) => self.carry_out(order).await,
                },
                _ = ticks.tick(), if !self.tone.is_empty() => {
                    if self.progress.borrow().connected {
                        let number = next.unwrap_or_else(|| {
                            let elapsed = self.since.map_or(Duration::ZERO, |since| since.elapsed());
                            elapsed.div_duration_f64(frame) as u64
                        });
                        self.speak(number);
                        next = Some(number + 1);
                    }
                }
            }
        }
    }

    async fn carry_out(&mut self, order: Order) {
        match order {
            Order::Answer(answer) => {
                let pending = self.unanswered.take().expect("answered once");
                self.rtc.sdp_api().accept_answer(pending, answer).expect("an answer to our offer");
                if let Some(candidate) = self.moved.take() {
                    self.rtc.add_local_candidate(candidate);
                }
            }
            Order::Candidate(candidate) => self.rtc.add_remote_candidate(candidate),
            Order::Move(ip, reply) => {
                // The old socket is closed.
                self.socket = UdpSocket::bind((ip, 0)).await.expect("a free port");
                self.address = self.socket.local_addr().expect("a bound socket");
                let candidate = Candidate::host(self.address, "udp").expect("a host candidate");
                self.moved = Some(candidate.clone());
                let mut change = self.rtc.sdp_api();
                change.ice_restart(false);
                let (offer, pending) = change.apply().expect("there is something to offer");
                self.unanswered = Some(pending);
                let _ = reply.send((offer.to_sdp_string(), candidate));
            }
            Order::Close => {}
        }
    }

    /// Processes all pending output. Returns the time at which the connection needs its next input; `None`
    /// once it is over.
    async fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.rtc.poll_output().ok()? {
                Output::Timeout(due) => return self.rtc.is_alive().then_some(due),
                // The packet was meant for an address that is no longer ours.
                Output::Transmit(packet) if packet.source != self.address => {}
                Output::Transmit(packet) => self.transmit(packet.contents.to_vec(), packet.destination).await,
                Output::Event(event) => self.event(event),
            }
        }
    }

    async fn transmit(&mut self, packet: Vec<u8>, destination: SocketAddr) {
        let delivery = if is_audio(&packet) {
            self.packets += 1;
            (self.uplink.network)(self.packets)
        } else {
            Delivery::InOrder
        };
        let arriving = match delivery {
            Delivery::Lost => return,
            Delivery::Late => {
                self.late = Some((packet, destination));
                return;
            }
            Delivery::InOrder => [Some((packet, destination)), self.late.take()],
        };
        for (packet, destination) in arriving.into_iter().flatten() {
            // An error means that nothing listens there any more: equivalent to a lost packet.
            let _ = self.socket.send_to(&packet, destination).await;
        }
    }

    fn event(&self, event: Event) {
        match event {
            Event::Connected => self.progress.send_modify(|p| p.connected = true),
            Event::MediaData(data) => self.progress.send_modify(|p| {
                p.received += 1;
                p.frames.push(data.data.to_vec());
                let surplus = p.frames.len().saturating_sub(KEPT_FRAMES);
                p.frames.drain(..surplus);
            }),
            _ => {}
        }
    }

    fn take(&mut self, packet: &[u8], source: SocketAddr) {
        // Input that is neither STUN, DTLS nor RTP is dropped, as is usual.
        if let Ok(contents) = packet.try_into() {
            let receive = Receive { proto: Protocol::Udp, source, destination: self.address, contents };
            self.feed(Input::Receive(Instant::now(), receive));
        }
    }

    fn feed(&mut self, input: Input) {
        self.rtc.handle_input(input).expect("input is taken");
    }

    fn speak(&mut self, number: u64) {
        if !(self.uplink.sends)(number) {
            return;
        }
        let frame = self.tone[number as usize % self.tone.len()].clone();
        let time = MediaTime::new(number * self.uplink.frame_samples, Frequency::FORTY_EIGHT_KHZ);
        let Some(writer) = self.rtc.writer(self.mid) else { return };
        let Some(pt) = writer.payload_params().next().map(|p| p.pt()) else { return };
        writer.audio_level(LEVEL, true).write(pt, Instant::now(), time, frame).expect("is sent");
        self.progress.send_modify(|p| p.sent += 1);
    }
}

/// Returns true for SRTP: not STUN or DTLS (RFC 7983 section 7), and not SRTCP (RFC 5761 section 4).
fn is_audio(packet: &[u8]) -> bool {
    matches!(packet, [128..=191, payload, ..] if !(64..=95).contains(&(payload & 0x7f)))
}

fn without_candidates(sdp: &str) -> String {
    let lines = sdp.split_inclusive("\r\n");
    lines.filter(|l| !l.starts_with("a=candidate") && !l.starts_with("a=end-of-cand")).collect()
}

/// Returns an address of this machine that is not loopback. Without one, root creates a veth pair.
pub fn media_ip() -> IpAddr {
    static MADE: std::sync::OnceLock<IpAddr> = std::sync::OnceLock::new();
    *MADE.get_or_init(|| own_address().unwrap_or_else(made_address))
}

fn own_address() -> Option<IpAddr> {
    let listed = ip(&["-o", "-4", "addr", "show", "up", "scope", "global"]);
    let address = listed.split_whitespace().skip_while(|word| *word != "inet").nth(1)?;
    address.split('/').next()?.parse().ok()
}

fn made_address() -> IpAddr {
    ip(&["link", "add", "stentor0", "type", "veth", "peer", "name", "stentor1"]);
    ip(&["addr", "add", "10.213.7.1/24", "dev", "stentor0"]);
    ip(&["link", "set", "stentor0", "up"]);
    ip(&["link", "set", "stentor1", "up"]);
    own_address().expect("WebRTC needs an interface besides loopback; run as root, or bring one up")
}

fn ip(args: &[&str]) -> String {
    let output = std::process::Command::new("ip").args(args).output().expect("`ip` of iproute2");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
