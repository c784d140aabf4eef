//! Runs the golden scripts.
//!
//! | command | does |
//! |---|---|
//! | `nodes N [write= quorum= batch= inflight= pending= queue= low= total= append= counts= block= cache= reads= feed= chunk=]` | prepares empty folders; limits in bytes, `write` and `quorum` in ms |
//! | `cluster N […]` | the same, then starts all and waits until they serve, without a word |
//! | `start NAME… [initial=1,2] [at=N]` | starts a process; `at` another node's address |
//! | `wait NAME…` | starts a node on an empty folder that waits to be let into a cluster |
//! | `crash NAME…` | kills one, losing what is not synced or flushed |
//! | `empty N`, `copy N as=NAME [boot=]` | empties a folder; copies one for another process of the same id |
//! | `run MS` | time passes in ticks, and everything happens as it can |
//! | `tick MS [NAME…]` | time passes, for all or some, and nothing else happens |
//! | `stabilize` | disks work and messages arrive until nothing is left to do |
//! | `disk hold\|release NAME…`, `disk work NAME [COUNT]` | stops a disk, lets it work by itself, does its oldest jobs |
//! | `flush NAME…` | makes the applied state survive a crash |
//! | `truncate NAME… [retain=]` | flushes the state, and removes from the front of the log what is older than so many bytes |
//! | `crash-in-install NAME…` | kills one when its log has been reset to a snapshot, and its state is not replaced |
//! | `lose-state NAME…`, `spoil-snapshot NAME…` | removes the state of a stopped node; changes a bit in the snapshot that a node made |
//! | `snapshots` | what the nodes have made, sent and installed |
//! | `hold\|release FROM TO` | keeps the messages of a link on their way, or no longer |
//! | `drop FROM TO`, `deliver FROM TO`, `again FROM TO` | loses, delivers, or delivers twice what is on its way there |
//! | `replay FROM TO number= ops="a:x b:y" [boot= count=]` | lets a forwarded batch arrive that was long on its way |
//! | `cut\|heal NAME` | a node can reach nobody and nobody it, or again |
//! | `hangup FROM TO` | the link between two nodes is closed from the side of the second |
//! | `clock MS` | all clocks jump, forwards or back |
//! | `clock MS [NAME…]` | all clocks jump, or some, forwards or back |
//! | `room NAME… free=` | so many bytes are free on a disk; 1,000 must be |
//! | `level NAME… can=` | the build that is started next can apply this feature level |
//! | `users NAME "alice RULE…"…` | the node that is started next has these users in its configuration |
//! | `spoil NAME…` | changes a bit in the applied state of a stopped node |
//! | `client NAME on=PROCESS [resp3]`, `send NAME REQUEST…` | connects; sends inline requests in one piece |
//! | `stall\|drain CLIENT`, `sip CLIENT FRAMES` | stops and resumes reading; reads so much and no more |
//! | `big CLIENT CHANNEL BYTES` | publishes a large payload |
//! | `reads hold\|release NAME`, `reads work NAME [COUNT]` | stops reads of the log for those that lag, or runs them |
//! | `lose NAME INDEX` | the log loses its entries up to one |
//! | `counts show\|hide` | shows what nodes tell each other of their counts, or no longer |
//! | `lagging NAME` | who is fed from the log, and what that took |
//! | `shutdown NAME` | asks a node to stop, and shows whether it may |
//! | `status`, `log NAME [from=]`, `rows` | where the nodes stand, what is on disk, whether their states are equal |

use crate::folder::{Folder, node_id};
use crate::show;
use crate::world::{Link, World, parse_id};
use bytes::{Bytes, BytesMut};
use corgi_base::{BatchNumber, Boot, InstanceId, LogIndex, Op};
use corgi_node::{CursorLimits, DiskSpace, Lane, Limits, PeerMessage, Timeouts};
use corgi_session::define;
use goldenscript::{ArgumentConsumer, Command, Context};
use std::error::Error;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// All rows of an applied state.
type Rows = Vec<(Bytes, Bytes)>;

#[derive(Default)]
struct Script {
    world: Option<World>,
}

