//! The routes of exchanges that are not planned: what a pattern that fits nothing may have meant.

use std::collections::BTreeMap;

use super::{HeldBack, Plan};

/// So many are remembered.
const MOST_ROUTES: usize = 1_000;

/// Routes of what was held back, with a reason for each.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    routes: BTreeMap<String, HeldBack>,
}

impl LeftOut {
    pub(super) fn on(&mut self, route: &str, reason: HeldBack) {
        if self.routes.len() < MOST_ROUTES && !self.routes.contains_key(route) {
            self.routes.insert(route.to_owned(), reason);
        }
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.routes.into_keys().collect()
    }

    pub(super) fn finish(self) -> Vec<(String, HeldBack)> {
        self.routes.into_iter().collect()
    }
}

impl Plan {
    /// Routes of exchanges that are not planned, by name, each with why the first of them is not; a thousand at most.
    pub fn left_out(&self) -> &[(String, HeldBack)] {
        &self.left_out
    }
}
