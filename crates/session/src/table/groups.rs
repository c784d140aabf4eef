//! The subcommands of `CONFIG`, `LATENCY`, `MEMORY`, `MODULE` and `SLOWLOG`.

use super::{
    ADMIN, ALL_NODES, ALL_SHARDS, ANY_TIME, CHANGE, EACH_NODE, Flags, MANAGE, PER_SHARD, Spec,
    UNORDERED, row, with_keys, with_tips,
};
use crate::commands::{admin, config, latency, memory, slowlog};
use crate::keys::{KeyFlags, KeySpec};

const SLOW: &[&str] = &["@slow"];
const MODULES: Flags = Flags::ADMIN.with(Flags::NOSCRIPT);
const LOADS: Flags = MODULES.with(Flags::NO_ASYNC_LOADING);

pub(super) static CONFIG: &[Spec] = &[
    row("config|get", -3, MANAGE, ADMIN, config::parse_get),
    row("config|help", 2, ANY_TIME, SLOW, config::parse_help),
    with_tips(
        row(
            "config|resetstat",
            2,
            MANAGE,
            ADMIN,
            config::parse_resetstat,
        ),
        ALL_NODES,
    ),
    with_tips(
        row("config|rewrite", 2, MANAGE, ADMIN, config::parse_rewrite),
        ALL_NODES,
    ),
    with_tips(
        row("config|set", -4, MANAGE, ADMIN, config::parse_set),
        ALL_NODES,
    ),
];

pub(super) static LATENCY: &[Spec] = &[
    with_tips(
        row("latency|doctor", 2, MANAGE, ADMIN, latency::parse_doctor),
        EACH_NODE,
    ),
    with_tips(
        row("latency|graph", 3, MANAGE, ADMIN, latency::parse_graph),
        EACH_NODE,
    ),
    row("latency|help", 2, ANY_TIME, SLOW, latency::parse_help),
    with_tips(
        row(
            "latency|histogram",
            -2,
            MANAGE,
            ADMIN,
            latency::parse_histogram,
        ),
        EACH_NODE,
    ),
    with_tips(
        row("latency|history", 3, MANAGE, ADMIN, latency::parse_history),
        EACH_NODE,
    ),
    with_tips(
        row("latency|latest", 2, MANAGE, ADMIN, latency::parse_latest),
        EACH_NODE,
    ),
    with_tips(
        row("latency|reset", -2, MANAGE, ADMIN, latency::parse_reset),
        &["request_policy:all_nodes", "response_policy:agg_sum"],
    ),
];

pub(super) static MEMORY: &[Spec] = &[
    with_tips(
        row("memory|doctor", 2, Flags::NONE, SLOW, memory::parse_doctor),
        PER_SHARD,
    ),
    row("memory|help", 2, ANY_TIME, SLOW, memory::parse_help),
    with_tips(
        row(
            "memory|malloc-stats",
            2,
            Flags::NONE,
            SLOW,
            memory::parse_malloc_stats,
        ),
        PER_SHARD,
    ),
    with_tips(
        row("memory|purge", 2, Flags::NONE, SLOW, memory::parse_purge),
        ALL_SHARDS,
    ),
    with_tips(
        row("memory|stats", 2, Flags::NONE, SLOW, memory::parse_stats),
        PER_SHARD,
    ),
    with_keys(
        row(
            "memory|usage",
            -3,
            Flags::READONLY,
            &["@read", "@slow"],
            memory::parse_usage,
        ),
        &[KeySpec::one(KeyFlags::RO, 2)],
    ),
];

pub(super) static MODULE: &[Spec] = &[
    row("module|help", 2, ANY_TIME, SLOW, admin::parse_module_help),
    with_tips(
        row("module|list", 2, MODULES, ADMIN, admin::parse_module_list),
        UNORDERED,
    ),
    row("module|load", -3, LOADS, ADMIN, admin::parse_module_load),
    row("module|loadex", -3, LOADS, ADMIN, admin::parse_module_load),
    row("module|unload", 3, LOADS, ADMIN, admin::parse_module_load),
];

pub(super) static SLOWLOG: &[Spec] = &[
    with_tips(
        row("slowlog|get", -2, CHANGE, ADMIN, slowlog::parse_get),
        &["request_policy:all_nodes", "nondeterministic_output"],
    ),
    row("slowlog|help", 2, ANY_TIME, SLOW, slowlog::parse_help),
    with_tips(
        row("slowlog|len", 2, CHANGE, ADMIN, slowlog::parse_len),
        &[
            "request_policy:all_nodes",
            "response_policy:agg_sum",
            "nondeterministic_output",
        ],
    ),
    with_tips(
        row("slowlog|reset", 2, CHANGE, ADMIN, slowlog::parse_reset),
        ALL_NODES,
    ),
];