impl goldenscript::Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String> {
        let mut args = command.consume_args();
        let name = command.name.as_str();
        if matches!(name, "nodes" | "cluster") {
            let mut world = prepare(&mut args)?;
            if name == "cluster" {
                serve(&mut world)?;
            }
            self.world = Some(world);
        }
        let world = self.world.as_mut().ok_or("start with: cluster 3")?;
        match name {
            "nodes" | "cluster" => {}
            "client" | "send" | "stall" | "drain" | "sip" | "big" => {
                clients(world, name, &mut args)?;
            }
            "hold" | "release" | "drop" | "deliver" | "again" | "replay" | "hangup" => {
                link(world, name, &mut args)?;
            }
            "status" | "log" | "rows" | "lagging" | "snapshots" => look(world, name, &mut args)?,
            "run" | "tick" | "stabilize" | "clock" => time(world, name, &mut args)?,
            "disk" => disk(world, &mut args)?,
            "counts" => world.shows_counts = args.next_pos() == Some("show"),
            "reads" | "lose" => reads(world, name, &mut args)?,
            "users" => users(world, &mut args)?,
            name => processes(world, name, &mut args)?,
        }
        args.reject_next()?;
        let lines: Vec<String> = world.lines.drain(..).map(|line| line + "\n").collect();
        Ok(lines.concat())
    }
}

fn prepare(args: &mut ArgumentConsumer<'_>) -> Result<World> {
    let count = args.next_pos().ok_or("how many nodes?")?.parse()?;
    let timeouts = Timeouts {
        tick_ms: 20,
        election_ms: 600,
        heartbeat_ms: 60,
        write_ms: number(args, "write", 2500)?,
        quorum_loss_ms: number(args, "quorum", 3000)?,
    };
    let limits = Limits {
        batch_bytes_max: number(args, "batch", 1 << 18)?,
        batches_in_flight_max: number(args, "inflight", 64)?,
        write_bytes_max: 1 << 24,
        pending_bytes_max: number(args, "pending", 1 << 24)?,
        client_queue_bytes_max: number(args, "queue", 1 << 20)?,
        client_queue_bytes_low: number(args, "low", 1 << 18)?,
        clients_queue_bytes_max: number(args, "total", 1 << 27)?,
        cursors: CursorLimits {
            block_bytes_max: number(args, "block", 1 << 18)?,
            cache_bytes_max: number(args, "cache", 1 << 24)?,
            reads_max: number(args, "reads", 2)?,
            feed_bytes_max: number(args, "feed", 1 << 20)?,
        },
        counts_bytes_max: number(args, "counts", 1 << 20)?,
        append_bytes_max: number(args, "append", 1 << 20)?,
        inflight_appends_max: 64,
        uncommitted_bytes_max: 1 << 26,
        committed_bytes_max: 1 << 22,
        tail_bytes_max: 1 << 24,
        snapshot_chunk_bytes: number(args, "chunk", 1 << 18)?,
        disk_free_bytes_min: 1000,
        disk_free_percent_min: 0,
        keys_bytes_max: 0,
        blocked_keys_max: 1000,
    };
    Ok(World::new(count, timeouts, limits))
}

/// Brings a cluster to life without a word.
fn serve(world: &mut World) -> Result<()> {
    world.quiet = true;
    for id in world.initial.clone() {
        world.start(&id.to_string(), node_id(id))?;
    }
    run(world, 1000);
    world.quiet = false;
    let all = world
        .processes
        .values()
        .all(|process| process.node.serves());
    if all {
        Ok(())
    } else {
        Err("the cluster does not form".into())
    }
}

fn run(world: &mut World, ms: u64) {
    world.stabilize();
    for _ in 0..ms / world.timeouts.tick_ms {
        world.tick(&world.names());
        world.stabilize();
    }
}

fn time(world: &mut World, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
    if name == "stabilize" {
        world.stabilize();
        return Ok(());
    }
    let ms = args.next_pos().ok_or("how many ms?")?;
    match name {
        "clock" => {
            let ms = ms.parse::<i64>()?;
            let names = rest(args);
            if names.is_empty() {
                world.wall_skew_ms += ms;
            }
            for name in names {
                *world.wrong_ms.entry(name).or_default() += ms;
            }
        }
        "run" => run(world, ms.parse()?),
        _ => {
            let mut names = rest(args);
            if names.is_empty() {
                names = world.names();
            }
            for _ in 0..ms.parse::<u64>()? / world.timeouts.tick_ms {
                world.tick(&names);
            }
        }
    }
    Ok(())
}

