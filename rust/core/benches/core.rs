//! What one message costs without Python: decode, decide, journal.
#![allow(missing_docs)] // what criterion's macro makes has none

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hotmesh_core::codec::{Draft, decode_event, decode_transition, encode_event};
use hotmesh_core::ledger::Ledger;
use hotmesh_core::replay::match_commands;
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
    let jobs = [event];
    let draft = |now_ms| Draft::new(now_ms, jobs.iter(), jobs.iter()).expect("valid events");
    group.bench_function("encode_transition", |run| {
        run.iter(|| draft(black_box(1_000)).into_frame());
    });
    let transition = draft(1_000).into_frame();
    group.bench_function("decode_transition", |run| {
        run.iter(|| decode_transition(black_box(&transition)).map(|found| found.now_ms));
    });
    group.finish();
}

fn numbered(kind: u8) -> Vec<Event<'static>> {
    (1..=i64::try_from(BATCH).expect("small"))
        .map(|seq| Event::bare(kind, seq, i64::from(kind == kinds::ACTIVITY_COMPLETED)))
        .collect()
}

fn replay(bench: &mut Criterion) {
    let commands = numbered(kinds::ACTIVITY);
    let again = commands.clone();
    let mut group = bench.benchmark_group("replay");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("match_commands", |run| {
        run.iter(|| match_commands(black_box(&commands), black_box(&again)));
    });
    group.finish();
}

fn ledger(bench: &mut Criterion) {
    let (commands, results) = (
        numbered(kinds::ACTIVITY),
        numbered(kinds::ACTIVITY_COMPLETED),
    );
    let mut group = bench.benchmark_group("ledger");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("command_and_accept", |run| {
        run.iter(|| {
            let mut ledger = Ledger::default();
            ledger.accept(&Event::bare(kinds::START, 0, 0));
            for command in &commands {
                ledger.command(command).expect("a valid history");
            }
            results.iter().filter(|each| ledger.accept(each)).count()
        });
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
                router.commit(messages, []);
                let batch = router.ingest(Vec::new(), 1);
                for (run_id, _) in batch.active {
                    router
                        .complete(run_id, 1, &done, |at| done[at].body.to_vec())
                        .expect("a valid history");
                }
                let columns = router.drain();
                router.commit([], []);
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

criterion_group!(benches, codec, replay, ledger, router, wheel);
criterion_main!(benches);
