//! The rows of the commands on streams.

use super::generic::{CHANGES, CHANGES_FAST, READS, READS_FAST};
use super::{ANY_TIME, Flags, Spec, container, row, with_keys, with_tips};
use crate::commands::{consumers, streams};
use crate::keys::{BeginSearch, FindKeys, KeyFlags, KeySpec};

/// Adds something, which `maxmemory` may refuse.
const GROWS: Flags = CHANGES.with(Flags::DENYOOM);
const GROWS_FAST: Flags = GROWS.with(Flags::FAST);
/// May wait for entries of streams that are named behind a word.
const WAITS: Flags = Flags::BLOCKING.with(Flags::MOVABLEKEYS);

/// The keys behind `STREAMS`: the first half of what follows.
const fn behind_streams(from: usize) -> KeySpec {
    KeySpec {
        flags: KeyFlags::RO.with(KeyFlags::ACCESS),
        begin: BeginSearch::Keyword {
            word: "STREAMS",
            from,
        },
        find: FindKeys::Range {
            last: -1,
            step: 1,
            limit: 2,
        },
    }
}

pub(super) const XACK: Spec = with_keys(
    row(
        "xack",
        -4,
        CHANGES_FAST,
        &["@write", "@stream", "@fast"],
        consumers::parse_xack,
    ),
    &[KeySpec::one(KeyFlags::RW.with(KeyFlags::UPDATE), 1)],
);
pub(super) const XACKDEL: Spec = with_keys(
    row(
        "xackdel",
        -6,
        CHANGES_FAST,
        &["@write", "@stream", "@fast"],
        consumers::parse_xackdel,
    ),
    &[KeySpec::one(
        KeyFlags::RW.with(KeyFlags::UPDATE).with(KeyFlags::DELETE),
        1,
    )],
);
pub(super) const XADD: Spec = with_tips(
    with_keys(
        row(
            "xadd",
            -5,
            GROWS_FAST,
            &["@write", "@stream", "@fast"],
            streams::parse_xadd,
        ),
        &[KeySpec::one(KeyFlags::RW.with(KeyFlags::UPDATE), 1)],
    ),
    &["nondeterministic_output"],
);
pub(super) const XAUTOCLAIM: Spec = with_tips(
    with_keys(
        row(
            "xautoclaim",
            -6,
            CHANGES_FAST,
            &["@write", "@stream", "@fast"],
            consumers::parse_xautoclaim,
        ),
        &[KeySpec::one(KeyFlags::RW.with(KeyFlags::DELETE), 1)],
    ),
    &["nondeterministic_output"],
);
pub(super) const XCFGSET: Spec = with_keys(
    row(
        "xcfgset",
        -3,
        CHANGES_FAST,
        &["@write", "@stream", "@fast"],
        streams::parse_xcfgset,
    ),
    &[KeySpec::one(KeyFlags::RW.with(KeyFlags::UPDATE), 1)],
);
pub(super) const XCLAIM: Spec = with_tips(
    with_keys(
        row(
            "xclaim",
            -6,
            CHANGES_FAST,
            &["@write", "@stream", "@fast"],
            consumers::parse_xclaim,
        ),
        &[KeySpec::one(KeyFlags::RW.with(KeyFlags::UPDATE), 1)],
    ),
    &["nondeterministic_output"],
);
pub(super) const XDEL: Spec = with_keys(
    row(
        "xdel",
        -3,
        CHANGES_FAST,
        &["@write", "@stream", "@fast"],
        streams::parse_xdel,
    ),
    &[KeySpec::one(KeyFlags::RW.with(KeyFlags::DELETE), 1)],
);
pub(super) const XDELEX: Spec = with_keys(
    row(
        "xdelex",
        -5,
        CHANGES_FAST,
        &["@write", "@stream", "@fast"],
        streams::parse_xdelex,
    ),
    &[KeySpec::one(KeyFlags::RW.with(KeyFlags::DELETE), 1)],
);
pub(super) const XLEN: Spec = with_keys(
    row(
        "xlen",
        2,
        READS_FAST,
        &["@read", "@stream", "@fast"],
        streams::parse_xlen,
    ),
    &[KeySpec::one(KeyFlags::RO, 1)],
);
pub(super) const XNACK: Spec = with_keys(
    row(
        "xnack",
        -6,
        CHANGES_FAST,
        &["@write", "@stream", "@fast"],
        consumers::parse_xnack,
    ),
    &[KeySpec::one(KeyFlags::RW.with(KeyFlags::UPDATE), 1)],
);
pub(super) const XPENDING: Spec = with_tips(
    with_keys(
        row(
            "xpending",
            -3,
            READS,
            &["@read", "@stream", "@slow"],
            consumers::parse_xpending,
        ),
        &[KeySpec::one(KeyFlags::RO.with(KeyFlags::ACCESS), 1)],
    ),
    &["nondeterministic_output"],
);
pub(super) const XRANGE: Spec = with_keys(
    row(
        "xrange",
        -4,
        READS,
        &["@read", "@stream", "@slow"],
        |args| streams::parse_xrange(args, false),
    ),
    &[KeySpec::one(KeyFlags::RO.with(KeyFlags::ACCESS), 1)],
);
pub(super) const XREAD: Spec = with_keys(
    row(
        "xread",
        -4,
        READS.with(WAITS),
        &["@read", "@stream", "@slow", "@blocking"],
        streams::parse_xread,
    ),
    &[behind_streams(1)],
);
pub(super) const XREADGROUP: Spec = with_keys(
    row(
        "xreadgroup",
        -7,
        CHANGES.with(WAITS),
        &["@write", "@stream", "@slow", "@blocking"],
        consumers::parse_xreadgroup,
    ),
    &[behind_streams(4)],
);
pub(super) const XREVRANGE: Spec = with_keys(
    row(
        "xrevrange",
        -4,
        READS,
        &["@read", "@stream", "@slow"],
        |args| streams::parse_xrange(args, true),
    ),
    &[KeySpec::one(KeyFlags::RO.with(KeyFlags::ACCESS), 1)],
);
pub(super) const XSETID: Spec = with_keys(
    row(
        "xsetid",
        -3,
        GROWS_FAST,
        &["@write", "@stream", "@fast"],
        streams::parse_xsetid,
    ),
    &[KeySpec::one(KeyFlags::RW.with(KeyFlags::UPDATE), 1)],
);
pub(super) const XTRIM: Spec = with_tips(
    with_keys(
        row(
            "xtrim",
            -4,
            CHANGES,
            &["@write", "@stream", "@slow"],
            streams::parse_xtrim,
        ),
        &[KeySpec::one(KeyFlags::RW.with(KeyFlags::DELETE), 1)],
    ),
    &["nondeterministic_output"],
);
pub(super) const XGROUP: Spec = container("xgroup", &["@slow"], GROUPS);
pub(super) const XINFO: Spec = container("xinfo", &["@slow"], INFOS);

