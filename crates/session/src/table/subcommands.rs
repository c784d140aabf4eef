//! The subcommands of `ACL`, `CLUSTER`, `COMMAND`, `PUBSUB` and `SCRIPT`.

use super::{
    ADMIN, ALL_NODES, ANY_TIME, CHANGE, COUNT, Flags, MANAGE, OF_CLIENT, SCRIPTING,
    SLOW_CONNECTION, SLOW_PUBSUB, Spec, UNORDERED, row, with_tips,
};
use crate::commands::{acl, cluster, command, pubsub, scripting};

pub(super) static ACL: &[Spec] = &[
    row("acl|cat", -2, OF_CLIENT, &["@slow"], acl::parse_cat),
    with_tips(
        row("acl|deluser", -3, MANAGE, ADMIN, acl::parse_deluser),
        ALL_NODES,
    ),
    row("acl|dryrun", -4, MANAGE, ADMIN, acl::parse_dryrun),
    row("acl|genpass", -2, OF_CLIENT, &["@slow"], acl::parse_genpass),
    row("acl|getuser", 3, MANAGE, ADMIN, acl::parse_getuser),
    row("acl|help", 2, ANY_TIME, &["@slow"], acl::parse_help),
    row("acl|list", 2, MANAGE, ADMIN, acl::parse_list),
    row("acl|load", 2, MANAGE, ADMIN, acl::parse_load),
    row("acl|log", -2, MANAGE, ADMIN, acl::parse_log),
    with_tips(
        row("acl|save", 2, MANAGE, ADMIN, acl::parse_save),
        ALL_NODES,
    ),
    with_tips(
        row("acl|setuser", -3, MANAGE, ADMIN, acl::parse_setuser),
        ALL_NODES,
    ),
    row("acl|users", 2, MANAGE, ADMIN, acl::parse_users),
    row("acl|whoami", 2, OF_CLIENT, &["@slow"], acl::parse_whoami),
];

pub(super) static CLUSTER: &[Spec] = &[
    row(
        "cluster|failover",
        -2,
        CHANGE,
        ADMIN,
        cluster::parse_failover,
    ),
    row("cluster|forget", 3, CHANGE, ADMIN, cluster::parse_forget),
    row("cluster|help", 2, ANY_TIME, &["@slow"], cluster::parse_help),
    with_tips(
        row("cluster|info", 2, ANY_TIME, &["@slow"], cluster::parse_info),
        &["nondeterministic_output"],
    ),
    row("cluster|meet", -4, CHANGE, ADMIN, cluster::parse_meet),
    row("cluster|myid", 2, ANY_TIME, &["@slow"], cluster::parse_myid),
    with_tips(
        row(
            "cluster|nodes",
            2,
            ANY_TIME,
            &["@slow"],
            cluster::parse_nodes,
        ),
        &["nondeterministic_output"],
    ),
];

pub(super) static COMMAND: &[Spec] = &[
    row(
        "command|count",
        2,
        ANY_TIME,
        SLOW_CONNECTION,
        command::parse_count,
    ),
    with_tips(
        row(
            "command|docs",
            -2,
            ANY_TIME,
            SLOW_CONNECTION,
            command::parse_docs,
        ),
        UNORDERED,
    ),
    row(
        "command|getkeys",
        -3,
        ANY_TIME,
        SLOW_CONNECTION,
        command::parse_getkeys,
    ),
    row(
        "command|getkeysandflags",
        -3,
        ANY_TIME,
        SLOW_CONNECTION,
        command::parse_getkeysandflags,
    ),
    row(
        "command|help",
        2,
        ANY_TIME,
        SLOW_CONNECTION,
        command::parse_help,
    ),
    with_tips(
        row(
            "command|info",
            -2,
            ANY_TIME,
            SLOW_CONNECTION,
            command::parse_info,
        ),
        UNORDERED,
    ),
    with_tips(
        row(
            "command|list",
            -2,
            ANY_TIME,
            SLOW_CONNECTION,
            command::parse_list,
        ),
        UNORDERED,
    ),
];

pub(super) static PUBSUB: &[Spec] = &[
    row(
        "pubsub|channels",
        -2,
        COUNT,
        SLOW_PUBSUB,
        pubsub::parse_channels,
    ),
    row("pubsub|help", 2, ANY_TIME, &["@slow"], pubsub::parse_help),
    row("pubsub|numpat", 2, COUNT, SLOW_PUBSUB, pubsub::parse_numpat),
    row(
        "pubsub|numsub",
        -2,
        COUNT,
        SLOW_PUBSUB,
        pubsub::parse_numsub,
    ),
    row(
        "pubsub|shardchannels",
        -2,
        COUNT,
        SLOW_PUBSUB,
        pubsub::parse_shardchannels,
    ),
    row(
        "pubsub|shardnumsub",
        -2,
        COUNT,
        SLOW_PUBSUB,
        pubsub::parse_shardnumsub,
    ),
];

pub(super) static SCRIPT: &[Spec] = &[
    with_tips(
        row(
            "script|exists",
            -3,
            Flags::NOSCRIPT,
            SCRIPTING,
            scripting::parse_exists,
        ),
        &[
            "request_policy:all_shards",
            "response_policy:agg_logical_and",
        ],
    ),
    with_tips(
        row(
            "script|flush",
            -2,
            Flags::NOSCRIPT,
            SCRIPTING,
            scripting::parse_flush,
        ),
        ALL_NODES,
    ),
    row("script|help", 2, ANY_TIME, SCRIPTING, scripting::parse_help),
    with_tips(
        row(
            "script|load",
            3,
            Flags::NOSCRIPT.with(Flags::STALE),
            SCRIPTING,
            scripting::parse_load,
        ),
        ALL_NODES,
    ),
];
