//! The protocol of notifications, in every interleaving and with store buffers, as two cores have them.
//!
//! One side publishes an index and then reads whether the other wants to be notified; the other writes that it
//! wants to, and then reads the index again before it sleeps. With a full fence between store and load on both
//! sides nobody sleeps over an entry. Without either fence somebody does, which shows that this test can fail.
//!
//! (The rings themselves are reached through raw pointers, which model checkers for Rust do not see; so this
//! checks the order of the four accesses that both halves' `arm`, `publish` and `should_notify` keep.)

use std::collections::{HashSet, VecDeque};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Store(usize),
    Fence,
    Load(usize),
}

const INDEX: usize = 0;
const WISH: usize = 1;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Core {
    at: usize,
    /// Stores that the other core does not see yet.
    buffer: VecDeque<usize>,
    seen: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    memory: [bool; 2],
    cores: [Core; 2],
}

/// Whether in some interleaving neither core saw what the other had stored.
fn can_be_lost(publisher: &[Step], sleeper: &[Step]) -> bool {
    let programs = [publisher, sleeper];
    let idle = Core { at: 0, buffer: VecDeque::new(), seen: false };
    let mut open = vec![State { memory: [false; 2], cores: [idle.clone(), idle] }];
    let mut known = HashSet::new();
    while let Some(state) = open.pop() {
        if !known.insert(state.clone()) {
            continue;
        }
        let finished = (0..2).all(|core| state.cores[core].at == programs[core].len());
        if finished && !state.cores[0].seen && !state.cores[1].seen {
            return true;
        }
        for (core, program) in programs.into_iter().enumerate() {
            open.extend(drained(&state, core));
            open.extend(stepped(&state, core, program));
        }
    }
    false
}

/// The oldest buffered store reaches memory.
fn drained(state: &State, core: usize) -> Option<State> {
    let mut next = state.clone();
    let word = next.cores[core].buffer.pop_front()?;
    next.memory[word] = true;
    Some(next)
}

fn stepped(state: &State, core: usize, program: &[Step]) -> Option<State> {
    let mut next = state.clone();
    let mover = &mut next.cores[core];
    match *program.get(mover.at)? {
        Step::Store(word) => mover.buffer.push_back(word),
        Step::Fence if !mover.buffer.is_empty() => return None,
        Step::Fence => {}
        Step::Load(word) => mover.seen = state.memory[word] || mover.buffer.contains(&word),
    }
    mover.at += 1;
    Some(next)
}

const PUBLISH: [Step; 3] = [Step::Store(INDEX), Step::Fence, Step::Load(WISH)];
const ARM: [Step; 3] = [Step::Store(WISH), Step::Fence, Step::Load(INDEX)];

#[test]
fn with_both_fences_no_entry_is_slept_over() {
    assert!(!can_be_lost(&PUBLISH, &ARM));
}

#[test]
fn without_either_fence_an_entry_is_slept_over() {
    let without = |program: [Step; 3]| [program[0], program[2]];
    assert!(can_be_lost(&without(PUBLISH), &ARM));
    assert!(can_be_lost(&PUBLISH, &without(ARM)));
}

#[test]
fn a_fence_before_the_store_does_not_help() {
    let early = [Step::Fence, Step::Store(INDEX), Step::Load(WISH)];
    assert!(can_be_lost(&early, &ARM));
}

#[test]
fn looking_before_arming_does_not_help() {
    assert!(can_be_lost(&PUBLISH, &[Step::Load(INDEX), Step::Store(WISH), Step::Fence]));
}