static GROUPS: &[Spec] = &[
    with_keys(
        row(
            "xgroup|create",
            -5,
            GROWS,
            &["@write", "@stream", "@slow"],
            consumers::parse_xgroup_create,
        ),
        &[KeySpec::one(KeyFlags::RW.with(KeyFlags::INSERT), 2)],
    ),
    with_keys(
        row(
            "xgroup|createconsumer",
            5,
            GROWS,
            &["@write", "@stream", "@slow"],
            consumers::parse_xgroup_createconsumer,
        ),
        &[KeySpec::one(KeyFlags::RW.with(KeyFlags::INSERT), 2)],
    ),
    with_keys(
        row(
            "xgroup|delconsumer",
            5,
            CHANGES,
            &["@write", "@stream", "@slow"],
            consumers::parse_xgroup_delconsumer,
        ),
        &[KeySpec::one(KeyFlags::RW.with(KeyFlags::DELETE), 2)],
    ),
    with_keys(
        row(
            "xgroup|destroy",
            4,
            CHANGES,
            &["@write", "@stream", "@slow"],
            consumers::parse_xgroup_destroy,
        ),
        &[KeySpec::one(KeyFlags::RW.with(KeyFlags::DELETE), 2)],
    ),
    row(
        "xgroup|help",
        2,
        ANY_TIME,
        &["@stream", "@slow"],
        consumers::parse_xgroup_help,
    ),
    with_keys(
        row(
            "xgroup|setid",
            -5,
            CHANGES,
            &["@write", "@stream", "@slow"],
            consumers::parse_xgroup_setid,
        ),
        &[KeySpec::one(KeyFlags::RW.with(KeyFlags::UPDATE), 2)],
    ),
];

static INFOS: &[Spec] = &[
    with_tips(
        with_keys(
            row(
                "xinfo|consumers",
                4,
                READS,
                &["@read", "@stream", "@slow"],
                streams::parse_xinfo_consumers,
            ),
            &[KeySpec::one(KeyFlags::RO.with(KeyFlags::ACCESS), 2)],
        ),
        &["nondeterministic_output"],
    ),
    with_keys(
        row(
            "xinfo|groups",
            3,
            READS,
            &["@read", "@stream", "@slow"],
            streams::parse_xinfo_groups,
        ),
        &[KeySpec::one(KeyFlags::RO.with(KeyFlags::ACCESS), 2)],
    ),
    row(
        "xinfo|help",
        2,
        ANY_TIME,
        &["@stream", "@slow"],
        streams::parse_xinfo_help,
    ),
    with_keys(
        row(
            "xinfo|stream",
            -3,
            READS,
            &["@read", "@stream", "@slow"],
            streams::parse_xinfo_stream,
        ),
        &[KeySpec::one(KeyFlags::RO.with(KeyFlags::ACCESS), 2)],
    ),
];
