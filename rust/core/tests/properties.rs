//! Properties of the core that need no Python: nothing panics, and each part equals its model.

use std::collections::BTreeMap;

use hotmesh_core::codec::{
    Draft, Transition, decode_event, decode_transition, encode_event, lane_of,
};
use hotmesh_core::columns::TimerRow;
use hotmesh_core::ledger::{Ledger, OpenCommand, OpenCommands};
use hotmesh_core::replay::match_commands;
use hotmesh_core::router::Message;
use hotmesh_core::run::{Arrival, Origin};
use hotmesh_core::wheel::Wheel;
use hotmesh_core::{Event, Router, kinds};
use proptest::collection::vec;
use proptest::prelude::*;
use rustc_hash::FxHashSet;

/// An event that owns its parts.
#[derive(Debug, Clone)]
struct Owned {
    kind: u8,
    seq: i64,
    number: i64,
    name: String,
    meta: Vec<u8>,
    body: Vec<u8>,
}

impl Owned {
    fn event(&self) -> Event<'_> {
        Event {
            kind: self.kind,
            seq: self.seq,
            number: self.number,
            name: &self.name,
            meta: &self.meta,
            body: &self.body,
        }
    }
}

fn any_event() -> impl Strategy<Value = Owned> {
    let parts = (
        any::<u8>(),
        0..=i64::MAX,
        any::<i64>(),
        ".{0,9}",
        vec(any::<u8>(), 0..9),
        vec(any::<u8>(), 0..200),
    );
    parts.prop_map(|(kind, seq, number, name, meta, body)| Owned {
        kind,
        seq,
        number,
        name,
        meta,
        body,
    })
}

/// Events of known kinds about few sequence numbers, so that they often concern each other.
fn telling_event() -> impl Strategy<Value = Owned> {
    let metas = prop_oneof![
        Just(vec![]),
        Just(vec![1]),
        Just(vec![2]),
        Just(b"id".to_vec())
    ];
    let numbers = prop_oneof![Just(0), Just(1), Just(2), Just(7), Just(-1)];
    (0..70_u8, 0..5_i64, numbers, metas).prop_map(|(kind, seq, number, meta)| Owned {
        kind,
        seq,
        number,
        name: String::new(),
        meta,
        body: Vec::new(),
    })
}

fn message(id: i64, run: u8, event: &Owned, journaled: bool) -> Message<Vec<u8>> {
    let frame = encode_event(&event.event()).expect("a valid event");
    Message {
        id,
        lane: 64,
        run_id: u128::from(run),
        frame,
        journaled,
    }
}

