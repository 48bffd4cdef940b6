//! Flags of what is done to secrets.

use recorder::{MaskPolicy, MaskRules};

use super::{RecordArgs, complaint};
use crate::complain::{Complaint, Exit};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Secrets")]
pub(super) struct MaskArgs {
    /// What to do to secrets in headers
    #[arg(long, value_enum, default_value_t = Mask::Default)]
    mask: Mask,
    /// One more header whose value is a secret, a `*` at an end standing for anything; may be repeated
    #[arg(long, value_name = "NAME")]
    mask_header: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Mask {
    /// Headers named like credentials, cookies, API keys or tokens become pseudonyms
    Default,
    /// Nothing: the capture holds secrets
    None,
}

impl MaskArgs {
    pub(super) fn resolve(&self, args: &RecordArgs) -> Result<MaskPolicy, Complaint> {
        if self.mask == Mask::None && !self.mask_header.is_empty() {
            let mend = "leave one of the two out";
            return Err(Complaint::new(Exit::Usage, "--mask-header", "contradicts --mask none", mend));
        }
        Ok(match self.mask {
            Mask::None => MaskPolicy::None,
            Mask::Default => {
                let more = self.mask_header.iter().map(|name| name.trim().to_ascii_lowercase());
                let mut rules = MaskRules::usual();
                rules.headers.extend(more);
                MaskPolicy::with_random_key(rules).map_err(|error| complaint(args, &error))?
            }
        })
    }
}
