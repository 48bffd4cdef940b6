//! Conversations packet by packet.
