//! A chandler's shop: the service that the demo records, loads and models.
//!
//! It has what real shops have: pages that are rendered, a search that searches, passwords that are
//! hashed, carts, orders that are signed, and a pool of workers of which each waits for a database. The
//! pool is what gives out first, so the shop has a ceiling that belongs to it and not to the machine:
//! [`WORKERS`] over the mean length of a query. Style sheets are served past the pool.

pub(crate) mod catalogue;
mod pages;
mod pool;
mod sessions;

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::{Form, FromRequestParts, Json, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::clock;
use catalogue::{CATEGORIES, Catalogue};
use pool::{Job, Pool};
pub(crate) use sessions::password_of;
use sessions::{CartLine, Sessions};

/// How many requests are worked on at once.
pub(crate) const WORKERS: usize = 14;
/// A query takes its mean length, give or take this share of it.
const QUERY_SPREAD_RATIO: f64 = 0.35;
const STYLE: &str = include_str!("shop/style.css");

/// What the handlers share.
struct Shop {
    catalogue: Catalogue,
    sessions: Sessions,
    pool: Pool,
    chance: Mutex<ChaCha8Rng>,
}

/// Serves the shop until the process is ended, or, `with_parent`, until standard input is closed.
///
/// # Errors
/// When the address cannot be bound or the machine gives no threads.
pub(crate) fn serve(address: SocketAddr, seed: u64, with_parent: bool) -> io::Result<()> {
    let shop = Arc::new(Shop {
        catalogue: Catalogue::new(seed),
        sessions: Sessions::default(),
        pool: Pool::start(WORKERS)?,
        chance: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        writeln!(io::stdout(), "shop listening on {}", listener.local_addr()?)?;
        let prompt = listener.tap_io(|stream| {
            // A peer that is gone already will be noticed by the server.
            let _ = stream.set_nodelay(true);
        });
        let serving = tokio::spawn(async { axum::serve(prompt, routes(shop)).await });
        if with_parent {
            orphaned().await;
            return Ok(());
        }
        serving.await.map_err(io::Error::other)?
    })
}

/// Returns when the parent process is gone: then standard input ends.
async fn orphaned() {
    let (gone, parent_gone) = oneshot::channel();
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = gone.send(());
    });
    let _ = parent_gone.await;
}

fn routes(shop: Arc<Shop>) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/category/{name}", get(category))
        .route("/product/{id}", get(product))
        .route("/search", get(search))
        .route("/login", post(login))
        .route("/cart", get(cart))
        .route("/cart/items", post(add_to_cart))
        .route("/checkout", post(checkout))
        .route("/static/style.css", get(style))
        .with_state(shop)
}

async fn home(State(shop): State<Arc<Shop>>, visitor: Visitor) -> Response {
    answer(shop, 36.0, visitor, |shop, key| {
        Html(pages::home(&shop.catalogue, &shop.sessions.get(key))).into_response()
    })
    .await
}

async fn category(State(shop): State<Arc<Shop>>, visitor: Visitor, Path(name): Path<String>) -> Response {
    answer(shop, 44.0, visitor, move |shop, key| {
        if !CATEGORIES.contains(&name.as_str()) {
            return missing("There is no such category");
        }
        Html(pages::category(&shop.catalogue, &name, &shop.sessions.get(key))).into_response()
    })
    .await
}

async fn product(State(shop): State<Arc<Shop>>, visitor: Visitor, Path(id): Path<u32>) -> Response {
    answer(shop, 40.0, visitor, move |shop, key| match shop.catalogue.product(id) {
        Some(product) => Html(pages::product(product, &shop.sessions.get(key))).into_response(),
        None => missing("There is no such product"),
    })
    .await
}

#[derive(Deserialize)]
struct Question {
    #[serde(default)]
    q: String,
}

async fn search(
    State(shop): State<Arc<Shop>>,
    visitor: Visitor,
    Query(question): Query<Question>,
) -> Response {
    answer(shop, 56.0, visitor, move |shop, key| {
        let products = shop.catalogue.search(&question.q, 20);
        Html(pages::found(&question.q, &products, &shop.sessions.get(key))).into_response()
    })
    .await
}

#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

