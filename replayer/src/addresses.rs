//! The addresses that connections go to, in turn, and what keeps them up to date.

use std::fmt;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::ledger::Told;

/// Addresses that have passed the check against the origin. Clones share them.
#[derive(Clone, Debug)]
pub struct Addresses(Arc<RwLock<Vec<SocketAddr>>>);

impl Addresses {
    /// These, of which there must be one at least.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self(Arc::new(RwLock::new(addresses)))
    }

    /// All of them.
    pub fn all(&self) -> Vec<SocketAddr> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The one whose turn it is; `None` when there is none.
    pub(crate) fn in_turn(&self, turn: usize) -> Option<SocketAddr> {
        let addresses = self.0.read().unwrap_or_else(PoisonError::into_inner);
        addresses.get(turn.checked_rem(addresses.len())?).copied()
    }

    fn replace(&self, addresses: Vec<SocketAddr>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }
}

/// What looking the target up again led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookedUp {
    /// These addresses, all of which have passed the check against the origin.
    Found(Vec<SocketAddr>),
    /// Nothing that could be used: those that are known stay.
    Nothing,
    /// The name leads to the recorded origin now, for this reason: the run must end.
    Refused(String),
}

/// How a target is looked up again, given the addresses that are in use.
pub type LookUp = Box<dyn FnMut(&[SocketAddr]) -> LookedUp + Send>;

/// Looks the target up again while a run goes on.
pub struct Resolver {
    /// How often.
    pub every: Duration,
    /// How.
    pub look_up: LookUp,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("every", &self.every).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Keeps `addresses` up to date until `over` ends. Connections that are open stay where they are.
    pub(crate) fn run(mut self, addresses: &Addresses, over: &Receiver<()>, ledger: &Sender<Told>) {
        while over.recv_timeout(self.every) == Err(RecvTimeoutError::Timeout) {
            match (self.look_up)(&addresses.all()) {
                LookedUp::Found(found) if !found.is_empty() => addresses.replace(found),
                LookedUp::Found(_) | LookedUp::Nothing => {}
                LookedUp::Refused(why) => {
                    let _ = ledger.send(Told::Refused(why));
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 80))
    }

    #[test]
    fn connections_go_to_all_addresses_in_turn() {
        let addresses = Addresses::new(vec![address(1), address(2)]);
        let turns: Vec<_> = (0..4).map(|turn| addresses.in_turn(turn).unwrap()).collect();
        assert_eq!(turns, [address(1), address(2), address(1), address(2)]);
        assert_eq!(Addresses::new(Vec::new()).in_turn(3), None);
    }

    #[test]
    fn what_is_found_anew_takes_over_and_the_origin_ends_the_run() {
        let addresses = Addresses::new(vec![address(1)]);
        let (_running, over) = mpsc::channel();
        let (ledger, told) = mpsc::channel();
        let mut answers = vec![
            LookedUp::Refused("it is production".to_owned()),
            LookedUp::Nothing,
            LookedUp::Found(vec![address(3)]),
        ];
        let mut asked = Vec::new();
        let (seen, questions) = mpsc::channel();
        let look_up = Box::new(move |known: &[SocketAddr]| {
            seen.send(known.to_vec()).unwrap();
            answers.pop().unwrap()
        });
        Resolver { every: Duration::from_millis(1), look_up }.run(&addresses, &over, &ledger);

        asked.extend(questions.try_iter());
        assert_eq!(asked, [vec![address(1)], vec![address(3)], vec![address(3)]]);
        assert_eq!(addresses.all(), [address(3)]);
        assert!(matches!(told.recv(), Ok(Told::Refused(why)) if why == "it is production"));
    }
}
