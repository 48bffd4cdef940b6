//! The shop's pages: data → HTML.

use std::fmt::Write as _;

use super::catalogue::{CATEGORIES, Catalogue, Product};
use super::sessions::Session;

/// The front page.
pub(crate) fn home(catalogue: &Catalogue, session: &Session) -> String {
    let mut page = head("Everything for small boats", session);
    page.push_str("<h2>Today</h2><div class=\"grid\">");
    for product in catalogue.featured(1) {
        card(&mut page, product);
    }
    page.push_str("</div>");
    foot(page)
}

/// A category with its products.
pub(crate) fn category(catalogue: &Catalogue, name: &str, session: &Session) -> String {
    let mut page = head(name, session);
    let _ = write!(page, "<h2>{}</h2><div class=\"grid\">", escaped(name));
    for product in catalogue.in_category(name).take(24) {
        card(&mut page, product);
    }
    page.push_str("</div>");
    foot(page)
}

/// One product with what is said about it.
pub(crate) fn product(product: &Product, session: &Session) -> String {
    let mut page = head(&product.name, session);
    let _ = write!(
        page,
        "<article class=\"card\"><h2>{}</h2><p class=\"price\">{}</p><p>{}</p>\
         <form method=\"post\" action=\"/cart/items\"><input type=\"hidden\" name=\"product\" value=\"{}\">\
         <button>Add to cart</button></form></article><h3>Reviews</h3><ul class=\"reviews\">",
        escaped(&product.name),
        price(product.cents),
        escaped(&product.description),
        product.id
    );
    for review in &product.reviews {
        let _ = write!(
            page,
            "<li><span class=\"stars\">{}</span> {}</li>",
            "★".repeat(usize::from(review.stars)),
            escaped(&review.text)
        );
    }
    page.push_str("</ul>");
    foot(page)
}

/// What a search found.
pub(crate) fn found(question: &str, products: &[&Product], session: &Session) -> String {
    let mut page = head("Search", session);
    let _ = write!(
        page,
        "<form class=\"search\" action=\"/search\"><input name=\"q\" value=\"{}\"></form>\
         <p>{} products</p><div class=\"grid\">",
        escaped(question),
        products.len()
    );
    for product in products {
        card(&mut page, product);
    }
    page.push_str("</div>");
    foot(page)
}

/// The cart.
pub(crate) fn cart(catalogue: &Catalogue, session: &Session) -> String {
    let mut page = head("Your cart", session);
    page.push_str("<table><tr><th>Product</th><th>Quantity</th><th>Price</th></tr>");
    for line in &session.cart {
        if let Some(product) = catalogue.product(line.product) {
            let _ = write!(
                page,
                "<tr><td><a href=\"/product/{}\">{}</a></td><td class=\"number\">{}</td>\
                 <td class=\"number\">{}</td></tr>",
                product.id,
                escaped(&product.name),
                line.quantity,
                price(product.cents.saturating_mul(line.quantity))
            );
        }
    }
    let _ = write!(
        page,
        "</table><p class=\"price\">{}</p><form method=\"post\" action=\"/checkout\"><button>Order</button></form>",
        price(total(catalogue, session))
    );
    foot(page)
}

/// The receipt for an order.
pub(crate) fn receipt(order: &str, signature: u64, session: &Session) -> String {
    let mut page = head("Thank you", session);
    let _ = write!(page, "<h2>Thank you</h2><pre>{}</pre><p>Signed {signature:016x}</p>", escaped(order));
    foot(page)
}

/// A page that only says something.
pub(crate) fn notice(text: &str) -> String {
    let mut page = head(text, &Session::default());
    let _ = write!(page, "<p>{}</p>", escaped(text));
    foot(page)
}

/// What a cart costs, in cents.
pub(crate) fn total(catalogue: &Catalogue, session: &Session) -> u32 {
    session
        .cart
        .iter()
        .filter_map(|line| Some(catalogue.product(line.product)?.cents.saturating_mul(line.quantity)))
        .fold(0, u32::saturating_add)
}

/// Cents as a price.
pub(crate) fn price(cents: u32) -> String {
    format!("€ {}.{:02}", cents / 100, cents % 100)
}

fn head(title: &str, session: &Session) -> String {
    let mut page = String::with_capacity(16_384);
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{} – Chandlery</title>\
         <link rel=\"stylesheet\" href=\"/static/style.css\"></head><body><header><h1>Chandlery</h1><nav>",
        escaped(title)
    );
    for category in CATEGORIES {
        let _ = write!(page, "<a href=\"/category/{category}\">{category}</a>");
    }
    let _ = write!(
        page,
        "</nav><a href=\"/cart\">Cart ({})</a> <span>{}</span></header><main>",
        session.cart.len(),
        escaped(session.account.as_deref().unwrap_or("guest"))
    );
    page
}

fn foot(mut page: String) -> String {
    page.push_str("</main><footer>A shop that exists for twenty seconds at a time.</footer></body></html>\n");
    page
}

fn card(page: &mut String, product: &Product) {
    let _ = write!(
        page,
        "<div class=\"card\"><h3><a href=\"/product/{}\">{}</a></h3><p>{}</p><p class=\"price\">{}</p></div>",
        product.id,
        escaped(&product.name),
        escaped(&product.description),
        price(product.cents)
    );
}

/// Text as it may stand in HTML, also inside an attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_visitor_typed_never_becomes_markup() {
        let page = found("<script>\"'&", &[], &Session::default());

        assert!(page.contains("value=\"&lt;script&gt;&quot;&#39;&amp;\""));
    }

    #[test]
    fn pages_are_as_large_as_real_ones() {
        let catalogue = Catalogue::new(1);
        let sizes = [
            home(&catalogue, &Session::default()).len(),
            category(&catalogue, "ropes", &Session::default()).len(),
            catalogue.product(5).map_or(0, |it| product(it, &Session::default()).len()),
        ];

        assert!(sizes.iter().all(|size| (1_500..25_000).contains(size)), "{sizes:?}");
    }
}
