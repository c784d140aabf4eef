//! Mistakes that others have made, to be made on purpose: the simulator's checkers must find each.
//! Only in builds with the feature `seeded-bugs`, and there only when asked for.

/// One mistake. The numbers are those of the list in `docs/simulation.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeededBug {
    /// A leader counts its own copy before the disk has it.
    AckBeforeFsync = 1,
    /// A follower accepts entries before the disk has them.
    AnswerBeforeFsync = 2,
    /// Term and vote are not written.
    VoteNotSynced = 3,
    /// A sync that has failed is done again, and is then told that all is well.
    SyncRetried = 4,
    /// A log that ends before what was synced is taken for one with a torn end.
    MarkIgnored = 5,
    /// A damaged entry is cut off silently, with all behind it.
    DamageCut = 6,
    /// A node with an emptied folder is let in under its old id.
    WipedReturns = 7,
    /// The applied index is written apart from the rows.
    AppliedApart = 8,
    /// The log is truncated up to what is applied, flushed or not.
    TruncatedEarly = 9,
    /// A subscription takes the position that this node happens to be at.
    SubscribeWithoutReadIndex = 10,
    /// A subscriber that has caught up is live one entry too early.
    HandOverDrops = 11,
    /// What does not fit in a subscriber's queue is dropped.
    OverflowDrops = 12,
    /// A batch that is sent again gets a new number.
    ForwardedTwice = 13,
    /// A leader applies a change of the members when it has appended it.
    ChangeUncommitted = 14,
    /// A log that was reset to a snapshot does not tell that the state is still to be replaced: a crash leaves a gap.
    InstallLeavesGap = 15,
}

impl SeededBug {
    /// All of them, by number.
    pub const ALL: [Self; 15] = [
        Self::AckBeforeFsync,
        Self::AnswerBeforeFsync,
        Self::VoteNotSynced,
        Self::SyncRetried,
        Self::MarkIgnored,
        Self::DamageCut,
        Self::WipedReturns,
        Self::AppliedApart,
        Self::TruncatedEarly,
        Self::SubscribeWithoutReadIndex,
        Self::HandOverDrops,
        Self::OverflowDrops,
        Self::ForwardedTwice,
        Self::ChangeUncommitted,
        Self::InstallLeavesGap,
    ];

    /// Returns what the mistake is, in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::AckBeforeFsync => "a leader counts its own copy before the disk has it",
            Self::AnswerBeforeFsync => "a follower accepts entries before the disk has them",
            Self::VoteNotSynced => "term and vote are not written",
            Self::SyncRetried => {
                "a sync that has failed is done again, and is then told that all is well"
            }
            Self::MarkIgnored => {
                "a log that ends before what was synced is taken for one with a torn end"
            }
            Self::DamageCut => "a damaged entry is cut off silently, with all behind it",
            Self::WipedReturns => "a node with an emptied folder is let in under its old id",
            Self::AppliedApart => "the applied index is written apart from the rows",
            Self::TruncatedEarly => "the log is truncated up to what is applied, flushed or not",
            Self::SubscribeWithoutReadIndex => {
                "a subscription takes the position that this node happens to be at"
            }
            Self::HandOverDrops => "a subscriber that has caught up is live one entry too early",
            Self::OverflowDrops => "what does not fit in a subscriber's queue is dropped",
            Self::ForwardedTwice => "a batch that is sent again gets a new number",
            Self::ChangeUncommitted => {
                "a leader applies a change of the members when it has appended it"
            }
            Self::InstallLeavesGap => {
                "a log that was reset to a snapshot does not tell that the state is still to be replaced"
            }
        }
    }
}
