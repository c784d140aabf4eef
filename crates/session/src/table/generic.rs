//! The rows of the commands on keys of any type.

use super::{ANY_TIME, Flags, Spec, container, row, with_keys, with_tips};
use crate::commands::generic;
use crate::keys::{KeyFlags, KeySpec};
use corgi_base::keys::About::{Encoding, Freq, IdleTime, RefCount};
use corgi_base::keys::Unit::{Millis, Seconds};

/// Reads keys.
pub(super) const READS: Flags = Flags::READONLY.with(Flags::KEYSPACE);
/// Reads keys in a time that does not grow.
pub(super) const READS_FAST: Flags = READS.with(Flags::FAST);
/// Changes keys.
pub(super) const CHANGES: Flags = Flags::WRITE.with(Flags::WRITES).with(Flags::KEYSPACE);
/// Changes keys in a time that does not grow.
pub(super) const CHANGES_FAST: Flags = CHANGES.with(Flags::FAST);
const GROWS: Flags = CHANGES.with(Flags::DENYOOM);

pub(super) const DEL: Spec = with_tips(
    with_keys(
        row(
            "del",
            -2,
            CHANGES,
            &["@keyspace", "@write", "@slow"],
            generic::parse_del,
        ),
        &[KeySpec::range(KeyFlags::RM.with(KeyFlags::DELETE), 1, -1)],
    ),
    &["request_policy:multi_shard", "response_policy:agg_sum"],
);
pub(super) const UNLINK: Spec = with_tips(
    with_keys(
        row(
            "unlink",
            -2,
            CHANGES_FAST,
            &["@keyspace", "@write", "@fast"],
            generic::parse_del,
        ),
        &[KeySpec::range(KeyFlags::RM.with(KeyFlags::DELETE), 1, -1)],
    ),
    &["request_policy:multi_shard", "response_policy:agg_sum"],
);
pub(super) const EXISTS: Spec = with_tips(
    with_keys(
        row(
            "exists",
            -2,
            READS_FAST,
            &["@keyspace", "@read", "@fast"],
            generic::parse_exists,
        ),
        &[KeySpec::range(KeyFlags::RO, 1, -1)],
    ),
    &["request_policy:multi_shard", "response_policy:agg_sum"],
);
pub(super) const TOUCH: Spec = with_tips(
    with_keys(
        row(
            "touch",
            -2,
            READS_FAST,
            &["@keyspace", "@read", "@fast"],
            generic::parse_exists,
        ),
        &[KeySpec::range(KeyFlags::RO, 1, -1)],
    ),
    &["request_policy:multi_shard", "response_policy:agg_sum"],
);
pub(super) const TYPE: Spec = with_keys(
    row(
        "type",
        2,
        READS_FAST,
        &["@keyspace", "@read", "@fast"],
        generic::parse_type,
    ),
    &[KeySpec::one(KeyFlags::RO, 1)],
);
pub(super) const TTL: Spec = with_tips(
    with_keys(
        row(
            "ttl",
            2,
            READS_FAST,
            &["@keyspace", "@read", "@fast"],
            |args| generic::parse_ttl(args, Seconds, false),
        ),
        &[KeySpec::one(KeyFlags::RO.with(KeyFlags::ACCESS), 1)],
    ),
    &["nondeterministic_output"],
);
pub(super) const PTTL: Spec = with_tips(
    with_keys(
        row(
            "pttl",
            2,
            READS_FAST,
            &["@keyspace", "@read", "@fast"],
            |args| generic::parse_ttl(args, Millis, false),
        ),
        &[KeySpec::one(KeyFlags::RO.with(KeyFlags::ACCESS), 1)],
    ),
    &["nondeterministic_output"],
);
pub(super) const EXPIRETIME: Spec = with_keys(
    row(
        "expiretime",
        2,
        READS_FAST,
        &["@keyspace", "@read", "@fast"],
        |args| generic::parse_ttl(args, Seconds, true),
    ),
    &[KeySpec::one(KeyFlags::RO.with(KeyFlags::ACCESS), 1)],
);
pub(super) const PEXPIRETIME: Spec = with_keys(
    row(
        "pexpiretime",
        2,
        READS_FAST,
        &["@keyspace", "@read", "@fast"],
        |args| generic::parse_ttl(args, Millis, true),
    ),
    &[KeySpec::one(KeyFlags::RO.with(KeyFlags::ACCESS), 1)],
);
pub(super) const EXPIRE: Spec = with_keys(
    row(
        "expire",
        -3,
        CHANGES_FAST,
        &["@keyspace", "@write", "@fast"],
        |args| generic::parse_expire(args, "expire", Seconds, false),
    ),
    &[KeySpec::one(KeyFlags::RW.with(KeyFlags::UPDATE), 1)],
);
pub(super) const PEXPIRE: Spec = with_keys(
    row(
        "pexpire",
        -3,
        CHANGES_FAST,
        &["@keyspace", "@write", "@fast"],
        |args| generic::parse_expire(args, "pexpire", Millis, false),
    ),
    &[KeySpec::one(KeyFlags::RW.with(KeyFlags::UPDATE), 1)],
);
pub(super) const EXPIREAT: Spec = with_keys(
    row(
        "expireat",
        -3,
        CHANGES_FAST,
        &["@keyspace", "@write", "@fast"],
        |args| generic::parse_expire(args, "expireat", Seconds, true),
    ),
    &[KeySpec::one(KeyFlags::RW.with(KeyFlags::UPDATE), 1)],
);
pub(super) const PEXPIREAT: Spec = with_keys(
    row(
        "pexpireat",
        -3,
        CHANGES_FAST,
        &["@keyspace", "@write", "@fast"],
        |args| generic::parse_expire(args, "pexpireat", Millis, true),
    ),
    &[KeySpec::one(KeyFlags::RW.with(KeyFlags::UPDATE), 1)],
);
pub(super) const PERSIST: Spec = with_keys(
    row(
        "persist",
        2,
        CHANGES_FAST,
        &["@keyspace", "@write", "@fast"],
        generic::parse_persist,
    ),
    &[KeySpec::one(KeyFlags::RW.with(KeyFlags::UPDATE), 1)],
);
pub(super) const RENAME: Spec = with_keys(
    row(
        "rename",
        3,
        CHANGES,
        &["@keyspace", "@write", "@slow"],
        |args| generic::parse_rename(args, false),
    ),
    &[
        KeySpec::one(
            KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::DELETE),
            1,
        ),
        KeySpec::one(KeyFlags::OW.with(KeyFlags::UPDATE), 2),
    ],
);
pub(super) const RENAMENX: Spec = with_keys(
    row(
        "renamenx",
        3,
        CHANGES_FAST,
        &["@keyspace", "@write", "@fast"],
        |args| generic::parse_rename(args, true),
    ),
    &[
        KeySpec::one(
            KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::DELETE),
            1,
        ),
        KeySpec::one(KeyFlags::OW.with(KeyFlags::INSERT), 2),
    ],
);
pub(super) const COPY: Spec = with_keys(
    row(
        "copy",
        -3,
        GROWS,
        &["@keyspace", "@write", "@slow"],
        generic::parse_copy,
    ),
    &[
        KeySpec::one(KeyFlags::RO.with(KeyFlags::ACCESS), 1),
        KeySpec::one(KeyFlags::OW.with(KeyFlags::UPDATE), 2),
    ],
);
pub(super) const MOVE: Spec = with_keys(
    row(
        "move",
        3,
        CHANGES_FAST,
        &["@keyspace", "@write", "@fast"],
        generic::parse_move,
    ),
    &[KeySpec::one(
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
        1,
    )],
);
pub(super) const KEYS: Spec = with_tips(
    row(
        "keys",
        2,
        READS,
        &["@keyspace", "@read", "@slow", "@dangerous"],
        generic::parse_keys,
    ),
    &["request_policy:all_shards", "nondeterministic_output_order"],
);
pub(super) const SCAN: Spec = with_tips(
    row(
        "scan",
        -2,
        READS,
        &["@keyspace", "@read", "@slow"],
        generic::parse_scan,
    ),
    &[
        "nondeterministic_output",
        "request_policy:special",
        "response_policy:special",
    ],
);
pub(super) const RANDOMKEY: Spec = with_tips(
    row(
        "randomkey",
        1,
        READS,
        &["@keyspace", "@read", "@slow"],
        generic::parse_randomkey,
    ),
    &[
        "request_policy:all_shards",
        "response_policy:special",
        "nondeterministic_output",
    ],
);
pub(super) const DBSIZE: Spec = with_tips(
    row(
        "dbsize",
        1,
        READS_FAST,
        &["@keyspace", "@read", "@fast"],
        generic::parse_dbsize,
    ),
    &["request_policy:all_shards", "response_policy:agg_sum"],
);
pub(super) const FLUSHDB: Spec = with_tips(
    row(
        "flushdb",
        -1,
        CHANGES,
        &["@keyspace", "@write", "@slow", "@dangerous"],
        |args| generic::parse_flush(args, false),
    ),
    &["request_policy:all_shards", "response_policy:all_succeeded"],
);
pub(super) const FLUSHALL: Spec = with_tips(
    row(
        "flushall",
        -1,
        CHANGES,
        &["@keyspace", "@write", "@slow", "@dangerous"],
        |args| generic::parse_flush(args, true),
    ),
    &["request_policy:all_shards", "response_policy:all_succeeded"],
);
pub(super) const SWAPDB: Spec = row(
    "swapdb",
    3,
    CHANGES_FAST,
    &["@keyspace", "@write", "@fast", "@dangerous"],
    generic::parse_swapdb,
);
pub(super) const OBJECT: Spec = container("object", &["@slow"], OBJECTS);

