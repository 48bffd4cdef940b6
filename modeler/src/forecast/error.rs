//! What can be wrong with a history.
