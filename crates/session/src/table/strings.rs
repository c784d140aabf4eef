//! The rows of the commands on strings.

use super::generic::{CHANGES, CHANGES_FAST, READS, READS_FAST};
use super::{Flags, Spec, row, with_keys, with_tips};
use crate::commands::strings;
use crate::keys::{KeyFlags, KeySpec};

/// Adds something, which `maxmemory` may refuse.
const GROWS: Flags = CHANGES.with(Flags::DENYOOM);
const GROWS_FAST: Flags = GROWS.with(Flags::FAST);

pub(super) const SET: Spec = with_keys(
    row(
        "set",
        -3,
        GROWS,
        &["@write", "@string", "@slow"],
        strings::parse_set,
    ),
    &[KeySpec::one(
        KeyFlags::RW
            .with(KeyFlags::ACCESS)
            .with(KeyFlags::UPDATE)
            .with(KeyFlags::VARIABLE),
        1,
    )],
);
pub(super) const GET: Spec = with_keys(
    row(
        "get",
        2,
        READS_FAST,
        &["@read", "@string", "@fast"],
        strings::parse_get,
    ),
    &[KeySpec::one(KeyFlags::RO.with(KeyFlags::ACCESS), 1)],
);
pub(super) const GETDEL: Spec = with_keys(
    row(
        "getdel",
        2,
        CHANGES_FAST,
        &["@write", "@string", "@fast"],
        strings::parse_getdel,
    ),
    &[KeySpec::one(
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::DELETE),
        1,
    )],
);
pub(super) const GETEX: Spec = with_keys(
    row(
        "getex",
        -2,
        CHANGES_FAST,
        &["@write", "@string", "@fast"],
        strings::parse_getex,
    ),
    &[KeySpec::one(
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
        1,
    )],
);
pub(super) const SETNX: Spec = with_keys(
    row(
        "setnx",
        3,
        GROWS_FAST,
        &["@write", "@string", "@fast"],
        strings::parse_setnx,
    ),
    &[KeySpec::one(KeyFlags::OW.with(KeyFlags::INSERT), 1)],
);
pub(super) const SETEX: Spec = with_keys(
    row(
        "setex",
        4,
        GROWS,
        &["@write", "@string", "@slow"],
        strings::parse_setex,
    ),
    &[KeySpec::one(KeyFlags::OW.with(KeyFlags::UPDATE), 1)],
);
pub(super) const PSETEX: Spec = with_keys(
    row(
        "psetex",
        4,
        GROWS,
        &["@write", "@string", "@slow"],
        strings::parse_psetex,
    ),
    &[KeySpec::one(KeyFlags::OW.with(KeyFlags::UPDATE), 1)],
);
pub(super) const GETSET: Spec = with_keys(
    row(
        "getset",
        3,
        GROWS_FAST,
        &["@write", "@string", "@fast"],
        strings::parse_getset,
    ),
    &[KeySpec::one(
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
        1,
    )],
);
pub(super) const MGET: Spec = with_tips(
    with_keys(
        row(
            "mget",
            -2,
            READS_FAST,
            &["@read", "@string", "@fast"],
            strings::parse_mget,
        ),
        &[KeySpec::range(KeyFlags::RO.with(KeyFlags::ACCESS), 1, -1)],
    ),
    &["request_policy:multi_shard"],
);
pub(super) const MSET: Spec = with_tips(
    with_keys(
        row(
            "mset",
            -3,
            GROWS,
            &["@write", "@string", "@slow"],
            strings::parse_mset,
        ),
        &[KeySpec::pairs(KeyFlags::OW.with(KeyFlags::UPDATE), 1)],
    ),
    &[
        "request_policy:multi_shard",
        "response_policy:all_succeeded",
    ],
);
pub(super) const MSETNX: Spec = with_keys(
    row(
        "msetnx",
        -3,
        GROWS,
        &["@write", "@string", "@slow"],
        strings::parse_msetnx,
    ),
    &[KeySpec::pairs(KeyFlags::OW.with(KeyFlags::INSERT), 1)],
);
pub(super) const APPEND: Spec = with_keys(
    row(
        "append",
        3,
        GROWS_FAST,
        &["@write", "@string", "@fast"],
        strings::parse_append,
    ),
    &[KeySpec::one(KeyFlags::RW.with(KeyFlags::INSERT), 1)],
);
pub(super) const STRLEN: Spec = with_keys(
    row(
        "strlen",
        2,
        READS_FAST,
        &["@read", "@string", "@fast"],
        strings::parse_strlen,
    ),
    &[KeySpec::one(KeyFlags::RO, 1)],
);
pub(super) const GETRANGE: Spec = with_keys(
    row(
        "getrange",
        4,
        READS,
        &["@read", "@string", "@slow"],
        strings::parse_getrange,
    ),
    &[KeySpec::one(KeyFlags::RO.with(KeyFlags::ACCESS), 1)],
);
pub(super) const SUBSTR: Spec = with_keys(
    row(
        "substr",
        4,
        READS,
        &["@read", "@string", "@slow"],
        strings::parse_getrange,
    ),
    &[KeySpec::one(KeyFlags::RO.with(KeyFlags::ACCESS), 1)],
);
pub(super) const SETRANGE: Spec = with_keys(
    row(
        "setrange",
        4,
        GROWS,
        &["@write", "@string", "@slow"],
        strings::parse_setrange,
    ),
    &[KeySpec::one(KeyFlags::RW.with(KeyFlags::UPDATE), 1)],
);
pub(super) const INCR: Spec = with_keys(
    row(
        "incr",
        2,
        GROWS_FAST,
        &["@write", "@string", "@fast"],
        strings::parse_incr,
    ),
    &[KeySpec::one(
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
        1,
    )],
);
pub(super) const DECR: Spec = with_keys(
    row(
        "decr",
        2,
        GROWS_FAST,
        &["@write", "@string", "@fast"],
        strings::parse_decr,
    ),
    &[KeySpec::one(
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
        1,
    )],
);
pub(super) const INCRBY: Spec = with_keys(
    row(
        "incrby",
        3,
        GROWS_FAST,
        &["@write", "@string", "@fast"],
        strings::parse_incrby,
    ),
    &[KeySpec::one(
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
        1,
    )],
);
pub(super) const DECRBY: Spec = with_keys(
    row(
        "decrby",
        3,
        GROWS_FAST,
        &["@write", "@string", "@fast"],
        strings::parse_decrby,
    ),
    &[KeySpec::one(
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
        1,
    )],
);
pub(super) const INCRBYFLOAT: Spec = with_keys(
    row(
        "incrbyfloat",
        3,
        GROWS_FAST,
        &["@write", "@string", "@fast"],
        strings::parse_incrbyfloat,
    ),
    &[KeySpec::one(
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
        1,
    )],
);