fn processes(world: &mut World, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
    let initial = args.take_key("initial");
    let copy = args.take_key("as");
    let boot: Option<u64> = args.take_key("boot").map(str::parse).transpose()?;
    let at = args.take_key("at");
    let free: Option<u64> = args.take_key("free").map(str::parse).transpose()?;
    let retain = number(args, "retain", 0)?;
    let can: Option<u32> = args.take_key("can").map(str::parse).transpose()?;
    if let Some(initial) = initial {
        let ids = initial.split(',').map(str::parse);
        world.initial = ids.collect::<std::result::Result<_, _>>()?;
    }
    for process in rest(args) {
        match name {
            "start" => {
                let at = at.map_or_else(|| parse_id(&process), parse_id)?;
                if let Err(error) = world.start(&process, at) {
                    world.say(error);
                }
            }
            "crash" => world.crash(&process),
            "wait" => {
                let instance = InstanceId(2000 + world.folders.len() as u128);
                world.folders.insert(process.clone(), Folder::new(instance));
                world.waiting.insert(process);
            }
            "room" => {
                let free = free.ok_or("free= how many bytes?")?;
                let space = DiskSpace { free, total: 0 };
                world.input(&process, |node, now| node.set_disk_space(now, space));
            }
            "level" => drop(world.levels.insert(process, can.ok_or("can= what?")?)),
            "spoil" => world.folders.get(&process).ok_or("no folder")?.spoil(),
            "empty" => {
                let instance = InstanceId(1000 + world.folders.len() as u128);
                world.folders.insert(process, Folder::new(instance));
            }
            "copy" => {
                let mut folder = world
                    .folders
                    .get(&process)
                    .ok_or("no such folder")?
                    .copied();
                folder.boot = boot.map_or(folder.boot, Boot);
                world
                    .folders
                    .insert(copy.ok_or("copy as= whom?")?.to_owned(), folder);
            }
            "flush" => world.flush(&process),
            "truncate" => world.truncate(&process, retain),
            "crash-in-install" => world.crash_in_install(&process),
            "lose-state" => {
                let folder = world.folders.get_mut(&process).ok_or("no folder")?;
                folder.lose_state();
            }
            "spoil-snapshot" => {
                let folder = world.folders.get(&process).ok_or("no folder")?;
                folder.snapshots().spoil();
            }
            "cut" => drop(world.cut.insert(process)),
            "heal" => {
                world.cut.remove(&process);
                // What was sent meanwhile is lost, so that the links start anew.
                world.disconnect(false, |from, to| from == process || to == process);
            }
            "shutdown" => {
                world.input(&process, |node, now| node.shut_down(now));
                world.stabilize();
                let may = world
                    .processes
                    .get(&process)
                    .is_some_and(|p| p.node.may_stop());
                world.say(format!("n{process} may stop: {may}"));
            }
            name => return Err(format!("unknown command {name}").into()),
        }
    }
    Ok(())
}

fn users(world: &mut World, args: &mut ArgumentConsumer<'_>) -> Result<()> {
    let process = args.next_pos().ok_or("which node?")?.to_owned();
    let mut users = Vec::new();
    while let Some(user) = args.next_pos() {
        let words: Vec<Bytes> = user.split(' ').map(|word| word.to_owned().into()).collect();
        let (name, rules) = words.split_first().ok_or("a user needs a name")?;
        users.push((name.clone(), define(name, rules, false)?));
    }
    world.users.insert(process, users);
    Ok(())
}

fn disk(world: &mut World, args: &mut ArgumentConsumer<'_>) -> Result<()> {
    let what = args.next_pos().ok_or("hold, release or work?")?;
    if what == "work" {
        let name = args.next_pos().ok_or("which node?")?;
        let waiting = world
            .processes
            .get(name)
            .ok_or("it does not run")?
            .jobs
            .len();
        let count = args.next_pos().map_or(Ok(waiting), str::parse)?;
        for _ in 0..count {
            world.work_disk(name);
        }
        return Ok(());
    }
    for name in rest(args) {
        world
            .processes
            .get_mut(&name)
            .ok_or("it does not run")?
            .disk_held = what == "hold";
    }
    Ok(())
}

