//! The rows of the table, R1 to R30.

pub(crate) mod clients;
pub(crate) mod clock;
pub(crate) mod disk;
pub(crate) mod life;
pub(crate) mod machine;
pub(crate) mod rest;
pub(crate) mod upstream;
