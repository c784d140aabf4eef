//! Runs the golden scripts.
//!
//! | command | does |
//! |---|---|
//! | `cluster nodes=3 [learners= spares= election= tail= uncommitted=]` | starts nodes; spares are no members yet |
//! | `tick N\|all [times]` | lets time pass |
//! | `campaign N`, `transfer N to=M` | starts an election, hands leadership over |
//! | `propose N [data] [bytes=] [times=]`, `change N add-learner\|add-voter\|remove M`, `read N` | asks the node |
//! | `persist N\|all [count]` | syncs the oldest outstanding writes, by default those that are outstanding now |
//! | `deliver`, `drop` `[from=] [to=] [skip=] [count=]` | delivers or loses the messages that are on their way now |
//! | `cut N`, `heal N` | loses every message from and to a node from now on, or no longer |
//! | `crash N [keep=]`, `restart N` | loses what is not synced, except the first `keep` writes |
//! | `pause N`, `resume N`, `flush N` | stops applying, goes on, makes what is applied survive a crash |
//! | `snapshot N`, `truncate N [retain=]` | makes a snapshot of what is applied, truncates the log up to what is flushed |
//! | `accept N`, `give-up N` | the offered snapshot has come, the leader does not wait for those it offered one any more |
//! | `lose-state N` | what was flushed is gone, to be said of a node that is down |
//! | `stabilize` | makes and fetches snapshots, persists and delivers until nothing is left to do |
//! | `status`, `log N`, `reads N` | show where the nodes stand, what is on disk, what was read from disk since the last time |

use crate::cluster::{Cluster, node, roomy_config};
use crate::event::{entry_line, hard_state_line};
use corgi_base::{LogIndex, NodeId};
use corgi_consensus::MemberChange;
use corgi_consensus::storage::{LogReader as _, LogWriter as _};
use goldenscript::{ArgumentConsumer, Command, Context};
use std::error::Error;
use std::fmt::{Display, Write as _};
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Default)]
struct Script {
    cluster: Option<Cluster>,
}

impl goldenscript::Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String> {
        let mut args = command.consume_args();
        if command.name == "cluster" {
            self.cluster = Some(cluster(&mut args)?);
        }
        let cluster = self.cluster.as_mut().ok_or("start with: cluster nodes=3")?;
        let mut out = String::new();
        match command.name.as_str() {
            "cluster" => {}
            "propose" | "change" | "read" => ask(cluster, &command.name, &mut args, &mut out)?,
            "deliver" | "drop" => network(cluster, &command.name, &mut args)?,
            "status" => status(cluster, &mut out)?,
            "log" => log(cluster, who(&mut args)?, &mut out)?,
            "reads" => reads(cluster, who(&mut args)?, &mut out)?,
            name => drive(cluster, name, &mut args)?,
        }
        args.reject_next()?;
        for event in cluster.take_events() {
            writeln!(out, "{event}")?;
        }
        Ok(out)
    }
}

fn cluster(args: &mut ArgumentConsumer<'_>) -> Result<Cluster> {
    let mut config = roomy_config();
    config.election_ticks = number(args, "election", config.election_ticks)?;
    config.election_ticks_max = config.election_ticks + 1;
    config.tail_bytes_max = number(args, "tail", config.tail_bytes_max)?;
    config.uncommitted_bytes_max = number(args, "uncommitted", config.uncommitted_bytes_max)?;
    config.append_bytes_max = config.append_bytes_max.min(config.uncommitted_bytes_max);
    let voters = number(args, "nodes", 1)?;
    Ok(Cluster::new(
        config,
        voters,
        number(args, "learners", 0)?,
        number(args, "spares", 0)?,
    ))
}

