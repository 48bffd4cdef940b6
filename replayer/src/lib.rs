//! Re-issues a capture at scale and writes down what happened.
//!
//! Open loop: every request has a due moment fixed by the plan, and a slow target never slows the plan. The
//! decisions are pure ([`plan`], `schedule`, `lane`, `response`, `ledger`, `verdict`); the shell under them is
//! one epoll loop per thread with absolute due times (`drive`, `client`). Nothing here concludes anything
//! about the target: that is the modeler's work. What is judged here is the generator itself.

mod addresses;
pub mod answers;
mod ceiling;
mod client;
mod clock;
pub mod correlate;
mod drive;
mod engine;
mod http2;
mod lane;
mod ledger;
mod machine;
mod observe;
mod order;
mod origin;
mod plan;
mod preview;
mod profile;
mod response;
mod schedule;
mod select;
mod shape;
mod stages;
mod stop;
mod tls;
mod verdict;

pub use addresses::{Addresses, LookUp, LookedUp, Resolver};
pub use drive::Wire;
pub use engine::{Config, Finished, Progress, ReplayError, replay};
pub use ledger::{Sameness, Seen, Totals};
pub use machine::{allowed_connections, use_huge_pages};
pub use observe::{Asked, ObserveError, ObserveSource, Observer};
pub use origin::{Conflict, Target, TargetError, origin_conflict};
pub use plan::rewrite::{HostField, RewriteError, Rewrites, field_value, parse_field, parse_pair};
pub use plan::{HeldBack, MARKER, Plan, PlanError, Planner, Rewriting, Share, some_of};
pub use preview::{Preview, due_moments, preview};
pub use profile::Profile;
pub use schedule::Unit;
pub use select::{MixError, Selection, parse_mix};
pub use shape::{Likeness, Shape};
pub use stages::{
    Levels, StagesError, hold, parse_length, parse_scale, parse_stages, parse_stages_with, scale_at,
};
pub use stop::Stop;
pub use tls::{Tls, TlsError, TlsFiles};