async fn login(
    State(shop): State<Arc<Shop>>,
    visitor: Visitor,
    Form(credentials): Form<Credentials>,
) -> Response {
    answer(shop, 50.0, visitor, move |shop, key| {
        if !sessions::is_password(&credentials.username, &credentials.password) {
            return (StatusCode::UNAUTHORIZED, Html(pages::notice("Wrong name or password"))).into_response();
        }
        shop.sessions.change(key, |session| session.account = Some(credentials.username));
        Redirect::to("/cart").into_response()
    })
    .await
}

async fn cart(State(shop): State<Arc<Shop>>, visitor: Visitor) -> Response {
    answer(shop, 32.0, visitor, |shop, key| {
        Html(pages::cart(&shop.catalogue, &shop.sessions.get(key))).into_response()
    })
    .await
}

#[derive(Deserialize)]
struct Item {
    product: u32,
    quantity: u32,
}

async fn add_to_cart(State(shop): State<Arc<Shop>>, visitor: Visitor, Json(item): Json<Item>) -> Response {
    answer(shop, 44.0, visitor, move |shop, key| {
        if shop.catalogue.product(item.product).is_none() {
            return missing("There is no such product");
        }
        let line = CartLine { product: item.product, quantity: item.quantity };
        let session = shop.sessions.change(key, |session| {
            session.add(line);
            session.clone()
        });
        let total = pages::price(pages::total(&shop.catalogue, &session));
        Json(serde_json::json!({ "lines": session.cart.len(), "total": total })).into_response()
    })
    .await
}

/// An empty cart is led back to itself after the same query: when many copies of one visitor share a
/// session, one of them may have ordered what the other put in.
async fn checkout(State(shop): State<Arc<Shop>>, visitor: Visitor) -> Response {
    answer(shop, 56.0, visitor, |shop, key| {
        let session = shop.sessions.change(key, |session| {
            let ordered = session.clone();
            session.cart.clear();
            ordered
        });
        if session.cart.is_empty() {
            return Redirect::to("/cart").into_response();
        }
        let total = pages::price(pages::total(&shop.catalogue, &session));
        let order = format!("{:?}\n{total}", session.cart);
        Html(pages::receipt(&order, sessions::signature(&order), &session)).into_response()
    })
    .await
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css"), (header::CACHE_CONTROL, "max-age=3600")], STYLE).into_response()
}

fn missing(text: &str) -> Response {
    (StatusCode::NOT_FOUND, Html(pages::notice(text))).into_response()
}

/// Queues the work, waits for its turn and its query, and gives a newcomer a session key.
async fn answer(
    shop: Arc<Shop>,
    query_ms: f64,
    visitor: Visitor,
    work: impl FnOnce(&Shop, &str) -> Response + Send + 'static,
) -> Response {
    let (query, fresh_key) = shop.draw(query_ms);
    let (key, is_new) = match visitor.key {
        Some(key) => (key, false),
        None => (fresh_key, true),
    };
    let (reply, replied) = oneshot::channel();
    let pool = shop.pool.clone();
    let job = {
        let key = key.clone();
        Job { asked: clock::now(), query, work: Box::new(move || work(&shop, &key)), reply }
    };
    if !pool.submit(job) {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many visitors\n").into_response();
    }
    let Ok(mut response) = replied.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if is_new && let Ok(cookie) = HeaderValue::from_str(&format!("sid={key}; Path=/; HttpOnly; SameSite=Lax"))
    {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

impl Shop {
    /// How long this request's query takes, and a session key in case it needs one.
    fn draw(&self, query_ms: f64) -> (Duration, String) {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let factor = 1.0 + QUERY_SPREAD_RATIO * (2.0 * chance.random::<f64>() - 1.0);
        (Duration::from_secs_f64(query_ms * factor / 1_000.0), format!("{:032x}", chance.random::<u128>()))
    }
}

/// Who asks.
struct Visitor {
    key: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self { key: session_key(&parts.headers) })
    }
}

fn session_key(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix("sid="))
        .filter(|key| !key.is_empty() && key.len() <= 128)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_key_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("theme=dark; sid=abc; sidecar=1"));

        assert_eq!(session_key(&headers).as_deref(), Some("abc"));
        assert_eq!(session_key(&HeaderMap::new()), None);
    }
}