static OBJECTS: &[Spec] = &[
    with_tips(
        with_keys(
            row(
                "object|encoding",
                3,
                READS,
                &["@keyspace", "@read", "@slow"],
                |args| generic::parse_object(args, Encoding),
            ),
            &[KeySpec::one(KeyFlags::RO, 2)],
        ),
        &["nondeterministic_output"],
    ),
    with_tips(
        with_keys(
            row(
                "object|freq",
                3,
                READS,
                &["@keyspace", "@read", "@slow"],
                |args| generic::parse_object(args, Freq),
            ),
            &[KeySpec::one(KeyFlags::RO, 2)],
        ),
        &["nondeterministic_output"],
    ),
    row(
        "object|help",
        2,
        ANY_TIME,
        &["@keyspace", "@slow"],
        generic::parse_object_help,
    ),
    with_tips(
        with_keys(
            row(
                "object|idletime",
                3,
                READS,
                &["@keyspace", "@read", "@slow"],
                |args| generic::parse_object(args, IdleTime),
            ),
            &[KeySpec::one(KeyFlags::RO, 2)],
        ),
        &["nondeterministic_output"],
    ),
    with_tips(
        with_keys(
            row(
                "object|refcount",
                3,
                READS,
                &["@keyspace", "@read", "@slow"],
                |args| generic::parse_object(args, RefCount),
            ),
            &[KeySpec::one(KeyFlags::RO, 2)],
        ),
        &["nondeterministic_output"],
    ),
];