fn reads(world: &mut World, what: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
    let what = match what {
        "lose" => what,
        _ => args.next_pos().ok_or("hold, release or work?")?,
    };
    let name = args.next_pos().ok_or("which node?")?;
    let process = world.processes.get_mut(name).ok_or("it does not run")?;
    match what {
        "lose" => process.lost = LogIndex(args.next_pos().ok_or("up to where?")?.parse()?),
        "work" => {
            let count = args
                .next_pos()
                .map_or(Ok(process.reads.len()), str::parse)?;
            for _ in 0..count {
                world.work_reads(name);
            }
        }
        _ => process.reads_held = what == "hold",
    }
    Ok(())
}

fn link(world: &mut World, what: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
    let from = args.next_pos().ok_or("from whom?")?.to_owned();
    let to = args.next_pos().ok_or("to whom?")?.to_owned();
    match what {
        "hold" => drop(world.held.insert((from, to))),
        "release" => drop(world.held.remove(&(from, to))),
        "hangup" => world.disconnect(true, |f, t| f == from && t == to),
        "replay" => {
            let message = replayed(args)?;
            world.arrive(&(from, to, Lane::Bulk), &message);
        }
        _ => {
            for lane in [Lane::Control, Lane::Bulk, Lane::Snapshot] {
                let link: Link = (from.clone(), to.clone(), lane);
                let Some(queue) = world.queues.get_mut(&link) else {
                    continue;
                };
                for message in std::mem::take(queue) {
                    if let Some(shown) = show::message(&message) {
                        world.say(format!("{what} n{from} → {:?} {shown}", parse_id(&to)?));
                    }
                    let times = match what {
                        "drop" => 0,
                        "deliver" => 1,
                        _ => 2,
                    };
                    (0..times).for_each(|_| world.arrive(&link, &message));
                }
            }
        }
    }
    Ok(())
}

fn replayed(args: &mut ArgumentConsumer<'_>) -> Result<PeerMessage> {
    let boot = Boot(number(args, "boot", 1)?);
    let number = BatchNumber(number(args, "number", 1)?);
    let count = args.take_key("count").map(str::parse).transpose()?;
    let mut data = BytesMut::new();
    let mut ops = 0;
    for word in args.take_key("ops").unwrap_or_default().split_whitespace() {
        let (channel, payload) = word.split_once(':').ok_or("channel:payload")?;
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        Op::Publish {
            channel: bytes(channel),
            payload: bytes(payload),
        }
        .encode(&mut data);
        ops += 1;
    }
    let ops = count.unwrap_or(ops);
    Ok(PeerMessage::Forward {
        boot,
        number,
        ops,
        data: data.freeze(),
        acl: 0,
    })
}

fn clients(world: &mut World, what: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
    let name = args.next_pos().ok_or("which client?")?.to_owned();
    if what == "client" {
        let process = args.take_key("on").ok_or("on= which node?")?.to_owned();
        world.open_client(&name, &process)?;
        if args.next_pos() == Some("resp3") {
            world.quiet = true;
            world
                .clients
                .get_mut(&name)
                .expect("it was just opened")
                .send(&["HELLO 3"]);
            world.settle();
            world.quiet = false;
        }
        return Ok(());
    }
    let client = world.clients.get_mut(&name).ok_or("no such client")?;
    match what {
        "send" => client.send(&rest(args).iter().map(String::as_str).collect::<Vec<_>>()),
        "big" => {
            let channel = args.next_pos().ok_or("which channel?")?;
            let bytes = args.next_pos().ok_or("how many bytes?")?.parse()?;
            client.send(&[&format!("PUBLISH {channel} {}", "x".repeat(bytes))]);
        }
        "sip" => client.sips = args.next_pos().ok_or("how many frames?")?.parse()?,
        _ => client.stalled = what == "stall",
    }
    world.settle();
    Ok(())
}

