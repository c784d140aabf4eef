//! Who founds, what comes next, and who is let in.

use super::*;
use crate::testing::{config, node};
use corgi_base::{Boot, ClusterId, Nonce, Term};

fn formation(cluster: u128) -> Formation {
    Formation {
        cluster: ClusterId(cluster),
        founder: node(1),
    }
}

fn hello(id: u64, instance: u128, cluster: Option<u128>) -> PeerHello {
    PeerHello {
        id: node(id),
        instance: InstanceId(instance),
        boot: Boot(1),
        nonce: Nonce(1),
        formation: cluster.map(formation),
    }
}

fn heard(hellos: &[PeerHello]) -> Heard {
    let mut heard = Heard::default();
    hellos.iter().for_each(|hello| heard.insert(hello));
    heard
}

/// Returns the state once the founder has bound nodes 1, 2 and 3.
fn bound(voters: &[u64], learners: &[u64]) -> State {
    let members = heard(&[hello(2, 2, None), hello(3, 3, None)]).founding_members(&config(1));
    let head = EntryHead::Bootstrap {
        cluster: ClusterId(1),
        members: members.expect("all have answered"),
    };
    let mut state = State::new(node(1));
    let applied = state.apply(LogIndex(1), Term(1), head.encode(), Bytes::new());
    applied.expect("it is the first entry");
    let nodes = |ids: &[u64]| ids.iter().map(|id| node(*id)).collect();
    let changed = state.apply_members(
        LogIndex(2),
        Term(1),
        nodes(voters),
        nodes(learners),
        Bytes::new(),
    );
    changed.expect("nothing unknown");
    state
}

fn kind(result: Result<(), Refusal>) -> Option<RefusalKind> {
    result.err().map(|refusal| refusal.kind)
}

#[test]
fn the_lowest_founds_when_it_has_heard_of_all() {
    let all = [hello(2, 20, None), hello(3, 30, None)];
    assert_eq!(heard(&all[..1]).founding_members(&config(1)), None);
    let members = heard(&all)
        .founding_members(&config(1))
        .expect("all have answered");
    let bound: Vec<_> = members.iter().map(|m| (m.id.get(), m.instance.0)).collect();
    assert_eq!(bound, [(1, 1), (2, 20), (3, 30)]);
    let others = heard(&[hello(1, 10, None), hello(3, 30, None)]);
    assert_eq!(others.founding_members(&config(2)), None, "node 1 is lower");
}

#[test]
fn who_is_gone_has_not_been_heard_of_and_the_last_word_counts() {
    let mut heard = heard(&[hello(2, 20, None), hello(3, 30, None)]);
    heard.remove(node(3));
    assert_eq!(heard.founding_members(&config(1)), None);
    heard.insert(&hello(3, 31, None));
    let members = heard
        .founding_members(&config(1))
        .expect("all have answered");
    assert_eq!(members[2].instance, InstanceId(31));
}

#[test]
fn members_come_one_by_one_and_vote_when_they_have_caught_up() {
    let step = |state: &State, matched: u64| {
        let matched = [(node(2), LogIndex(matched)), (node(3), LogIndex(matched))];
        next_step(state, formation(1), None, &matched, LogIndex(150))
    };
    assert_eq!(
        step(&State::new(node(1)), 150),
        NextStep::Wait,
        "only the founder knows them"
    );
    let change = NextStep::Change;
    assert_eq!(
        step(&bound(&[1], &[]), 150),
        change(MemberChange::AddLearner(node(2)))
    );
    assert_eq!(step(&bound(&[1], &[2]), 0), NextStep::Wait);
    assert_eq!(step(&bound(&[1], &[2]), 49), NextStep::Wait);
    assert_eq!(
        step(&bound(&[1], &[2]), 50),
        change(MemberChange::AddVoter(node(2)))
    );
    assert_eq!(
        step(&bound(&[1, 2], &[]), 150),
        change(MemberChange::AddLearner(node(3)))
    );
    assert_eq!(
        step(&bound(&[1, 2, 3], &[]), 0),
        NextStep::Append(EntryHead::Formed)
    );
}

#[test]
fn strangers_are_refused_for_what_they_are() {
    let check = |formation, state: Option<&State>, hello: PeerHello| {
        kind(check_peer(&config(1), formation, state, &hello))
    };
    let ours = Some(formation(1));
    let state = bound(&[1], &[]);
    assert_eq!(check(None, None, hello(2, 2, None)), None);
    assert_eq!(
        check(None, None, hello(2, 2, Some(1))),
        None,
        "it may have a cluster already"
    );
    assert_eq!(
        check(None, None, hello(1, 9, None)),
        Some(RefusalKind::SameId)
    );
    assert_eq!(
        check(None, None, hello(4, 4, None)),
        Some(RefusalKind::NotMember)
    );
    assert_eq!(check(ours, Some(&state), hello(2, 2, None)), None);
    assert_eq!(check(ours, Some(&state), hello(2, 2, Some(1))), None);
    let other = check(ours, Some(&state), hello(2, 2, Some(7)));
    assert_eq!(other, Some(RefusalKind::OtherCluster));
    let emptied = check(ours, Some(&state), hello(2, 9, None));
    assert_eq!(emptied, Some(RefusalKind::OtherInstance));
    assert_eq!(
        check(ours, Some(&state), hello(4, 4, None)),
        Some(RefusalKind::NotMember)
    );
    assert_eq!(
        check(ours, Some(&state), hello(4, 4, Some(1))),
        None,
        "it has joined, and this node does not know yet"
    );
}

#[test]
fn who_has_left_is_told_so() {
    let mut state = bound(&[1, 2, 3], &[]);
    let left = state.apply_members(
        LogIndex(3),
        Term(1),
        vec![node(1), node(2)],
        vec![],
        EntryHead::Leave { node: node(3) }.encode(),
    );
    left.expect("nothing unknown");
    let ours = Some(formation(1));
    let removed = check_peer(&config(1), ours, Some(&state), &hello(3, 3, Some(1)));
    assert_eq!(kind(removed), Some(RefusalKind::Removed));
    let gone = InitialMember {
        id: node(3),
        addr: Bytes::from_static(b"n3:1"),
    };
    let joined = InitialMember {
        id: node(4),
        addr: Bytes::from_static(b"n4:1"),
    };
    let others = others(&config(1), Some(&state), &[gone, joined]);
    let ids: Vec<_> = others.iter().map(|member| member.id.get()).collect();
    assert_eq!(
        ids,
        [2, 4],
        "not the one that has left, but the one that was named"
    );
}

#[test]
fn addresses_come_from_the_log_once_it_has_them() {
    let mut moved = config(1);
    moved.initial_members[1].addr = Bytes::from_static(b"elsewhere:1");
    let addresses = |state: Option<&State>| -> Vec<_> {
        others(&moved, state, &[])
            .into_iter()
            .map(|peer| peer.addr)
            .collect()
    };
    assert_eq!(addresses(None), ["elsewhere:1", "n3:1"]);
    assert_eq!(
        addresses(Some(&State::new(node(1)))),
        ["elsewhere:1", "n3:1"]
    );
    assert_eq!(addresses(Some(&bound(&[1], &[]))), ["n2:1", "n3:1"]);
}
