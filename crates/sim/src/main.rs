//! `corgi-sim`: runs seeds, and shows what the failing ones did.

use corgi_sim::{Keep, Ledger, Options, Outcome, run, shorten};
use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const USAGE: &str = "usage: corgi-sim --seed S [--verbose] [--until EVENT]
       corgi-sim --seeds N [--start S] [--jobs J] [--light]
  --seed S       run one seed; with --verbose print every event
  --until EVENT  begin no fault at or after this event
  --seeds N      run N seeds from --start (1) on, J (2) at a time
  --light        three nodes and little load: to tell how fast the simulator is";

/// After so many runs a mistake counts as not found.
#[cfg(feature = "seeded-bugs")]
const TABLE_RUNS_MAX: u64 = 2000;
/// How many lines before a violation are shown.
const LINES: usize = 60;

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

#[derive(Debug)]
struct Arguments {
    seed: Option<u64>,
    seeds: u64,
    start: u64,
    jobs: u64,
    until: u64,
    verbose: bool,
    light: bool,
    #[cfg(feature = "seeded-bugs")]
    bug: Option<corgi_sim::SeededBug>,
    #[cfg(feature = "seeded-bugs")]
    table: u64,
}

fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        complain(USAGE);
        return ExitCode::from(2);
    };
    std::panic::set_hook(Box::new(|info| {
        let seed = SEED.get();
        if cfg!(panic = "unwind") {
            // A node that is built to end itself so, or a violation, which is shown as all others are.
            PANIC.replace(info.to_string());
            return;
        }
        complain(&format!(
            "seed {seed} panicked: {info}\nagain: corgi-sim --seed {seed} --verbose"
        ));
        // The shipped profile aborts on panic, without a useful exit code.
        std::process::exit(1);
    }));
    #[cfg(feature = "seeded-bugs")]
    if arguments.table > 0 {
        return table(arguments.table);
    }
    #[cfg(feature = "seeded-bugs")]
    if let Some(bug) = arguments.bug {
        return hunt(bug, &arguments);
    }
    match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => many(&arguments),
    }
}

fn say(text: &str) {
    // Whoever closes the pipe has seen enough.
    drop(writeln!(std::io::stdout(), "{text}"));
}

fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut arguments = Arguments {
        seed: None,
        seeds: 0,
        start: 1,
        jobs: 2,
        until: u64::MAX,
        verbose: false,
        light: false,
        #[cfg(feature = "seeded-bugs")]
        bug: None,
        #[cfg(feature = "seeded-bugs")]
        table: 0,
    };
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|word| word.parse().ok());
        match word.as_str() {
            "--seed" => arguments.seed = Some(number()?),
            "--seeds" => arguments.seeds = number()?,
            "--start" => arguments.start = number()?,
            "--jobs" => arguments.jobs = number()?,
            "--until" => arguments.until = number()?,
            "--light" => arguments.light = true,
            "--verbose" => arguments.verbose = true,
            #[cfg(feature = "seeded-bugs")]
            "--bug" => arguments.bug = Some(bug(number()?)?),
            #[cfg(feature = "seeded-bugs")]
            "--table" => arguments.table = number()?,
            _ => return None,
        }
    }
    #[cfg(feature = "seeded-bugs")]
    if arguments.table > 0 {
        return Some(arguments);
    }
    (arguments.seed.is_some() || arguments.seeds > 0).then_some(arguments)
}

fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    SEED.set(seed);
    let keep = if arguments.verbose {
        Keep::Print
    } else {
        Keep::Last(LINES)
    };
    let options = Options {
        light: arguments.light,
        ..Options::new(keep, arguments.until)
    };
    let outcome = run(seed, options);
    if let Some(violation) = &outcome.violation {
        for line in &outcome.lines {
            say(line);
        }
        say(&format!("seed {seed} broke {violation}"));
        if violation.invariant == "panic" {
            say(&PANIC.take());
        }
    }
    say(&format!("hash {:016x}", outcome.hash));
    say(&outcome.ledger.to_string());
    ExitCode::from(u8::from(outcome.violation.is_some()))
}

fn many(arguments: &Arguments) -> ExitCode {
    let begun = Instant::now();
    let next = AtomicU64::new(arguments.start);
    let end = arguments.start + arguments.seeds;
    let total = Mutex::new(Ledger::default());
    let options = Options {
        light: arguments.light,
        ..Options::default()
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    SEED.set(seed);
                    let outcome = run(seed, options);
                    if outcome.violation.is_some() {
                        explain(&outcome, options);
                    }
                    let mut total = total.lock().expect("a panic ends the process");
                    total.add(&outcome.ledger);
                }
            });
        }
    });
    let total = total.into_inner().expect("a panic ends the process");
    let wall = begun.elapsed().as_secs_f64() * arguments.jobs.max(1) as f64;
    let spent = cpu_seconds().unwrap_or(wall);
    let speed = total.simulated as f64 / 1e6 / spent;
    say(&format!(
        "{total}, {speed:.0} simulated seconds per CPU second"
    ));
    ExitCode::from(u8::from(total.failures > 0))
}

