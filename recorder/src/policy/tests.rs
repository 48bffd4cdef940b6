//! Policies for tests, and what all of them come to together.

use std::time::Duration;

use captures::Bytes;

use super::*;
use crate::config::Policy;

/// What a recorder does when nothing is said.
pub(crate) fn everything() -> Policy {
    let bodies = BodyRules::new(&[], Kept::Prefix(Bytes::new(65_536))).unwrap();
    let keys = ["cookie", "header:authorization", "connection"].map(|key| KeyRule::parse(key).unwrap());
    Policy {
        sessions: SessionPolicy { keys: keys.to_vec(), idle: Duration::from_secs(1_800) },
        sampling: SamplingRatio::ALL,
        filters: Filters::default(),
        request_bodies: bodies.clone(),
        response_bodies: bodies,
        decode_bodies: false,
        record_replayed: false,
        typed: Vec::new(),
    }
}

/// Half of the visitors, and of them not what asks for `/health`.
pub(crate) fn half_of_it() -> Policy {
    let exclude = vec![Rule::parse("/health").unwrap()];
    let filters = Filters { include: Vec::new(), exclude };
    Policy { sampling: SamplingRatio::parse("50%").unwrap(), filters, ..everything() }
}