fn look(world: &mut World, what: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
    match what {
        "log" => {
            let name = args.next_pos().ok_or("which node?")?;
            let from: u64 = number(args, "from", 1)?;
            let folder = world.folders.get(name).ok_or("no such folder")?;
            let entries = folder.entries();
            for entry in entries.iter().filter(|entry| entry.index.0 >= from) {
                world.say(show::entry(entry));
            }
        }
        "rows" => rows(world),
        "snapshots" => {
            for name in world.names() {
                let info = world.info(&name);
                let field = |key: &str| info.get(key).cloned().unwrap_or_default();
                world.say(format!(
                    "n{name} log={}..={} made={} sent={} installed={} lost={}",
                    field("raft_first_index"),
                    field("raft_last_index"),
                    field("raft_snapshots_made"),
                    field("raft_snapshots_sent"),
                    field("raft_snapshots_installed"),
                    field("raft_state_lost"),
                ));
            }
        }
        "lagging" => {
            let name = args.next_pos().ok_or("which node?")?;
            let info = world.info(name);
            let field = |key: &str| info.get(key).cloned().unwrap_or_default();
            world.say(format!(
                "n{name} lagging={} begun={} reads={} closed={}",
                field("lagging_clients"),
                field("cursors_begun"),
                field("cursor_reads"),
                field("lagged_clients"),
            ));
        }
        _ => {
            for name in world.names() {
                let info = world.info(&name);
                let field = |key: &str| info.get(key).cloned().unwrap_or_default();
                let serves = world.processes[&name].node.serves();
                world.say(format!(
                    "n{name}@{} {} leader={} commit={} applied={} voters={} learners={} serves={serves}",
                    field("raft_term"),
                    field("raft_role"),
                    field("raft_leader_id"),
                    field("raft_commit_index"),
                    field("raft_applied_index"),
                    field("raft_voters"),
                    field("raft_learners"),
                ));
            }
        }
    }
    Ok(())
}

fn rows(world: &mut World) {
    let mut groups: Vec<(Rows, Vec<String>)> = Vec::new();
    for (name, folder) in &world.folders {
        let rows = folder.rows();
        match groups.iter_mut().find(|(known, _)| *known == rows) {
            Some((_, names)) => names.push(format!("n{name}")),
            None => groups.push((rows, vec![format!("n{name}")])),
        }
    }
    for (rows, names) in groups {
        world.say(format!(
            "equal states of {} rows: {}",
            rows.len(),
            names.join(" ")
        ));
    }
}