proptest! {
    #[test]
    fn events_round_trip(event in any_event()) {
        let frame = encode_event(&event.event()).expect("a valid event");
        prop_assert_eq!(decode_event(&frame), Ok(event.event()));
    }

    #[test]
    fn transitions_round_trip(
        now_ms in 0..=i64::MAX,
        jobs in vec(any_event(), 0..4),
        commands in vec(any_event(), 0..4),
    ) {
        let jobs: Vec<_> = jobs.iter().map(Owned::event).collect();
        let commands: Vec<_> = commands.iter().map(Owned::event).collect();
        let draft = Draft::new(now_ms, jobs.iter(), commands.iter()).expect("valid");
        let frame = draft.into_frame();
        prop_assert_eq!(decode_transition(&frame), Ok(Transition { now_ms, jobs, commands }));
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_canonical(data in vec(any::<u8>(), 0..60)) {
        if let Ok(event) = decode_event(&data) {
            prop_assert_eq!(encode_event(&event).expect("it was decoded"), data.clone());
        }
        let mut frame = b"H\x01\x00".to_vec();
        frame.extend_from_slice(&data);
        frame.extend_from_slice(&crc32fast::hash(&frame).to_le_bytes());
        if let Ok(found) = decode_transition(&frame) {
            let again = Draft::new(found.now_ms, found.jobs.iter(), found.commands.iter())
                .expect("it was decoded");
            prop_assert_eq!(again.into_frame(), frame.clone());
        }
    }

    #[test]
    fn lanes_stay_within_their_queue(queue_id in 0..=i64::MAX / 64 - 1, id in ".*") {
        let lane = lane_of(queue_id, &id).expect("it fits");
        prop_assert_eq!(lane / 64, queue_id);
    }

    #[test]
    fn open_commands_equal_a_sorted_map(steps in vec((any::<bool>(), 0..90_i64), 0..300)) {
        let mut commands = OpenCommands::default();
        let mut model = BTreeMap::new();
        let mut used = FxHashSet::default();
        for (number, (opens, seq)) in (0_i64..).zip(steps) {
            if opens {
                if used.insert(seq) {
                    let (kind, starting, deadlines) = (kinds::TIMER, false, Vec::new());
                    commands.add(OpenCommand { kind, seq, number, starting, deadlines });
                    model.insert(seq, number);
                }
            } else {
                let is_even = |each: &OpenCommand| each.number % 2 == 0;
                let found = commands.find(seq).and_then(|place| commands.take_if(place, is_even));
                let wanted = model.get(&seq).copied().filter(|number| number % 2 == 0);
                prop_assert_eq!(found.map(|each| each.number), wanted);
                if wanted.is_some() {
                    model.remove(&seq);
                }
            }
            prop_assert_eq!(commands.get(seq).map(|each| each.number), model.get(&seq).copied());
            let all = commands.iter().map(|each| (each.seq, each.number));
            prop_assert!(all.eq(model.iter().map(|(&seq, &number)| (seq, number))));
        }
    }

    #[test]
    fn the_wheel_equals_a_sorted_list(
        steps in vec((0..3_u8, any::<u64>(), 0..20_u64, 0..64_u32), 0..80)
    ) {
        let mut wheel = Wheel::default();
        let mut model: BTreeMap<(i64, usize), u64> = BTreeMap::new();
        for (order, (step, bits, token, shift)) in steps.into_iter().enumerate() {
            let time = i64::from_ne_bytes((bits >> shift).to_ne_bytes());
            match step {
                0 => {
                    wheel.add(time, token);
                    model.retain(|_, each| *each != token);
                    model.insert((time, order), token);
                }
                1 => {
                    let before = model.len();
                    model.retain(|_, each| *each != token);
                    prop_assert_eq!(wheel.cancel(token), model.len() < before);
                }
                _ => {
                    let later = model.split_off(&(time, usize::MAX));
                    let due = std::mem::replace(&mut model, later);
                    prop_assert_eq!(wheel.advance(time), due.into_values().collect::<Vec<_>>());
                }
            }
            prop_assert_eq!(wheel.len(), model.len());
            prop_assert_eq!(wheel.next_due(), model.keys().next().map(|key| key.0));
        }
    }

    #[test]
    fn ledger_masks_only_gain(steps in vec((any::<bool>(), telling_event()), 0..60)) {
        let mut ledger = Ledger::default();
        let (mut opened, mut settled) = (0, 0);
        for (is_command, event) in steps {
            if is_command {
                // A refusal must leave the masks as they were, which is what is checked.
                let _ = ledger.command(&event.event());
            } else {
                ledger.accept(&event.event());
            }
            let (now_opened, now_settled) = ledger.words();
            let first = |words: Vec<u64>| words.first().copied().unwrap_or(0);
            let (now_opened, now_settled) = (first(now_opened), first(now_settled));
            prop_assert_eq!(now_opened & opened, opened);
            prop_assert_eq!(now_settled & settled, settled);
            prop_assert_eq!(now_settled & !now_opened, 0);
            let at_work = ledger.local_seqs().count() + usize::from(ledger.paused());
            prop_assert_eq!(ledger.local(), at_work);
            (opened, settled) = (now_opened, now_settled);
        }
    }

    #[test]
    fn the_same_program_always_matches(events in vec(telling_event(), 0..20)) {
        let commands: Vec<_> =
            events.iter().map(Owned::event).filter(|each| !kinds::is_router_made(each.kind)).collect();
        prop_assert_eq!(match_commands(&commands, &commands), None);
        if !commands.is_empty() {
            prop_assert_eq!(match_commands(&commands, &[]), Some(0));
        }
    }

    /// Whatever arrives, every message is acknowledged once or still in hand, and a redelivery of
    /// everything to a new router is refused or finds the same state.
    #[test]
    fn every_message_is_accounted_for(
        stream in vec((0..3_u8, telling_event()), 1..30),
        commands in vec(telling_event(), 0..4),
    ) {
        let mut router: Router<Vec<u8>> = Router::new(1_000);
        let mut acknowledged = Vec::new();
        for (id, (run, event)) in (1_i64..).zip(&stream) {
            let timer = TimerRow { lane: 64, due_ms: id, run_id: u128::from(*run), key: id % 9 - 2 };
            let local = Arrival::make(&event.event(), Origin::Local).expect("a valid event");
            let twice = [message(id, *run, event, false), message(id, *run, event, false)];
            router.commit(twice, [timer]);
            let batch = router.ingest(vec![(u128::from(*run), local)], id);
            for run_id in batch.loads {
                let none: &[Vec<u8>] = &[];
                router.load(run_id, 64, none, false, &FxHashSet::default()).expect("empty");
            }
            for (run_id, _) in batch.active {
                let commands: Vec<_> = commands.iter().map(Owned::event).collect();
                if router.complete(run_id, id, &commands, |at| commands[at].body.to_vec()).is_err() {
                    // Refused: the run is cold, its jobs come again once it is loaded.
                    prop_assert!(router.jobs(run_id).is_empty());
                }
            }
            let columns = router.drain();
            acknowledged.extend(columns.acks.iter().map(|row| row.message_id));
            router.commit([], []);
        }
        let in_hand = router.stats().claims;
        prop_assert_eq!(acknowledged.len() + in_hand, stream.len());
        acknowledged.sort_unstable();
        acknowledged.dedup();
        prop_assert_eq!(acknowledged.len() + in_hand, stream.len());
    }
}

#[test]
fn error_texts_are_those_of_the_reference() {
    let error = decode_event(b"").expect_err("there is nothing");
    assert_eq!(error.to_string(), "event frame ends too early (at byte 0)");
    let error = Ledger::default()
        .command(&Event::bare(kinds::REDISPATCH, 3, 1))
        .expect_err("nothing is open");
    assert_eq!(
        error.to_string(),
        "REDISPATCH with seq 3 refers to a command that is not open"
    );
    let error = Router::<Vec<u8>>::new(0)
        .fail(1)
        .expect_err("it is unknown");
    let text = "is not known to this router; it was dropped or never read";
    let run = "00000000-0000-0000-0000-000000000001";
    assert_eq!(error.to_string(), format!("run {run} {text}"));
}