/// Inputs that have no answer.
fn drive(cluster: &mut Cluster, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
    if name == "stabilize" {
        cluster.stabilize();
        return Ok(());
    }
    let targets = match args.next_pos().ok_or("which node?")? {
        "all" => cluster.ids(),
        id => vec![parse_node(id)?],
    };
    let count = args.next_pos().map(str::parse::<usize>).transpose()?;
    let keep = number(args, "keep", 0)?;
    let retain = number(args, "retain", 0)?;
    let to: Option<NodeId> = args.take_key("to").map(parse_node).transpose()?;
    for id in targets {
        match name {
            "tick" => {
                for _ in 0..count.unwrap_or(1) {
                    cluster.input(id, |group| group.tick());
                }
            }
            "persist" => {
                let outstanding = cluster.life(id).map_or(0, |life| life.writes.len());
                for _ in 0..count.unwrap_or(outstanding) {
                    cluster.persist(id);
                }
            }
            "campaign" => drop(cluster.input(id, |group| group.campaign())),
            "transfer" => {
                let to = to.ok_or("transfer to= whom?")?;
                cluster.input(id, |group| group.transfer_leader(to));
            }
            "cut" => cluster.cut(id, true),
            "heal" => cluster.cut(id, false),
            "crash" => cluster.crash(id, keep),
            "restart" => cluster.start(id),
            "pause" => cluster.pause(id, true),
            "resume" => cluster.pause(id, false),
            "flush" => cluster.flush(id),
            "snapshot" => cluster.make_snapshot(id),
            "truncate" => cluster.truncate(id, retain),
            "accept" => drop(cluster.accept(id)),
            "give-up" => cluster.give_up(id),
            "lose-state" => cluster.lose_state(id),
            name => return Err(format!("unknown command {name}").into()),
        }
    }
    Ok(())
}

/// Inputs that are answered.
fn ask(
    cluster: &mut Cluster,
    name: &str,
    args: &mut ArgumentConsumer<'_>,
    out: &mut String,
) -> Result<()> {
    let id = who(args)?;
    match name {
        "propose" => {
            let bytes = number(args, "bytes", 0)?;
            let data = args.next_pos().unwrap_or_default().as_bytes().to_vec();
            let data = if data.is_empty() {
                vec![b'x'; bytes]
            } else {
                data
            };
            for _ in 0..number(args, "times", 1)? {
                let answer = cluster.propose(id, data.clone()).ok_or("it does not run")?;
                answer_line(
                    out,
                    id,
                    answer.map(|at| format!("{}@{}", at.index, at.term)),
                )?;
            }
        }
        "change" => {
            let kind = args.next_pos().ok_or("which change?")?;
            let member = who(args)?;
            let change = match kind {
                "add-learner" => MemberChange::AddLearner(member),
                "add-voter" => MemberChange::AddVoter(member),
                "remove" => MemberChange::Remove(member),
                kind => return Err(format!("unknown change {kind}").into()),
            };
            let answer = cluster.change(id, change).ok_or("it does not run")?;
            answer_line(
                out,
                id,
                answer.map(|at| format!("{}@{}", at.index, at.term)),
            )?;
        }
        _ => {
            let answer = cluster.read(id).ok_or("it does not run")?;
            answer_line(out, id, answer.map(|read| format!("read {}", read.count)))?;
        }
    }
    Ok(())
}

fn answer_line<E: Display>(
    out: &mut String,
    id: NodeId,
    answer: std::result::Result<String, E>,
) -> Result<()> {
    match answer {
        Ok(answer) => writeln!(out, "{id:?} takes it: {answer}")?,
        Err(error) => writeln!(out, "{id:?} refuses: {error}")?,
    }
    Ok(())
}

fn network(cluster: &mut Cluster, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
    let from = args.take_key("from").map(parse_node).transpose()?;
    let to = args.take_key("to").map(parse_node).transpose()?;
    let mut count = number(args, "count", usize::MAX)?;
    let mut skip = number(args, "skip", 0)?;
    let mut position = 0;
    // Answers are appended behind what is on its way now.
    for _ in 0..cluster.network.len() {
        let packet = &cluster.network[position];
        let chosen = from.is_none_or(|id| id == packet.from)
            && to.is_none_or(|id| id == packet.envelope.to)
            && count > 0;
        if chosen && skip > 0 {
            (skip, position) = (skip - 1, position + 1);
            continue;
        }
        match name {
            "deliver" if chosen => cluster.deliver_at(position, false),
            _ if chosen => drop(cluster.network.remove(position)),
            _ => position += 1,
        }
        count -= usize::from(chosen);
    }
    Ok(())
}

