//! Cost of a live room in the packager: per part, per rendering, per listener with a token.
//!
//! The baseline for a push is the unavoidable encryption: each byte is encrypted once in its part, and once
//! in its segment.

// A failed unwrap is a failed measurement. Helpers are `async` even if they need not be, so that all calls
// look alike.
#![allow(clippy::unwrap_used, clippy::unused_async)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use stentor::domain::ids::{Nonce, RoomId, UnixMs};
use stentor::domain::timeline::{Junction, Moment, Timeline};
use stentor::packager::{
    ContentKeys, LiveStream, Packager, PackagerConfig, SequenceStart, encrypt, with_token,
};

#[path = "../crates/packager/src/synth.rs"]
mod synth;

/// AAC frames of one part of 192 ms.
const FRAMES: usize = 9;

fn packager() -> (Packager, Arc<LiveStream>) {
    let keys = match RoomId::new("bench") {
        Ok(room) => ContentKeys::new(b"server secret", &room, &Nonce("nonce".into())),
        Err(e) => panic!("{e}"),
    };
    let config = PackagerConfig {
        part: Duration::from_millis(192),
        segment: Duration::from_secs(2),
        window: 6,
        key_rotation: 10,
    };
    let junction = Junction::First(Timeline::default());
    let (mut packager, stream) =
        Packager::new(config, keys, SequenceStart::default(), junction, Moment::default());
    packager.begin_incarnation(Moment::default());
    (packager, stream)
}

fn push(packager: &mut Packager, bytes: &[u8], ms: u64) {
    let at = Moment { now: Duration::from_millis(ms), wall: UnixMs(ms) };
    if let Err(e) = packager.push(bytes, at) {
        panic!("{e}");
    }
}

fn part() -> Vec<u8> {
    synth::frames(FRAMES, 7)
}

/// Returns a full window whose playlist nobody has requested yet.
fn full_window() -> (Packager, Arc<LiveStream>, u64) {
    let (mut packager, stream) = packager();
    for n in 0..200 {
        push(&mut packager, &part(), n * 192);
    }
    (packager, stream, 200)
}

fn per_part(c: &mut Criterion) {
    let mut group = c.benchmark_group("packager");
    group.throughput(Throughput::Elements(1));
    let (mut packager, _, mut n) = full_window();
    group.bench_function("push one part (cut, mux, encrypt, publish)", |b| {
        b.iter_batched(
            || {
                n += 1;
                (part(), (n - 1) * 192)
            },
            |(bytes, wall)| push(&mut packager, &bytes, wall),
            BatchSize::SmallInput,
        );
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.unwrap_or_else(|e| panic!("{e}"));
    // The first request renders the playlist for all.
    group.bench_function("first to ask for a playlist", |b| {
        let ask = |stream: Arc<LiveStream>| runtime.block_on(stream.playlist(None)).is_ok();
        b.iter_batched(|| full_window().1, |stream| black_box(ask(stream)), BatchSize::LargeInput);
    });
    group.finish();
}

fn encryption(c: &mut Criterion) {
    let part = part();
    let segment = part.repeat(10);
    let mut group = c.benchmark_group("encrypt");
    for (name, plain) in [("part (floor of a push)", &part), ("segment", &segment)] {
        group.throughput(Throughput::Bytes(plain.len() as u64));
        group.bench_function(name, |b| b.iter(|| encrypt(&[1; 16], black_box(7), black_box(plain))));
    }
    group.finish();
}

fn token(c: &mut Criterion) {
    let line = "#EXT-X-PART:DURATION=0.19200,URI=\"001122334455-1024.0.ts\",INDEPENDENT=YES\n";
    let key = "#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=001122334455&k=102\"\n";
    let playlist = Bytes::from([key, &line.repeat(40)].concat());
    let token = "x".repeat(300);
    c.bench_function("playlist with a listener's token", |b| {
        b.iter(|| with_token(black_box(&playlist), black_box(&token)));
    });
}

criterion_group!(benches, per_part, encryption, token);
criterion_main!(benches);