fn rest(args: &mut ArgumentConsumer<'_>) -> Vec<String> {
    std::iter::from_fn(|| args.next_pos().map(str::to_owned)).collect()
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
    ($($name:ident)*) => {
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
    a_disk_that_is_almost_full_refuses_new_writes
    a_lone_voter_asks_its_learner_before_it_leads
    a_node_alone_never_loses_its_majority
    a_node_of_an_older_release_gets_no_vote
    a_node_that_joined_goes_on_when_an_emptied_one_refuses_it
    a_state_that_differs_from_a_majority_stops_its_node
    an_old_copy_of_a_folder_is_refused_before_it_votes
    an_old_copy_of_a_founder_asks_before_it_leads
    batches_wait_while_in_flight_window_is_full
    behind_what_the_log_has_is_closed_with_the_first_available_id
    birth_goes_on_under_another_leader
    birth_of_three
    birth_survives_founder_restart_midway
    blocked_readers_are_woken_in_log_order
    blocked_readers_end_with_the_majority_or_their_rights
    copies_of_a_folder_with_equal_boots_first_wins
    counts_are_told_before_a_subscription_is_confirmed
    counts_hold_however_short_the_quorum_loss_timeout
    counts_of_a_node_that_dies_are_dropped_soon
    counts_of_too_many_names_are_bounded
    counts_survive_a_link_that_comes_and_goes
    counts_wait_for_no_peer_that_is_silent
    crash_in_the_middle_of_an_install_is_made_good_at_start
    damaged_snapshot_is_refused_and_made_again
    dead_node_is_replaced_in_one_step
    duplicate_forward_is_ignored
    emptied_folder_is_refused
    emptied_folder_is_refused_during_birth
    exec_is_one_group_in_one_entry
    exec_subscribes_and_publishes
    failover_makes_a_follower_lead
    feature_level_is_raised_when_all_members_can
    follower_far_behind_gets_a_snapshot
    follower_that_dies_in_a_transfer_is_not_waited_for
    forwarded_batch_lost_is_sent_again_once
    founder_dies_before_its_cluster_is_on_disk
    founder_emptied_during_birth_is_refused
    gap_is_answered_with_expect
    group_readers_wait_and_one_is_given
    hello_while_lagging_changes_what_follows
    history_expires_by_one_entry_for_many_channels
    history_is_read_and_delivered_with_its_ids
    ids_grow_over_clock_jumps_and_leader_changes
    isolated_old_leader_changes_nothing
    joining_goes_on_under_another_leader
    keys_are_the_same_on_all_nodes_and_go_by_log_time
    laggers_share_what_is_read
    leader_dies_and_the_origin_takes_over
    leader_dies_with_batches_in_flight_each_applied_once
    leader_process_dies_and_is_followed_at_once
    leader_with_a_stalled_disk_gives_leadership_away
    leader_that_a_lagging_follower_does_not_know
    learner_that_joins_late_begins_with_a_snapshot
    links_that_are_closed_by_mistake_change_no_term
    loss_in_one_direction_is_a_loss
    loss_of_majority_closes_subscribers_and_refuses_new_ones
    lost_state_is_cured_by_a_snapshot
    malformed_forward_is_dropped
    members_from_one_to_three_to_five_and_back
    membership_refusals_say_why
    minority_leader_gives_indeterminate
    no_leader_gives_clusterdown_after_write_timeout
    one_message_for_many_patterns_comes_in_parts
    one_wrong_clock_moves_nothing
    other_cluster_is_refused
    overload_gives_tryagain_before_numbering
    own_message_follows_reply
    own_message_follows_reply_while_lagging
    pipelined_publishes_share_a_batch
    publish_on_follower_reaches_all_subscribers_in_one_order
    publish_reply_waits_for_majority_disk
    removed_follower_is_told_and_stops
    removed_leader_hands_over_first
    reply_waits_until_applied_here
    restart_fences_the_older_boot
    same_id_is_refused
    shard_messages_reach_shard_subscribers_only
    shutdown_hands_over_leadership
    shutdown_tries_again_when_the_transfer_fails
    shutdown_without_a_majority_answers_at_once
    slow_subscriber_reads_on_from_the_log_and_is_live_again
    snapshot_after_a_leader_change_comes_from_the_new_leader
    snapshot_goes_on_from_where_it_was_after_a_crash
    snapshot_is_held_for_while_its_link_comes_and_goes
    snapshot_is_not_made_on_a_disk_that_is_almost_full
    snapshot_that_takes_long_to_install_is_waited_for
    state_restored_from_rows_then_log_replayed_gives_same_state
    subscribe_barrier_after_own_publishes
    subscribe_on_lagging_follower_gets_nothing_acknowledged_before
    subscribe_waits_for_read_index
    subscribe_while_lagging_begins_at_its_own_position
    subscriber_is_closed_with_lagged_when_its_node_takes_a_snapshot
    the_nearer_the_total_the_earlier_one_lags
    two_processes_on_one_folder_second_wins
    unsubscribed_names_stop_at_once_while_lagging
    users_are_changed_on_any_node_and_count_on_all
    users_changed_twice_at_once
    users_of_the_configuration_are_the_first_ones
    users_that_change_end_subscriptions_everywhere
    users_that_change_in_what_a_snapshot_skips
    users_that_change_void_what_was_checked_before
    failover_to_a_stalled_node_is_given_up
    users_that_come_with_the_log_end_who_was_let_in_before
    users_are_known_after_auth_in_exec
    a_copy_of_before_the_last_writes_is_refused
    a_change_that_was_refused_is_not_made_later
    a_change_that_was_refused_by_one_leader_is_not_made_by_another
    a_change_under_way_when_its_leader_dies_is_not_refused
    watch_makes_a_group_void_for_everybody
    replaced_member_stays_while_it_is_needed
    write_that_a_snapshot_jumps_over_is_indeterminate
    write_timeout_gives_indeterminate_and_batch_goes_on_empty
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
