//! Mistakes that others have made, to be made on purpose: the simulator's checkers must find each.
//! Only in builds with the feature `seeded-bugs`, and there only when asked for.

/// One mistake. The numbers are those of the list in `docs/simulation.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeededBug {
    /// 1: a leader counts its own copy before the disk has it.
    AckBeforeFsync,
    /// 2: a follower accepts entries before the disk has them.
    AnswerBeforeFsync,
    /// 3: term and vote are not written.
    VoteNotSynced,
    /// 10: a subscription takes the position that this node happens to be at.
    SubscribeWithoutReadIndex,
    /// 13: a batch that is sent again gets a new number.
    ForwardedTwice,
}