fn status(cluster: &Cluster, out: &mut String) -> Result<()> {
    for id in cluster.ids() {
        let Some(life) = cluster.life(id) else {
            writeln!(out, "{id:?} is down")?;
            continue;
        };
        let status = life.group.status();
        write!(out, "{id:?}@{} {:?}", status.term, status.role)?;
        write!(out, " commit={}", status.commit_index)?;
        if status.first_index > LogIndex(1) {
            write!(out, " first={}", status.first_index)?;
        }
        write!(out, " last={}", status.last_index)?;
        write!(out, " applied={}", life.applied.index)?;
        if !status.voter {
            write!(out, " no-voter")?;
        }
        if life.group.state_lost() {
            write!(out, " state-lost")?;
        }
        for peer in life.group.snapshots_offered() {
            write!(out, " offered:{peer:?}")?;
        }
        for (peer, matched) in life.group.matched() {
            write!(out, " {peer:?}:{matched}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn log(cluster: &Cluster, id: NodeId, out: &mut String) -> Result<()> {
    let disk = &cluster.nodes.get(&id).ok_or("no such node")?.disk;
    let bounds = disk.writer().bounds()?;
    write!(out, "{id:?} {}", hard_state_line(bounds.hard_state))?;
    let first = bounds.truncated_index.next();
    for entry in disk
        .reader()
        .entries(first, bounds.last_index.next(), u64::MAX)?
    {
        write!(out, ", {}", entry_line(&entry))?;
    }
    writeln!(out)?;
    Ok(())
}

fn reads(cluster: &Cluster, id: NodeId, out: &mut String) -> Result<()> {
    let life = cluster.life(id).ok_or("it does not run")?;
    let mut reads = life.disk_reads.lock().expect("nobody panics with it");
    let ranges: Vec<String> = reads.drain(..).map(range).collect();
    let ranges = if ranges.is_empty() {
        "nothing".to_owned()
    } else {
        ranges.join(", ")
    };
    writeln!(out, "{id:?} read from disk: {ranges}")?;
    Ok(())
}

fn range((first, last): (LogIndex, LogIndex)) -> String {
    format!("{first}..={last}")
}

fn who(args: &mut ArgumentConsumer<'_>) -> Result<NodeId> {
    parse_node(args.next_pos().ok_or("which node?")?)
}

fn parse_node(id: &str) -> Result<NodeId> {
    Ok(node(id.parse()?))
}

fn number<T: std::str::FromStr>(args: &mut ArgumentConsumer<'_>, key: &str, default: T) -> Result<T>
where
    T::Err: Error + 'static,
{
    Ok(args
        .take_key(key)
        .map(str::parse)
        .transpose()?
        .unwrap_or(default))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                goldenscript::run(&mut Script::default(), folder().join(stringify!($name))).unwrap();
            }
        )*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

scripts! {
    append_answer_waits_for_disk,
    check_quorum_leader_steps_down,
    commit_needs_majority_of_disks,
    divergent_longer_suffix_replaces_a_shorter_one,
    divergent_shorter_suffix_is_replaced,
    election,
    last_voter_cannot_be_removed,
    late_call_to_lead_waits_for_the_disk_of_a_sole_voter,
    leader_change_keeps_an_entry_that_one_follower_accepted,
    leader_change_loses_an_entry_that_nobody_accepted,
    leader_sends_while_its_disk_syncs,
    learner_does_not_campaign,
    membership_add_learner_promote_and_remove,
    read_grant_waits_for_apply,
    read_index,
    removed_leader_steps_down,
    replication_catches_up_a_lagging_follower,
    restart_after_crash_with_unsynced_tail,
    restart_replays_from_applied,
    second_membership_change_is_refused_while_one_is_pending,
    single_node_elects_itself_and_commits_after_sync,
    snapshot_crash_in_the_middle_of_an_install,
    snapshot_does_not_let_time_elect_while_it_is_installed,
    snapshot_for_a_follower_whose_entries_are_gone,
    snapshot_of_before_a_member_came_is_none_for_it,
    snapshot_that_is_lost_is_offered_again,
    snapshot_that_takes_long_to_install_does_not_silence_the_node,
    sole_voter_waits_for_its_disk_before_it_campaigns,
    sole_voter_with_learner_sends_nothing_of_an_unsynced_term,
    state_lost_and_its_last_answer_too,
    state_lost_waits_for_a_snapshot,
    tail_eviction_reads_from_log,
    transfer_leader,
    uncommitted_limit_refuses_proposals,
    vote_waits_for_disk_heartbeat_answer_does_not,
}

#[test]
fn every_script_is_run() {
    let files = std::fs::read_dir(folder()).unwrap();
    let mut files: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort_unstable();
    let mut names = NAMES.to_vec();
    names.sort_unstable();
    assert_eq!(files, names);
}
