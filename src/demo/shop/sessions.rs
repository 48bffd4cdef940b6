//! Who is in the shop: sessions with their carts, and accounts with their passwords.
//!
//! A session key that the shop never gave out is accepted and gets a fresh guest's cart, as many real
//! shops do: a replayed key comes from another shop, or is the pseudonym of one.
//!
//! Invariants: at most [`SESSION_LIMIT`] sessions, the oldest leaves first; at most [`CART_LIMIT`] lines
//! in a cart, the oldest leaves first.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Mutex, PoisonError};

/// How many sessions are kept.
const SESSION_LIMIT: usize = 20_000;
/// How many lines a cart holds.
pub(crate) const CART_LIMIT: usize = 8;
/// Rounds of the password hash: about half a millisecond.
const PASSWORD_ROUNDS: u32 = 20_000;
/// Rounds of the signature under an order.
const SIGNATURE_ROUNDS: u32 = 30_000;

/// One line of a cart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CartLine {
    pub(crate) product: u32,
    pub(crate) quantity: u32,
}

/// What the shop knows of a visitor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    /// The account, once logged in.
    pub(crate) account: Option<String>,
    /// The cart.
    pub(crate) cart: Vec<CartLine>,
}

/// All sessions.
#[derive(Default)]
pub(crate) struct Sessions {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_key: HashMap<String, Session>,
    by_age: VecDeque<String>,
}

impl Sessions {
    /// What is known of the visitor with this key.
    pub(crate) fn get(&self, key: &str) -> Session {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.by_key.get(key).cloned().unwrap_or_default()
    }

    /// Changes what is known of the visitor with this key.
    pub(crate) fn change<T>(&self, key: &str, change: impl FnOnce(&mut Session) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { by_key, by_age } = &mut *known;
        if !by_key.contains_key(key) {
            if by_age.len() >= SESSION_LIMIT
                && let Some(oldest) = by_age.pop_front()
            {
                by_key.remove(&oldest);
            }
            by_age.push_back(key.to_owned());
        }
        change(by_key.entry(key.to_owned()).or_default())
    }
}

impl Session {
    /// Puts something into the cart.
    pub(crate) fn add(&mut self, line: CartLine) {
        match self.cart.iter_mut().find(|known| known.product == line.product) {
            Some(known) => known.quantity = known.quantity.saturating_add(line.quantity).min(99),
            None => {
                if self.cart.len() >= CART_LIMIT {
                    self.cart.remove(0);
                }
                self.cart.push(line);
            }
        }
    }
}

/// The password of an account. The demo's accounts are open secrets, and each is `tide-` and the name.
pub(crate) fn password_of(account: &str) -> String {
    format!("tide-{account}")
}

/// Whether this is the password of this account. It costs as much as a real answer: both are hashed.
pub(crate) fn is_password(account: &str, password: &str) -> bool {
    stretched(account, password, PASSWORD_ROUNDS)
        == stretched(account, &password_of(account), PASSWORD_ROUNDS)
}

/// The signature under an order.
pub(crate) fn signature(order: &str) -> u64 {
    stretched("the shop's key", order, SIGNATURE_ROUNDS)
}

/// A hash over a hash over a hash. It stands for the *cost* of a password hash, not for its safety.
fn stretched(salt: &str, secret: &str, rounds: u32) -> u64 {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    (0..rounds).fold(hasher.hash_one((salt, secret)), |sum, round| hasher.hash_one((sum, round)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_a_guest_with_an_empty_cart() {
        let sessions = Sessions::default();

        assert!(sessions.get("pseudonym").cart.is_empty());

        sessions.change("pseudonym", |session| session.add(CartLine { product: 3, quantity: 2 }));

        assert_eq!(sessions.get("pseudonym").cart, [CartLine { product: 3, quantity: 2 }]);
    }

    #[test]
    fn a_cart_has_a_limit_and_the_oldest_line_leaves() {
        let mut session = Session::default();

        for product in 1..=9 {
            session.add(CartLine { product, quantity: 1 });
        }

        assert_eq!(session.cart.len(), CART_LIMIT);
        assert_eq!(session.cart[0].product, 2);
    }

    #[test]
    fn only_the_right_password_opens_an_account() {
        assert!(is_password("visitor7", "tide-visitor7"));
        assert!(!is_password("visitor7", "tide-visitor8"));
    }
}