/// Returns the mistake with a number of the list in `docs/simulation.md`.
#[cfg(feature = "seeded-bugs")]
fn bug(number: u64) -> Option<corgi_sim::SeededBug> {
    let mut all = corgi_sim::SeededBug::ALL.into_iter();
    all.find(|bug| *bug as u64 == number)
}

/// Runs seeds with a mistake: how soon it is found, and by how many of them.
#[cfg(feature = "seeded-bugs")]
fn hunt(bug: corgi_sim::SeededBug, arguments: &Arguments) -> ExitCode {
    let mut found = 0;
    for seed in arguments.start..arguments.start + arguments.seeds {
        SEED.set(seed);
        let options = Options {
            bug: Some(bug),
            ..Options::default()
        };
        let Some(violation) = run(seed, options).violation else {
            continue;
        };
        if found == 0 {
            let spent = cpu_seconds().unwrap_or(0.0);
            say(&format!(
                "{bug:?}: seed {seed}, {spent:.2} CPU seconds: {violation}"
            ));
        }
        found += 1;
    }
    say(&format!(
        "{bug:?}: found by {found} of {} seeds",
        arguments.seeds
    ));
    ExitCode::from(u8::from(found == 0))
}

/// Shows how soon each mistake is found, from several seeds on.
#[cfg(feature = "seeded-bugs")]
fn table(starts: u64) -> ExitCode {
    let mut lost = false;
    say(
        "| | Mistake | Found as | Processor time to detection: median, most | Runs: median, most |",
    );
    say("|---|---|---|---|---|");
    for bug in corgi_sim::SeededBug::ALL {
        let mut found: Vec<(f64, u64, &str)> = Vec::new();
        for start in 0..starts {
            let first = 1 + start * 100_000;
            let (begun, before) = (Instant::now(), cpu_seconds().unwrap_or(0.0));
            let hit = (first..first + TABLE_RUNS_MAX).find_map(|seed| {
                SEED.set(seed);
                let options = Options {
                    bug: Some(bug),
                    ..Options::default()
                };
                let violation = run(seed, options).violation?;
                Some((seed + 1 - first, violation.invariant))
            });
            match hit {
                Some((runs, invariant)) => {
                    let wall = begun.elapsed().as_secs_f64();
                    let spent = cpu_seconds().map_or(wall, |now| now - before);
                    found.push((spent, runs, invariant));
                }
                None => lost = true,
            }
        }
        found.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut runs: Vec<u64> = found.iter().map(|(_, runs, _)| *runs).collect();
        runs.sort_unstable();
        let mut kinds: Vec<&str> = found.iter().map(|(.., invariant)| *invariant).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let (number, text) = (bug as u64, bug.text());
        let (Some(half), Some(most)) = (found.get(found.len() / 2), found.last()) else {
            say(&format!(
                "| {number} | {text} | not in {TABLE_RUNS_MAX} runs | | |"
            ));
            continue;
        };
        say(&format!(
            "| {number} | {text} | {} | {:.2} s, {:.2} s | {}, {} |",
            kinds.join(", "),
            half.0,
            most.0,
            runs[runs.len() / 2],
            runs[runs.len() - 1],
        ));
    }
    ExitCode::from(u8::from(lost))
}

/// Returns the processor time of this process where the kernel tells it (Linux, proc(5)).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the command, in parentheses, may hold spaces.
    let fields = stat.rsplit_once(')')?.1;
    let mut times = fields.split_whitespace().skip(11);
    let mut ticks = || times.next()?.parse::<u32>().ok();
    // The kernel's unit for these is a hundredth of a second on every Linux that matters here.
    let spent = f64::from(ticks()? + ticks()?) / 100.0;
    (spent > 0.0).then_some(spent)
}

/// Shows a failure: the shortest run that fails likewise, and how to see it again.
fn explain(outcome: &Outcome, options: Options) {
    let seed = outcome.seed;
    let Some(violation) = &outcome.violation else {
        return;
    };
    let until = shorten(seed, options).unwrap_or(u64::MAX);
    let short = Options {
        keep: Keep::Last(LINES),
        faults_until: until,
        ..options
    };
    let short = run(seed, short);
    let mut text = format!("seed {seed} broke {violation}\n");
    if violation.invariant == "panic" {
        text.push_str(&PANIC.take());
        text.push('\n');
    }
    for line in &short.lines {
        text.push_str(line);
        text.push('\n');
    }
    let light = if options.light { " --light" } else { "" };
    text.push_str(&format!(
        "again: corgi-sim --seed {seed} --until {until} --verbose{light}"
    ));
    say(&text);
}
