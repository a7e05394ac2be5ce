//! What one message costs without Python: decode, decide, journal.
#![allow(missing_docs)] // what criterion's macro makes has none

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hotmesh_core::codec::{decode_event, encode_event};
use hotmesh_core::router::Message;
use hotmesh_core::wheel::Wheel;
use hotmesh_core::{Event, Router, kinds};

const BATCH: usize = 500;

fn codec(bench: &mut Criterion) {
    let event = Event {
        kind: kinds::ACTIVITY_COMPLETED,
        seq: 7,
        number: 0,
        name: "charge_card",
        meta: b"",
        body: &[b'x'; 100],
    };
    let frame = encode_event(&event).expect("a valid event");
    let mut group = bench.benchmark_group("codec");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |run| run.iter(|| encode_event(black_box(&event))));
    group.bench_function("decode", |run| {
        run.iter(|| decode_event(black_box(&frame)).map(|event| event.seq));
    });
    group.finish();
}

fn starts(frame: &[u8]) -> Vec<Message<Vec<u8>>> {
    (0..BATCH)
        .map(|index| Message {
            id: i64::try_from(index).expect("small"),
            lane: 64,
            run_id: index as u128 * 0x9E37_79B9_7F4A_7C15,
            frame: frame.to_vec(),
            journaled: false,
        })
        .collect()
}

fn router(bench: &mut Criterion) {
    let start = encode_event(&Event::bare(kinds::START, 0, 0)).expect("a valid event");
    let done = [Event {
        body: b"done",
        ..Event::bare(kinds::COMPLETE, 0, 0)
    }];
    let mut group = bench.benchmark_group("router");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("start_and_close", |run| {
        run.iter_batched(
            || (Router::new(5_000), starts(&start)),
            |(mut router, messages)| {
                let batch = router.ingest(messages, &[], Vec::new(), 1);
                for (run_id, _) in batch.active {
                    router.complete(run_id, 1, &done).expect("a valid history");
                }
                let columns = router.drain();
                router.commit();
                columns
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn wheel(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("wheel");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("add_and_advance", |run| {
        let mut wheel = Wheel::default();
        let mut now = 0;
        run.iter(|| {
            for token in 0..BATCH as u64 {
                wheel.add(
                    now + i64::try_from(token * 13 % 5_000).expect("small"),
                    token,
                );
            }
            now += 5_000;
            black_box(wheel.advance(now))
        });
    });
    group.finish();
}

criterion_group!(benches, codec, router, wheel);
criterion_main!(benches);
