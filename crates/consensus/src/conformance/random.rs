//! Random operations on a log, compared with a naive model after each.

use corgi_base::{LogIndex, Term};

use super::{LogFixture, bounds, entry, hard_state, truncate};
use crate::storage::{HardState, LogBounds, LogEntry, LogReader, LogWrite, LogWriter};

/// A small generator with a seed, so that a failure can be repeated (splitmix64; Steele, Lea, Flood
/// 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number of `low..=high`.
    fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }
}

/// The log as one would write it down on paper.
#[derive(Default)]
struct Model {
    hard_state: HardState,
    truncated: (u64, u64),
    entries: Vec<LogEntry>,
}

impl Model {
    fn last(&self) -> u64 {
        self.truncated.0 + self.entries.len() as u64
    }

    fn term(&self, index: u64) -> u64 {
        if index == self.truncated.0 {
            return self.truncated.1;
        }
        self.entries[(index - self.truncated.0 - 1) as usize].term.0
    }

    fn bounds(&self) -> LogBounds {
        LogBounds {
            hard_state: self.hard_state,
            truncated_index: LogIndex(self.truncated.0),
            truncated_term: Term(self.truncated.1),
            last_index: LogIndex(self.last()),
            last_term: Term(self.term(self.last())),
            installing: false,
        }
    }

    /// Draws a write that raft could ask for, and does it: entries after the commit, in the current
    /// or a newer term.
    fn draw_write(&mut self, random: &mut Random) -> LogWrite {
        let mut term = self.hard_state.term.0;
        let mut write = LogWrite::default();
        if random.within(0, 3) > 0 {
            let appends = random.within(0, 2) > 0;
            let from = if appends {
                self.last() + 1
            } else {
                random.within(self.hard_state.commit.0 + 1, self.last() + 1)
            };
            // Only a newer leader replaces entries; the first term is 1.
            if from <= self.last() || term == 0 || random.within(0, 9) == 0 {
                term += 1;
            }
            self.entries
                .truncate((from - self.truncated.0 - 1) as usize);
            write.entries = (from..from + random.within(1, 5))
                .map(|i| entry(i, term))
                .collect();
            self.entries.extend(write.entries.iter().cloned());
        }
        if term != self.hard_state.term.0 || random.within(0, 1) == 0 {
            let commit = random.within(self.hard_state.commit.0, self.last());
            self.hard_state = hard_state(term, commit);
            write.hard_state = Some(self.hard_state);
        }
        write
    }

    fn truncate(&mut self, upto: u64) {
        let count = (upto - self.truncated.0) as usize;
        self.truncated = (upto, self.term(upto));
        self.entries.drain(..count);
    }

    /// Returns what a read must answer.
    fn read(&self, low: u64, high: u64, max_bytes: u64) -> Vec<LogEntry> {
        let mut bytes = 0;
        let mut answer: Vec<LogEntry> = Vec::new();
        for index in low..high.min(self.last() + 1) {
            let entry = &self.entries[(index - self.truncated.0 - 1) as usize];
            bytes += (entry.context.len() + entry.data.len()) as u64;
            if !answer.is_empty() && bytes > max_bytes {
                break;
            }
            answer.push(entry.clone());
        }
        answer
    }
}

/// Does 300 random operations: groups of writes, truncations, crashes; compares bounds, terms and
/// ranges after each.
pub(super) fn operations_agree_with_a_model<F: LogFixture>(mut log: F, seed: u64) {
    let mut random = Random(seed);
    let mut model = Model::default();
    let (mut reader, mut writer) = log.open();
    for step in 0..300 {
        match random.within(0, 19) {
            0 => {
                log.crash(reader, writer);
                (reader, writer) = log.open();
            }
            1 => {
                let upto = random.within(model.truncated.0, model.hard_state.commit.0);
                truncate(&mut writer, upto);
                if upto > model.truncated.0 {
                    model.truncate(upto);
                }
            }
            _ => {
                let count = random.within(1, 4);
                let group: Vec<_> = (0..count).map(|_| model.draw_write(&mut random)).collect();
                writer.write(&group).expect("the write succeeds");
            }
        }
        assert_eq!(bounds(&writer), model.bounds(), "seed {seed} step {step}");
        compare_reads(&reader, &model, &mut random, (seed, step));
    }
    log.crash(reader, writer);
    let (reader, writer) = log.open();
    assert_eq!(bounds(&writer), model.bounds(), "seed {seed} at the end");
    compare_reads(&reader, &model, &mut random, (seed, 300));
}

fn compare_reads(reader: &impl LogReader, model: &Model, random: &mut Random, at: (u64, u64)) {
    let (first, last) = (model.truncated.0 + 1, model.last());
    if first > last {
        return;
    }
    let low = random.within(first, last);
    let high = random.within(low + 1, last + 2);
    let max_bytes = random.within(0, 200);
    let read = reader.entries(LogIndex(low), LogIndex(high), max_bytes);
    assert_eq!(
        read,
        Ok(model.read(low, high, max_bytes)),
        "seed and step {at:?}: {low}..{high}"
    );
    let index = random.within(first - 1, last);
    assert_eq!(
        reader.term(LogIndex(index)),
        Ok(Term(model.term(index))),
        "seed and step {at:?}"
    );
}
