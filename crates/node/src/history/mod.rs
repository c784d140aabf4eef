//! The history of channels: how much of it is kept; `reading` has how it is read.
//!
//! The rules are part of the replicated state. A cluster that has none takes on those of its leader's configuration;
//! later ones come with `CONFIG SET`, and the configurations of nodes do not count any more.

mod reading;

pub(crate) use reading::Asked;
pub use reading::{HistoryFound, HistoryRead};

use crate::errors;
use crate::running::Running;
use crate::shared::Shared;
use bytes::Bytes;
use corgi_base::{EntryHead, Op, Rules};
use corgi_consensus::storage::LogReader;
use corgi_state::HISTORY_LEVEL;
use slog::{info, warn};
use std::sync::{Arc, Mutex, PoisonError};

/// What has expired may be seen for so long if nobody writes: so that many channels that expire one after the other do
/// not take an entry of the log each.
pub(crate) const EXPIRY_SLACK_MS: u64 = 1000;

/// The rules as the process shows them: replaced by the node, read by all connections. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct ShownRules(Arc<Mutex<Arc<Rules>>>);

impl ShownRules {
    /// Returns a place for these rules.
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(rules))))
    }

    /// Returns the rules as they are now.
    pub fn load(&self) -> Arc<Rules> {
        let rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rules.clone()
    }

    fn replace(&self, rules: Rules) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}

/// The rules of this node's configuration, and where those of the cluster are shown.
#[derive(Debug)]
pub(crate) struct ChannelRules {
    shown: ShownRules,
    configured: Arc<Rules>,
}

impl ChannelRules {
    /// `shown` has the rules of the configuration.
    pub(crate) fn new(shown: ShownRules) -> Self {
        let configured = shown.load();
        Self { shown, configured }
    }
}

impl Shared {
    /// Returns why these operations are refused, if they are.
    pub(crate) fn refuse_rules(&self, ops: &[Op]) -> Option<Bytes> {
        let of_rules = ops.iter().any(|op| matches!(op, Op::HistoryRules(_)));
        let level = self.keys.level;
        (of_rules && level < HISTORY_LEVEL).then(|| errors::no_history_yet(level, HISTORY_LEVEL))
    }
}

impl<R: LogReader> Running<R> {
    /// Gives a cluster that has no rules those of this node's configuration, if this node leads.
    pub(super) fn seed_rules(&mut self, shared: &Shared) {
        if self.state.feature_level() < HISTORY_LEVEL || self.state.history().is_ruled() {
            return;
        }
        let Some(leading) = &mut self.leading else {
            return;
        };
        if !leading.ruled {
            let head = EntryHead::History(Rules::clone(&shared.rules.configured));
            leading.ruled = self.group.propose(head.encode(), Bytes::new()).is_ok();
        }
    }

    /// Shows the rules of the state, which may be others than before.
    pub(crate) fn show_rules(&self, shared: &Shared) {
        let history = self.state.history();
        if !history.is_ruled() {
            return;
        }
        shared.rules.shown.replace(history.rules().clone());
        info!(shared.log, "how much of channels is kept"; "rules" => %history.rules());
        if *history.rules() != *shared.rules.configured {
            warn!(
                shared.log,
                "the history options of this node's configuration are not those of the cluster, which count; \
                change them with CONFIG SET, and the configuration to match"
            );
        }
    }
}
